"""The ledger of one machine: a SQLite file that its processes share.

A transaction takes the file's write lock when it begins, so reading, judging and holding are one step for all
processes. The log is not flushed to the disk at each commit: a killed process loses nothing, a machine that
loses its power the last moments. Sources: sqlite.org/wal.html, sqlite.org/howtocorrupt.html (forks, deleted
files), sqlite.org/pragma.html.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from .. import _json
from .._fork import draw, on_fork_in_child
from ..errors import LedgerUnavailable
from . import outbox_sqlite, pace_sqlite, spool
from .base import End, Intent, Line, Outcome, Sending, Spooled, Totals, Unit
from .hold_end import Ride
from .memory import Held
from .owner import is_gone, owner_of
from .pace import Move, Turn
from .private import check_file, host_file
from .rule import judge
from .sqlite_ends import Ends, Row, keep

__all__ = ["SqliteLedger", "default_path"]

VERSION = 3
"""Of the schema, as `PRAGMA user_version`."""
SCHEMA = (
    """CREATE TABLE sums (
        key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
        expected INTEGER NOT NULL DEFAULT 0, holds INTEGER NOT NULL DEFAULT 0,
        disputed INTEGER NOT NULL DEFAULT 0, expires_at REAL NOT NULL DEFAULT 0) WITHOUT ROWID""",
    "CREATE INDEX sums_expire ON sums (expires_at) WHERE expires_at > 0",
    "CREATE INDEX sums_disputed ON sums (key) WHERE disputed > 0",
    """CREATE TABLE holds (
        op_id TEXT PRIMARY KEY, owner TEXT NOT NULL, ref TEXT, expires_at REAL NOT NULL,
        lines TEXT NOT NULL, outcome TEXT NOT NULL, intent TEXT) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX holds_ref ON holds (ref) WHERE ref IS NOT NULL",
    """CREATE TABLE marks (
        key TEXT NOT NULL, mark TEXT NOT NULL, expires_at REAL NOT NULL,
        PRIMARY KEY (key, mark)) WITHOUT ROWID""",
    "CREATE INDEX marks_expire ON marks (expires_at) WHERE expires_at > 0",
    *spool.SCHEMA,
    *outbox_sqlite.SCHEMA,
)
KEPT = ("holds", "spool", "outbox")
"""What somebody still has to see to."""
SINCE = {
    1: ("ALTER TABLE holds ADD COLUMN intent TEXT", *spool.SCHEMA),
    2: outbox_sqlite.SCHEMA,
}
"""What was added to each version."""
MOST = 2**53 - 1
"""Larger amounts count as this one."""
SWEPT = 200
"""Holds that one transaction of a sweep settles, and rows that it forgets: others have their turn between."""
PAUSE_S = 0.0002
"""Mean pause before the write lock is tried again. SQLite's own grow to 100 ms, which starves a waiter."""
FORK_WAIT_S = 1.0
LOG_PAGES = 4000
"""Of 4 KiB, beyond which a commit writes the log back into the file, and waits for the disk. Sweeps do so
before, as a rule."""

HELD = "INSERT INTO holds (op_id, owner, expires_at, lines, outcome, intent) VALUES (?, ?, ?, ?, ?, ?)"
ADD_HOLD = """INSERT INTO sums (key, held, expected, expires_at, holds) VALUES (?, ?, ?, ?, 1)
    ON CONFLICT (key) DO UPDATE SET
    held = held + excluded.held, expected = expected + excluded.expected, holds = holds + 1"""
END_HOLD = """UPDATE sums SET spent = spent + ?, disputed = disputed + ?,
    held = held - ?, expected = expected - ?, holds = holds - 1 WHERE key = ?"""
ADOPT = """INSERT INTO sums (key, spent, expires_at) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET spent = spent + excluded.spent"""
RAISE = """INSERT INTO sums (key, spent, expires_at) VALUES (?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET spent = max(spent, excluded.spent)"""

T = TypeVar("T")


