"""The paces of one machine: a table of the SQLite file that its processes share."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

from .pace import KEPT_S, Move, Turn, moved

__all__ = ["move", "read_salt"]

TABLE = """CREATE TABLE IF NOT EXISTS paces (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID"""
FOUND = "SELECT state FROM paces WHERE key = ?"
WRITE = "INSERT OR REPLACE INTO paces VALUES (?, ?, ?)"
FORGET = "DELETE FROM paces WHERE key IN (SELECT key FROM paces WHERE expires_at <= ? LIMIT 100)"
SALT_BYTES = 32


def move(db: sqlite3.Connection, key: str, asked: Move, now: float | None) -> Turn:
    """Within a transaction that has the write lock. The clock is the machine's, which all of them share."""
    now = time.time() if now is None else now
    try:
        found = db.execute(FOUND, (key,)).fetchone()
    except sqlite3.OperationalError as exc:
        if "no such table" not in str(exc):
            raise
        # Made when it is first needed: it is no part of the schema of budgets.
        db.execute(TABLE)
        found = None
    before = None if found is None else json.loads(found[0])
    state, turn = moved(None if before is None else list(before), asked, now)
    if before is None:
        db.execute(FORGET, (now,))
    if state != before:
        # Also where only its time is new: a clock that steps back is told by it.
        db.execute(WRITE, (key, json.dumps(state), now + KEPT_S))
    return turn


def read_salt(folder: Path) -> bytes:
    """The installation's own random bytes, made at the first use; nobody but this user may read them.

    Raises: OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "salt"
    while True:
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            found = b""
        if len(found) == SALT_BYTES:
            return found
        # Written aside and linked, so that nobody ever reads a part of it, and the first to come wins.
        aside = folder / f".salt.{os.getpid()}.{os.urandom(4).hex()}"
        handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(SALT_BYTES))
            if found:
                os.replace(aside, path)  # what stands there is no salt
            else:
                try:
                    os.link(aside, path)
                except FileExistsError:
                    pass
        finally:
            aside.unlink(missing_ok=True)
