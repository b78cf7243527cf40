"""Programs that hold at the server itself and are killed amid a call, and two servers that look for what they
left: one event of each call, which says what the ledger has charged."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ..ledger.served import Served
from .kit import Team, wait_for

CALLING = str(Path(__file__).parent / "calling.py")
AN_HOUR = 3700.0
POLICY = {"id": "all", "type": "global", "limit": 1000, "limitAction": "block"}


@pytest.fixture
def served(address: str, team: Team) -> Iterator[Served]:
    found = Served(address)
    ask(found, team, "PUT", "/v1/control/policies/default", {"budgets": [POLICY]})
    yield found
    found.close()


def ask(served: Served, team: Team, method: str, path: str, body: Any = None) -> Any:
    headers = dict(team.headers)
    answer = httpx2.request(
        method, served.url + path, json=body, headers=headers, timeout=30, trust_env=False
    )
    return answer.raise_for_status().json()


@contextmanager
def calling(served: Served, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A program whose request has been sent, and is not answered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    command = [sys.executable, CALLING, served.url, team.token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "sent\n"
        yield program
        program.kill()


def an_hour_passes(served: Served, team: Team, *, servers: int = 1) -> None:
    """So many find the hold at once."""
    later = [Served(served.address, now=time.time() + AN_HOUR, look=0.1, wait=False) for _ in range(servers)]
    try:
        for each in later:
            each.wait()
        wait_for(lambda: ask(served, team, "GET", "/v1/ledger/state")["open_holds"] == 0)
    finally:
        for each in later:
            each.close()


def metrics(served: Served, team: Team) -> list[dict[str, Any]]:
    path = "/v1/control/events?event_type=metric"
    found: list[dict[str, Any]] = ask(served, team, "GET", path)["events"]
    return found


def reconciled(served: Served, team: Team) -> dict[str, Any]:
    told = ask(served, team, "GET", "/v1/ledger/reconcile")
    assert told["exact"]
    (budget,) = told["budgets"]
    assert budget["held"] == 0
    found: dict[str, Any] = budget
    return found


def test_a_program_that_is_killed_amid_a_call_leaves_one_event(
    served: Served, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with calling(served, team, tmp_path, monkeypatch) as program:
        program.kill()
        program.wait()
    assert ask(served, team, "GET", "/v1/ledger/state")["open_holds"] == 1
    an_hour_passes(served, team, servers=2)
    (event,) = metrics(served, team)
    data = event["data"]
    assert (data["billing"], data["request_model"]) == ("unknown", "gpt-4o")
    assert "CANARY" not in str(event)
    budget = reconciled(served, team)
    assert data["charged_nano_usd"] == budget["spent"] == budget["disputed"] == budget["unconfirmed"] > 0


def test_the_word_of_a_program_that_lives_takes_its_place(
    served: Served, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with calling(served, team, tmp_path, monkeypatch) as program:
        an_hour_passes(served, team)
        (before,) = metrics(served, team)
        program.stdin.write("\n")
        program.stdin.flush()
        ended, event_id, charged = program.stdout.readline().split()
    assert (ended, event_id) == ("ended", before["event_id"])
    (event,) = metrics(served, team)
    assert event["data"]["usage"]["output_tokens"] == 5
    budget = reconciled(served, team)
    assert event["data"]["charged_nano_usd"] == budget["spent"] == budget["events"] == int(charged)
    assert (budget["disputed"], budget["unconfirmed"]) == (0, 0)
    assert 0 < int(charged) < before["data"]["charged_nano_usd"]