class SqliteLedger:
    """See `Ledger`. Opened at the first use; every method waits at most about `timeout_s`.

    A forked child opens the file anew. A file that was deleted or replaced is opened anew, too: what was
    spent is gone with it.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout_s: float = 0.25) -> None:
        self.path = Path(path).absolute()
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._ride: Ride | None = None
        self._taken: set[str] = set()
        """Events that emitters have taken, still to be forgotten."""
        _ledgers.add(self)

    @property
    def spools(self) -> bool:
        return True

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
        op_id = _name(op_id)
        ride = self._ride
        if ride is not None and ride.thread == threading.get_ident() and ride.ended is None:
            return self._reserve_with(ride, op_id, candidates, expires_at, intent)
        with self._transaction() as db:
            return self._reserve(db, op_id, candidates, expires_at, intent)

    def _reserve(
        self,
        db: sqlite3.Connection,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        expires_at: float,
        intent: Intent | None,
    ) -> Outcome:
        before = db.execute("SELECT outcome FROM holds WHERE op_id = ?", (op_id,)).fetchone()
        if before is not None:
            return _outcome(before[0])
        outcome = judge(candidates, _reader(db))
        if outcome.kind == "held":
            lines = [_row(line) for line in candidates[outcome.candidate]]
            told = None if intent is None else _text(intent)
            held = (op_id, self._owner(), expires_at, _text(lines), _text(_plain(outcome)), told)
            db.execute(HELD, held)
            db.executemany(ADD_HOLD, [(key, hold, exp, until) for key, hold, exp, _, until in lines])
        return outcome

    def _reserve_with(
        self,
        ride: Ride,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        expires_at: float,
        intent: Intent | None,
    ) -> Outcome:
        """A reserve that has the ends of other holds told in its transaction, before it."""
        with self._transaction() as db:
            try:
                ends: Ends | None = Ends(db, _named(ride.ends), MOST)
            except (TypeError, ValueError, LookupError):
                ends = None  # What cannot be told must not keep a call from its hold.
            taken = self._write(db, ends) if ends is not None else []
            outcome = self._reserve(db, op_id, candidates, expires_at, intent)
        if ends is not None:
            self._taken.difference_update(taken)
            ride.ended = ends.ended
        return outcome

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        return self.end_many([(op_id, amounts, event)])[0]

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        return self.end_many([(op_id, None, event)])[0]

    def end_many(self, ends: Sequence[End]) -> Sequence[bool]:
        """See `EndsMany`; a hundred at most."""
        with self._transaction() as db:
            told = Ends(db, _named(ends), MOST)
            taken = self._write(db, told)
        self._taken.difference_update(taken)
        return told.ended

    @contextmanager
    def riding(self, ends: Sequence[End]) -> Iterator[Ride]:
        """See `EndsMany`."""
        ride = self._ride = Ride(ends, threading.get_ident())
        try:
            yield ride
        finally:
            self._ride = None

    def _write(self, db: sqlite3.Connection, ends: Ends) -> list[str]:
        """Ends, and the events that are to be forgotten, which are returned."""
        ends.write(db, self._owner())
        # Every event is written and taken out again: the second of the two in a later one's transaction.
        taken = list(self._taken)
        spool.forget(db, taken)
        return taken

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        op_id, ref = _name(op_id), _name(ref)
        with self._transaction() as db:
            taken = db.execute("SELECT op_id FROM holds WHERE ref = ?", (ref,)).fetchone()
            if taken is not None and taken[0] != op_id:
                return False
            set_to = "UPDATE holds SET ref = ?, expires_at = ?, intent = NULL WHERE op_id = ?"
            return db.execute(set_to, (ref, expires_at, op_id)).rowcount > 0

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        with self._transaction() as db:
            found = db.execute("SELECT op_id FROM holds WHERE ref = ?", (_name(ref),)).fetchone()
            if found is None:
                return False
            return _end(db, found[0], lambda unit, hold: min(amounts.get(unit, hold), MOST))

    # -- a key --------------------------------------------------------------------------------------

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        with self._transaction() as db:
            if _mark(db, key, f"raise:{mark}", expires_at):
                db.execute(RAISE, (_name(key), min(spent, MOST), expires_at))

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        with self._transaction() as db:
            return _mark(db, key, f"mark:{mark}", expires_at)

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        with self._transaction("BEGIN") as db:
            return tuple(map(_reader(db), lines))

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        with self._transaction() as db:
            return pace_sqlite.move(db, _name(key), move, now)

    def salt(self) -> bytes:
        """From the user's folder of states; beside the ledger where there is none."""
        kept = default_path("salt") or self.path
        try:
            return pace_sqlite.read_salt(kept.parent)
        except OSError as exc:
            raise LedgerUnavailable(f"No salt can be kept in {kept.parent}: {exc}") from exc

    # -- all of them --------------------------------------------------------------------------------

    def sweep(self, now: float) -> Sequence[str]:
        with self._transaction("BEGIN") as db:
            owners = db.execute("SELECT DISTINCT owner FROM holds WHERE ref IS NULL").fetchall()
        gone = [owner for (owner,) in owners if is_gone(owner)]
        swept: list[str] = []
        while True:
            with self._transaction() as db:
                found = _lost(db, now, gone)
                for op_id in found:
                    _end(db, op_id, lambda unit, hold: hold, disputed=True)
                if len(found) < SWEPT:
                    _forget(db, now)
                    spool.forget(db, list(self._taken))
                    spool.trim(db, now)
                    outbox_sqlite.trim(db, now)
            swept += found
            if len(found) < SWEPT:
                self._write_back()
                return swept

    def take_events(self, most: int) -> Mapping[str, Mapping[str, Any]]:
        with self._transaction() as db:
            return spool.take(db, self._owner(), most)

    def forget_events(self, event_ids: Iterable[str]) -> None:
        self._taken.update(event_ids)

    def forget_now(self) -> None:
        """Forget what emitters have taken, though no end comes that would do so. Does not raise."""
        taken = list(self._taken)
        if taken:
            with suppress(LedgerUnavailable):
                with self._transaction() as db:
                    spool.forget(db, taken)
                self._taken.difference_update(taken)

    def events_dropped(self) -> int:
        with self._transaction("BEGIN") as db:
            return spool.dropped(db)

    def outbox(self, sending: Sending) -> outbox_sqlite.SqliteOutbox:
        """Events in this file that wait for the server that `sending` names."""
        return outbox_sqlite.SqliteOutbox(self.path, sending, self._transaction, self._owner)

    def adopt(self, sums: Sequence[tuple[str, int, float]], holds: Sequence[Held]) -> None:
        """Take over what a ledger in memory has, as (key, spent, when it expires) and as holds."""
        with self._transaction() as db:
            rows = [(_name(key), min(spent, MOST), expires_at) for key, spent, expires_at in sums]
            db.executemany(ADOPT, rows)
            for op_id, lines, outcome, expires_at, ref in holds:
                held = [(_name(key), *rest) for key, *rest in lines]
                told = (_name(op_id), self._owner(), expires_at, _text(held), _text(_plain(outcome)), None)
                db.execute(HELD, told)
                db.execute("UPDATE holds SET ref = ? WHERE op_id = ?", (ref and _name(ref), _name(op_id)))
                db.executemany(ADD_HOLD, [(key, hold, exp, until) for key, hold, exp, _, until in held])

    def disputed(self) -> Mapping[str, int]:
        with self._transaction("BEGIN") as db:
            return dict(db.execute("SELECT key, disputed FROM sums WHERE disputed > 0").fetchall())

    def open_holds(self) -> int:
        with self._transaction("BEGIN") as db:
            count: int = db.execute("SELECT count(*) FROM holds").fetchone()[0]
            return count

    def is_done(self) -> bool:
        """Whether no hold is open and no event waits."""
        with self._transaction("BEGIN") as db:
            left = "SELECT " + " OR ".join(f"EXISTS (SELECT 1 FROM {each})" for each in KEPT)  # noqa: S608
            return not db.execute(left).fetchone()[0]

    def close(self) -> None:
        """See `Ledger`. Not at all where another thread does not let go of the connection in time."""
        self.forget_now()
        if self._lock.acquire(timeout=self.timeout_s):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def transaction(self, *, writes: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """For tables of others in the same file: one step with the sums.

        Raises: LedgerUnavailable."""
        return self._transaction("BEGIN IMMEDIATE" if writes else "BEGIN")

    # -- the connection -----------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """All or nothing; drivers' errors become `LedgerUnavailable`."""
        deadline = time.monotonic() + self.timeout_s
        if not self._lock.acquire(timeout=self.timeout_s):
            raise LedgerUnavailable(f"The ledger {self.path} is busy: no answer in {self.timeout_s} s")
        try:
            db = self._connection(deadline)
            _patiently(lambda: db.execute(begin), deadline)
            yield db
            db.execute("COMMIT")
        except (sqlite3.Error, OSError) as exc:
            self._undo(broken=not _is_busy(exc))
            raise LedgerUnavailable(self._advice(exc)) from exc
        except BaseException:
            self._undo(broken=False)
            raise
        finally:
            self._lock.release()

    def _connection(self, deadline: float) -> sqlite3.Connection:
        opened = self._opened
        if opened is not None and opened.is_current(self.path):
            return opened.db
        self._let_go()
        self._opened = _open(self.path, deadline)
        return self._opened.db

    def _write_back(self) -> None:
        """As much of the log as no reader needs; what is left is for the next sweep."""
        deadline = time.monotonic() + self.timeout_s
        with self._lock, suppress(sqlite3.Error, OSError):
            self._connection(deadline).execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _owner(self) -> str:
        assert self._opened is not None
        return self._opened.owner

    def _undo(self, *, broken: bool) -> None:
        if self._opened is None:
            return
        try:
            if self._opened.db.in_transaction:
                self._opened.db.execute("ROLLBACK")
        except sqlite3.Error:
            broken = True
        if broken:
            self._let_go()

    def _let_go(self) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if opened.pid != os.getpid() and opened.db.in_transaction:
            # Ending the parent's transaction here would undo it in the memory that they share.
            _abandoned.append(opened.db)
            return
        with suppress(sqlite3.Error):
            opened.db.close()

    def _advice(self, exc: Exception) -> str:
        text = str(exc)
        if _is_busy(exc):
            return f"The ledger {self.path} is busy: no answer in {self.timeout_s} s"
        if isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, sqlite3.OperationalError):
            return (
                f"The ledger {self.path} is damaged or no ledger ({text}): move it and its -wal and -shm "
                "files away, and a new one is begun"
            )
        return f"The ledger {self.path} cannot be used ({text}): check its folder, its rights and the disk"

    # -- forks --------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        """No connection crosses a fork, and no thread is within SQLite meanwhile."""
        if self._lock.acquire(timeout=FORK_WAIT_S):
            self._let_go()
            _locked.append(self)

    def _renew_in_child(self) -> None:
        self._lock = threading.Lock()
        self._ride = None
        self._taken = set()  # The parent's to forget.


