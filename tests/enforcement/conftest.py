"""Stores of every kind, and a server that a test has for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..ledger.redis_server import RedisServer, server_program
from .kit import address


@pytest.fixture(params=["memory", "sqlite", "redis"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty one of each kind."""
    return address(request.param, tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """For tests that stop it, or look at all that is in it."""
    if server_program() is None:
        pytest.skip("no Redis or Valkey server is installed")
    with RedisServer(tmp_path / "redis") as own:
        yield own
