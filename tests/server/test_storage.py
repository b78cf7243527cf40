"""The database: its schema, its transactions, and how processes hear of changes."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import DBAPIError

from aden_transport import ConfigurationError
from aden_transport.control.server.storage import ANY, Notice, Storage
from aden_transport.control.server.tables import audit, metadata, policies, sums

from .kit import Team, wait_for
from .postgres import new_database


def test_the_migrations_make_the_schema(storage: Storage) -> None:
    with storage.begin() as db:
        context = MigrationContext.configure(db, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_processes_may_prepare_one_database(kind: str, tmp_path: Path) -> None:
    address = new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/deep/new.sqlite3"
    storages = [Storage(address) for _ in range(4)]
    threads = [threading.Thread(target=storage.prepare) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for storage in storages:
        with storage.read() as db:
            assert db.scalar(select(func.count()).select_from(sums)) == 0
        storage.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "server.sqlite3"
    Storage(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("address", ["", "nothing", "sqlite://", "sqlite:///:memory:", "mysql://host/name"])
def test_an_address_that_cannot_be_used_says_what_to_give(address: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///PATH"):
        Storage(address)


@pytest.mark.parametrize("table", [audit, policies])
@pytest.mark.parametrize("change", ["update", "delete"])
def test_the_record_is_only_added_to(storage: Storage, team: Team, table: object, change: str) -> None:
    with storage.begin() as db:
        db.execute(insert(audit).values(team_id=team.id, at=1.0, action="test", subject="x"))
        row = {"policy_id": "p", "version": 1, "document": "{}", "etag": "e", "created_at": 1.0}
        db.execute(insert(policies).values(team_id=team.id, **row))
    kept = audit if table is audit else policies
    statement = kept.delete() if change == "delete" else update(kept).values(team_id=team.id)
    with pytest.raises(DBAPIError, match="only added to"), storage.begin() as db:
        db.execute(statement)


def test_writers_add_up(storage: Storage, team: Team) -> None:
    with storage.begin() as db:
        db.execute(insert(sums).values(team_id=team.id, key="-|global"))

    def add() -> None:
        for _ in range(25):
            with storage.begin() as db:
                found = db.scalar(select(sums.c.spent).with_for_update())
                db.execute(update(sums).values(spent=(found or 0) + 1))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with storage.read() as db:
        assert db.scalar(select(sums.c.spent)) == 200


def test_nothing_stays_of_a_transaction_that_fails(storage: Storage, team: Team) -> None:
    told: list[Notice] = []
    stop = storage.listen(told.append)
    with pytest.raises(ZeroDivisionError), storage.begin() as db:
        db.execute(insert(sums).values(team_id=team.id, key="-|global"))
        storage.notify(db, team.id, "sums")
        raise ZeroDivisionError
    with storage.begin() as db:
        assert db.scalar(select(func.count()).select_from(sums)) == 0
        storage.notify(db, team.id, "events")
    wait_for(lambda: Notice(team.id, "events") in told)
    assert Notice(team.id, "sums") not in told
    stop()


def test_a_victim_of_another_transaction_is_tried_again(storage: Storage, team: Team) -> None:
    with storage.begin() as db:
        for key in ("a", "b"):
            db.execute(insert(sums).values(team_id=team.id, key=key))
    both = threading.Barrier(2)

    def work(first: str, second: str) -> None:
        met: list[bool] = []

        def crossing(db: object) -> None:
            with storage.engine.connect():
                pass
            for key in (first, second):
                db.execute(  # type: ignore[attr-defined]
                    update(sums).where(sums.c.key == key).values(spent=sums.c.spent + 1)
                )
                if not met and not storage.is_sqlite:
                    met.append(True)
                    both.wait()

        storage.transact(crossing)

    threads = [threading.Thread(target=work, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with storage.read() as db:
        assert db.scalars(select(sums.c.spent)).all() == [2, 2]


def test_notices_reach_other_processes(storage: Storage, team: Team) -> None:
    told: list[Notice] = []
    other = Storage(storage.url.render_as_string(hide_password=False))
    stop = other.listen(told.append)

    def heard() -> bool:
        with storage.begin() as db:
            db.execute(insert(sums).values(team_id=team.id, key=str(time.monotonic())))
            storage.notify(db, team.id, "sums")
        return bool(told)

    wait_for(heard)
    assert set(told) <= {Notice(team.id, "sums"), ANY}
    stop()
    other.close()


def test_a_listener_that_fails_hinders_no_other(storage: Storage, team: Team) -> None:
    told: list[Notice] = []

    def fail(_: Notice) -> None:
        raise ZeroDivisionError

    stops = [storage.listen(fail), storage.listen(told.append)]

    def heard() -> bool:
        with storage.begin() as db:
            storage.notify(db, team.id, "sums")
        return bool(told)

    wait_for(heard)
    for stop in stops:
        stop()