class _Opened:
    """A connection, and whose and to which file it is."""

    __slots__ = ("db", "file", "owner", "pid")

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.db = db
        self.pid = os.getpid()
        self.owner = owner_of(self.pid)
        self.file = _identity(path)

    def is_current(self, path: Path) -> bool:
        """2 µs, beside 100 µs of a transaction."""
        return self.pid == os.getpid() and self.file == _identity(path)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino)


def _open(path: Path, deadline: float) -> _Opened:
    _make_private(path)
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        # Switching to WAL does not wait by itself where another process does the same.
        _patiently(lambda: db.execute("PRAGMA journal_mode = WAL").fetchall(), deadline)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        _patiently(lambda: _create(db), deadline)
        return _Opened(db, path)
    except BaseException:
        db.close()
        raise


def _create(db: sqlite3.Connection) -> None:
    """Whoever comes first; others wait and find it done."""
    if _version(db) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db)
        if version > VERSION:
            raise sqlite3.OperationalError(f"a newer release of aden-transport wrote it, schema {version}")
        if version < VERSION:
            added = [SINCE[each] for each in range(version, VERSION)] if version else [SCHEMA]
            for statement in chain.from_iterable(added):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _make_private(path: Path) -> None:
    """A regular file of this user that nobody else may read; SQLite gives its other files the same rights.

    An existing one is not opened for that: closing it would drop the locks that this process has on it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))
    except FileExistsError:
        found = os.lstat(path)
        check_file(found)
        if os.name == "posix" and found.st_mode & 0o077:
            os.chmod(path, 0o600)


def _patiently(attempt: Callable[[], T], deadline: float) -> T:
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as exc:
            if not _is_busy(exc) or time.monotonic() >= deadline:
                raise
        time.sleep(PAUSE_S * 2 * draw())


def _is_busy(exc: Exception) -> bool:
    code = getattr(exc, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


# -- rows -------------------------------------------------------------------------------------------


def _row(line: Line) -> Row:
    return (_name(line.key), min(line.hold, MOST), min(line.expected, MOST), line.unit, line.expires_at)


def _name(text: str) -> str:
    """Names come from the application and may hold lone surrogates, which UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _named(ends: Sequence[End]) -> list[End]:
    return [(_name(op_id), amounts, event) for op_id, amounts, event in ends]


