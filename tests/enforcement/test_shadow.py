"""A policy in shadow mode, and one enforced for a share of tenants: told, counted, not carried out."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from aden_transport import (
    BeforeRequestResult,
    BudgetExceededError,
    MetricEvent,
    RequestCancelledError,
    budget,
    context,
)
from aden_transport.core.shadow import share_of
from aden_transport.testing import Reply

from .kit import HELLO, LADDER, USD, enforced

BLOCKED = {"type": "global", "limit": 0, "limitAction": "block"}
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 500}


def shadows(events: list[MetricEvent]) -> list[str | None]:
    return [event.decision.shadow.action if event.decision.shadow else None for event in events]


def test_the_ladder_is_told_and_not_climbed(ledger: str) -> None:
    with enforced(LADDER, ledger=ledger, shadow_mode=True) as run:
        run.provider.script(Reply(output_tokens=400))
        client = run.client()
        for _ in range(20):
            client.chat.completions.create(**ASKED)
            assert run.ledger.open_holds() == 0
        events = run.events
        assert len(run.provider.requests) == 20
        assert {event.request_model for event in events} == {"gpt-4o"}
        assert not any(event.throttle_ms or event.degraded_from for event in events)
        assert {event.decision.action for event in events} == {"allow", "alert"}
        told = shadows(events)
        assert [action for at, action in enumerate(told) if at == 0 or told[at - 1] != action] == [
            None,
            "degrade",
            "block",
        ]
        assert any(event.decision.shadow and event.decision.shadow.delay_s for event in events)
        # The ledger counts on past the limit, and has what the events have.
        assert run.spent() == sum(event.cost_nano_usd or 0 for event in events) > 0.05 * USD
        assert [alert.budget_id for alert in run.alerts] == ["global"]
        for event in events:
            assert event.hold_nano_usd
            assert event.charged_nano_usd == event.cost_nano_usd


def test_a_call_that_would_be_blocked_saves_its_cost_and_one_degraded_the_difference() -> None:
    with enforced({**LADDER, "spent": 0.041}, shadow_mode=True) as run:
        run.provider.script(Reply(input_tokens=1000, output_tokens=400))
        client = run.client()
        client.chat.completions.create(**ASKED)
        client.chat.completions.create(**{**ASKED, "max_tokens": 5000})
        degraded, blocked = run.events
        assert degraded.decision.shadow is not None
        assert blocked.decision.shadow is not None
        assert degraded.decision.shadow.action == "degrade"
        assert degraded.decision.shadow.to_model == "gpt-4o-mini"
        assert degraded.decision.shadow.budget_id == "global"
        # $2.50 and $10 a million tokens against $0.15 and $0.60.
        assert degraded.cost_nano_usd == 6_500_000
        assert degraded.decision.shadow.saved_nano_usd == 6_500_000 - 390_000
        assert blocked.decision.shadow.action == "block"
        assert blocked.decision.shadow.saved_nano_usd == blocked.cost_nano_usd == 6_500_000
        assert "blocked by budget global" in (blocked.decision.shadow.reason or "")
        told = blocked.to_dict()["decision"]
        assert told["action"] == "alert"
        assert told["shadow"]["action"] == "block"
        assert told["shadow"]["saved_nano_usd"] == 6_500_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "policy",
    [
        BLOCKED,
        {"blocks": [{"provider": "openai", "reason": "no"}], "budgets": [{"type": "global", "limit": 1}]},
        {"budgets": [{"type": "global", "limit": 1, "on_unknown": {"size": "block", "price": "block"}}]},
    ],
    ids=["limit 0", "rule", "unknown"],
)
def test_what_is_refused_without_asking_a_ledger_is_sent(policy: Any, stream: bool) -> None:
    asked = {"model": "no-such-model", "messages": HELLO, "stream": stream}
    with enforced(policy, shadow_mode=True) as run:
        answer: Any = run.client().chat.completions.create(**asked)
        if stream:
            list(answer)
        (event,) = run.events
        assert event.decision.action == "allow"
        assert event.decision.shadow is not None
        assert (event.decision.shadow.action, event.status_code) == ("block", 200)
        assert event.decision.shadow.saved_nano_usd is None  # nobody knows its price
        assert run.ledger.open_holds() == 0


def test_async_calls_go_on_as_well() -> None:
    with enforced(BLOCKED, shadow_mode=True) as run:

        async def main() -> None:
            async with run.async_client() as client:
                await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(5)))

        asyncio.run(main())
        assert shadows(run.events) == ["block"] * 5
        assert run.spent() == sum(event.cost_nano_usd or 0 for event in run.events) > 0


def test_a_call_that_is_tried_again_would_be_delayed_once() -> None:
    policy = {
        "type": "global",
        "limit": 1,
        "spent": 0.96,
        "thresholds": [{"percent": 95, "action": "throttle", "delayMs": 20_000}],
        "limitAction": "block",
    }
    with enforced(policy, shadow_mode=True) as run:
        run.provider.push(Reply(status=500, retry_after_s=0.01))
        run.client(max_retries=1).chat.completions.create(**ASKED)
        first, second = (event.decision.shadow for event in run.events)
        assert first is not None
        assert second is not None
        assert (first.action, first.delay_s, first.saved_nano_usd) == ("throttle", 20.0, 0)
        assert (second.action, second.delay_s) == ("throttle", 0.0)
        assert [event.throttle_ms for event in run.events] == [0, 0]


def test_a_call_that_would_wait_for_others_to_settle_is_no_block() -> None:
    policy = {"type": "global", "limit": 0.02, "waitMs": 3000, "limitAction": "block"}
    with enforced(policy, shadow_mode=True) as run:
        run.provider.script(Reply(delay_ms=200, output_tokens=10))

        async def main() -> None:
            async with run.async_client() as client:
                for _ in range(30):  # so that little is expected of the next
                    await client.chat.completions.create(**{**ASKED, "max_tokens": 10})
                calls = (client.chat.completions.create(**{**ASKED, "max_tokens": 1000}) for _ in range(3))
                await asyncio.gather(*calls)

        run.provider.script(Reply(output_tokens=10))
        asyncio.run(main())
        told = [event.decision.shadow for event in run.events[-3:] if event.decision.shadow]
        assert told
        assert {(shadow.action, shadow.delay_s) for shadow in told} == {("throttle", 3.0)}


def test_throttle_rules_count_their_calls() -> None:
    policy = {"throttles": [{"requests_per_minute": 2, "delay_ms": 10_000}]}
    with enforced(policy, shadow_mode=True) as run:
        client = run.client()
        for _ in range(4):
            client.chat.completions.create(**ASKED)
        assert sum(action == "throttle" for action in shadows(run.events)) >= 1
        assert not any(event.throttle_ms for event in run.events)


def test_a_rule_that_degrades_is_told() -> None:
    policy = {"degradations": [{"from_model": "gpt-4o", "to_model": "gpt-4o-mini"}]}
    with enforced(policy, shadow_mode=True) as run:
        run.client().chat.completions.create(**ASKED)
        (event,) = run.events
        assert (event.request_model, event.degraded_from) == ("gpt-4o", None)
        assert event.decision.shadow is not None
        assert (event.decision.shadow.action, event.decision.shadow.to_model) == ("degrade", "gpt-4o-mini")
        assert (event.decision.shadow.saved_nano_usd or 0) > 0


def test_a_hook_decides_for_real_and_keeps_what_the_policy_would_do() -> None:
    answers = iter([BeforeRequestResult.degrade("gpt-4o-mini"), BeforeRequestResult.cancel("no")])
    with enforced(BLOCKED, shadow_mode=True, before_request=lambda *_: next(answers)) as run:
        client = run.client()
        client.chat.completions.create(**ASKED)
        with pytest.raises(RequestCancelledError, match="no"):
            client.chat.completions.create(**ASKED)
        degraded, blocked = run.events
        assert (degraded.decision.action, degraded.request_model) == ("degrade", "gpt-4o-mini")
        assert shadows([degraded, blocked]) == ["block", None]
        assert blocked.decision.action == "block"
        assert run.ledger.open_holds() == 0


def test_the_budget_of_a_run_holds_whatever_the_policy_does() -> None:
    with enforced(BLOCKED, shadow_mode=True) as run:
        client = run.client()
        with budget(calls=1) as bound, pytest.raises(BudgetExceededError):
            for _ in range(2):
                client.chat.completions.create(**ASKED)
        assert bound.calls_left == 0
        assert [event.decision.action for event in run.events] == ["allow", "block"]
        with budget(calls=0), pytest.raises(BudgetExceededError):
            client.chat.completions.create(**ASKED)
        with budget(seconds=0), pytest.raises(BudgetExceededError):
            client.chat.completions.create(**ASKED)
        with budget(tokens=1_000_000) as tokens:
            client.chat.completions.create(**ASKED)
        assert (tokens.tokens_left or 0) < 1_000_000


@pytest.mark.parametrize(("said", "told"), [("block", "block"), ("allow", None)])
def test_a_store_that_is_down_is_judged_as_on_unknown_says(said: str, told: str | None) -> None:
    policy = {"type": "global", "limit": 1, "limitAction": "block"}
    with enforced(
        policy, ledger="redis://127.0.0.1:9/0", shadow_mode=True, on_unknown={"store": said}
    ) as run:
        run.client().chat.completions.create(**ASKED)
        assert shadows(run.events) == [told]


def test_a_fault_of_ours_lets_the_call_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from aden_transport.core import shadow

    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(shadow, "judged_on", fails)
    with enforced(BLOCKED, shadow_mode=True, fail_open=False) as run:
        run.client().chat.completions.create(**ASKED)
        assert run.events[0].decision.action == "allow"
        assert run.ledger.open_holds() == 0


def test_a_share_of_tenants_is_enforced_the_others_are_told() -> None:
    tenants = [f"tenant-{number}" for number in range(12)]
    chosen = {tenant for tenant in tenants if share_of("tenant", tenant) < 0.5}
    assert 0 < len(chosen) < 12
    with enforced(BLOCKED, enforce_fraction=0.5) as run:
        client = run.client()
        refused = set()
        for tenant in tenants:
            with context(tenant=tenant, customer="the same"):
                try:
                    client.chat.completions.create(**ASKED)
                except BudgetExceededError:
                    refused.add(tenant)
        assert refused == chosen
        assert sum(event.decision.action == "block" for event in run.events) == len(chosen)
        assert sum(action == "block" for action in shadows(run.events)) == 12 - len(chosen)


@pytest.mark.parametrize(("fraction", "sent"), [(1.0, False), (0.999, True), (0.0, True)])
def test_a_call_that_names_nobody_is_enforced_last(fraction: float, sent: bool) -> None:
    with enforced(BLOCKED, enforce_fraction=fraction) as run:
        client = run.client()
        if sent:
            client.chat.completions.create(**ASKED)
        else:
            with pytest.raises(BudgetExceededError):
                client.chat.completions.create(**ASKED)
        assert shadows(run.events) == (["block"] if sent else [None])


def test_a_call_that_failed_would_have_saved_nothing() -> None:
    with enforced(BLOCKED, shadow_mode=True) as run:
        client = run.client(max_retries=0, timeout=0.2)
        run.provider.push(Reply(status=500))
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**ASKED)
        run.provider.push(Reply(delay_ms=2000))
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ASKED)
        failed, unanswered = (event.decision.shadow for event in run.events)
        assert failed is not None
        assert failed.saved_nano_usd == 0
        assert unanswered is not None
        assert unanswered.saved_usd is None  # it may have been billed


def test_what_a_degrade_saves_is_not_known_without_a_price() -> None:
    policy = {"degradations": [{"from_model": "gpt-4o", "to_model": "no-such-model"}]}
    with enforced(policy, shadow_mode=True) as run:
        run.client().chat.completions.create(**ASKED)
        shadow = run.events[0].decision.shadow
        assert shadow is not None
        assert (shadow.action, shadow.saved_nano_usd) == ("degrade", None)
        assert "saved_usd" not in shadow.to_dict()
