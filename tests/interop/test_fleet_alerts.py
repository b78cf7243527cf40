"""Alerts of a budget that hosts share: each is told of once, whichever host sees it first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..delivery.fleet import Server

PROGRAM = Path(__file__).with_name("alerting.py")
STEPS = [
    {"percent": 0.0000001, "action": "alert", "message": "first"},
    {"percent": 0.0000002, "action": "alert", "message": "second"},
]
BUDGET = {"id": "b1", "name": "All", "type": "global", "limit": 1000.0, "thresholds": STEPS}


class Host:
    """A program with files of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._heard("ready")

    def _heard(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"

    def begin_call(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("call\n")
        self._process.stdin.flush()

    def end_call(self) -> None:
        self._heard("called")

    def end(self) -> None:
        assert self._process.communicate(timeout=60)[0] == ""
        assert self._process.returncode == 0


@contextmanager
def host(folder: Path, server: Server, name: str) -> Iterator[Host]:
    command = [sys.executable, str(PROGRAM), server.url, server.key, str(folder / "told")]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / name)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield Host(process)
    finally:
        process.kill()
        process.communicate()


def told(folder: Path) -> list[str]:
    """The messages, of all programs."""
    path = folder / "told"
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted(line.split(" ", 1)[1] for line in lines)


def test_two_hosts_tell_of_a_threshold_once(tmp_path: Path) -> None:
    with Server(tmp_path) as server, ExitStack() as stack:
        server.put(budgets=[BUDGET])
        hosts = [stack.enter_context(host(tmp_path, server, name)) for name in ("a", "b")]
        for _ in range(2):
            for each in hosts:
                each.begin_call()
            for each in hosts:
                each.end_call()
        for each in hosts:
            each.end()
        assert told(tmp_path) == ["b1 first", "b1 second"]
        # A program that comes later finds them told of.
        with host(tmp_path, server, "c") as late:
            late.begin_call()
            late.end_call()
            late.end()
        assert told(tmp_path) == ["b1 first", "b1 second"]


def test_without_a_server_a_host_tells_of_it_itself(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.put(budgets=[{**BUDGET, "mode": "expected"}])
        with host(tmp_path, server, "a") as alone:
            server.kill()
            alone.begin_call()
            alone.end_call()
            alone.end()
        assert told(tmp_path) == ["b1 first", "b1 second"]
