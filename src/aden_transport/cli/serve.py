"""`aden-transport serve`: the control server, with its data in a folder or a PostgreSQL database.

At its first start it makes a team and two keys, which are shown once.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .arguments import seconds
from .screen import Screen

if TYPE_CHECKING:
    from sqlalchemy.exc import SQLAlchemyError

__all__ = ["add_arguments", "run"]

PORT = 8787


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=PORT, help=f"the port to listen on ({PORT})")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, metavar="DIR", help="the folder of its data (your state folder)")
    where.add_argument("--database", metavar="URL", help="instead: postgresql://USER@HOST/NAME")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="server processes (1)")
    parser.add_argument("--tls-cert", metavar="FILE", help="a certificate, to speak HTTPS")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument("--new-team", metavar="NAME", help="make one more team, show its keys, and end")
    parser.add_argument(
        "--demo", action="store_true", help="a fleet to watch: a server, a fake provider, and three agents"
    )
    parser.add_argument("--seconds", type=seconds, metavar="N", help="`--demo`: end after so long")
    parser.add_argument("--backup", type=Path, metavar="FILE", help="copy the database to a file, and end")
    parser.add_argument(
        "--portable", action="store_true", help="of a copy: one that either database restores"
    )
    parser.add_argument(
        "--restore", type=Path, metavar="FILE", help="put a copy into a new database, and end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted; returns the exit code."""
    _check(arguments)
    try:
        import uvicorn  # noqa: F401 - whether the extra is installed

        from ..control.server import serve as server
    except ModuleNotFoundError as exc:
        raise ConfigurationError(f"{exc.name} is missing: pip install 'aden-transport[server]'") from exc
    if arguments.demo:
        from .fleet import watch

        return watch(port=arguments.port, seconds=arguments.seconds)
    from sqlalchemy.exc import SQLAlchemyError

    database = arguments.database or server.database_in(arguments.data)
    place = server.Place(
        database=database,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        certificate=arguments.tls_cert,
        private_key=arguments.tls_key,
    )
    try:
        if arguments.new_team is not None:
            _show_keys(server.add_team(database, arguments.new_team))
            return 0
        if arguments.backup is not None:
            _show_rows(server.copy_to(database, arguments.backup, portable=arguments.portable))
            return 0
        if arguments.restore is not None:
            _show_rows(server.restored(database, arguments.restore))
            return 0
        keys = server.first_team(database)
    except SQLAlchemyError as exc:
        raise ConfigurationError(f"the database cannot be used: {_why(exc)}") from exc
    screen = Screen()
    screen.show(f"aden-transport control server: {place.url}")
    if keys:
        _show_keys(keys)
        screen.show(f"try: ADEN_API_URL={place.url} ADEN_API_KEY=… aden-transport budget list")
    sys.stdout.flush()
    server.serve(place)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises: ConfigurationError, for what cannot be, or would mean nothing."""
    if not 1 <= arguments.port <= 65_535:
        raise ConfigurationError("--port has to be from 1 to 65535")
    if not 1 <= arguments.workers <= 256:
        raise ConfigurationError("--workers has to be from 1 to 256")
    if arguments.seconds is not None and not arguments.demo:
        raise ConfigurationError("--seconds ends a --demo: give both, or leave it out")
    if arguments.portable and arguments.backup is None:
        raise ConfigurationError("--portable is of a copy: give --backup FILE, too")
    if arguments.new_team is not None and not arguments.new_team.strip():
        raise ConfigurationError("--new-team needs the name of the team")
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise ConfigurationError("give --tls-cert and --tls-key together")
    if arguments.tls_cert:
        _check_certificate(arguments.tls_cert, arguments.tls_key)


def _check_certificate(certificate: str, private_key: str) -> None:
    """Raises: ConfigurationError, where the two files cannot be read, or do not belong together."""
    import ssl

    asked: list[bool] = []

    def password() -> str:
        asked.append(True)
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password)
    except ssl.SSLError as exc:
        if not asked:  # An encrypted key's password is asked for when the server starts.
            why = "are no certificate and its private key, in PEM"
            raise ConfigurationError(f"--tls-cert and --tls-key {why}: {exc.reason or exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"--tls-cert or --tls-key cannot be read: {exc.strerror}") from exc


def _why(exc: SQLAlchemyError) -> str:
    """Never the driver's own words where an address could be among them: it may have a password."""
    driver = getattr(exc, "orig", None)
    if isinstance(driver, sqlite3.Error):
        return str(driver)
    state = getattr(driver, "sqlstate", None) or ""
    known = {"28": "it refuses this user, or the password", "3D": "there is no such database on it"}
    if reason := known.get(state[:2]):
        return reason
    if state or type(exc).__name__ != "OperationalError":
        return " ".join(filter(None, [type(exc).__name__, state]))
    return "it does not answer: is it running, and is the address right?"


def _show_rows(rows: Mapping[str, int]) -> None:
    Screen().show(*(f"  {table:18} {count}" for table, count in rows.items()))


def _show_keys(keys: Mapping[str, str]) -> None:
    screen = Screen()
    screen.show("keys, shown this once:")
    screen.show(*(f"  {use:8} {token}" for use, token in keys.items()))
