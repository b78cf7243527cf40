"""A server that can be killed, programs that call, and a line between them that breaks."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2

from aden_transport.control.server.access import ADMIN, create_key, create_team
from aden_transport.control.server.storage import Storage

__all__ = ["Figures", "Line", "Server", "caller", "eventually", "figures"]

HERE = Path(__file__).parent
PATIENCE_S = 60.0


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Server:
    """A process of our control server, on one port and one database whenever it is started."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "server.sqlite3"
        self.port = 0
        self.key = ""
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, str(HERE / "serving.py"), str(self.port), str(self.database)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        port, _, key = self._process.stdout.readline().strip().partition(" ")
        self.port, self.key = int(port), key or self.key
        eventually(self.answers)

    def answers(self) -> bool:
        with suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.url}/health", timeout=5, trust_env=False).status_code == 200
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def put(self, **members: Any) -> None:
        """Change the team's policy."""
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.url}/v1/control/policies/default"
        httpx2.put(url, json=members, headers=headers, timeout=30, trust_env=False).raise_for_status()

    def make_key(self) -> tuple[str, str]:
        """Id and token of one more key of the team, with what programs need."""
        told = {"name": "agents", "scopes": ["read", "ingest", "ledger"]}
        headers = {"authorization": f"Bearer {self.key}"}
        answer = httpx2.post(
            f"{self.url}/v1/keys", json=told, headers=headers, timeout=30, trust_env=False
        ).raise_for_status()
        return answer.json()["id"], answer.json()["token"]

    def make_team(self) -> str:
        """The token of a key of another team."""
        storage, now = Storage(f"sqlite:///{self.database}"), time.time()
        try:
            with storage.begin() as db:
                return create_key(db, create_team(db, "other", now=now), "t", ADMIN, now=now)[1]
        finally:
            storage.close()

    def revoke(self, key_id: str) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        url = f"{self.url}/v1/keys/{key_id}"
        httpx2.delete(url, headers=headers, timeout=30, trust_env=False).raise_for_status()

    def spent(self) -> int:
        """Nano-dollars, of the one budget."""
        headers = {"authorization": f"Bearer {self.key}"}
        told = httpx2.get(
            f"{self.url}/v1/control/policy", headers=headers, timeout=30, trust_env=False
        ).json()
        return round(float(told["budgets"][0]["spent"]) * 1e9)

    def metrics(self) -> list[dict[str, Any]]:
        """The events of calls that it has stored."""
        with sqlite3.connect(self.database) as db:
            rows = db.execute("SELECT body FROM events WHERE kind = 'metric'").fetchall()
        db.close()
        return [json.loads(body) for (body,) in rows]


@dataclass(frozen=True)
class Figures:
    """What became of the events of programs."""

    acknowledged: int
    stored: int
    lost: int
    double: int
    charged_nano: int
    """What the stored events say was charged."""


def figures(server: Server, acks: Path) -> Figures:
    # What a killed process has left is emitted by another, under the same id.
    ids = set(acks.read_text().split())
    stored = server.metrics()
    known = [event["event_id"] for event in stored]
    charged = sum(event["data"].get("charged_nano_usd") or 0 for event in stored)
    return Figures(len(ids), len(known), len(ids - set(known)), len(known) - len(set(known)), charged)


@contextmanager
def caller(
    folder: Path, url: str, key: str, count: int, mode: str = "flush"
) -> Iterator[subprocess.Popen[str]]:
    """A program that calls; it is killed at the end if it still runs."""
    command = [sys.executable, str(HERE / "calling.py"), url, key, str(folder / "acks"), str(count), mode]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Line:
    """A way to `port` that breaks each connection after a random number of bytes, either way."""

    def __init__(self, port: int, *, seed: int, after: tuple[int, int]) -> None:
        self._to = port
        self._draw = random.Random(seed)
        self._after = after
        self.is_whole = False
        self.broken = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to), timeout=5)
            except OSError:
                near.close()
                continue
            left = [10**12 if self.is_whole else self._draw.randint(*self._after)]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink, left), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, left: list[int]) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                left[0] -= len(data)
                if left[0] < 0:
                    self.broken += 1
                    break
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
