"""The specification's ladder, climbed call by call."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from aden_transport import BudgetExceededError, RequestCancelledError, context
from aden_transport.testing import Reply

from .kit import HELLO, LADDER, USD, enforced

SNAKE: dict[str, Any] = {
    "type": "global",
    "limit": 0.05,
    "thresholds": [
        {"percent": 50, "action": "alert"},
        {"percent": 80, "action": "degrade", "degrade_to": "gpt-4o-mini"},
        {"percent": 95, "action": "throttle", "delay_ms": 20},
    ],
    "limit_action": "block",
}


@pytest.mark.parametrize("policy", [LADDER, SNAKE], ids=["camelCase", "snake_case"])
def test_a_budget_allows_alerts_degrades_throttles_and_blocks(policy: Any) -> None:
    with enforced(policy) as run:
        run.provider.script(Reply(output_tokens=400))
        client = run.client()
        with pytest.raises(BudgetExceededError) as caught:
            for _ in range(400):
                client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=500)
        events = run.events
        actions = [action for action, _ in itertools.groupby(event.decision.action for event in events)]
        assert actions == ["allow", "alert", "degrade", "block"]
        assert {event.request_model for event in events if event.degraded_from} == {"gpt-4o-mini"}
        delayed = [event for event in events if event.throttle_ms]
        # At 95 % a call is delayed and degraded.
        assert delayed
        assert all(event.degraded_from == "gpt-4o" for event in delayed)
        assert len(run.alerts) == 1
        assert len(run.provider.requests) == len(events) - 1
        assert run.spent() == sum(event.charged_nano_usd or 0 for event in events) <= 0.05 * USD
        assert run.ledger.open_holds() == 0
        error = caught.value
        assert error.budget_id == "global"
        assert error.limit_usd == 0.05
        assert error.spent_usd == run.spent() / USD
        assert error.status_code == 403
        assert "global" in str(error)


def test_a_blocked_call_sends_nothing_and_is_one_event() -> None:
    with enforced({"type": "global", "limit": 0, "limitAction": "block"}) as run:
        for stream in (False, True):
            with pytest.raises(BudgetExceededError):
                run.client().chat.completions.create(model="gpt-4o", messages=HELLO, stream=stream)
        assert run.provider.bytes_received == 0
        assert [event.decision.action for event in run.events] == ["block", "block"]


def test_each_customer_has_a_budget_of_a_template_and_named_ones_their_own() -> None:
    policy = {
        "budgets": [
            {"type": "customer", "name": "*", "limit": 0.01, "limitAction": "block"},
            {"type": "customer", "name": "big", "limit": 1, "limitAction": "block"},
        ]
    }
    with enforced(policy) as run:
        run.provider.script(Reply(output_tokens=100))
        client = run.client()

        def until_blocked(customer: str, most: int) -> int:
            with context(customer=customer):
                for made in range(most):
                    try:
                        client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=100)
                    except RequestCancelledError:
                        return made
            return most

        made = {customer: until_blocked(customer, 30) for customer in ("a", "b", "big")}
        assert 5 <= made["a"] == made["b"] < 30
        assert made["big"] == 30
        assert run.spent("-|customer:a") <= 0.01 * USD
        assert run.spent("-|customer:b") == run.spent("-|customer:a")


def test_a_hook_is_asked_after_the_budget_and_may_still_refuse() -> None:
    from aden_transport import BeforeRequestResult

    asked: list[str | None] = []

    def hook(_params: Any, about: Any) -> BeforeRequestResult:
        asked.append(about.model)
        return BeforeRequestResult.cancel("not now")

    with enforced({"type": "global", "limit": 1, "limitAction": "block"}, before_request=hook) as run:
        with pytest.raises(RequestCancelledError, match="not now"):
            run.client().chat.completions.create(model="gpt-4o", messages=HELLO)
        assert asked == ["gpt-4o"]
        assert run.ledger.open_holds() == 0
        assert run.spent() == 0
    with enforced({"type": "global", "limit": 0, "limitAction": "block"}, before_request=hook) as run:
        with pytest.raises(BudgetExceededError):
            run.client().chat.completions.create(model="gpt-4o", messages=HELLO)
        assert len(asked) == 1


def test_a_hooks_degrade_is_held_at_the_price_of_its_model() -> None:
    from aden_transport import BeforeRequestResult

    def hook(_params: Any, _about: Any) -> BeforeRequestResult:
        return BeforeRequestResult.degrade("gpt-4o-mini", "cheaper", delay_ms=5)

    with enforced({"type": "global", "limit": 1, "limitAction": "block"}, before_request=hook) as run:
        run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=100)
        (event,) = run.events
        assert (event.request_model, event.degraded_from) == ("gpt-4o-mini", "gpt-4o")
        assert event.hold_nano_usd is not None
        assert event.charged_nano_usd == event.cost_nano_usd == run.spent()
        assert event.hold_nano_usd >= run.spent() > 0
        assert event.hold_nano_usd < 200_000


def test_a_call_that_is_tried_again_is_delayed_once() -> None:
    policy = {
        "type": "global",
        "limit": 1,
        "spent": 0.96,
        "thresholds": [{"percent": 95, "action": "throttle", "delayMs": 30}],
        "limitAction": "block",
    }
    with enforced(policy) as run:
        run.provider.push(Reply(status=500, retry_after_s=0.01))
        run.client(max_retries=1).chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=100)
        assert [(event.attempt, event.throttle_ms > 0) for event in run.events] == [(0, True), (1, False)]


def test_what_is_expected_is_learned_from_answers() -> None:
    """A budget of expectation lets calls go on whose upper bound would not fit."""
    policy = {"type": "global", "limit": 0.01, "mode": "expected", "limitAction": "block"}
    with enforced(policy) as run:
        run.provider.script(Reply(output_tokens=10))
        client = run.client()
        made = 0
        with pytest.raises(BudgetExceededError):
            for _ in range(200):
                client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=900)
                made += 1
        assert made > 40  # the bound of each is $0.009


def test_an_event_says_what_its_hold_rests_on() -> None:
    policy = {"limit": 100, "limitAction": "block", "on_unknown": {"size": 0.5}}
    with enforced(policy) as run:
        client = run.client()
        for _ in range(2):  # the first call of a process is never a plain one
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
            client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=5)
        client.responses.create(model="gpt-4o", input="hi", tools=[{"type": "web_search"}])
        bases = [event.hold_basis for event in run.events]
        assert bases == [*["bytes, model maximum", "bytes, max_tokens"] * 2, "assumed"]
        assert str(run.events[-1].hold_usd) == "0.500000000"
