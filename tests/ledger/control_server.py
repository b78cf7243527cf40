"""The ledger of a control server, on both of its databases: a new team for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

from aden_transport.control.server.ledger import Ledgers, SqlLedger
from aden_transport.control.server.storage import Storage
from aden_transport.ledger.http import HttpLedger

from ..at_end import ENDS
from ..server.kit import new_team
from ..server.postgres import new_database
from .served import Served

__all__ = ["NOON", "ledgers", "live_server", "over_http", "server_postgresql", "server_sqlite"]

NOON = 1_790_000_000.0
PATIENT = 30.0


@cache
def ledgers(engine: str) -> Ledgers:
    """Of a database that all tests of the process share, at noon."""
    if engine == "postgresql":
        address = new_database()
    else:
        folder = tempfile.mkdtemp(prefix="aden-server-")
        ENDS.callback(shutil.rmtree, folder, ignore_errors=True)
        address = f"sqlite:///{folder}/server.sqlite3"
    storage = Storage(address)
    storage.prepare()
    found = Ledgers(storage, clock=lambda: NOON)
    ENDS.callback(storage.close)
    ENDS.callback(found.close)
    return found


@contextmanager
def _of(engine: str) -> Iterator[SqlLedger]:
    found = ledgers(engine)
    yield found.of(new_team(found.storage).id)


def server_sqlite(_: Path) -> AbstractContextManager[SqlLedger]:
    return _of("sqlite")


def server_postgresql(_: Path) -> AbstractContextManager[SqlLedger]:
    return _of("postgresql")


class Overseen(HttpLedger):
    """Sweeps, which a client cannot have done."""

    def __init__(self, served: Served, found: SqlLedger, token: str) -> None:
        super().__init__(served.url, token, timeout_s=PATIENT, wall=lambda: NOON)
        self._found = found

    def sweep(self, now: float) -> Sequence[str]:
        return self._found.sweep(now)


@contextmanager
def over_http(_: Path) -> Iterator[HttpLedger]:
    """Of a server process, whose clock stands at noon."""
    found = ledgers("sqlite")
    team = new_team(found.storage)
    ledger = Overseen(frozen_server(), found.of(team.id), team.token)
    try:
        yield ledger
    finally:
        ledger.close()


@cache
def frozen_server() -> Served:
    """A server process, whose clock stands at noon."""
    served = Served(str(ledgers("sqlite").storage.url), now=NOON)
    ENDS.callback(served.kill)
    return served


@cache
def live_server() -> Served:
    """A server process whose clock goes, over the same database."""
    served = Served(str(ledgers("sqlite").storage.url))
    ENDS.callback(served.kill)
    return served
