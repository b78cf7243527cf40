"""The server's process, or its processes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import func, select

from ...errors import ConfigurationError
from ...ledger.private import host_file
from ..messages import MAX_FRAME_BYTES
from .access import ADMIN, AGENT, Scope, create_key, create_team
from .app import create_app
from .backup import backup, restore
from .environment import settings_from
from .storage import Storage
from .tables import teams

__all__ = ["Place", "add_team", "application", "copy_to", "database_in", "first_team", "restored", "serve"]

DATABASE = "ADEN_SERVER_DATABASE"
"""How worker processes are told of the database."""
COUNTED = "ADEN_SERVER_COUNTED"
"""And of the folder in which they tell each other what they have counted."""
GRACE_S = 10
"""For requests that are under way when the server is told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server is to be, and with what."""

    database: str
    host: str = "127.0.0.1"
    port: int = 8787
    workers: int = 1
    certificate: str | None = None
    private_key: str | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


def database_in(folder: Path | None) -> str:
    """The address of the database in a folder; None: in the user's folder of programs' states.

    Raises: ConfigurationError, where it cannot be written, or is not its owner's alone.
    """
    try:
        return f"sqlite:///{host_file('server', folder)}"
    except OSError as exc:
        raise ConfigurationError(f"give another folder with --data: {exc}") from exc


def first_team(database: str) -> Mapping[str, str] | None:
    """Make the tables, and where there is no team yet, one with two keys: their tokens, by what they are for.

    Raises: ConfigurationError, SQLAlchemyError.
    """
    storage = Storage(database)
    try:
        storage.prepare()
        with storage.begin() as db:
            if db.scalar(select(func.count()).select_from(teams)):
                return None
            return _team(db, "default")
    finally:
        storage.close()


def add_team(database: str, name: str) -> Mapping[str, str]:
    """One more team with two keys: their tokens, by what they are for."""
    storage = Storage(database)
    try:
        storage.prepare()
        with storage.begin() as db:
            return _team(db, name)
    finally:
        storage.close()


def copy_to(database: str, path: Path, *, portable: bool) -> Mapping[str, int]:
    """Copy the database, which may be in use, to a file: how many rows, by table."""
    storage = Storage(database)
    try:
        return backup(storage, path, portable=portable or None)
    finally:
        storage.close()


def restored(database: str, path: Path) -> Mapping[str, int]:
    """Put a copy into a new database: how many rows, by table."""
    storage = Storage(database)
    try:
        return restore(storage, path)
    finally:
        storage.close()


def _team(db: Any, name: str) -> dict[str, str]:
    now = time.time()
    team_id = create_team(db, name, now=now)
    wanted: Mapping[str, tuple[Scope, ...]] = {"admin": ADMIN, "agents": AGENT}
    return {use: create_key(db, team_id, use, scopes, now=now)[1] for use, scopes in wanted.items()}


def application() -> FastAPI:
    """The application of a worker process."""
    settings = settings_from(os.environ)
    if folder := os.environ.get(COUNTED):
        settings = replace(settings, workers=Path(folder))
    return create_app(Storage(os.environ[DATABASE]), settings)


def serve(place: Place) -> None:
    """Run until the process is told to end; requests that are under way are answered first."""
    settings_from(os.environ)  # What cannot be used is said before anything listens.
    os.environ[DATABASE] = place.database
    # When it has ended, uvicorn raises the signal once more, for whoever had it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _counted(place.workers):
        uvicorn.run(
            f"{__name__}:{application.__name__}",
            factory=True,
            host=place.host,
            port=place.port,
            workers=place.workers,
            ws="wsproto",
            ws_max_size=MAX_FRAME_BYTES,
            # What is received is unpacked whole before its size is looked at.
            ws_per_message_deflate=False,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            timeout_graceful_shutdown=GRACE_S,
            access_log=False,
            server_header=False,
            log_level=logging.WARNING,
            ssl_certfile=place.certificate,
            ssl_keyfile=place.private_key,
        )


@contextmanager
def _counted(workers: int) -> Iterator[None]:
    os.environ.pop(COUNTED, None)
    with ExitStack() as stack:
        if workers > 1:
            with suppress(OSError):  # There is no folder that can be written to: each then tells of itself.
                folder = TemporaryDirectory(prefix="aden-serve-", ignore_cleanup_errors=True)
                os.environ[COUNTED] = stack.enter_context(folder)
        yield
