"""Calls and their budgets, as values: what is waited for, how often, and at which price it is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.core import attempts, rewrite
from aden_transport.core.exchange import Exchange
from aden_transport.core.reserve import Budgets
from aden_transport.core.steps import SEND, Ask, Modify, Refuse, Send, Step, Wait
from aden_transport.errors import BudgetExceededError, RequestCancelledError
from aden_transport.events import BeforeRequestResult
from aden_transport.ledger.base import Line
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.policy import Index, OnUnknown, load
from aden_transport.pricing import Price, PriceBook

from .kit import NOON, Bench, headers, wire

USD = 1_000_000_000
PRICES = PriceBook({"openai/gpt-4o": Price(2.5, 10.0), "openai/gpt-4o-mini": Price(0.15, 0.6)})
HELLO: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 1000,
}
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}


@pytest.fixture(autouse=True)
def _nothing_is_tried_again() -> None:
    attempts.forget()


def throttled(delay_ms: int = 2000, **more: Any) -> dict[str, Any]:
    steps = [{"percent": 1, "action": "throttle", "delayMs": delay_ms}]
    return {"limit": 1, "spent": 0.5, "thresholds": steps, "limitAction": "block", **more}


class Budgeted(Bench):
    """Calls under a policy, its sums in memory."""

    def __init__(self, policy: Any, **settings: Any) -> None:
        self.ledger = MemoryLedger()
        self.wall = NOON
        budgets = Budgets(
            Index(load(policy)),
            self.ledger,
            prices=PRICES,
            unknown=OnUnknown(),
            wall=lambda: self.wall,
        )
        for budget in budgets.index.policy.budgets:
            if budget.spent:
                self.ledger.raise_to(f"-|{budget.key}", budget.spent, mark="floor")
        super().__init__(PRICES, budgets=budgets, **settings)

    def call(self, **names: str) -> tuple[Exchange, Step]:
        exchange = self.open(wire(HELLO, names=names))
        return exchange, exchange.start()

    def held(self) -> int:
        return self.ledger.totals([Line("-|global", 0, 0)])[0].held


def answered(exchange: Exchange, status: int = 500) -> None:
    exchange.receive_response(status, headers())
    exchange.receive_eof()


def waits(step: Step, seconds: float) -> bool:
    return isinstance(step, Wait) and step.seconds == pytest.approx(seconds)


# -- a delay ----------------------------------------------------------------------------------------


def test_a_call_that_waits_holds_nothing_and_then_reserves() -> None:
    bench = Budgeted(throttled())
    exchange, step = bench.call()
    assert waits(step, 2.0)
    assert bench.held() == 0
    assert isinstance(exchange.waited(2.0), Send)
    assert bench.held() > 0
    answered(exchange)
    (event,) = bench.events
    assert (event.decision.action, event.throttle_ms) == ("throttle", 2000)


def test_waiting_callers_of_a_budget_leave_one_after_the_other() -> None:
    bench = Budgeted(throttled(maxDelayMs=8000))
    steps = [bench.call()[1] for _ in range(4)]
    assert [step.seconds for step in steps if isinstance(step, Wait)] == [2.0, 4.0, 6.0, 8.0]
    # There is no later turn: they share those that there are.
    assert {step.seconds for _ in range(40) if isinstance(step := bench.call()[1], Wait)} <= {2, 4, 6, 8}
    bench.wall += 8
    assert waits(bench.call()[1], 2.0)


def test_a_call_that_is_tried_again_waits_once() -> None:
    bench = Budgeted(throttled())
    first, step = bench.call()
    assert isinstance(step, Wait)
    first.waited(2.0)
    answered(first)
    second, step = bench.call()
    assert second.attempt == 1
    assert isinstance(step, Send)


@pytest.mark.parametrize(
    ("by_policy", "by_hook", "further"), [(2000, 1000, 0.0), (2000, 5000, 3.0), (2000, 2000, 0.0)]
)
def test_of_the_delays_of_policy_and_hook_the_longest_counts(
    by_policy: int, by_hook: int, further: float
) -> None:
    bench = Budgeted(throttled(by_policy), has_hook=True)
    exchange, step = bench.call()
    assert waits(step, by_policy / 1000)
    assert isinstance(exchange.waited(by_policy / 1000), Ask)
    step = exchange.answer(BeforeRequestResult.throttle(by_hook))
    if further:
        assert waits(step, further)
        assert bench.held() == 0
        step = exchange.waited(further)
    assert isinstance(step, Send)
    answered(exchange)
    assert bench.events[0].throttle_ms == max(by_policy, by_hook)
    assert bench.events[0].decision.source == "hook"


def test_what_a_hook_has_delayed_no_policy_delays_again() -> None:
    """Neither after the wait, when the budget may have come to its step, nor when it is tried again."""
    bench = Budgeted({**throttled(), "spent": 0}, has_hook=True)
    exchange, step = bench.call()
    assert isinstance(step, Ask)
    assert waits(exchange.answer(BeforeRequestResult.throttle(1000)), 1.0)
    bench.ledger.raise_to("-|global", USD // 2, mark="others")
    assert isinstance(exchange.waited(1.0), Send)
    answered(exchange)
    again, step = bench.call()
    assert (again.attempt, isinstance(step, Send)) == (1, True)


# -- another model ----------------------------------------------------------------------------------

DEGRADES = {
    "limit": 1,
    "spent": 0.5,
    "thresholds": [{"percent": 1, "action": "degrade", "degradeTo": "gpt-4o-mini"}],
    "limitAction": "block",
}


def test_a_call_that_is_tried_again_is_degraded_again_and_says_so() -> None:
    bench = Budgeted(DEGRADES, has_hook=True)
    first, step = bench.call()
    assert isinstance(step, Ask)
    first.answer(BeforeRequestResult.proceed())
    answered(first)
    second, step = bench.call()
    assert isinstance(step, Send)
    answered(second)
    for event in bench.events:
        assert (event.decision.action, event.degraded_from) == ("degrade", "gpt-4o")
        assert event.request_model == "gpt-4o-mini"


def test_a_call_that_its_hook_degraded_is_held_at_that_models_price_when_tried_again() -> None:
    bench = Budgeted({"limit": 1, "limitAction": "block"}, has_hook=True)
    first, _ = bench.call()
    first.answer(BeforeRequestResult.degrade("gpt-4o-mini"))
    held = bench.held()
    assert 0 < held < 0.001 * USD
    answered(first)
    bench.call()
    assert bench.held() == held


def test_a_signed_call_that_a_hook_would_degrade_is_held_at_its_own_price() -> None:
    bench = Budgeted({"limit": 1, "limitAction": "block"}, has_hook=True)
    exchange, step = bench.call(**SIGNED)
    assert isinstance(step, Ask)
    assert isinstance(exchange.answer(BeforeRequestResult.degrade("gpt-4o-mini")), Send)
    assert bench.held() >= 0.01 * USD
    answered(exchange)
    (event,) = bench.events
    assert (event.degraded_from, event.decision.hindered) == (None, "signed")


# -- changes that cannot be made --------------------------------------------------------------------


@pytest.fixture
def counts() -> Iterator[None]:
    reset_faults()
    yield
    reset_faults()


OWN_HOLD = 0.01 * USD
"""At least, of HELLO with the model that it asks for."""


def could_not_be_made(exchange: Exchange, step: Step) -> Step:
    assert isinstance(step, Send)
    assert step.rewrite is not None
    return exchange.rewrite_failed(TypeError("ours"))


def test_a_degraded_call_that_cannot_be_rewritten_is_held_at_its_own_price(counts: None) -> None:
    bench = Budgeted(DEGRADES)
    exchange, step = bench.call()
    assert bench.held() < OWN_HOLD / 10
    assert could_not_be_made(exchange, step) is SEND
    assert bench.held() >= OWN_HOLD
    assert bench.ledger.open_holds() == 1
    answered(exchange, 200)
    (event,) = bench.events
    assert (event.request_model, event.degraded_from) == ("gpt-4o", None)
    assert (event.decision.action, event.decision.hindered) == ("alert", "rewrite failed")
    assert (event.hold_nano_usd or 0) >= OWN_HOLD
    assert [alert.message for alert in bench.alerts] == ["not degraded to gpt-4o-mini: rewrite failed"]
    assert fault_counts() == {"rewrite:TypeError": 1}


def test_where_its_own_hold_does_not_fit_it_is_refused_as_by_any_budget(counts: None) -> None:
    bench = Budgeted({**DEGRADES, "limit": 0.505})
    exchange, step = bench.call()
    refused = could_not_be_made(exchange, step)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, BudgetExceededError)
    assert (bench.held(), bench.ledger.open_holds()) == (0, 0)
    (event,) = bench.events
    assert (event.decision.action, event.usage, event.charged_nano_usd) == ("block", None, None)


@pytest.mark.parametrize("by_hook", [False, True], ids=["policy", "hook"])
def test_where_faults_do_not_let_calls_pass_it_is_refused(by_hook: bool, counts: None) -> None:
    bench = Budgeted({"limit": 1} if by_hook else DEGRADES, has_hook=by_hook, fail_open=False)
    exchange, step = bench.call()
    if by_hook:
        step = exchange.answer(BeforeRequestResult.degrade("gpt-4o-mini"))
    refused = could_not_be_made(exchange, step)
    assert isinstance(refused, Refuse)
    assert type(refused.error) is RequestCancelledError
    assert (bench.held(), bench.ledger.open_holds()) == (0, 0)
    (event,) = bench.events
    assert (event.decision.reason, event.decision.source) == (
        "rewriting failed: TypeError",
        "hook" if by_hook else "policy",
    )
    assert (event.request_model, event.degraded_from) == ("gpt-4o", None)


def test_what_a_hook_degraded_and_cannot_be_rewritten_is_not_degraded_when_tried_again(counts: None) -> None:
    bench = Budgeted({"limit": 1, "limitAction": "block"}, has_hook=True)
    exchange, _ = bench.call()
    step = exchange.answer(BeforeRequestResult.degrade("gpt-4o-mini"))
    assert bench.held() < OWN_HOLD / 10
    assert could_not_be_made(exchange, step) is SEND
    assert bench.held() >= OWN_HOLD
    answered(exchange)
    again, step = bench.call()
    assert (again.attempt, step, again.sent_model) == (1, SEND, "gpt-4o")
    assert bench.held() >= OWN_HOLD


def test_a_cap_that_cannot_be_set_is_not_counted_on(counts: None) -> None:
    bench = Budgeted({"limit": 1, "limitAction": "block", "max_output_tokens": 10})
    exchange = bench.open(wire({name: HELLO[name] for name in ("model", "messages")}))
    step = exchange.start()
    capped = bench.held()
    assert could_not_be_made(exchange, step) is SEND
    assert bench.held() > 100 * capped > 0


def test_changed_parameters_that_cannot_be_sent_are_not_counted_on(counts: None) -> None:
    bench = Budgeted({"limit": 1, "limitAction": "block"}, modify=lambda *_: None)
    exchange, step = bench.call()
    assert isinstance(step, Modify)
    step = exchange.modify({**HELLO, "model": "gpt-4o-mini", "max_tokens": 10})
    assert 0 < bench.held() < OWN_HOLD / 10
    assert could_not_be_made(exchange, step) is SEND
    assert bench.held() >= OWN_HOLD
    answered(exchange, 200)
    assert bench.events[0].request_model == "gpt-4o"


def test_our_own_names_are_taken_out_even_where_the_model_cannot_be_changed(counts: None) -> None:
    bench = Budgeted(DEGRADES)
    exchange, step = bench.call(**{"x-aden-agent": "a"})
    step = could_not_be_made(exchange, step)
    assert isinstance(step, Send)
    assert step.rewrite is not None
    assert (step.rewrite.drop_headers, step.rewrite.body) == (frozenset({b"x-aden-agent"}), None)
    # Nothing that is held counts on these.
    assert could_not_be_made(exchange, step) is SEND
    assert bench.held() >= OWN_HOLD


def test_a_call_that_cannot_be_changed_waits_once_and_for_money_as_others_do(counts: None) -> None:
    degrades: Any = DEGRADES["thresholds"]
    steps = [*degrades, {"percent": 1, "action": "throttle", "delayMs": 2000}]
    bench = Budgeted({**DEGRADES, "thresholds": steps})
    exchange, step = bench.call()
    assert waits(step, 2.0)
    assert could_not_be_made(exchange, exchange.waited(2.0)) is SEND
    assert bench.held() >= OWN_HOLD


def test_a_model_that_is_not_found_where_it_was_is_held_at_its_own_price(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rewrite, "with_model", lambda *_: None)
    bench = Budgeted(DEGRADES)
    exchange, step = bench.call()
    assert (step, bench.held() >= OWN_HOLD) == (SEND, True)
    assert (exchange.decision.hindered, exchange.sent_model) == ("no model in the request", "gpt-4o")


def test_a_fault_while_the_changes_are_written_is_one_too(
    monkeypatch: pytest.MonkeyPatch, counts: None
) -> None:
    def broken(*_: object) -> bytes:
        raise LookupError

    monkeypatch.setattr(rewrite, "with_model", broken)
    bench = Budgeted(DEGRADES)
    _, step = bench.call()
    assert (step, bench.held() >= OWN_HOLD) == (SEND, True)
    assert fault_counts() == {"rewrite:LookupError": 1}


# -- holds of others --------------------------------------------------------------------------------


def test_a_call_that_only_holds_keep_out_waits_for_them_and_no_longer_than_it_may() -> None:
    bench = Budgeted({"limit": 0.02, "limitAction": "block", "wait_ms": 100})
    # Of what was learned, a call uses a tenth of its hold.
    for _ in range(30):
        bench.settings.budgets._learned.learn("gpt-4o", "", 2, _usage(100))  # type: ignore[union-attr]
    first, _ = bench.call()
    second, step = bench.call()
    assert isinstance(step, Wait)
    answered(first)
    assert isinstance(second.waited(step.seconds), Send)
    third, step = bench.call()
    while isinstance(step, Wait):
        step = third.waited(step.seconds)
    assert isinstance(step, Refuse)
    assert isinstance(step.error, BudgetExceededError)
    answered(second)
    bench.events[-1].read()
    assert bench.held() == 0


def _usage(output: int) -> Any:
    from aden_transport.events import NormalizedUsage

    return NormalizedUsage(input_tokens=8, output_tokens=output)


@pytest.mark.parametrize(
    ("mode", "answered", "charged"),
    [
        ("hard", "gpt-4o-mini", 100 * 2_500 + 50 * 10_000),
        ("expected", "gpt-4o-mini", 100 * 150 + 50 * 600),
        ("hard", "gpt-4o-2024-08-06", 100 * 2_500 + 50 * 10_000),
        ("hard", "gpt-4-turbo", 100 * 10_000 + 50 * 30_000),
    ],
)
def test_a_hard_budget_takes_the_dearer_of_the_model_asked_and_the_model_that_answered(
    mode: str, answered: str, charged: int
) -> None:
    bench = Budgeted({"limit": 1, "limitAction": "block", "mode": mode})
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    event = bench.answered(wire(HELLO), {"model": answered, "choices": [], "usage": usage})
    assert event.charged_nano_usd == charged
    assert event.response_model == answered
    if answered == "gpt-4o-mini":
        assert event.cost_nano_usd == 100 * 150 + 50 * 600
    assert bench.ledger.totals([Line("-|global", 0, 0)])[0].spent == charged
