"""Ledgers of every kind, and lines by their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from aden_transport.ledger.base import Ledger, Line, Totals
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .control_server import over_http, server_postgresql, server_sqlite
from .redis_server import redis_ledger

__all__ = ["LATER", "NOON", "PATIENT", "STORES", "Store", "hard", "line", "sums"]

NOON = 1_790_000_000.0
"""Seconds since the epoch at which every call starts."""
LATER = NOON + 600.0
"""When a hold expires."""
PATIENT = 30.0
"""`timeout_s` for tests of what is right, however busy the machine."""

Store = Callable[[Path], AbstractContextManager[Ledger]]
"""An empty ledger that may use the folder, open as long as the context."""


@contextmanager
def memory(_: Path) -> Iterator[Ledger]:
    yield MemoryLedger()


@contextmanager
def sqlite(folder: Path) -> Iterator[Ledger]:
    ledger = SqliteLedger(folder / "ledger.sqlite3", timeout_s=PATIENT)
    try:
        yield ledger
    finally:
        ledger.close()


STORES: dict[str, Store] = {
    "http": over_http,
    "memory": memory,
    "sqlite": sqlite,
    "redis": redis_ledger,
    "server-postgresql": server_postgresql,
    "server-sqlite": server_sqlite,
}
"""Every implementation: the contract suite and the state machine run over all of them."""


def line(key: str = "a", hold: int = 10, expected: int | None = None, **more: Any) -> Line:
    """No limits but those that are given; expected is half of the hold."""
    return Line(key, hold, hold // 2 if expected is None else expected, **more)


def hard(key: str = "a", hold: int = 10, limit: int = 100, **more: Any) -> Line:
    return line(key, hold, limit_held=limit, **more)


def sums(ledger: Ledger, *keys: str, also: Iterable[str] = ()) -> list[tuple[int, int, int]]:
    """(spent, held, expected) of each key."""
    found = ledger.totals([line(key, also=tuple(also)) for key in keys])
    assert all(type(each) is Totals for each in found)
    return [(each.spent, each.held, each.expected) for each in found]
