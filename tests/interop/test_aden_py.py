"""The original client, aden-py 0.4.5, in an environment of its own, works unchanged with our server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aden_transport.testing import FakeProvider

from ..server.kit import wait_for
from ..server.running import Running

PACKAGES = ("aden-py==0.4.5", "openai>=1.109,<4")
PROGRAM = Path(__file__).parent / "aden_py_program.py"
BUILD_S = 600

pytestmark = pytest.mark.timeout(BUILD_S + 120)


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The Python of an environment with aden-py, which is kept from run to run."""
    cache = request.config.cache
    assert cache is not None
    # The layout of environments differs between versions.
    home = cache.mkdir("environments") / f"aden-py-0.4.5-{sys.version_info[0]}.{sys.version_info[1]}"
    found = home / "bin" / "python"
    if not found.exists():
        made = home.with_name(f"{home.name}.{os.getpid()}")
        try:
            _make(made)
            made.rename(home)
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"aden-py 0.4.5 cannot be had: {exc.stderr[-300:]}")
        except OSError:
            # Another process was first.
            assert found.exists()
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return found


def _make(folder: Path) -> None:
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("server")) as running:
        yield running


class Program:
    """The program, and what it has said."""

    def __init__(self, python: Path, server: Running, provider: str, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ADEN_"))}
        told = {"SERVER": server.url, "KEY": server.tokens["agents"], "PROVIDER": provider}
        self._process = subprocess.Popen(
            [str(python), "-I", str(PROGRAM), *arguments],
            env={**kept, **told},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> Any:
        """The next thing that it says."""
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        assert text, self._process.communicate()[1]
        return json.loads(text)

    def rest(self) -> list[Any]:
        """All that it says until it has ended."""
        out, err = self._process.communicate(timeout=120)
        assert self._process.returncode == 0, err
        return [json.loads(line) for line in out.splitlines()]


def test_a_policy_arrives_by_polling_and_heartbeats_are_heard(python: Path, server: Running) -> None:
    server.ask("PUT", "/v1/control/policies/default", [{"limit": 5}])
    program = Program(python, server, "", "polls", "2")
    first = program.line()
    # It asks for Socket.IO first, is refused, and polls.
    assert (first["limits"], first["connected"]) == ([5.0], False)
    server.ask("PUT", "/v1/control/policies/default", [{"limit": 7}])
    (second,) = program.rest()
    assert second["limits"] == [7.0]
    agents = server.ask("GET", "/v1/control/agents")["agents"]
    assert "poller" in [agent["agent_name"] for agent in agents]


def test_its_calls_are_counted_and_a_budget_blocks_its_client(python: Path, server: Running) -> None:
    customer = {"type": "customer", "name": "acme", "limit": 1000, "limitAction": "kill"}
    server.ask("PUT", "/v1/control/policies/default", {"budgets": [{"limit": 1000}, customer]})
    cursor = server.ask("GET", "/v1/control/events/tail")["cursor"]
    with FakeProvider() as provider:
        said = Program(python, server, provider.openai_base_url, "calls", "4").rest()
        assert said[0]["budgets"] == [["global", 1000.0, 0.0], ["customer:acme", 1000.0, 0.0]]
        assert [line.get("answered") for line in said[1:]] == [0, 1, 2, 3], said

        def counted() -> float:
            events = server.ask("GET", "/v1/control/events/tail", cursor=cursor, limit=1000)["events"]
            metrics = [event for event in events if event["event_type"] == "metric"]
            return sum(event["cost_nano_usd"] or 0 for event in metrics) / 1e9 if len(metrics) == 4 else 0.0

        spent = wait_for(counted)
        for budget in ("global", "customer:acme"):
            assert server.ask("GET", f"/v1/control/budget/{budget}")["spent"] == pytest.approx(spent)

        # What is left suffices for less than two calls more, and not by so much that it would not ask.
        limit = spent * 1.48
        server.ask("PUT", "/v1/control/budget/customer:acme", {"limit_usd": limit})
        sent = len(provider.requests)
        said = Program(python, server, provider.openai_base_url, "calls", "10").rest()
        assert said[0]["budgets"][1] == ["customer:acme", pytest.approx(limit), pytest.approx(spent)]
        refused = said[-1]
        assert refused["refused"] == 2
        assert refused["error"] == "RequestCancelledError"
        assert "customer:acme" in refused["message"]
        assert len(provider.requests) == sent + 2


def test_a_block_is_reported(python: Path, server: Running) -> None:
    server.ask("PUT", "/v1/control/policies/default", {"budgets": [{"limit": 0}]})
    cursor = server.ask("GET", "/v1/control/events/tail")["cursor"]
    with FakeProvider() as provider:
        said = Program(python, server, provider.openai_base_url, "calls", "1").rest()
        assert said[-1]["refused"] == 0
        assert provider.requests == []
    end = time.monotonic() + 60
    found: list[Any] = []
    while not found and time.monotonic() < end:
        events = server.ask("GET", "/v1/control/events/tail", cursor=cursor, wait=1)["events"]
        found = [event for event in events if event["event_type"] == "control"]
    assert found[0]["action"] == "block"
    assert found[0]["budget_id"] == "global"
