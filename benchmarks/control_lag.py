"""How long it takes until the control server knows of a call, and until a program knows of a change of
policy.

`python -m benchmarks.control_lag [ROUNDS]`: seconds from a call's end to its cost in the server's sum, and
from the answer to a change of policy to calls being judged by it. Server (`aden-transport serve`, SQLite) and
program are processes of their own; calls are real ones, over an in-memory transport.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from aden_transport import MeterOptions, get_control_agent, instrument, ready, uninstrument

from .loop_stall import ANSWER, BODY

LOOK_S = 0.005


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, served(folder) as (url, key):
        server = httpx2.Client(base_url=url, headers={"authorization": f"Bearer {key}"})
        put(server, limit=1000.0)
        instrument(MeterOptions(api_key=key, server_url=url))
        assert ready(30)
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=ANSWER))
        with httpx2.Client(transport=transport) as client:
            client.post("https://api.openai.com/v1/chat/completions", json=BODY)
            print("call's end → sum ", figures([known(server, client) for _ in range(rounds)]))
        print("change → in force", figures([changed(server, 1000.0 + n) for n in range(rounds)]))
        uninstrument()
        server.close()


def known(server: httpx2.Client, client: httpx2.Client) -> float:
    until(lambda: not moved(server))
    before = spent(server)
    client.post("https://api.openai.com/v1/chat/completions", json=BODY)
    return until(lambda: spent(server) > before)


def moved(server: httpx2.Client) -> bool:
    """Whether a sum is still on its way."""
    before = spent(server)
    time.sleep(1.5)
    return spent(server) != before


def changed(server: httpx2.Client, limit: float) -> float:
    agent = get_control_agent()
    assert agent is not None
    before = agent.status.policy_version
    put(server, limit=limit)
    return until(lambda: agent.status.policy_version != before)


def until(condition: Callable[[], Any]) -> float:
    """Seconds until it is true."""
    began = time.perf_counter()
    while not condition():
        time.sleep(LOOK_S)
    return time.perf_counter() - began


def spent(server: httpx2.Client) -> float:
    return float(server.get("/v1/control/policy").json()["budgets"][0]["spent"])


def put(server: httpx2.Client, *, limit: float) -> None:
    budget = {"id": "all", "type": "global", "limit": limit, "limitAction": "kill"}
    server.put("/v1/control/policies/default", json={"budgets": [budget]}).raise_for_status()


@contextmanager
def served(folder: str) -> Iterator[tuple[str, str]]:
    """The address and a key of a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-m", "aden_transport", "serve", "--port", str(port), "--data", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        key = next(found[1] for line in process.stdout if (found := re.search(r"admin\s+(aden_\S+)", line)))
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(url))
        try:
            yield url, key
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health").is_success
    except httpx2.TransportError:
        return False


def figures(values: list[float]) -> str:
    values.sort()
    return f"p50 {values[len(values) // 2]:.3f} s   max {values[-1]:.3f} s   of {len(values)}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
