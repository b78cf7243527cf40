"""The ledger of a team, in the tables of a server: what `ledger/http.py` asks for.

A client's lines are taken within the limits of the team's policies as they are at that moment: they may be
lower, never higher, and a budget that is frozen takes nothing. The windows of budgets are those of the
server's clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from ...errors import LedgerUnavailable
from ...ledger.base import Intent, KeepsNoEvents, Line, Outcome, Spooled, Totals, Unit
from ...ledger.grants import Bounds
from ...ledger.pace import Move, Turn
from ...ledger.pace_memory import Paces
from ...ledger.wire import intent_text
from .expired import kept_intent, resolve, told_by_events
from .intake import Overtaken, store_expired
from .limits import Policies, stored
from .page import MOST, Charged, End, Name, Operation, Reserve, total
from .rows import forget, mark, raise_sum, read_holds, read_sums
from .storage import Storage
from .tables import holds, marks, sums, teams
from .together import Answered, Together

__all__ = ["Ledgers", "SqlLedger"]

MOST_ID = 200
SWEPT = 200
"""Holds that one transaction of a sweep settles, and rows that it forgets."""

USUAL = Bounds()

T = TypeVar("T")


class Ledgers:
    """The ledgers of all teams of a database."""

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], float] = time.time,
        dispute_ttl_s: float = USUAL.dispute_ttl_s,
    ) -> None:
        """`dispute_ttl_s`: how long a call whose hold has expired may still say what it spent."""
        self.storage = storage
        self.clock = clock
        self._dispute_ttl_s = dispute_ttl_s
        self.policies = Policies()
        self.together = Together(storage, self._prepare, charged=self._charged, clock=clock)
        self.paces = Paces()
        self.after_spending: Callable[[Connection, str, Iterable[tuple[str, int]], float], object] | None = (
            None
        )
        """Told, within the transaction, of a team's keys that were charged, each with what is spent now."""

    def of(self, team_id: str) -> SqlLedger:
        return SqlLedger(self, team_id)

    def sweep(self, now: float, team: str | None = None) -> list[tuple[str, str]]:
        """Settle at their amounts, disputed, the holds that have expired; team and `op_id` of each. Forgets
        some of what has expired. Any number of servers may do so at once."""
        swept: list[tuple[str, str]] = []
        of = select(holds.c.team_id, holds.c.op_id).where(holds.c.expires_at <= now).limit(SWEPT)
        if team is not None:
            of = of.where(holds.c.team_id == team)
        while True:
            with self.storage.read() as db:
                found = [(row.team_id, row.op_id) for row in db.execute(of)]
            if found:
                try:
                    swept += self.storage.transact(partial(self._expire, names=found, now=now))
                except Overtaken:
                    continue
            if len(found) < SWEPT:
                self.storage.transact(lambda db: self._tidy(db, now))
                return swept

    def _expire(self, db: Connection, names: Sequence[Name], now: float) -> list[Name]:
        """Those of these holds that are ended now. Raises: Overtaken."""
        there = dict(read_holds(db, names))
        told = told_by_events(db, there)
        ends = [
            End(*name, amounts=told[name]) if name in told else End(*name, amounts={}, expired_by=now)
            for name in there
        ]
        done = self.together.work_within(db, ends) if ends else []
        ended = [name for name, was_there in zip(there, done, strict=True) if was_there]
        disputed = {name: there[name] for name in ended if name not in told}
        for team in store_expired(db, disputed, self.clock()):
            self.storage.notify(db, team, "events")
        return ended

    def _tidy(self, db: Connection, now: float) -> None:
        forget(db, now, SWEPT)
        resolve(db, now - self._dispute_ttl_s, now, SWEPT)

    def close(self) -> None:
        self.together.close()

    def _charged(self, db: Connection, charged: Charged) -> None:
        by_team: dict[str, list[tuple[str, int]]] = {}
        for (team, key), spent in charged:
            by_team.setdefault(team, []).append((key, spent))
        if self.after_spending is not None:
            for team, each in by_team.items():
                self.after_spending(db, team, each, self.clock())

    def _prepare(self, db: Connection, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Reserves within the limits of their teams."""
        asking = [each.team for each in operations if isinstance(each, Reserve)]
        if not asking:
            return operations
        limits, now = self.policies.read(db, asking), self.clock()
        return [
            replace(
                each,
                candidates=[
                    [limits[each.team].line(line, now) for line in lines] for lines in each.candidates
                ],
            )
            if isinstance(each, Reserve)
            else each
            for each in operations
        ]


class SqlLedger(KeepsNoEvents):
    """See `Ledger`. For any thread."""

    def __init__(self, ledgers: Ledgers, team_id: str) -> None:
        self._ledgers = ledgers
        self._storage = ledgers.storage
        self.clock = ledgers.clock
        self.team_id = team_id

    # -- a call -------------------------------------------------------------------------------------

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        with _translated():
            told = None if intent is None else kept_intent(intent_text(intent))
            outcome: Outcome = self.asking(op_id, candidates, expires_at=expires_at, intent=told).result()
        return outcome

    def asking(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        expires_at: float,
        intent: str | None = None,
    ) -> Answered:
        """`reserve`, answered later. `intent`: as `kept_intent` gives it."""
        kept = [[_line(line) for line in lines] for lines in candidates]
        return self._ask(Reserve(self.team_id, stored(op_id, MOST_ID), kept, expires_at, intent))

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        with _translated():
            return bool(self.ending(op_id, amounts).result())

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        with _translated():
            return bool(self.ending(op_id, None).result())

    def ending(self, op_id: str, amounts: Mapping[Unit, int] | None) -> Answered:
        """`settle`, or, without amounts, `release`, answered later."""
        return self._ask(End(self.team_id, stored(op_id, MOST_ID), amounts=amounts))

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        of = update(holds).where(holds.c.team_id == self.team_id, holds.c.op_id == stored(op_id, MOST_ID))
        try:
            with _translated():
                done = self._storage.transact(
                    lambda db: (
                        db.execute(of.values(ref=stored(ref), expires_at=expires_at, intent=None)).rowcount
                    )
                )
        except _Taken:
            return False
        return bool(done)

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        with _translated():
            return bool(self.ending_deferred(ref, amounts).result())

    def ending_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> Answered:
        return self._ask(End(self.team_id, None, stored(ref), amounts))

    def _ask(self, operation: Operation) -> Answered:
        return self._ledgers.together.ask(operation)

    # -- a key --------------------------------------------------------------------------------------

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        name, amount = stored(key), min(spent, MOST)

        def work(db: Connection) -> None:
            if _marked(db, self.team_id, name, f"raise:{mark}", expires_at):
                raise_sum(db, self.team_id, name, amount, expires_at, self._ledgers.clock())

        self._transact(work)

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        return self._transact(lambda db: _marked(db, self.team_id, stored(key), f"mark:{mark}", expires_at))

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        kept = [[(self.team_id, stored(key)) for key in (line.key, *line.also)] for line in lines]
        with _translated(), self._storage.read() as db:
            found = read_sums(db, {key for keys in kept for key in keys})
        return tuple([total([found.get(key) for key in keys]) for keys in kept])

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        return self._ledgers.paces.move(f"{self.team_id} {key}", move, now)

    def salt(self) -> bytes:
        def work(db: Connection) -> str:
            # Whoever comes second waits here, and finds what the first has made.
            db.execute(select(teams.c.id).where(teams.c.id == self.team_id).with_for_update())
            of = select(marks.c.mark).where(marks.c.team_id == self.team_id, marks.c.key == "*salt")
            found = db.execute(of).scalar()
            if found is None:
                found = os.urandom(32).hex()
                mark(db, self.team_id, "*salt", found, 0.0)
            return str(found)

        return bytes.fromhex(self._transact(work))

    # -- all of them --------------------------------------------------------------------------------

    def sweep(self, now: float) -> Sequence[str]:
        with _translated():
            return [op_id for _, op_id in self._ledgers.sweep(now, self.team_id)]

    def disputed(self) -> Mapping[str, int]:
        of = select(sums.c.key, sums.c.disputed).where(sums.c.team_id == self.team_id, sums.c.disputed > 0)
        with _translated(), self._storage.read() as db:
            return {row.key: row.disputed for row in db.execute(of)}

    def open_holds(self) -> int:
        of = select(func.count()).select_from(holds).where(holds.c.team_id == self.team_id)
        with _translated(), self._storage.read() as db:
            return db.execute(of).scalar_one()

    def close(self) -> None:
        """Connections are the server's."""

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with _translated():
            return self._storage.transact(work)


def _line(line: Line) -> Line:
    return replace(
        line,
        key=stored(line.key),
        also=tuple([stored(key) for key in line.also]),
        hold=min(line.hold, MOST),
        expected=min(line.expected, MOST),
    )


def _marked(db: Connection, team: str, key: str, name: str, expires_at: float) -> bool:
    return mark(db, team, key, stored(name), expires_at)


class _Taken(Exception):
    """Another row has this name."""


@contextmanager
def _translated() -> Iterator[None]:
    """Drivers' errors, once."""
    try:
        yield
    except IntegrityError as exc:
        raise _Taken from exc
    except SQLAlchemyError as exc:
        raise LedgerUnavailable(f"The server's database does not answer: {type(exc).__name__}") from exc