def _text(value: Any) -> str:
    return str(_json.dumps(value), "utf-8")


def _plain(outcome: Outcome) -> list[Any]:
    return [outcome.candidate, [(t.spent, t.held, t.expected) for t in outcome.totals]]


def _outcome(text: str) -> Outcome:
    candidate, totals = _json.loads(text)
    return Outcome("held", candidate, tuple(Totals(*each) for each in totals))


def _reader(db: sqlite3.Connection) -> Callable[[Line], Totals]:
    def read(line: Line) -> Totals:
        keys = [_name(key) for key in (line.key, *line.also)]
        marks = ", ".join("?" * len(keys))
        sums = "coalesce(sum(spent), 0), coalesce(sum(held), 0), coalesce(sum(expected), 0)"
        row = db.execute(f"SELECT {sums} FROM sums WHERE key IN ({marks})", keys).fetchone()  # noqa: S608
        return Totals(*row)

    return read


def _end(
    db: sqlite3.Connection, op_id: str, spent: Callable[[Unit, int], int], *, disputed: bool = False
) -> bool:
    op_id = _name(op_id)
    found = db.execute("SELECT lines, outcome, intent FROM holds WHERE op_id = ?", (op_id,)).fetchone()
    if found is None:
        return False
    db.execute("DELETE FROM holds WHERE op_id = ?", (op_id,))
    lines: list[Row] = _json.loads(found[0])
    if disputed and found[2] is not None:
        money = max((hold for _, hold, _, unit, _ in lines if unit == "usd"), default=None)
        event = spool.left(found[2], hold=money, candidate=_outcome(found[1]).candidate)
        keep(db, [event], spool.NOBODY)
    changes = [
        (spent(unit, hold), hold if disputed and unit == "usd" else 0, hold, expected, key)
        for key, hold, expected, unit, _ in lines
    ]
    db.executemany(END_HOLD, changes)
    return True


