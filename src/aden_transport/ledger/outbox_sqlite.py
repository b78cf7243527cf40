"""The outbox of a host: a table beside the money in a ledger's SQLite file.

A row is written in the transaction that ends its hold, and deleted once the server has acknowledged it. Any
process of the host sends any row: it claims the oldest that nobody has claimed. A claim ends with its time or
with its process, so what a killed process has left, or was sending, another sends again under the same id.
Rows of one server lie together and in their order: a claim is two numbers, and neither claiming nor
forgetting writes a row anew.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from zlib import crc32

from .. import _json
from ..errors import LedgerUnavailable
from .base import Sending, Spooled
from .outbox import CLAIM_S, Batch, Bounds, Losses, Outbox, Row, report_of
from .owner import is_gone

__all__ = ["BOUNDS", "SCHEMA", "SqliteOutbox", "add", "trim"]

BOUNDS = Bounds(rows=200_000, size=256 * 2**20)
SPAN = 2**40
"""Numbers that the rows of one server have to themselves."""
AT_ONCE = 1000
"""Rows that one transaction gives up at most, and more than are too many, so that not every one has to."""
LOOKED_AFTER = 64
"""Rows after which it is looked whether there are too many."""

SCHEMA = (
    """CREATE TABLE outbox (
        number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, instance TEXT NOT NULL, settled INTEGER NOT NULL,
        at REAL NOT NULL, crc INTEGER NOT NULL, event TEXT NOT NULL)""",
    # The number of a row is that of its server times SPAN, and `next` as it was.
    """CREATE TABLE servers (
        server INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next INTEGER NOT NULL DEFAULT 0,
        rows INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0,
        crowded INTEGER NOT NULL DEFAULT 0, aged INTEGER NOT NULL DEFAULT 0,
        damaged INTEGER NOT NULL DEFAULT 0, refused INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE claims (
        token INTEGER PRIMARY KEY AUTOINCREMENT, server INTEGER NOT NULL, owner TEXT NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, until REAL NOT NULL)""",
)
ADD = "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)"
GROW = "UPDATE servers SET next = next + 1, rows = rows + 1, size = size + ? WHERE server = ?"
SHRINK = """UPDATE servers SET size = CASE WHEN rows > ?1 THEN max(0, size - ?2) ELSE 0 END,
    rows = max(0, rows - ?1) WHERE server = ?3"""
CLAIM = "INSERT INTO claims (server, owner, first, last, until) VALUES (?, ?, ?, ?, ?)"
WAITS = """SELECT 1 FROM servers WHERE name = ? AND rows + crowded + aged + damaged + refused > 0"""
READ, WRITE = "BEGIN", "BEGIN IMMEDIATE"
KINDS = tuple(each.name for each in fields(Losses))


class SqliteOutbox:
    """See `Outbox`; for the server that `sending` names.

    Where the file takes no writes any more, as on a full disk, what is in it is sent nevertheless: without a
    claim, so perhaps by others, too, and forgotten as soon as it can be written that it is.
    """

    lasts = True

    def __init__(
        self,
        path: Path,
        sending: Sending,
        transaction: Callable[[str], AbstractContextManager[sqlite3.Connection]],
        owner: Callable[[], str],
    ) -> None:
        """`transaction`: of the file, begun by the statement that it is given. `owner`: this process, within
        one."""
        self.path = path
        self.sending = sending
        self._transaction = transaction
        self._owner = owner
        self._had: set[int] = set()
        """What the server has and the file could not be told."""

    def is_same(self, other: Outbox) -> bool:
        return (
            isinstance(other, SqliteOutbox)
            and other.path == self.path
            and other.sending.to == self.sending.to
        )

    def add(self, events: Sequence[Spooled]) -> None:
        with self._transaction(WRITE) as db:
            now = time.time()
            for event in events:
                add(db, event, now)

    def lose(self, count: int) -> None:
        with suppress(LedgerUnavailable), self._transaction(WRITE) as db:
            server, _ = _server(db, self.sending.to)
            db.execute("UPDATE servers SET crowded = crowded + ? WHERE server = ?", (count, server))

    def claim(self, now: float, *, most: int, most_size: int) -> Batch | None:
        with self._transaction(READ) as db:
            if not db.execute(WAITS, (self.sending.to,)).fetchone():
                return None
        try:
            with self._transaction(WRITE) as db:
                told = self._tell(db)
                losses = _take_losses(db, self.sending.to)
                if losses.count:
                    _put(db, report_of(losses, self.sending), now)
                batch = _claim(db, self.sending.to, self._owner(), now, most=most, most_size=most_size)
            self._had.difference_update(told)
            return batch
        except LedgerUnavailable:
            with self._transaction(READ) as db:
                return _see(db, self.sending.to, now, self._had, most=most, most_size=most_size)

    def forget(self, batch: Batch, numbers: Iterable[int]) -> None:
        self._had.update(numbers)
        with suppress(LedgerUnavailable):
            with self._transaction(WRITE) as db:
                told = self._tell(db)
            self._had.difference_update(told)

    def _tell(self, db: sqlite3.Connection) -> list[int]:
        """Forget in the file what the server has; it is forgotten once that is committed."""
        told = list(self._had)
        _drop(db, told)
        return told

    def refuse(self, batch: Batch, numbers: Iterable[int]) -> None:
        with self._transaction(WRITE) as db:
            _drop(db, numbers, "refused")

    def leave(self, batch: Batch) -> None:
        # A claim that is not given back ends by itself.
        with suppress(LedgerUnavailable), self._transaction(WRITE) as db:
            db.execute("DELETE FROM claims WHERE token = ?", (batch.token,))

    def waiting(self) -> int:
        with self._transaction(READ) as db:
            found = db.execute("SELECT rows FROM servers WHERE name = ?", (self.sending.to,)).fetchone()
            return 0 if found is None else int(found[0]) - len(self._had)


# -- rows -------------------------------------------------------------------------------------------


def add(db: sqlite3.Connection, event: Spooled, at: float) -> None:
    """Keep an event for the server that it names, and give up others where there are too many."""
    if _put(db, event, at) % LOOKED_AFTER == 0:
        _make_room(db)


def _put(db: sqlite3.Connection, event: Spooled, at: float) -> int:
    """Its place among all that were kept for that server."""
    event_id, text, _, sending = event
    assert sending is not None
    server, place = _server(db, sending.to)
    row = (server * SPAN + place, event_id, sending.instance, sending.settled, at, _crc(text), text)
    db.execute(ADD, row)
    db.execute(GROW, (len(text), server))
    return place


def _server(db: sqlite3.Connection, name: str) -> tuple[int, int]:
    """Its number, and the place of its next row."""
    found: tuple[int, int] | None
    found = db.execute("SELECT server, next FROM servers WHERE name = ?", (name,)).fetchone()
    if found is not None:
        return found
    return db.execute("INSERT INTO servers (name) VALUES (?)", (name,)).lastrowid or 0, 0


def _crc(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"))


def _sound(event: Any, crc: Any) -> dict[str, Any] | None:
    """The event of a row; None where it is not what was written."""
    try:
        told = _json.loads(event) if _crc(event) == crc else None
    except (ValueError, AttributeError):
        return None
    return told if isinstance(told, dict) else None


def _drop(db: sqlite3.Connection, numbers: Iterable[int], why: str | None = None) -> None:
    """Delete rows; `why`: and count them as lost."""
    gone: dict[int, tuple[int, int]] = {}
    for number in numbers:
        found = db.execute("SELECT length(event) FROM outbox WHERE number = ?", (number,)).fetchone()
        if found is not None:
            db.execute("DELETE FROM outbox WHERE number = ?", (number,))
            rows, size = gone.get(number // SPAN, (0, 0))
            gone[number // SPAN] = (rows + 1, size + (found[0] or 0))
    for server, (rows, size) in gone.items():
        db.execute(SHRINK, (rows, size, server))
        if why in KINDS:
            db.execute(f"UPDATE servers SET {why} = {why} + ? WHERE server = ?", (rows, server))  # noqa: S608


def _take_losses(db: sqlite3.Connection, name: str) -> Losses:
    found = db.execute(f"SELECT {', '.join(KINDS)} FROM servers WHERE name = ?", (name,)).fetchone()  # noqa: S608
    losses = Losses() if found is None else Losses(*found)
    if losses.count:
        nothing = ", ".join(f"{kind} = 0" for kind in KINDS)
        db.execute(f"UPDATE servers SET {nothing} WHERE name = ?", (name,))  # noqa: S608
    return losses


# -- claims -----------------------------------------------------------------------------------------


def _claim(
    db: sqlite3.Connection, name: str, owner: str, now: float, *, most: int, most_size: int
) -> Batch | None:
    server, _ = _server(db, name)
    _end_claims(db, now)
    for low, high in _gaps(db, server):
        rows, damaged, more = _read(db, low, high, most, most_size)
        _drop(db, damaged, "damaged")
        if rows:
            claimed = (server, owner, rows[0].number, rows[-1].number, now + CLAIM_S)
            token = db.execute(CLAIM, claimed).lastrowid or 0
            return Batch(token, now + CLAIM_S, rows, more)
    return None


def _see(
    db: sqlite3.Connection, name: str, now: float, had: Container[int], *, most: int, most_size: int
) -> Batch | None:
    """As `_claim`, without writing anything; `had` are left out."""
    server, _ = _server(db, name)
    for low, high in _gaps(db, server):
        rows, _, more = _read(db, low, high, most, most_size, had)
        if rows:
            return Batch(0, now + CLAIM_S, rows, more)
    return None


def _read(
    db: sqlite3.Connection, low: int, high: int, most: int, most_size: int, had: Container[int] = ()
) -> tuple[list[Row], list[int], bool]:
    """The oldest rows, the numbers of those that are damaged, and whether there are more."""
    size, damaged, rows = 0, list[int](), list[Row]()
    within = "SELECT * FROM outbox WHERE number BETWEEN ? AND ? ORDER BY number"
    for number, event_id, instance, settled, _, crc, event in db.execute(within, (low, high)):
        if number in had:
            continue
        told = _sound(event, crc)
        if told is None:
            damaged.append(number)
            continue
        size += len(event)
        if rows and (size > most_size or len(rows) == most):
            return rows, damaged, True
        rows.append(Row(number, event_id, Sending("", instance, bool(settled)), told))
    return rows, damaged, False


def _end_claims(db: sqlite3.Connection, now: float) -> None:
    """Those whose time is over, and of processes that are gone."""
    claims = db.execute("SELECT token, owner, until FROM claims").fetchall()
    gone = {owner for owner in {owner for _, owner, _ in claims} if is_gone(owner)}
    # A clock that was set back makes no claim longer.
    over = [(token,) for token, owner, until in claims if owner in gone or not now < until <= now + CLAIM_S]
    db.executemany("DELETE FROM claims WHERE token = ?", over)


def _gaps(db: sqlite3.Connection, server: int) -> Iterator[tuple[int, int]]:
    """From where to where no row of a server is claimed, in order."""
    low = server * SPAN
    claims = "SELECT first, last FROM claims WHERE server = ? ORDER BY first"
    for first, last in db.execute(claims, (server,)).fetchall():
        if low < first:
            yield low, first - 1
        low = last + 1
    yield low, (server + 1) * SPAN - 1


# -- bounds -----------------------------------------------------------------------------------------


def trim(db: sqlite3.Connection, now: float) -> None:
    """Give up what is too old, too many or too much. What somebody is sending stays."""
    for (server,) in db.execute("SELECT server FROM servers WHERE rows > 0").fetchall():
        _drop(db, _oldest(db, server, AT_ONCE, before=now - BOUNDS.age_s), "aged")
    _make_room(db)


def _make_room(db: sqlite3.Connection) -> None:
    bounds = BOUNDS
    rows, size = db.execute("SELECT coalesce(sum(rows), 0), coalesce(sum(size), 0) FROM servers").fetchone()
    if rows <= bounds.rows and size <= bounds.size:
        return
    # More than is too much, so that not every further row has to.
    much = max(rows - bounds.rows, rows * (size - bounds.size) // max(size, 1)) + rows // 100
    servers = db.execute("SELECT server FROM servers WHERE rows > 0").fetchall()
    first = [(at, server) for (server,) in servers for at in _first_at(db, server)]
    if first:
        _drop(db, _oldest(db, min(first)[1], min(much, AT_ONCE) or 1), "crowded")


def _first_at(db: sqlite3.Connection, server: int) -> list[float]:
    """When the first row of a server came that nobody is sending."""
    first = "SELECT at FROM outbox WHERE number BETWEEN ? AND ? ORDER BY number LIMIT 1"
    found = [at for low, high in _gaps(db, server) for (at,) in db.execute(first, (low, high))]
    return found[:1]


def _oldest(db: sqlite3.Connection, server: int, most: int, before: float = float("inf")) -> list[int]:
    """The first rows of a server, up to one that is young enough."""
    found: list[int] = []
    within = "SELECT number, at FROM outbox WHERE number BETWEEN ? AND ? ORDER BY number LIMIT ?"
    for low, high in _gaps(db, server):
        for number, at in db.execute(within, (low, high, most - len(found))):
            if at >= before:
                return found
            found.append(number)
    return found
