"""The ledger of a control server, on both of its databases: a new team for each test."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

from aden_transport.control.server.ledger import Ledgers, SqlLedger
from aden_transport.control.server.storage import Storage

from ..server.kit import new_team
from ..server.postgres import new_database

__all__ = ["NOON", "ledgers", "server_postgresql", "server_sqlite"]

NOON = 1_790_000_000.0


@cache
def ledgers(engine: str) -> Ledgers:
    """Of a database that all tests of the process share, at noon."""
    if engine == "postgresql":
        address = new_database()
    else:
        folder = tempfile.mkdtemp(prefix="aden-server-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        address = f"sqlite:///{folder}/server.sqlite3"
    storage = Storage(address)
    storage.prepare()
    found = Ledgers(storage, clock=lambda: NOON)
    atexit.register(storage.close)
    atexit.register(found.close)
    return found


@contextmanager
def _of(engine: str) -> Iterator[SqlLedger]:
    found = ledgers(engine)
    yield found.of(new_team(found.storage).id)


def server_sqlite(_: Path) -> AbstractContextManager[SqlLedger]:
    return _of("sqlite")


def server_postgresql(_: Path) -> AbstractContextManager[SqlLedger]:
    return _of("postgresql")
