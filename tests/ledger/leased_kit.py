"""Ledgers that spend under leases of a server which answers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulations.fleet import RuleServer

from aden_transport.ledger.base import Ledger, Line, Outcome
from aden_transport.ledger.lease_file import FileLeases
from aden_transport.ledger.lease_memory import MemoryLeases
from aden_transport.ledger.leased import LeasedLedger
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import PATIENT, Store

__all__ = ["LEASED", "Answered"]

MOST = 2**53 - 1


class Answered(LeasedLedger):
    """A call that asks has its answer before it is told that it does."""

    server: RuleServer

    def answer(self) -> None:
        now = self.clock()
        asks = self.due(now)
        self.take(self.server.answer(self.owner, asks), now)

    def reserve(self, op_id: str, candidates: Sequence[Sequence[Line]], **given: Any) -> Outcome:
        while True:
            outcome = super().reserve(op_id, candidates, **given)
            if not outcome.asks:
                return outcome
            self.answer()


def leased(limit: int | None) -> dict[str, Store]:
    """Over memory and over a file, of a server with this limit for each key."""

    @contextmanager
    def memory(_: Path) -> Iterator[Ledger]:
        local = MemoryLedger()
        yield answered(Answered(local, MemoryLeases(local)), limit)

    @contextmanager
    def sqlite(folder: Path) -> Iterator[Ledger]:
        local = SqliteLedger(folder / "host.sqlite3", timeout_s=PATIENT)
        try:
            yield answered(Answered(local, FileLeases(local)), limit)
        finally:
            local.close()

    name = "unbounded" if limit is None else "bounded"
    return {f"leased memory, {name}": memory, f"leased sqlite, {name}": sqlite}


def answered(ledger: Answered, limit: int | None) -> Answered:
    ledger.server = RuleServer(lambda _: limit, clock=ledger.clock)
    return ledger


LEASED: dict[str, Store] = leased(None) | leased(MOST)
"""`LeasedLedger` over each local ledger. The server grants what is asked for, or keeps to a limit, too."""
