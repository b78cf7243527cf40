"""The leases of one host: a book in the file of its ledger, which all its processes share.

What is written is written in one transaction with a look at the sums, so that two processes never ask the
server for the same. What a process reads from its memory may be out of date: it then allows too little.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import uuid
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from .. import _json
from .._fork import on_fork_in_child
from ..control.messages import Ask, Grant
from .base import SEAL, Line
from .lease_memory import lease_clock
from .leases import Account, Book, given_by
from .owner import boot_id
from .sqlite import SqliteLedger

__all__ = ["FileLeases"]

STALE_S = 0.25
"""After so long, a lease that is used is read again: other processes ask for it, too."""
SLACK_S = 1.0
"""Between the clocks of two processors, and more."""
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS lease_owner (
        one INTEGER PRIMARY KEY CHECK (one = 1), owner TEXT NOT NULL, boot TEXT NOT NULL,
        generation INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS leases (
        key TEXT NOT NULL, generation INTEGER NOT NULL, leaving INTEGER NOT NULL, account TEXT NOT NULL,
        PRIMARY KEY (key, generation)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS lease_team (one INTEGER PRIMARY KEY CHECK (one = 1), team TEXT NOT NULL)",
)
OWNER = "INSERT INTO lease_owner VALUES (1, ?, ?, 0) ON CONFLICT (one) DO NOTHING"
PUT = """INSERT INTO leases VALUES (?, ?, ?, ?)
    ON CONFLICT (key, generation) DO UPDATE SET leaving = excluded.leaving, account = excluded.account"""
SEALED = """INSERT INTO sums (key, held, holds) VALUES (?, ?, 1)
    ON CONFLICT (key) DO UPDATE SET held = held + excluded.held, holds = holds + 1
    WHERE held < excluded.held"""
TIMES = ("asked_at", "answered_at", "until", "looked_at", "busy_at", "slack_from")
"""Of the clock of one boot of the machine."""
FIELDS = tuple([field.name for field in fields(Account)])


class FileLeases:
    """See `Leases`. A file that was deleted or replaced makes another owner."""

    is_shared = True

    def __init__(
        self, local: SqliteLedger, *, boot: str | None = None, clock: Callable[[], float] = lease_clock
    ) -> None:
        self._local = local
        self._boot = boot_id() if boot is None else boot
        self._clock = clock
        self._owner: str | None = None
        self._last = Book()
        """As it was read last; single leases of it may have been read since."""
        self._remembered: dict[str, tuple[int, int]] = {}
        self._read_at: dict[str, float] = {}
        self._lock = threading.Lock()
        _all.add(self)

    @property
    def owner(self) -> str:
        self._begin()
        assert self._owner is not None
        return self._owner

    def _begin(self) -> None:
        """See whose file it is, and of which boot, before anything in it is believed."""
        if self._owner is None:
            with self._book():
                pass

    def is_of(self, team: str) -> bool:
        """Whether this is the book of a team; the first that asks has it."""
        with self._book() as (_, db):
            db.execute("INSERT INTO lease_team VALUES (1, ?) ON CONFLICT (one) DO NOTHING", (team,))
            found: str = db.execute("SELECT team FROM lease_team").fetchone()[0]
        return found == team

    def find(self, key: str) -> Account | None:
        return self._last.open.get(key)

    def remembered(self, key: str) -> int:
        return self._remembered.get(key, (0, 0))[0]

    def prepare(self, lines: Iterable[Line], now: float, *, anew: bool = False) -> bool:
        stale = [line for line in lines if anew or now - self._read_at.get(line.key, -math.inf) > STALE_S]
        if not stale:
            return False
        self._begin()
        missing = [line for line in stale if not self._read(line.key, now)]
        if not missing:
            return False
        with self._book() as (book, _):
            before = book.generation
            for line in missing:
                book.opened(line.key, now, **given_by(line))
        self._read_at.update((line.key, now) for line in missing)
        return book.generation > before

    def siblings(self, account: Account, also: Sequence[str]) -> Sequence[Account]:
        book = self._last
        return () if not also and account.key not in book.leaving else book.siblings(account, also)

    def add(self, key: str, spent: int) -> None:
        with self._book() as (book, _):
            book.add(key, spent)

    def due(self, now: float, waiting: Mapping[str, Collection[int]], *, end: bool = False) -> list[Ask]:
        with self._book() as (book, db):
            return book.due(now, _Looks(db), waiting, end=end)

    def take(self, grants: Iterable[Grant], asked_at: float, now: float) -> None:
        with self._book() as (book, db):
            for account in book.take(grants, asked_at, now):
                db.execute("DELETE FROM sums WHERE key = ?", (_name(account.local_key),))

    @property
    def is_empty(self) -> bool:
        with self._book() as (book, _):
            return not book.open and not book.leaving

    # -- the file -----------------------------------------------------------------------------------

    def _read(self, key: str, now: float) -> bool:
        """Look at one lease; whether there is one."""
        with self._local.transaction(writes=False) as db:
            try:
                found = db.execute(
                    "SELECT account FROM leases WHERE key = ? AND NOT leaving", (_name(key),)
                ).fetchone()
            except sqlite3.OperationalError:
                return False  # There is no such table yet.
        if found is None:
            return False
        self._last.open[key] = _account(key, found[0])
        self._read_at[key] = now
        return True

    @contextmanager
    def _book(self) -> Iterator[tuple[Book, sqlite3.Connection]]:
        """The book, to be read and changed in one transaction."""
        with self._lock, self._local.transaction() as db:
            for statement in SCHEMA:
                db.execute(statement)
            now = self._clock()
            book = self._owned(db)
            before = _load(book, db)
            # Where the system tells no id, a time that is still to come does.
            if book.boot != self._boot or any(each.asked_at > now + SLACK_S for each in book):
                _begin_anew(book, db, self._boot)
            book.remembered = self._remembered
            yield book, db
            _save(book, before, db)
        self._last = book
        if len(self._read_at) > 2 * len(book.open):
            self._read_at = {key: at for key, at in self._read_at.items() if key in book.open}

    def _owned(self, db: sqlite3.Connection) -> _HostBook:
        db.execute(OWNER, (uuid.uuid4().hex, self._boot))
        owner, boot, generation = db.execute("SELECT owner, boot, generation FROM lease_owner").fetchone()
        self._owner = owner
        book = _HostBook(generation=generation, asker=str(os.getpid()))
        book.boot = boot
        return book

    def _renew_in_child(self) -> None:
        self._lock = threading.Lock()


class _HostBook(Book):
    boot = ""


class _Looks:
    """At the sums in the file, within a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def look(self, account: Account) -> tuple[int, int]:
        asked = "SELECT spent, held FROM sums WHERE key = ?"
        found = self._db.execute(asked, (_name(account.local_key),)).fetchone()
        return (0, 0) if found is None else (found[0], found[1] % SEAL)

    def seal(self, account: Account) -> None:
        self._db.execute(SEALED, (_name(account.local_key), SEAL))