def _mark(db: sqlite3.Connection, key: str, mark: str, expires_at: float) -> bool:
    row = (_name(key), _name(mark), expires_at)
    return db.execute("INSERT OR IGNORE INTO marks VALUES (?, ?, ?)", row).rowcount > 0


def _lost(db: sqlite3.Connection, now: float, gone: Iterable[str]) -> list[str]:
    """Holds that nobody will settle any more."""
    found = db.execute("SELECT op_id FROM holds WHERE expires_at <= ? LIMIT ?", (now, SWEPT)).fetchall()
    for owner in gone:
        found += db.execute(
            "SELECT op_id FROM holds WHERE owner = ? AND ref IS NULL AND expires_at > ? LIMIT ?",
            (owner, now, SWEPT - len(found)),
        )
    return [op_id for (op_id,) in found]


def _forget(db: sqlite3.Connection, now: float) -> None:
    expired = "expires_at > 0 AND expires_at <= ?"
    some = f"SELECT key FROM sums WHERE {expired} AND holds = 0 LIMIT ?"  # noqa: S608
    db.execute(f"DELETE FROM sums WHERE key IN ({some})", (now, SWEPT))  # noqa: S608
    some = f"SELECT key, mark FROM marks WHERE {expired} LIMIT ?"  # noqa: S608
    db.execute(f"DELETE FROM marks WHERE (key, mark) IN ({some})", (now, SWEPT))  # noqa: S608


# -- where it lies ----------------------------------------------------------------------------------


def default_path(name: str) -> Path | None:
    """`name` in the user's folder of programs' states; None where it cannot be written there."""
    try:
        return host_file(name)
    except OSError:
        return None


# -- every ledger of this process, at a fork --------------------------------------------------------

_ledgers: weakref.WeakSet[SqliteLedger] = weakref.WeakSet()
_locked: list[SqliteLedger] = []
_abandoned: list[sqlite3.Connection] = []


def _before_fork() -> None:
    for ledger in list(_ledgers):
        ledger._before_fork()


def _after_fork_in_parent() -> None:
    while _locked:
        _locked.pop()._lock.release()


def _after_fork_in_child() -> None:
    _locked.clear()
    for ledger in list(_ledgers):
        ledger._renew_in_child()


if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
on_fork_in_child(_after_fork_in_child)
