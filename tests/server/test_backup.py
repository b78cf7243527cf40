"""Copies of a server's database, and servers made of them."""

from __future__ import annotations

import gzip
import re
import stat
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from aden_transport.cli import main
from aden_transport.control.server.app import create_app
from aden_transport.control.server.backup import backup, restore
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import metadata
from aden_transport.errors import ConfigurationError

from .kit import Team
from .postgres import new_database
from .test_events import fresh, post, spent


@pytest.fixture
def filled(client: TestClient) -> None:
    client.put("/v1/control/policies/default", json={"budgets": [{"name": "all", "limit": 1}]})
    post(client, *[fresh(event_id=f"e{n}", metadata={"customer": 'ä"\\\n'}) for n in range(60)])


def rows(storage: Storage) -> dict[str, list[Any]]:
    with storage.read() as db:
        return {
            table.name: [tuple(row) for row in db.execute(table.select().order_by(*table.primary_key)).all()]
            for table in metadata.sorted_tables
        }


def new_one(kind: str, tmp_path: Path) -> Storage:
    return Storage(new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/new.sqlite3")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(("into", "name"), [("sqlite", "copy.jsonl"), ("postgresql", "copy.jsonl.gz")])
def test_a_portable_copy_is_restored_by_either_engine(
    client: TestClient, storage: Storage, team: Team, tmp_path: Path, name: str, into: str
) -> None:
    path = tmp_path / name
    told = backup(storage, path, portable=True)
    assert (told["events"], told["policies"]) == (60, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    new = new_one(into, tmp_path)
    assert restore(new, path) == told
    assert rows(new) == rows(storage)
    with TestClient(create_app(new), headers=dict(team.headers)) as other:
        # Known events are known, and new rows get new numbers.
        assert post(other, fresh(event_id="e1", metadata={"customer": 'ä"\\\n'}))["duplicates"] == 1
        assert post(other, fresh(event_id="new"))["duplicates"] == 0
        assert (
            other.put("/tsdb/pricing", json={"pricing": {"m": {"input": 1, "output": 1}}}).status_code == 200
        )
    assert spent(new, team)["-|global:all"] == 61 * 75_000
    new.close()


@pytest.mark.usefixtures("filled")
def test_a_file_is_copied_while_it_is_written_to(
    client: TestClient, storage: Storage, tmp_path: Path
) -> None:
    if not storage.is_sqlite:
        with pytest.raises(ConfigurationError):
            backup(storage, tmp_path / "copy.sqlite3", portable=False)
        return
    ended = threading.Event()

    def write() -> None:
        n = 0
        while not ended.is_set():
            post(client, *[fresh(event_id=f"w{n}.{each}") for each in range(5)])
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = backup(storage, tmp_path / "copy.sqlite3")
    finally:
        ended.set()
        writer.join()
    assert told["events"] >= 60
    assert told["events"] % 5 == 0
    new = new_one("sqlite", tmp_path)
    assert restore(new, tmp_path / "copy.sqlite3") == told
    with new.read() as db:
        spent_of = db.execute(text("SELECT spent FROM sums WHERE key = '-|global:all'")).scalar_one()
    assert spent_of == told["events"] * 75_000
    new.close()
    other = Storage(new_database())
    with pytest.raises(ConfigurationError, match="SQLite"):
        restore(other, tmp_path / "copy.sqlite3")
    other.close()


@pytest.mark.usefixtures("filled")
def test_a_database_in_use_is_not_restored_into(storage: Storage, tmp_path: Path) -> None:
    backup(storage, tmp_path / "copy.jsonl", portable=True)
    before = rows(storage)
    with pytest.raises(ConfigurationError, match="in use"):
        restore(storage, tmp_path / "copy.jsonl")
    assert rows(storage) == before


@pytest.mark.usefixtures("filled")
def test_a_damaged_copy_restores_nothing(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "copy.jsonl"
    backup(storage, path, portable=True)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    head = orjson.loads(lines[0])
    damaged = {
        "cut": b"".join(lines[:-1]),
        "short": whole[:-40],
        "changed": whole.replace(b'"acme"', b'"acne"', 1),
        "line lost": b"".join(lines[:3] + lines[4:]),
        "other form": orjson.dumps({**head, "form": 99}) + b"\n" + b"".join(lines[1:]),
        "other schema": orjson.dumps({**head, "schema": "9999"}) + b"\n" + b"".join(lines[1:]),
        "other table": lines[0] + b'{"table": "users", "columns": []}\n',
        "other column": lines[0] + b'{"table": "teams", "columns": ["x"]}\n',
        "no head": b"".join(lines[1:]),
        "no JSON": b"hello",
        "nothing": b"",
        "half a gzip": gzip.compress(whole)[:-100],
        "no SQLite": b"SQLite format 3\0" + b"x" * 5000,
    }
    new = new_one("sqlite", tmp_path)
    for name, data in damaged.items():
        bad = tmp_path / "bad"
        bad.write_bytes(data)
        with pytest.raises(ConfigurationError):
            restore(new, bad)
        assert not any(rows(new).values()), name
    new.close()


def test_a_copy_overwrites_nothing_and_follows_no_link(storage: Storage, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    (tmp_path / "link").symlink_to(there)
    for name in ("there", "link"):
        with pytest.raises(ConfigurationError):
            backup(storage, tmp_path / name, portable=True)
    assert there.read_text() == "mine"
    with pytest.raises(ConfigurationError):
        backup(storage, tmp_path / "nowhere" / "copy", portable=True)
    with pytest.raises(ConfigurationError):
        restore(Storage(f"sqlite:///{tmp_path}/n.sqlite3"), tmp_path / "nothing")


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_the_command_copies_and_restores(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, new = str(tmp_path / "copy.jsonl.gz"), f"sqlite:///{tmp_path}/new.sqlite3"
    assert main(["serve", "--database", address, "--backup", copy, "--portable"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"events +60", told)
    assert main(["serve", "--database", new, "--restore", copy]) == 0
    assert capsys.readouterr().out == told
    assert main(["serve", "--database", new, "--restore", copy]) != 0
    assert "in use" in capsys.readouterr().err
