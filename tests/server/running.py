"""The control server as its operators run it: a process, or several, of `aden-transport serve`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from .kit import free_port, wait_for

__all__ = ["Running", "connected", "receive"]


NONE: Mapping[str, str] = {}


class Running:
    """`aden-transport serve` over a database; a context manager."""

    def __init__(
        self, folder: Path, database: str | None = None, *options: str, environment: Mapping[str, str] = NONE
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tokens: dict[str, str] = {}
        """What the first start shows: by what they are for."""
        where = ["--database", database] if database else ["--data", str(folder / "data")]
        self._command = [sys.executable, "-W", "error", "-m", "aden_transport", "serve"]
        self._command += ["--port", str(self.port), *where, *options]
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it answers."""
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("ab") as err:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self._environment}
            self.process = subprocess.Popen(self._command, stdout=out, stderr=err, env=environment)
        wait_for(self._answers)
        found = re.findall(r"^ +(admin|agents) +(aden_\S+)$", self.out, re.MULTILINE)
        self.tokens |= dict(found)

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def ask(self, method: str, path: str, body: Any = None, *, use: str = "admin", **params: Any) -> Any:
        """The JSON of an answer that has to be good."""
        headers = {"Authorization": f"Bearer {self.tokens[use]}"}
        answer = httpx2.request(method, self.url + path, json=body, params=params, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def stop(self) -> int:
        """As a supervisor does; the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(60)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.err
        try:
            return httpx2.get(f"{self.url}/health", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def __enter__(self) -> Running:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextmanager
def connected(server: Running, path: str = "", use: str = "agents", **headers: str) -> Iterator[Any]:
    """A socket, and all that comes through it is JSON."""
    address = server.url.replace("http", "ws", 1) + "/v1/control/push" + path
    asked = {"Authorization": f"Bearer {server.tokens[use]}", **headers}
    with httpx2.Client() as client, client.websocket(address, headers=asked) as socket:
        yield socket


def receive(socket: Any, kind: str, met: Callable[[Any], bool] = lambda _: True) -> Any:
    """The next message of a kind that `met` is true for."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        message = json.loads(socket.receive_text(timeout=60))
        if message["type"] == kind and met(message):
            return message
    raise AssertionError(f"no {kind} came")
