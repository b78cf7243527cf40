"""Ends of holds in a ledger's SQLite file, many in one transaction.

Each statement lets go of the interpreter, and a program that is busy gives it back up to 5 ms later; so the
number of statements does not grow with that of the ends.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from .. import _json
from . import outbox_sqlite, spool
from .base import End, Spooled, Unit

__all__ = ["Ends", "Row", "keep"]

Row: TypeAlias = tuple[str, int, int, Unit, float]
"""Of a hold's line: key, hold, expected, unit, when the key expires."""
END_HOLDS = """UPDATE sums SET spent = spent + ?, held = held - ?, expected = expected - ?, holds = holds - ?
    WHERE key = ?"""


class Ends:
    """What some ends change: read first, so that what cannot be told has changed nothing."""

    __slots__ = ("_changes", "_events", "_gone", "ended")

    def __init__(self, db: sqlite3.Connection, ends: Sequence[End], most: int) -> None:
        """Of an amount, `most` counts at most."""
        ids = [op_id for op_id, _, _ in ends]
        held = f"SELECT op_id, lines FROM holds WHERE op_id IN ({_marks(ids)})"  # noqa: S608
        open_holds: dict[str, str] = dict(db.execute(held, ids).fetchall())
        self.ended: list[bool] = []
        """Of each, whether there was such a hold."""
        self._gone = list(open_holds)
        self._changes: dict[str, list[int]] = {}
        self._events: list[Spooled] = []
        for op_id, amounts, event in ends:
            lines = open_holds.pop(op_id, None)
            self.ended.append(lines is not None)
            if lines is None:
                continue
            self._add(_json.loads(lines), amounts, most)
            if event is not None:
                self._events.append(event)

    def _add(self, lines: Sequence[Row], amounts: Mapping[Unit, int] | None, most: int) -> None:
        for key, hold, expected, unit, _ in lines:
            change = self._changes.setdefault(key, [0, 0, 0, 0])
            if amounts is not None:
                change[0] += min(amounts.get(unit, hold), most)
            change[1] += hold
            change[2] += expected
            change[3] += 1

    def write(self, db: sqlite3.Connection, owner: str) -> None:
        if self._gone:
            db.execute(f"DELETE FROM holds WHERE op_id IN ({_marks(self._gone)})", self._gone)  # noqa: S608
            db.executemany(END_HOLDS, [(*change, key) for key, change in self._changes.items()])
        keep(db, self._events, owner)


def keep(db: sqlite3.Connection, events: Sequence[Spooled], owner: str) -> None:
    """For emitters, for a server, or for both."""
    at = time.time()
    spool.add(db, [event for event in events if event.emitted], owner, at)
    for event in events:
        if event.sending is not None:
            outbox_sqlite.add(db, event, at)


def _marks(values: Sequence[object]) -> str:
    """As many question marks."""
    return ", ".join("?" * len(values))