def _load(book: Book, db: sqlite3.Connection) -> dict[tuple[str, int], tuple[int, str]]:
    """The rows, as they were."""
    before: dict[tuple[str, int], tuple[int, str]] = {}
    for leaving, text in db.execute("SELECT leaving, account FROM leases ORDER BY key, generation"):
        account = _account(None, text)
        before[account.key, account.generation] = (leaving, text)
        if leaving:
            book.leaving.setdefault(account.key, []).append(account)
        else:
            book.open[account.key] = account
    return before


def _save(book: Book, before: Mapping[tuple[str, int], tuple[int, str]], db: sqlite3.Connection) -> None:
    kept = {
        (each.key, each.generation): (int(each is not book.open.get(each.key)), _text(each)) for each in book
    }
    for name in before.keys() - kept.keys():
        db.execute("DELETE FROM leases WHERE key = ? AND generation = ?", (_name(name[0]), name[1]))
    for name, row in kept.items():
        if before.get(name) != row:
            db.execute(PUT, (_name(name[0]), name[1], *row))
    db.execute("UPDATE lease_owner SET generation = ?", (book.generation,))


def _begin_anew(book: _HostBook, db: sqlite3.Connection, boot: str) -> None:
    """After the machine was started anew: where it lost its power, the file may lack the last moments. So
    nothing of what was leased before is freed, and times of another clock mean nothing."""
    looks = _Looks(db)
    for account in list(book):
        looks.seal(account)
        account.lost, account.final = True, False
        for name in TIMES:
            setattr(account, name, -math.inf)
        if account is book.open.get(account.key):
            book.leaving.setdefault(account.key, []).append(account)
    book.open.clear()
    book.boot = boot
    db.execute("UPDATE lease_owner SET boot = ?", (boot,))


def _text(account: Account) -> str:
    told = {name: getattr(account, name) for name in FIELDS}
    for name in TIMES:
        told[name] = told[name] if math.isfinite(told[name]) else None
    # A name may hold what UTF-8 cannot.
    told["key"] = account.key.encode("utf-8", "surrogatepass").hex()
    told["also"] = [key.encode("utf-8", "surrogatepass").hex() for key in account.also]
    return str(_json.dumps(told), "utf-8")


def _account(key: str | None, text: str) -> Account:
    told: dict[str, Any] = _json.loads(text)
    for name in TIMES:
        told[name] = -math.inf if told[name] is None else told[name]
    told["key"] = _read_name(told["key"])
    told["also"] = tuple(map(_read_name, told["also"]))
    return Account(**told)


def _read_name(text: str) -> str:
    return bytes.fromhex(text).decode("utf-8", "surrogatepass")


def _name(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


_all: weakref.WeakSet[FileLeases] = weakref.WeakSet()


def _renew_all() -> None:
    for leases in list(_all):
        leases._renew_in_child()


on_fork_in_child(_renew_all)
