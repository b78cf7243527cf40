"""The server as a process: its first start, its end, several of them over one database."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2.websockets import HTTPXWSException

from .kit import wait_for
from .postgres import new_database
from .running import Running, connected, receive


def test_a_life(server: Running) -> None:
    assert set(server.tokens) == {"admin", "agents"}
    assert server.ask("GET", "/v1/control/policy", use="agents")["budgets"] == []
    agents = {"Authorization": f"Bearer {server.tokens['agents']}"}
    assert httpx2.get(f"{server.url}/v1/keys", headers=agents).status_code == 403
    made = serve("--data", str(server.folder / "data"), "--new-team", "blue")
    assert made.returncode == 0
    server.ask("PUT", "/v1/control/policies/default", [{"limit": 5}])
    # What was answered outlives the process.
    server.kill()
    server.start()
    assert "aden_" not in server.out
    assert server.ask("GET", "/v1/control/policy")["budgets"][0]["limit"] == 5.0
    other = {"Authorization": f"Bearer {made.stdout.split()[-1]}"}
    assert httpx2.get(f"{server.url}/v1/control/policy", headers=other).json()["budgets"] == []
    with connected(server) as socket:
        # All that is told of the state of now, so that nothing but the end is left.
        receive(socket, "policy")
        receive(socket, "pricing")
        answers: list[Any] = []
        waiter = threading.Thread(target=_wait, args=(server, answers))
        waiter.start()
        wait_for(lambda: "under_way 2" in httpx2.get(f"{server.url}/metrics").text)
        # A request that is under way is answered before the end.
        assert server.stop() == 0
        waiter.join()
        assert answers[0]["events"] == []
        with pytest.raises(HTTPXWSException):
            receive(socket, "no kind")
    assert server.err == ""


def _wait(server: Running, answers: list[Any]) -> None:
    answers.append(server.ask("GET", "/v1/control/events/tail", cursor=0, wait=2))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_server_processes_share_one_database(kind: str, tmp_path: Path) -> None:
    database = new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/shared.sqlite3"
    one, other = Running(tmp_path / "one", database), Running(tmp_path / "other", database)
    with one:
        other.tokens = one.tokens
        with other:
            with connected(other) as socket:
                receive(socket, "policy")
                one.ask("PUT", "/v1/control/policies/default", [{"limit": 100}])
                assert receive(socket, "policy")["policy"]["budgets"][0]["limit"] == 100
            assert other.ask("GET", "/v1/control/policy")["budgets"][0]["limit"] == 100.0

            def adjust(server: Running) -> None:
                for _ in range(10):
                    body = {"amount_usd": 0.01, "reason": "test"}
                    server.ask("POST", "/v1/control/budget/global/adjust", body)

            threads = [threading.Thread(target=adjust, args=(each,)) for each in (one, other) * 2]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert one.ask("GET", "/v1/control/budget/global")["spent"] == 0.4
            key = one.ask("POST", "/v1/keys", {"name": "short"})
            headers = {"Authorization": f"Bearer {key['token']}"}
            address = f"{other.url}/v1/control/policy"
            assert httpx2.get(address, headers=headers).status_code == 200
            one.ask("DELETE", f"/v1/keys/{key['id']}")
            wait_for(lambda: httpx2.get(address, headers=headers).status_code == 401)


def test_workers_answer_alike(tmp_path: Path) -> None:
    with Running(tmp_path / "server", None, "--workers", "2") as server:
        server.ask("PUT", "/v1/control/policies/default", [{"limit": 1}])
        for _ in range(10):
            assert server.ask("GET", "/v1/control/policy")["version"] == "1"
        wait_for(lambda: "aden_server_workers 2" in asked(server, "/metrics"))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: asked(server, "/ready"), range(40)))
        # Whichever of the two is asked, it soon tells of all, and a counter never falls.
        told, last = 0, 0
        deadline = time.monotonic() + 60
        while told < 10 and time.monotonic() < deadline:
            found = re.search(r'route="/ready",status="200"} (\d+)', asked(server, "/metrics"))
            counted = int(found[1]) if found else 0
            assert last <= counted <= 40
            last = counted
            told = told + 1 if last == 40 else 0
        assert told == 10
        assert server.stop() == 0


def asked(server: Running, path: str) -> str:
    return httpx2.get(server.url + path, timeout=60).text


def serve(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "aden_transport", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--tls-cert", "x"], "--tls-key"),
        (["--database", "mysql://x/y"], "sqlite:///PATH or postgresql"),
        (["--database", "postgresql://nobody@127.0.0.1:1/x"], "the database cannot be used"),
    ],
)
def test_wrong_usage_says_what_to_give(options: list[str], words: str) -> None:
    done = serve(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
