"""Databases of both kinds, with a team in them, and the application over them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server.app import create_app
from aden_transport.control.server.storage import Storage

from .kit import Team, new_team
from .postgres import new_database
from .running import Running


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path, prepared_file: Path) -> str:
    """Of an empty database that has its tables."""
    if request.param == "postgresql":
        return new_database(_prepared_database())
    shutil.copy(prepared_file, tmp_path / "server.sqlite3")
    return f"sqlite:///{tmp_path}/server.sqlite3"


@pytest.fixture
def storage(address: str) -> Iterator[Storage]:
    storage = Storage(address)
    yield storage
    storage.close()


@pytest.fixture
def team(storage: Storage) -> Team:
    """With a key of all scopes."""
    return new_team(storage)


@pytest.fixture
def client(storage: Storage, team: Team) -> Iterator[TestClient]:
    """The application in this process, asked with the key of `team`."""
    with TestClient(create_app(storage), headers=dict(team.headers)) as client:
        yield client


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("prepared") / "server.sqlite3"
    storage = Storage(f"sqlite:///{path}")
    storage.prepare()
    storage.close()
    return path


@cache
def _prepared_database() -> str:
    address = new_database()
    storage = Storage(address)
    storage.prepare()
    storage.close()
    return address.rpartition("/")[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A process of its own, over a file."""
    with Running(tmp_path / "server") as running:
        yield running
