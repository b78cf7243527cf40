"""A server as a process of its own, over a new database, and connections to it that cost little."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["Clients", "at", "cpu_s", "database", "prepared", "server"]

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 32
"""To each server. More would be in use only if answers took longer than they do."""


def at(times: list[float], share: float) -> float:
    """A quantile, in milliseconds, of seconds."""
    return 1000 * sorted(times)[min(len(times) - 1, int(len(times) * share))] if times else 0.0


class Clients:
    """Connections to one server, kept open; as plain as HTTP/1.1 can be, so that the load costs little."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.head = port, f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.slots = asyncio.Semaphore(CONNECTIONS)

    async def post(self, path: str, told: object) -> dict[str, Any]:
        return await self.send(path, json.dumps(told).encode())

    async def send(self, path: str, body: bytes, more: str = "", method: str = "POST") -> dict[str, Any]:
        async with self.slots:
            reader, writer = self.free.pop() if self.free else await self.connect()
            request = (
                f"{method} {path} HTTP/1.1\r\nHost: x\r\n{self.head}{more}Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(request.encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            answer = await reader.readexactly(length)
            self.free.append((reader, writer))
        assert head.startswith(b"HTTP/1.1 200"), head + answer
        found: dict[str, Any] = json.loads(answer)
        return found

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        for _, writer in self.free:
            writer.close()


# -- the server -------------------------------------------------------------------------------------


@contextmanager
def database(*, postgres: bool) -> Iterator[tuple[str, list[int]]]:
    """The address of a new one, and the id of its process, where it has one."""
    with tempfile.TemporaryDirectory(prefix="aden-load-") as folder:
        if not postgres:
            yield f"sqlite:///{folder}/server.sqlite3", []
            return
        from tests.server.postgres import PostgresServer

        os.chmod(folder, 0o755)
        found = PostgresServer(Path(folder), fsync=True)
        found.start()
        assert found.process is not None
        try:
            yield found.url(), [found.process.pid]
        finally:
            found.kill()


def prepared(address: str) -> str:
    """Make the tables, and a team with two budgets; its key."""
    from aden_transport.control.server.access import ADMIN, create_key, create_team
    from aden_transport.control.server.storage import Storage

    storage = Storage(address)
    storage.prepare()
    with storage.begin() as db:
        team = create_team(db, "load", now=time.time())
        _, token = create_key(db, team, "load", ADMIN, now=time.time())
    storage.close()
    return token


@contextmanager
def server(address: str) -> Iterator[tuple[int, int]]:
    """A server process: its port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.server_load.process", address, str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_s(pids: Sequence[int]) -> float:
    """What processes and their children have used so far: proc_pid_stat(5), fields 14 to 17."""
    names, ticks = set(map(str, pids)), 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text().rpartition(")")[2].split()
            if path.parent.name in names:
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] in names:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
