"""What a control server takes: `python -m benchmarks.server_load reserves`, ten seconds a database.

Reserves arrive at a steady rate, whether earlier ones are answered or not, all on one budget; a time is that
from when a request was due to its answer. Each hold is settled a moment later. The machine is shared by
server, database and load.

    --rate N         a second                     --seconds N
    --postgres       on PostgreSQL, which is started for it, with its writes on the disk (fsync=on)
    --servers N      processes, which take the requests in turn
    --no-settle      reserves only
    --database URL   instead of a new one
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CONNECTIONS = 32
"""To each server. More would be in use only if answers took longer than they do."""
LINES = [
    {"key": "-|global", "hold": 1000, "expected": 500},
    {"key": "-|customer:acme", "hold": 1000, "expected": 500},
]
LAST = 600.0


class Load(NamedTuple):
    """What became of the requests."""

    reserves: int
    seconds: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    settle_p99_ms: float
    is_exact: bool
    """Whether each budget's sums are what the answers say."""

    def __str__(self) -> str:
        return (
            f"{self.reserves / self.seconds:.0f} reserves/s, p50 {self.p50_ms:.1f} ms, "
            f"p99 {self.p99_ms:.1f} ms, slowest {self.slowest_ms:.0f} ms, "
            f"settle p99 {self.settle_p99_ms:.1f} ms, "
            f"sums {'exact' if self.is_exact else 'WRONG'}"
        )


def main() -> None:
    given = arguments()
    with ExitStack() as stack:
        address = given.database or stack.enter_context(database(postgres=given.postgres))
        token = prepared(address)
        servers = [stack.enter_context(server(address)) for _ in range(given.servers)]
        before = [cpu_s(pid) for _, pid in servers]
        ports = [port for port, _ in servers]
        load = asyncio.run(reserves(ports, token, given.rate, given.seconds, settle=not given.no_settle))
        used = sum(cpu_s(pid) for _, pid in servers) - sum(before)
    kind = "PostgreSQL" if address.startswith("postgres") else "SQLite"
    print(f"{kind}, {given.servers} server(s), {given.rate}/s for {given.seconds} s: {load}")
    print(f"the servers used {1000 * used / load.reserves:.2f} ms of a core for each call")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["reserves"])
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--no-settle", action="store_true")
    parser.add_argument("--database")
    return parser.parse_args()


# -- the load ---------------------------------------------------------------------------------------


async def reserves(urls: Sequence[int], token: str, rate: int, seconds: int, *, settle: bool) -> Load:
    count = rate * seconds
    clients = [Clients(port, token) for port in urls]
    took: list[float] = []
    settled: list[float] = []
    spent = held = 0

    async def call(number: int, due: float) -> None:
        nonlocal spent, held
        client = clients[number % len(clients)]
        told = {"op_id": f"op {number}", "candidates": [LINES], "ttl_s": LAST}
        outcome = await client.post("/v1/ledger/reserve", told)
        took.append(time.perf_counter() - due)
        if outcome["kind"] != "held":
            return
        if not settle:
            held += 1000
            return
        at = time.perf_counter()
        done = await client.post(
            "/v1/ledger/settle", {"op_id": f"op {number}", "amounts": {"usd": number % 1000}}
        )
        settled.append(time.perf_counter() - at)
        if done["done"]:
            spent += number % 1000

    # The first requests of a process parse policies and make statements.
    await asyncio.gather(*[client.post("/v1/ledger/release", {"op_id": "none"}) for client in clients])
    begun = time.perf_counter()
    tasks = []
    for number in range(count):
        due = begun + number / rate
        while (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(call(number, due)))
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    totals = (await clients[0].post("/v1/ledger/totals", {"lines": LINES}))["totals"]
    for each in clients:
        each.close()
    took.sort()
    settled.sort()
    return Load(
        len(took),
        ended - begun,
        1000 * took[len(took) // 2],
        1000 * took[int(len(took) * 0.99)],
        1000 * took[-1],
        1000 * settled[int(len(settled) * 0.99)] if settled else 0.0,
        all(sums[:2] == [spent, held] for sums in totals),
    )


class Clients:
    """Connections to one server, kept open; as plain as HTTP/1.1 can be, so that the load costs little."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.head = port, f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.slots = asyncio.Semaphore(CONNECTIONS)

    async def post(self, path: str, told: object) -> dict[str, Any]:
        body = json.dumps(told)
        async with self.slots:
            reader, writer = self.free.pop() if self.free else await self.connect()
            request = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\n{self.head}Content-Length: {len(body)}\r\n\r\n{body}"
            )
            writer.write(request.encode())
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
def database(*, postgres: bool) -> Iterator[str]:
    """The address of a new one."""
    with tempfile.TemporaryDirectory(prefix="aden-load-") as folder:
        if not postgres:
            yield f"sqlite:///{folder}/server.sqlite3"
            return
        from tests.server.postgres import PostgresServer

        os.chmod(folder, 0o755)
        found = PostgresServer(Path(folder), fsync=True)
        found.start()
        try:
            yield found.url()
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
    command = [sys.executable, "-m", "benchmarks.server_load_process", address, str(port)]
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


def cpu_s(pid: int) -> float:
    """What a process has used so far: proc_pid_stat(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
