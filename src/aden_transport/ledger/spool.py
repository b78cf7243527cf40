"""Events beside the money, in a ledger's SQLite file: those that no emitter has taken yet.

A row is written in the transaction that ends its hold, or that sweeps one whose process is gone. It is
deleted once the emitters have taken the event. Rows of a process that is gone are taken over by one other,
so an event is emitted once, and again under the same id only where a process dies between emitting and
forgetting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from .. import _json
from .base import Sending, Spooled
from .owner import is_gone

__all__ = [
    "MAX_AGE_S",
    "MAX_BYTES",
    "MAX_ROWS",
    "NOBODY",
    "SCHEMA",
    "add",
    "dropped",
    "forget",
    "left",
    "take",
    "trim",
]

MAX_ROWS = 50_000
MAX_BYTES = 64 * 2**20
MAX_AGE_S = 7 * 86_400.0
"""What is beyond is given up, the oldest first, and counted."""
AT_ONCE = 100
"""Rows of one statement."""
NOBODY = ""
"""The owner of an event that a sweep has left."""

SCHEMA = (
    # Found by a number made from the id: an index would be two more pages to write for each call.
    """CREATE TABLE spool (
        number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, owner TEXT NOT NULL, at REAL NOT NULL,
        event TEXT NOT NULL)""",
    "CREATE TABLE counts (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
)
ADD = "INSERT OR IGNORE INTO spool (number, event_id, owner, at, event) VALUES (?, ?, ?, ?, ?)"
COUNT = """INSERT INTO counts VALUES ('dropped', ?)
    ON CONFLICT (name) DO UPDATE SET count = count + excluded.count"""


def add(db: sqlite3.Connection, events: Sequence[Spooled], owner: str, at: float) -> None:
    """The events of holds that are ended by their owner, a hundred at most."""
    if events:
        rows: list[Any] = []
        for event in events:
            rows += (_number(event.event_id), event.event_id, owner, at, event.text)
        db.execute(ADD + ", (?, ?, ?, ?, ?)" * (len(events) - 1), rows)


def left(intent: str, *, hold: int | None, candidate: int) -> Spooled:
    """What is known of a call whose hold nobody ended, for whoever takes it."""
    told: dict[str, Any] = _json.loads(intent)
    sending, emitted = told.pop("sending", None), told.pop("emitted", True)
    told |= {"hold": hold, "candidate": candidate}
    text, event_id = str(_json.dumps(told), "utf-8"), str(told["event"]["event_id"])
    known = isinstance(sending, list) and len(sending) == len(Sending._fields)
    return Spooled(event_id, text, emitted, Sending(*sending) if known else None)


def _number(event_id: str) -> int:
    """The same for the same id, in 56 bits."""
    return int.from_bytes(blake2b(event_id.encode("utf-8", "replace"), digest_size=7).digest())


def take(db: sqlite3.Connection, owner: str, most: int) -> dict[str, Mapping[str, Any]]:
    """Make events of processes that are gone those of `owner`."""
    owners = [other for (other,) in db.execute("SELECT DISTINCT owner FROM spool").fetchall()]
    taken: dict[str, Mapping[str, Any]] = {}
    for other in owners:
        if other == owner or not (other == NOBODY or is_gone(other)):
            continue
        rows = db.execute(
            "SELECT event_id, event FROM spool WHERE owner = ? ORDER BY at LIMIT ?",
            (other, most - len(taken)),
        )
        taken |= {event_id: _json.loads(text) for event_id, text in rows.fetchall()}
    changes = [(owner, _number(event_id)) for event_id in taken]
    db.executemany("UPDATE spool SET owner = ? WHERE number = ?", changes)
    return taken


def forget(db: sqlite3.Connection, event_ids: Sequence[str]) -> None:
    for first in range(0, len(event_ids), AT_ONCE):
        numbers = [_number(each) for each in event_ids[first : first + AT_ONCE]]
        # S608: question marks.
        db.execute(f"DELETE FROM spool WHERE number IN ({', '.join('?' * len(numbers))})", numbers)  # noqa: S608


def trim(db: sqlite3.Connection, now: float) -> None:
    """Give up what is too old, too many or too much."""
    gone = db.execute("DELETE FROM spool WHERE at < ?", (now - MAX_AGE_S,)).rowcount
    rows, size = db.execute("SELECT count(*), coalesce(sum(length(event)), 0) FROM spool").fetchone()
    if rows > MAX_ROWS or size > MAX_BYTES:
        kept = min(MAX_ROWS, rows * MAX_BYTES // max(size, 1))
        oldest = "SELECT number FROM spool ORDER BY at LIMIT ?"
        gone += db.execute(f"DELETE FROM spool WHERE number IN ({oldest})", (rows - kept,)).rowcount  # noqa: S608
    if gone:
        db.execute(COUNT, (gone,))


def dropped(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT count FROM counts WHERE name = 'dropped'").fetchone()
    return 0 if found is None else int(found[0])
