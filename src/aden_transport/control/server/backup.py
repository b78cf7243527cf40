"""Copies of a server's database: of SQLite page by page while it is in use, and a portable one of rows.

The portable form is JSON lines, which both engines write and read::

    {"backup": "aden-transport", "form": 1, "schema": "0001", "at": "2026-11-22T10:00:00+00:00"}
    {"table": "teams", "columns": ["id", …]}
    [["team_1", …], …]                        rows, up to 500 a line
    {"end": true, "rows": {"teams": 1, …}, "sha256": …}   of all lines before

A copy is of one moment. It is of what was granted and spent until then: clients' leases tell the rest when
they are next asked, since their figures only grow.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson
from sqlalchemy import Connection, Table, func, insert, inspect, select, text

from ...errors import ConfigurationError
from .storage import Storage
from .tables import metadata

__all__ = ["backup", "restore"]

FORM = 1
PART = 500
PAGES = 256
"""Of SQLite, copied while nobody else writes."""
MAX_LINE = 256 << 20
SQLITE = b"SQLite format 3\0"
GZIP = b"\x1f\x8b"


def backup(storage: Storage, path: Path, *, portable: bool | None = None) -> dict[str, int]:
    """Write a copy to `path`, which must not be there yet, readable by its owner only. `portable`: whether
    either engine can restore it; None: only PostgreSQL's. A name that ends in `.gz` is compressed.

    Returns the number of rows by table. Raises: ConfigurationError where it cannot be written, or there is
    nothing to copy.
    """
    _require_made(storage)
    whole = storage.is_sqlite if portable is None else not portable
    if whole and not storage.is_sqlite:
        raise ConfigurationError("a copy of PostgreSQL is portable")
    part = path.with_name(path.name + ".part")
    try:
        if path.exists():
            raise FileExistsError(f"{path.name} is there already")
        descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            with open(descriptor, "wb") as file:
                rows = _copy_pages(storage, part) if whole else _write(storage, file, path.suffix == ".gz")
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)
        finally:
            part.unlink()
    except OSError as exc:
        raise ConfigurationError(f"the copy cannot be written: {exc.strerror or exc}") from exc
    return rows


def restore(storage: Storage, path: Path) -> dict[str, int]:
    """Put a copy into a database that is empty, in one transaction: all of it, or nothing.

    Returns the number of rows by table. Raises: ConfigurationError where the copy is not whole, is of another
    schema, or the database is in use.
    """
    storage.prepare()
    try:
        with path.open("rb") as file:
            head = file.read(len(SQLITE))
        if head == SQLITE:
            return _from_sqlite(storage, path)
        opened: Any = gzip.open(path) if head.startswith(GZIP) else path.open("rb")  # noqa: SIM115
        with opened:
            return storage.transact(lambda db: _read(db, opened))
    except (OSError, EOFError, sqlite3.DatabaseError) as exc:
        raise ConfigurationError(f"the copy cannot be read: {exc}") from exc


# -- rows -------------------------------------------------------------------------------------------


def _write(storage: Storage, raw: IO[bytes], compressed: bool) -> dict[str, int]:
    file: Any = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if compressed else raw
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    level = {} if storage.is_sqlite else {"isolation_level": "REPEATABLE READ"}
    with storage.engine.connect().execution_options(**level) as db, db.begin():
        for line in _lines(db, counts):
            data = orjson.dumps(line) + b"\n"
            digest.update(data)
            file.write(data)
    file.write(orjson.dumps({"end": True, "rows": counts, "sha256": digest.hexdigest()}) + b"\n")
    if compressed:
        file.close()
    return counts


def _lines(db: Connection, counts: dict[str, int]) -> Iterator[Any]:
    at = datetime.now(UTC).isoformat()
    yield {"backup": "aden-transport", "form": FORM, "schema": _schema(db), "at": at}
    for table in metadata.sorted_tables:
        # Names of SQLAlchemy are a subclass of str, which JSON does not know.
        name = str(table.name)
        yield {"table": name, "columns": [str(column.name) for column in table.columns]}
        counts[name] = 0
        rows = db.execution_options(yield_per=PART).execute(select(table).order_by(*table.primary_key))
        for part in rows.partitions():
            counts[name] += len(part)
            yield [list(row) for row in part]


def _read(db: Connection, file: Any) -> dict[str, int]:
    _require_empty(db)
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    table: Table | None = None
    names: list[str] = []
    current, head = "", True
    while data := file.readline(MAX_LINE):
        line = _json(data)
        match line:
            case {"backup": "aden-transport", "form": int(form), "schema": schema} if head:
                _require(form == FORM, f"the copy has form {form}; this release reads {FORM}")
                own = _schema(db)
                _require(schema == own, f"the copy has schema {schema}, the database {own}; use its release")
                head = False
            case {"table": str(name), "columns": list(columns)} if not head and name in metadata.tables:
                table, names, current = metadata.tables[name], columns, name
                _require(set(names) <= set(table.columns.keys()), f"{name} has other columns")
                counts[current] = 0
            case list(rows) if table is not None:
                db.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])
                counts[current] += len(rows)
            case {"end": True, "rows": rows, "sha256": sha256}:
                _require(rows == counts and sha256 == digest.hexdigest(), "the copy is damaged")
                _number_on(db)
                return counts
            case _:
                raise ConfigurationError("the copy is damaged, or none of ours")
        digest.update(data)
    raise ConfigurationError("the copy is cut off")


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise ConfigurationError("the copy is damaged, or none of ours") from exc


def _require(met: bool, message: str) -> None:
    if not met:
        raise ConfigurationError(message)


def _require_empty(db: Connection) -> None:
    for table in metadata.sorted_tables:
        _require(
            db.execute(select(func.count()).select_from(table)).scalar_one() == 0,
            f"the database is in use: {table.name} has rows; restore into a new one",
        )


def _number_on(db: Connection) -> None:
    """Rows to come are numbered after those that came."""
    if db.dialect.name == "sqlite":
        return
    for table in metadata.sorted_tables:
        if "seq" in table.primary_key.columns:
            last = select(func.max(table.c.seq)).scalar_subquery()
            sequence = func.pg_get_serial_sequence(table.name, "seq")
            db.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))


def _require_made(storage: Storage) -> None:
    with storage.engine.connect() as db:
        made = inspect(db).has_table("alembic_version")
    _require(made, "there is nothing to copy: give the --data or --database that the server runs on")


def _schema(db: Connection) -> str | None:
    """The revision of the schema."""
    return db.execute(text("SELECT version_num FROM alembic_version")).scalar()


# -- pages ------------------------------------------------------------------------------------------


def _copy_pages(storage: Storage, path: Path) -> dict[str, int]:
    with storage.engine.connect() as db, closing(sqlite3.connect(path)) as copy:
        source: Any = db.connection.driver_connection
        # Pages that change meanwhile are copied again.
        source.backup(copy, pages=PAGES, sleep=0.001)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
        _require(found == "ok", f"the copy is damaged: {found}")
        tables = [table.name for table in metadata.sorted_tables]
        counts = {name: copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}  # noqa: S608
    return counts


def _from_sqlite(storage: Storage, path: Path) -> dict[str, int]:
    _require(storage.is_sqlite, "this copy is one of SQLite; make a portable one for PostgreSQL")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as copy:
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
        _require(found == "ok", "the copy is damaged")
        schema = copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        with storage.begin() as db:
            _require_empty(db)
            _require(schema == _schema(db), f"the copy has schema {schema}; use its release")
            counts: dict[str, int] = {}
            for table in metadata.sorted_tables:
                names = [column.name for column in table.columns]
                rows = copy.execute(f"SELECT {', '.join(names)} FROM {table.name}")  # noqa: S608
                counts[table.name] = 0
                while part := rows.fetchmany(PART):
                    db.execute(insert(table), [dict(zip(names, row, strict=True)) for row in part])
                    counts[table.name] += len(part)
    return counts
