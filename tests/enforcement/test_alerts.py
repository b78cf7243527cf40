"""Alerts are told of when they are crossed, each once per window, in whichever process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aden_transport import AlertEvent, context
from aden_transport._guard import fault_counts, reset_faults
from aden_transport.errors import LedgerUnavailable
from aden_transport.testing import Reply

from .kit import HELLO, Enforced, address, enforced

HALF: dict[str, Any] = {
    "type": "global",
    "limit": 0.01,
    "thresholds": [{"percent": 50, "action": "alert"}, {"percent": 90, "action": "alert"}],
    "limitAction": "block",
}
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 900}


@pytest.mark.parametrize("shadow_mode", [False, True])
def test_the_call_that_crosses_a_threshold_tells_of_it(ledger: str, shadow_mode: bool) -> None:
    with enforced(HALF, ledger=ledger, shadow_mode=shadow_mode) as run:
        run.provider.script(Reply(output_tokens=600))
        run.client().chat.completions.create(**ASKED)
        assert run.ledger.open_holds() == 0
        (alert,) = run.alerts
        assert (alert.budget_id, alert.level, alert.provider, alert.model) == (
            "global",
            "warning",
            "openai",
            "gpt-4o",
        )
        assert "50 % or more" in alert.message
        run.provider.push(Reply(output_tokens=305))
        run.client().chat.completions.create(**{**ASKED, "max_tokens": 310})
        assert run.ledger.open_holds() == 0
        assert len(run.alerts) == 2
        assert "90 % or more" in run.alerts[1].message


def test_thresholds_that_are_crossed_at_once_are_both_told_of() -> None:
    with enforced(HALF, shadow_mode=True) as run:
        run.provider.script(Reply(output_tokens=950))
        run.client().chat.completions.create(**ASKED)
        assert len(run.alerts) == 2


def test_a_rule_is_told_of_when_its_budget_gets_there() -> None:
    policy = {
        "budgets": [{"type": "customer", "name": "*", "limit": 0.01, "limitAction": "block"}],
        "alerts": [{"trigger": "budget_threshold", "threshold_percent": 50, "message": "half"}],
    }
    for shadow_mode in (False, True):
        with enforced(policy, shadow_mode=shadow_mode) as run:
            run.provider.script(Reply(output_tokens=600))
            client = run.client()
            for customer in ("a", "b"):
                with context(customer=customer):
                    client.chat.completions.create(**ASKED)
            assert [(a.message, a.budget_id) for a in run.alerts] == [
                ("half", "customer:a"),
                ("half", "customer:b"),
            ]


def test_what_is_given_back_crosses_nothing() -> None:
    with enforced(HALF) as run:
        run.provider.push(Reply(status=400))
        with pytest.raises(Exception, match="400"):
            run.client().chat.completions.create(**ASKED)
        assert run.alerts == []


def test_an_async_on_alert_hears_of_a_settlement(tmp_path: Path) -> None:
    told: list[AlertEvent] = []

    async def on_alert(alert: AlertEvent) -> None:
        told.append(alert)

    import aden_transport
    from aden_transport.testing import FakeProvider

    aden_transport.instrument(
        aden_transport.MeterOptions(
            policy=HALF, ledger=f"sqlite:///{tmp_path}/budgets.sqlite3", on_alert=on_alert
        )
    )
    try:
        with FakeProvider() as provider:
            provider.script(Reply(output_tokens=600))
            import openai

            async def main() -> None:
                async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
                    await client.chat.completions.create(**ASKED)

            asyncio.run(main())
            assert aden_transport.flush(10)
    finally:
        aden_transport.uninstrument()
    assert len(told) == 1


CODE = """
import sys
from aden_transport import MeterOptions, instrument, uninstrument
from aden_transport.testing import FakeProvider, Reply
import httpx2
told = []
policy = {"type": "global", "limit": 0.01, "alerts": [{"percent": 50}], "limitAction": "block"}
instrument(MeterOptions(policy=policy, ledger=sys.argv[1], on_alert=told.append, async_emit=False))
with FakeProvider(reply=Reply(output_tokens=100)) as provider, httpx2.Client() as client:
    body = {"model": "gpt-4o", "messages": [], "max_tokens": 100}
    for _ in range(4):
        client.post(provider.openai_base_url + "/chat/completions", json=body)
uninstrument()
print(len(told))
"""


def test_of_all_processes_one_tells(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, f"sqlite:///{tmp_path}/budgets.sqlite3"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [int(child.communicate(timeout=60)[0]) for child in children]
    assert sorted(told) == [0, 1]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger that does I/O, and may be away."""
    reset_faults()
    return address(request.param, tmp_path)


def away_at_first(run: Enforced, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the store not answer the first time that it is asked to remember an alert."""
    ledger, asked = run.ledger, list[str]()
    mark_once = ledger.mark_once

    def answer(key: str, mark: str, **more: Any) -> bool:
        asked.append(mark)
        if len(asked) == 1:
            raise LedgerUnavailable("away")
        return mark_once(key, mark, **more)

    monkeypatch.setattr(ledger, "mark_once", answer)
    return asked


def test_what_a_settlement_could_not_tell_of_is_told_when_the_store_is_back(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with enforced(HALF, ledger=store) as run:
        asked = away_at_first(run, monkeypatch)
        run.provider.script(Reply(output_tokens=600))
        run.client().chat.completions.create(**ASKED)
        assert run.ledger.open_holds() == 0  # flushes
        assert run.spent() > 0
        assert (asked, len(run.alerts)) == (["alert:50", "alert:50"], 1)
        assert fault_counts() == {"ledger:LedgerUnavailable": 1}
    reset_faults()


def test_a_store_that_cannot_remember_an_alert_changes_no_decision(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asked model must not leave under the hold of the cheaper one."""
    steps = [
        {"percent": 40, "action": "alert"},
        {"percent": 45, "action": "degrade", "degradeTo": "gpt-4o-mini"},
    ]
    policy = {"limit": 1, "spent": 0.5, "thresholds": steps, "limitAction": "block"}
    with enforced(policy, ledger=store) as run:
        asked = away_at_first(run, monkeypatch)
        for _ in range(2):
            run.client().chat.completions.create(**ASKED)
            run.ledger.open_holds()  # flushes
        assert [event.request_model for event in run.events] == ["gpt-4o-mini"] * 2
        assert (asked, len(run.alerts)) == (["alert:40", "alert:40"], 1)
    reset_faults()
