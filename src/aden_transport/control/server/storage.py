"""The database: one file of SQLite, or PostgreSQL for several servers. The same statements run on both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Column, Connection, Engine, Select, create_engine, event, func
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import QueuePool

from ...errors import ConfigurationError

__all__ = ["ANY", "Notice", "Storage", "fitting", "is_transient"]

BUSY_S = 30.0
"""How long a writer of SQLite waits for another process."""
POOL, MORE = 8, 16
"""Connections that a process keeps, and those that it opens beside them for a while."""
ATTEMPTS = 5
"""Of a transaction that fell victim to another one."""
TRANSIENT = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not had: postgresql.org/docs/current/errcodes-appendix.html."""

AT_ONCE = frozenset({"keys", "policy", "prices"})
"""Topics that decide how the very next request is answered: the process that has made the change does not
wait for the database to tell it."""

VERSIONS = Path(__file__).parent / "migrations" / "versions"

T = TypeVar("T")


class Notice(NamedTuple):
    """That something of a team has changed: `"policy"`, `"sums"`, `"events"`, `"keys"`."""

    team_id: str
    topic: str


ANY = Notice("*", "*")
"""Anything may have changed: another process has written, or notices were missed."""


class Storage:
    """Connections to one database. Every method may be called from any thread; all of them block.

    Raises: ConfigurationError, where the address cannot be used, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = _address(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _engine(self.url, sqlite=self.is_sqlite)
        # SQLite has one writer at a time; waiting here is fair and costs no polling.
        self._writers = threading.Lock() if self.is_sqlite else None
        self._listening: Any = None
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Bring the schema up to date. Several processes may do so at once."""
        if self._version() == _latest_version():
            return
        # Alembic takes longer to import than the rest of the server.
        from .migrations import upgrade

        with self.begin() as db:
            upgrade(db)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes: committed at the end, rolled back where an exception leaves it.

        On SQLite it is alone from its beginning. On PostgreSQL it reads what is committed; take the rows that
        it decides on `FOR UPDATE`, in the order of their keys.
        """
        with ExitStack() as held:
            if self._writers is not None:
                held.enter_context(self._writers)
            db = held.enter_context(self.engine.connect().execution_options(writes=True))
            # The connection is used again, after a transaction that failed, too.
            notices = db.info["notices"] = []
            with db.begin():
                yield db
        self._tell(notices)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; on SQLite, of one state of the database."""
        with self.engine.connect() as db, db.begin():
            yield db

    def transact(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction that writes; again where it fell victim to another one."""
        for _ in range(ATTEMPTS - 1):
            try:
                with self.begin() as db:
                    return work(db)
            except DBAPIError as exc:
                if not is_transient(exc):
                    raise
        with self.begin() as db:
            return work(db)

    def notify(self, db: Connection, team_id: str, topic: str) -> None:
        """Have the listeners of all processes told, when the transaction of `db` is committed."""
        if self.is_sqlite or topic in AT_ONCE:
            db.info["notices"].append(Notice(team_id, topic))
        if not self.is_sqlite:
            db.exec_driver_sql("SELECT pg_notify('aden', %s)", (f"{topic} {team_id}",))

    def listen(self, told: Callable[[Notice], None]) -> Callable[[], None]:
        """Have `told` called with each notice, on a thread of ours, until what is returned is called.

        Notices may come twice, or as `ANY`; none is kept from before.
        """
        from .notices import Listening

        with self._lock:
            if self._listening is None:
                self._listening = Listening(self.engine, sqlite=self.is_sqlite)
            listening: Listening = self._listening
        return listening.add(told)

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        self.engine.dispose()

    def _version(self) -> str | None:
        """Of the schema, as Alembic has noted it; None: it has not."""
        try:
            with self.read() as db:
                found: str | None = db.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
                return found
        except DBAPIError:
            return None

    def _tell(self, notices: list[Notice]) -> None:
        listening = self._listening
        if listening is not None:
            for notice in dict.fromkeys(notices):
                listening.tell(notice)


def fitting(db: Connection, page: Select[Any], column: Column[Any], most: int) -> int:
    """How many rows of a page may be read, with at most so many characters in a column; at least one."""
    size, place = 0, 0
    for length in db.scalars(page.with_only_columns(func.length(column))):
        size += length
        if place and size > most:
            break
        place += 1
    return max(1, place)


def is_transient(exc: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    if isinstance(exc, OperationalError) and "database is locked" in str(exc.orig):
        return True
    return getattr(exc.orig, "sqlstate", None) in TRANSIENT


def _latest_version() -> str:
    """Of the schema, by the numbers of its migrations."""
    return max(path.name[:4] for path in VERSIONS.glob("[0-9][0-9][0-9][0-9]_*.py"))


def _address(url: str) -> URL:
    """With the drivers that we use."""
    try:
        found = make_url(url)
    except ArgumentError as exc:
        raise ConfigurationError(
            "the database's address cannot be read: give sqlite:///PATH or postgresql://USER@HOST/NAME"
        ) from exc
    match found.get_backend_name():
        case "sqlite":
            if not found.database or found.database == ":memory:":
                raise ConfigurationError("the database has to be a file: give sqlite:///PATH")
            return found.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres":
            return found.set(drivername="postgresql+psycopg")
        case other:
            raise ConfigurationError(f"no database of kind {other!r}: give sqlite:///PATH or postgresql://…")


def _engine(url: URL, *, sqlite: bool) -> Engine:
    """One whose errors, which are logged, do not say what was written: hashes of keys, prompts."""
    if not sqlite:
        try:
            return create_engine(
                url,
                pool_size=POOL,
                max_overflow=MORE,
                pool_pre_ping=True,
                pool_recycle=1800,
                hide_parameters=True,
                future=True,
            )
        except ModuleNotFoundError as exc:
            raise ConfigurationError(
                "PostgreSQL needs a driver: pip install 'aden-transport[postgres]'"
            ) from exc
    _private_file(Path(url.database or ""))
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=POOL,
        max_overflow=MORE,
        hide_parameters=True,
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _private_file(path: Path) -> None:
    """Readable by its owner only: it says who spends what."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)


def _prepare(connection: Any, _: Any) -> None:
    # Transactions are begun by `_begin`; the module's own would begin late, and not to write.
    connection.isolation_level = None
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").fetchall()


def _begin(db: Connection) -> None:
    writes = db.get_execution_options().get("writes")
    # A reader that begins to write later may find that it cannot any more.
    db.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
