"""The control server's own leases, on its tables, at a time of ours."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from aden_transport.control.messages import Ask, Grant
from aden_transport.control.server.access import ADMIN, Caller, create_team
from aden_transport.control.server.leases import Leases
from aden_transport.control.server.ledger import Ledgers
from aden_transport.control.server.policies import change
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import leases
from aden_transport.ledger.base import Line
from aden_transport.ledger.grants import Bounds

__all__ = ["SqlServer"]


class SqlServer:
    """One database; every start of a process opens it anew."""

    def __init__(
        self,
        budgets: Callable[[], Sequence[Mapping[str, Any]]],
        *,
        folder: Path,
        clock: Callable[[], float],
        bounds: Bounds,
    ) -> None:
        """`budgets`: as a policy has them. `clock`: seconds since the epoch."""
        self._budgets = budgets
        self._bounds = bounds
        self._clock = clock
        self._path = folder / "server.sqlite3"
        self._path.write_bytes(prepared())
        self._open()
        with self._storage.begin() as db:
            self._team = create_team(db, "simulated", now=time.time())
        self.set_limits()

    def _open(self) -> None:
        self._storage = Storage(f"sqlite:///{self._path}")
        self._ledgers = Ledgers(self._storage, clock=self._clock)
        self._leases = Leases(self._ledgers, self._bounds)

    def restart(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._ledgers.close()
        self._storage.close()

    def set_limits(self) -> None:
        caller = Caller(self._team, "simulated", "simulated", frozenset(ADMIN))
        change(self._storage, caller, "default", lambda _: {"budgets": list(self._budgets())}, "write")

    def answer(self, owner: str, asks: Sequence[Ask]) -> list[Grant]:
        return self._leases.answer(self._team, owner, asks)

    def tick(self) -> None:
        self._leases.sweep(self._clock())

    def sums(self, key: str) -> tuple[int, int]:
        """Spent and held."""
        (found,) = self._ledgers.of(self._team).totals([Line(key, 0, 0)])
        return found.spent, found.held

    def booked(self) -> dict[tuple[str, str], int]:
        """What is counted as spent, by owner and key."""
        found: dict[tuple[str, str], int] = {}
        with self._storage.read() as db:
            for row in db.execute(select(leases.c.owner, leases.c.key, leases.c.booked)):
                found[row.owner, row.key] = found.get((row.owner, row.key), 0) + row.booked
        return found


@cache
def prepared() -> bytes:
    """An empty database that has its tables; making them takes longer than a schedule."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.sqlite3"
        storage = Storage(f"sqlite:///{path}")
        storage.prepare()
        storage.close()
        return path.read_bytes()
