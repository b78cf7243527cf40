"""Programs that make workers themselves: one limit, however they do, and what is said about it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from aden_transport import bookkeeping, uninstrument
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.meter import state
from aden_transport.testing import FakeProvider, Reply

from .kit import HELLO, enforced

POLICY = {"type": "global", "period": "none", "limit": 1.0, "limitAction": "block"}
BEGIN = """
import json, multiprocessing, os, signal, sys, time
import httpx2
from aden_transport import *
from aden_transport.meter import state

def meter(limit):
    policy = {"type": "global", "period": "none", "limit": limit, "limitAction": "block"}
    emit = create_jsonl_emitter("events.jsonl")
    instrument(MeterOptions(policy=policy, emit_metric=emit, store_timeout_ms=30_000))

def call(number=0):
    body = {"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": str(number)}]}
    try:
        httpx2.post(os.environ["PROVIDER"] + "/chat/completions", json=body, timeout=60)
    except RequestCancelledError:
        return 0
    return 1

def where():
    return type(state.everything.budgets.ledger).__name__
"""
COST = 0.00052


def run(folder: Path, program: str, **given: Any) -> tuple[list[str], int]:
    """What a program prints, by lines, and how many calls reached the provider."""
    (folder / "program.py").write_text(BEGIN + textwrap.dedent(program))
    (folder / "tmp").mkdir(exist_ok=True)
    with FakeProvider(reply=Reply(output_tokens=50)) as provider:
        environment = {
            **os.environ,
            "PROVIDER": provider.openai_base_url,
            "TMPDIR": str(folder / "tmp"),
            "HOME": str(folder),
        }
        environment.pop("XDG_RUNTIME_DIR", None)
        done = subprocess.run(
            [sys.executable, "program.py"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == given.get("code", 0), done.stderr
        return done.stdout.split("\n")[:-1], len(provider.requests)


def files(folder: Path) -> list[str]:
    return [path.name for path in (folder / "tmp").glob("aden-transport-*/run-*")]


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_and_its_parent_share_what_is_left(tmp_path: Path, method: str) -> None:
    """What the parent spent before it had workers counts, too; workers meter their own main module."""
    said, reached = run(
        tmp_path,
        f"""
        meter(30 * {COST})

        if __name__ == "__main__":
            print(sum(call() for _ in range(10)), where())
            with multiprocessing.get_context({method!r}).Pool(3) as pool:
                sent = sum(pool.map(call, range(40), chunksize=1))
                pool.close()
                pool.join()
            print(sent, where())
            flush()
            print(sum(call() for _ in range(40)) + sent)
        """,
    )
    assert said[0] == "10 MemoryLedger"
    assert said[1].endswith("SqliteLedger")
    # The last hold that fits is three times the cost of its call.
    assert 10 + int(said[2]) == reached
    assert 27 <= reached <= 30
    assert len([event for event in events(tmp_path) if event["decision"]["action"] != "block"]) == reached
    assert files(tmp_path) == []


def test_a_script_without_workers_makes_no_file(tmp_path: Path) -> None:
    said, reached = run(
        tmp_path,
        """
        import subprocess
        meter(1)
        print(call(), where())
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        print(call(), where())
        """,
    )
    assert (said, reached, files(tmp_path)) == (["1 MemoryLedger"] * 2, 2, [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_calls_that_are_open_when_the_first_worker_is_made_end_in_the_file(tmp_path: Path) -> None:
    said, _ = run(
        tmp_path,
        """
        meter(1)
        body = {"model": "gpt-4o", "stream": True, "messages": []}
        with httpx2.stream("POST", os.environ["PROVIDER"] + "/chat/completions", json=body) as response:
            child = os.fork()
            if child == 0:
                os._exit(call() - 1)
            os.waitpid(child, 0)
            ledger = state.everything.budgets.ledger
            print(ledger.open_holds() >= 1)
            response.read()
        flush()
        # The child ended without a word: its hold, if it was not settled yet, is found by the next look.
        ledger.sweep(time.time())
        print(ledger.open_holds())
        """,
    )
    assert said == ["True", "0"]
    assert files(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_what_a_run_left_that_was_killed_is_emitted_by_the_next(tmp_path: Path) -> None:
    program = """
        meter(1)
        if os.fork() == 0:
            call()
            flush()
            from aden_transport.ledger.base import Line, Spooled
            ledger = state.everything.budgets.ledger
            event = {"event_id": "lost", "provider": "openai", "operation": "chat", "trace_id": "t",
                     "span_id": "s", "stream": False, "timestamp_s": 1.0}
            for op_id in ("1", "2"):
                intent = {"event": {**event, "event_id": f"open {op_id}"}, "models": ["gpt-4o"]}
                ledger.reserve(op_id, [[Line("-|global", 10, 5)]], now=1.0, expires_at=1e12, intent=intent)
            settled = Spooled("settled", json.dumps({**event, "event_id": "settled"}))
            ledger.settle("2", {"usd": 3}, event=settled)
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
        """
    run(tmp_path, program, code=-9)
    before = {event["event_id"] for event in events(tmp_path)}
    assert len(before) == 1
    assert files(tmp_path) != []
    run(tmp_path, "meter(1)\ncall()\nflush()")
    found = {event["event_id"]: event for event in events(tmp_path) if event["event_id"] not in before}
    assert {"open 1", "settled"} < set(found)
    assert len(found) == 3  # One is of the second run's own call.
    assert found["open 1"]["billing"] == "unknown"
    assert found["open 1"]["charged_nano_usd"] == 10
    run(tmp_path, "meter(1)\ncall()\nflush()")
    assert len(events(tmp_path)) == 5


# -- what is said -----------------------------------------------------------------------------------


def test_the_first_decision_and_one_warning_say_that_nothing_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(bookkeeping, "_told", set())
    policy = {**POLICY, "period": "daily"}
    with caplog.at_level(logging.WARNING, "aden.ledger"):
        for _ in range(2):
            with enforced(policy, ledger=None) as run, run.client() as client:
                for _ in range(2):
                    client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=10)
                assert isinstance(run.ledger, MemoryLedger)
                first, second = [event.decision for event in run.events]
                assert (first.action, first.source) == ("allow", "policy")
                assert "sums are lost at the end" in (first.reason or "")
                assert second.reason is None
    assert len([record for record in caplog.records if record.name == "aden.ledger"]) == 1


def test_where_a_ledger_is_and_why_can_be_asked() -> None:
    with enforced(POLICY, ledger=None):
        assert state.everything is not None
        assert state.everything.budgets is not None
        choice = state.everything.budgets.choice
        assert choice is not None
        assert (choice.address, choice.of_run) == ("memory", True)
    uninstrument()
