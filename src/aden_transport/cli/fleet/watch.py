"""Start the fleet, show how its budgets stand, and end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from ...control.server.serve import database_in, first_team
from ...errors import AdenError
from ...testing import FakeProvider
from ..budget import COLUMNS, row
from ..screen import Line, Screen, table

__all__ = ["watch"]

AGENTS = ("writer", "coder", "critic")
POLICY: Mapping[str, Any] = {
    "budgets": [
        {"limit": 0.05},
        {"type": "customer", "name": "*", "limit": 0.02},
        {"type": "agent", "name": "critic", "limit": 0.004},
    ]
}
START_S = 60.0
END_S = 10.0


def watch(*, port: int, seconds: float | None) -> int:
    """Until interrupted, or for so long; returns the exit code."""
    screen = Screen()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as fleet:
        folder = Path(fleet.enter_context(tempfile.TemporaryDirectory(prefix="aden-fleet-")))
        keys = first_team(database_in(folder))
        assert keys is not None
        url = f"http://127.0.0.1:{port}"
        fleet.enter_context(_process("serve", "--data", str(folder), "--port", str(port)))
        headers = {"Authorization": f"Bearer {keys['admin']}"}
        client = fleet.enter_context(httpx2.Client(base_url=url, headers=headers))
        _wait_for(lambda: _is_ready(client), "the demo's server does not answer; is its --port free?")
        client.put("/v1/control/policies/default", json=dict(POLICY)).raise_for_status()
        provider = fleet.enter_context(FakeProvider())
        variables = {
            "ADEN_API_URL": url,
            "ADEN_API_KEY": keys["agents"],
            "XDG_STATE_HOME": str(folder / "state"),
        }
        agents = [_Agent(fleet, name, provider.openai_base_url, variables) for name in AGENTS]
        screen.show(
            f"a control server at {url}, and {len(AGENTS)} agents; try in another terminal:",
            f"  ADEN_API_URL={url} ADEN_API_KEY={keys['admin']} \\",
            "    aden-transport budget freeze global        # or unfreeze, reset, set global 1",
            "",
        )
        _wait_for(lambda: all(one.calls + one.blocked for one in agents), "the demo's agents do nothing")
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            _show(screen, client, agents)
            if end is not None and time.monotonic() >= end:
                break
            time.sleep(1)
    return 0


def _show(screen: Screen, client: httpx2.Client, agents: list[_Agent]) -> None:
    budgets = client.get("/v1/control/budgets").json()["budgets"]
    screen.show(*table(COLUMNS, [row(one) for one in budgets], screen.width))
    counts = (f"{one.name} {one.calls} calls, {one.blocked} blocked" for one in agents)
    screen.show(Line("  ".join(counts), "dim"), "")


class _Agent:
    """A process of `agent.py`, and what it has said."""

    def __init__(self, fleet: ExitStack, name: str, provider: str, variables: Mapping[str, str]) -> None:
        self.name = name
        self.calls = self.blocked = 0
        command = [sys.executable, "-m", f"{__package__}.agent", name, provider]
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            # An interrupt is for the one who watches, who ends the others then.
            start_new_session=True,
        )
        fleet.enter_context(_ended(process))
        threading.Thread(target=self._hear, args=(process,), daemon=True).start()

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                said = json.loads(line)
                self.calls, self.blocked = said["calls"], said["blocked"]


@contextmanager
def _process(*arguments: str) -> Iterator[None]:
    command = [sys.executable, "-m", "aden_transport", *arguments]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        command, stdout=subprocess.DEVNULL, start_new_session=True
    )
    with _ended(process):
        yield


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """It has ended afterwards."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").is_success
    except httpx2.TransportError:
        return False


def _wait_for(met: Callable[[], bool], otherwise: str) -> None:
    """Raises: AdenError, where it is not met within a minute."""
    end = time.monotonic() + START_S
    while not met():
        if time.monotonic() > end:
            raise AdenError(otherwise)
        time.sleep(0.05)
