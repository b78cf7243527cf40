"""Turns of exchanges, as values: no network, clocks that are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.core.exchange import Exchange
from aden_transport.core.pacing import Pacer, credential, family
from aden_transport.core.reserve import Budgets
from aden_transport.core.steps import SEND, Consult, Refuse, Send, Wait
from aden_transport.errors import LedgerUnavailable
from aden_transport.events import BeforeRequestResult, Decision, MetricEvent
from aden_transport.ledger.base import Line
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.pace import Move, Turn
from aden_transport.ledger.store_thread import StoreThread
from aden_transport.policy import Index, OnUnknown, load

from .kit import ANTHROPIC, GEMINI, GENERATE, NOON, PRICES, Bench, headers, wire

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 100}
KEY = {"authorization": "Bearer sk-one"}
SIXTY = {
    "x_ratelimit_limit_requests": "60",
    "x_ratelimit_remaining_requests": "59",
    "x_ratelimit_reset_requests": "1s",
}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


class Clocked(MemoryLedger):
    """A ledger whose clock is told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.moves: list[tuple[str, Move]] = []

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        self.moves.append((key, move))
        return super().pace(key, move, now=self.now if now is None else now)

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.moves]


class AtOnce(StoreThread):
    """No thread: what is put is done."""

    def put(self, end: Callable[[], object]) -> None:
        end()


class Paced(Bench):
    def __init__(self, *, max_wait_s: float = 20.0, inline: bool = True, **settings: Any) -> None:
        super().__init__(**settings)
        self.ledger = Clocked()
        self.settings.pacer = Pacer(
            self.ledger,
            target=1.0,
            max_wait_s=max_wait_s,
            wall=lambda: self.ledger.now,
            thread=None if inline else AtOnce(),
        )
        self.settings.clock = lambda: self.ledger.now - NOON + 1.0

    def call(self, body: Any = HELLO, **more: Any) -> Exchange:
        return self.open(wire(body, names=more.pop("names", KEY), **more))

    def answer(self, exchange: Exchange, status: int = 200, **more: str) -> MetricEvent:
        exchange.receive_response(status, headers(**more))
        exchange.feed(json.dumps({"model": "gpt-4o", "usage": USAGE}).encode())
        exchange.receive_eof()
        return self.events[-1]

    def taught(self, **more: str) -> None:
        """By a first call and its answer, a second ago."""
        exchange = self.call()
        assert exchange.start() is SEND
        self.answer(exchange, 200, **(more or SIXTY))
        self.ledger.now += 1.0

    def waits(self, exchange: Exchange) -> float:
        step = exchange.start()
        assert isinstance(step, Wait), step
        return round(step.seconds, 4)

    def wait(self, exchange: Exchange, seconds: float) -> Any:
        self.ledger.now += seconds
        return exchange.waited(seconds)


# -- waiting -----------------------------------------------------------------------------------------


def test_a_paced_call_waits_for_its_turn_and_its_event_says_so() -> None:
    bench = Paced()
    bench.taught()
    assert bench.call().start() is SEND
    exchange = bench.call()
    assert bench.waits(exchange) == 1.0
    assert bench.wait(exchange, 1.0) is SEND
    event = bench.answer(exchange)
    assert event.throttle_ms == 1000.0
    assert event.decision == Decision("throttle", "paced to the vendor's rate limits", "pacing", paced_s=1.0)
    assert event.to_dict()["decision"] == {
        "action": "throttle",
        "source": "pacing",
        "reason": "paced to the vendor's rate limits",
        "paced_ms": 1000.0,
    }
    assert bench.events[0].decision.action == "allow"


def test_where_something_else_was_decided_the_decision_says_both() -> None:
    bench = Paced(has_hook=True)
    bench.settings.has_hook = False
    bench.taught()
    bench.call().start()
    bench.settings.has_hook = True
    exchange = bench.call()
    exchange.start()
    step = exchange.answer(BeforeRequestResult.degrade("gpt-4o-mini", "dear"))
    assert isinstance(step, Send), "another model has another pace"
    exchange = bench.call()
    exchange.start()
    step = exchange.answer(BeforeRequestResult.alert("look"))
    assert isinstance(step, Wait)
    bench.wait(exchange, step.seconds)
    decision = bench.answer(exchange).decision
    assert (decision.action, decision.source, decision.paced_s) == ("alert", "hook", 1.0)


def test_a_call_that_cannot_be_rewritten_gives_its_turn_back_and_takes_one_of_its_own_model() -> None:
    bench = Paced(has_hook=True)
    bench.settings.has_hook = False
    bench.taught()
    bench.call().start()
    bench.settings.has_hook = True
    exchange = bench.call()
    exchange.start()
    assert isinstance(exchange.answer(BeforeRequestResult.degrade("gpt-4o-mini", "dear")), Send)
    step = exchange.rewrite_failed(TypeError())
    assert isinstance(step, Wait), "another call of its model has just left"
    assert bench.wait(exchange, step.seconds) is SEND
    event = bench.answer(exchange)
    assert (event.decision.hindered, event.throttle_ms > 0) == ("rewrite failed", True)
    reset_faults()


def test_a_call_goes_on_when_its_patience_is_over() -> None:
    bench = Paced(max_wait_s=2.0)
    bench.taught()
    for _ in range(3):
        bench.call().start()
    exchange = bench.call()
    assert bench.waits(exchange) == 2.0
    assert bench.wait(exchange, 2.0) is SEND


def test_retries_wait_no_longer_than_the_call_may() -> None:
    bench = Paced(max_wait_s=3.0)
    bench.taught()
    for _ in range(3):
        bench.call().start()
    exchange = bench.call()
    assert bench.waits(exchange) == 3.0
    assert bench.wait(exchange, 3.0) is SEND
    bench.answer(exchange, 429, retry_after="30")
    again = bench.call()
    assert again.logical is exchange.logical
    assert again.start() is SEND
    other = bench.call({**HELLO, "user": "another"})
    assert bench.waits(other) == 3.0


def test_a_retry_waits_for_the_stop_that_its_refusal_set() -> None:
    bench = Paced()
    bench.taught()
    exchange = bench.call()
    exchange.start()
    bench.answer(exchange, 429, retry_after="7")
    assert bench.waits(bench.call()) == 7.0


def test_who_is_woken_early_goes_on() -> None:
    """As a sync client on a loop's thread is, after 250 ms."""
    bench = Paced()
    bench.taught()
    bench.call().start()
    exchange = bench.call()
    assert bench.waits(exchange) == 1.0
    assert bench.wait(exchange, 0.25) is SEND


def test_one_that_is_cancelled_gives_its_turn_back() -> None:
    bench = Paced()
    bench.taught()
    bench.call().start()
    waiting = [bench.call({**HELLO, "n": number}) for number in range(5)]
    assert [bench.waits(exchange) for exchange in waiting] == [1, 2, 3, 4, 5]
    for exchange in waiting:
        exchange.fail(KeyboardInterrupt())
    assert bench.waits(bench.call()) == 1.0
    assert not [event for event in bench.events if event.status_code is None and event.latency_ms]


def test_a_call_that_another_meter_takes_over_gives_its_turn_back() -> None:
    bench = Paced()
    bench.taught()
    bench.call().start()
    taken_over = bench.call()
    assert bench.waits(taken_over) == 1.0
    taken_over.withdraw()
    assert bench.waits(bench.call()) == 1.0


def test_a_stop_holds_those_who_wait_already() -> None:
    bench = Paced()
    bench.taught()
    refused = bench.call()
    refused.start()
    waiting = bench.call()
    assert bench.waits(waiting) == 1.0
    bench.answer(refused, 429, retry_after="5")
    step = bench.wait(waiting, 1.0)
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(4.0)
    assert bench.wait(waiting, 4.0) is SEND


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_refusal_stops_all_callers_of_the_key(status: int) -> None:
    bench = Paced()
    exchange = bench.call()
    exchange.start()
    bench.answer(exchange, status, retry_after="5")
    assert bench.waits(bench.call({**HELLO, "n": 2})) == 5.0
    other_key = bench.call({**HELLO, "n": 3}, names={"authorization": "Bearer sk-two"})
    assert other_key.start() is SEND


def test_a_served_answer_stops_nobody() -> None:
    bench = Paced()
    bench.taught(retry_after="5")
    assert [bench.call().start() for _ in range(9)] == [SEND] * 9


def test_polls_and_calls_of_hooks_are_not_paced() -> None:
    bench = Paced()
    bench.taught()
    bench.call().start()
    assert bench.call().start(judged=False) is SEND
    poll = bench.open(wire(method="GET", path="/v1/responses/resp_1", names=KEY))
    assert poll.start() is SEND


# -- with budgets ------------------------------------------------------------------------------------


def with_budget(bench: Paced, limit: float, **more: Any) -> Callable[[], tuple[int, int]]:
    """And what is spent and held of it."""
    bench.settings.budgets = Budgets(
        Index(load({"type": "global", "limit": limit, "limitAction": "block", **more})),
        bench.ledger,
        prices=PRICES,
        unknown=OnUnknown(),
        wall=lambda: NOON,
    )

    def sums() -> tuple[int, int]:
        (found,) = bench.ledger.totals([Line("-|global", 0, 0)])
        return found.spent, found.held

    return sums


def test_nothing_is_held_through_the_wait() -> None:
    bench = Paced()
    sums = with_budget(bench, 1.0)
    bench.taught()
    spent, held = sums()
    assert (spent > 0, held) == (True, 0)
    first = bench.call()
    assert first.start() is SEND
    alone = sums()[1]
    assert alone > 0
    exchange = bench.call()
    assert bench.waits(exchange) == 1.0
    assert sums()[1] == alone
    assert bench.wait(exchange, 1.0) is SEND
    assert sums()[1] == 2 * alone
    for each in (first, exchange):
        bench.answer(each)
    assert sums() == (3 * spent, 0)
    assert bench.ledger.open_holds() == 0


def test_a_blocked_call_does_not_wait() -> None:
    bench = Paced()
    bench.taught()
    bench.call().start()
    with_budget(bench, 0)
    assert isinstance(bench.call().start(), Refuse)
    assert bench.events[-1].throttle_ms == 0


def test_money_that_others_took_meanwhile_is_missed_after_the_wait() -> None:
    bench = Paced()
    bench.taught()
    bench.call().start()
    sums = with_budget(bench, 0.002)
    exchange = bench.call()
    assert bench.waits(exchange) == 1.0
    assert sums() == (0, 0)
    bench.ledger.reserve("other", [[Line("-|global", 1_500_000, 1)]], now=NOON, expires_at=NOON + 60)
    assert isinstance(bench.wait(exchange, 1.0), Refuse)
    assert sums() == (0, 1_500_000)


def test_a_store_is_asked_on_another_thread() -> None:
    bench = Paced(inline=False)
    exchange = bench.call()
    step = exchange.start()
    assert isinstance(step, Consult)
    assert step.then(step.run()) is SEND


def test_an_answer_of_the_store_that_comes_too_late_gives_the_turn_back() -> None:
    bench = Paced(inline=False)
    exchange = bench.call()
    step = exchange.start()
    assert isinstance(step, Consult)
    step.run()
    exchange.fail(KeyboardInterrupt())
    with pytest.raises(AssertionError, match="exchange went from ended"):
        step.then(0.0)
    step = bench.call().start()
    assert isinstance(step, Consult)
    assert step.run() == 0.0


class Down(Clocked):
    broken = True

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        self.moves.append((key, move))
        if self.broken:
            raise LedgerUnavailable("gone")
        return super().pace(key, move, now=now)

    def salt(self) -> bytes:
        if self.broken:
            raise LedgerUnavailable("gone")
        return super().salt()


@pytest.mark.parametrize("salted", [True, False])
def test_where_the_store_does_not_answer_nobody_waits(salted: bool) -> None:
    reset_faults()
    bench = Paced(inline=False)
    down = Down()
    pacer = bench.settings.pacer
    assert pacer is not None
    if salted:
        pacer._known_salt()
    bench.ledger = pacer.ledger = down
    for number in range(5):
        step = bench.call({**HELLO, "n": number}).start()
        assert isinstance(step, Consult)
        assert step.run() == 0.0
    assert fault_counts() == {"pacing:LedgerUnavailable": 1}
    assert len(down.moves) == (2 if salted else 0), "it is left alone for a second"
    down.now += 2
    down.broken = False
    step = bench.call().start()
    assert isinstance(step, Consult)
    assert step.run() == 0.0
    assert down.moves[-1][0].startswith("api.openai.com|")
    reset_faults()


# -- learning ----------------------------------------------------------------------------------------


def test_a_vendors_dates_are_read_by_its_own_clock() -> None:
    """Ours is 100 seconds behind here."""
    bench = Paced()
    limits = {
        "anthropic_ratelimit_requests_limit": "50",
        "anthropic_ratelimit_requests_remaining": "0",
        "anthropic_ratelimit_requests_reset": "2026-09-21T14:15:20Z",
        "date": "Mon, 21 Sep 2026 14:15:00 GMT",
    }
    body = {"model": "claude-opus-4-5", "max_tokens": 10, "messages": []}
    exchange = bench.call(body, host=ANTHROPIC, path="/v1/messages", names={"x-api-key": "k"})
    exchange.start()
    bench.answer(exchange, 200, **limits)
    other = bench.call(
        {**body, "model": "claude-opus-4-1-20250805"},
        host=ANTHROPIC,
        path="/v1/messages",
        names={"x-api-key": "k"},
    )
    assert bench.waits(other) == pytest.approx(19.5, abs=0.01)


def test_vendors_that_tell_no_limit_are_not_paced_but_stopped() -> None:
    bench = Paced()
    names = {"x-goog-api-key": "k"}
    exchange = bench.call({"contents": []}, host=GEMINI, path=GENERATE, names=names)
    exchange.start()
    bench.answer(exchange)
    for _ in range(5):
        assert bench.call({"contents": []}, host=GEMINI, path=GENERATE, names=names).start() is SEND
    exchange = bench.call({"contents": [1]}, host=GEMINI, path=GENERATE, names=names)
    exchange.start()
    bench.answer(exchange, 429, retry_after="3")
    assert bench.waits(bench.call({"contents": []}, host=GEMINI, path=GENERATE, names=names)) == 3.0


def test_tokens_are_paced_by_what_calls_are_expected_to_take() -> None:
    bench = Paced()
    tokens = {
        "x_ratelimit_limit_requests": "60000",
        "x_ratelimit_remaining_requests": "59999",
        "x_ratelimit_reset_requests": "1ms",
        "x_ratelimit_limit_tokens": "6000",
        "x_ratelimit_remaining_tokens": "6000",
        "x_ratelimit_reset_tokens": "0s",
    }
    bench.taught(**tokens)
    heavy = {**HELLO, "messages": [{"role": "user", "content": "word " * 4000}]}
    assert bench.call(heavy).start() is SEND
    step = bench.call(heavy).start()
    assert isinstance(step, Wait)
    assert step.seconds > 5, "60 tokens come back in a second"


def test_what_is_expected_is_learned() -> None:
    bench = Paced()
    sizes = bench.settings.pacer.sizes  # type: ignore[union-attr]
    exchange = bench.call({"model": "gpt-4o", "messages": []})
    about = (len(exchange.wire.body or b"")) / 4
    assert sizes.costs("gpt-4o", exchange) == (1.0, about + 500, about, 500.0)
    capped = bench.call(HELLO)
    assert sizes.costs("gpt-4o", capped)[3] == 100.0
    exchange.start()
    bench.answer(exchange)
    assert sizes.costs("gpt-4o", exchange)[1:] == pytest.approx((2.0, 0.0, 2.0))  # the request is forgotten
    again = bench.call({"model": "gpt-4o", "messages": []})
    assert sizes.costs("gpt-4o", again)[1:] == pytest.approx((11.0, 9.0, 2.0))


def test_large_requests_are_weighed_by_what_is_in_them() -> None:
    bench = Paced()
    sizes = bench.settings.pacer.sizes  # type: ignore[union-attr]
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    exchange = bench.call({"model": "gpt-4o", "messages": [{"role": "user", "content": [picture]}]})
    assert sizes.costs("gpt-4o", exchange)[1] < 5000


def test_what_is_calm_is_told_once() -> None:
    bench = Paced()
    many = {**SIXTY, "x_ratelimit_limit_requests": "60000", "x_ratelimit_remaining_requests": "59999"}
    many["x_ratelimit_reset_requests"] = "1ms"
    bench.taught(**many)

    def told(after: float, **more: str) -> int:
        bench.ledger.now += after
        before = len(bench.ledger.moves)
        exchange = bench.call()
        assert exchange.start() is SEND
        exchange.receive_response(200, headers(**many | more))
        return len(bench.ledger.moves) - before - 1

    assert [told(0.01), told(1), told(1)] == [0, 0, 0]
    assert told(5) == 1
    assert told(1, x_ratelimit_limit_requests="30000") == 1
    assert told(1, x_ratelimit_limit_requests="30000") == 0
    scarce = {"x_ratelimit_remaining_requests": "90", "x_ratelimit_reset_requests": "59.91s"}
    assert [told(1, **scarce), told(0.01, **scarce)] == [1, 1]


# -- keys --------------------------------------------------------------------------------------------


def key_of(names: dict[str, str], **more: Any) -> str:
    bench = Paced()
    bench.ledger._salt = b"s" * 32
    bench.call(more.pop("body", HELLO), names=names, **more).start()
    return bench.ledger.keys[-1]


def test_a_key_names_host_caller_and_family_and_no_credential() -> None:
    key = key_of(KEY)
    host, caller, models = key.split("|")
    assert (host, models) == ("api.openai.com", "gpt-4o")
    assert len(caller) == 24
    assert "sk-one" not in key


@pytest.mark.parametrize(
    "other",
    [
        {"authorization": "Bearer sk-two"},
        {**KEY, "openai-organization": "org-2"},
        {**KEY, "openai-project": "proj-2"},
        {"x-api-key": "Bearer sk-one-"},
        {},
    ],
)
def test_other_callers_have_other_keys(other: dict[str, str]) -> None:
    assert key_of(other) != key_of(KEY)


def test_a_key_in_the_query_counts() -> None:
    one = key_of({}, host=GEMINI, path=GENERATE + "?key=AIza1")
    assert one == key_of({}, host=GEMINI, path=GENERATE + "?alt=sse&key=AIza1")
    assert one != key_of({}, host=GEMINI, path=GENERATE + "?key=AIza2")
    assert "AIza" not in one


def test_of_a_signature_only_who_signed_counts() -> None:
    def signed(id: str, signature: str) -> bytes:
        value = (
            f"AWS4-HMAC-SHA256 Credential={id}/20260921/us-east-1/bedrock/aws4_request, Signature={signature}"
        )
        return credential(wire(HELLO, names={"authorization": value}))

    assert signed("AKIA1", "aa") == signed("AKIA1", "bb") == b"AKIA1"
    assert signed("AKIA2", "aa") != signed("AKIA1", "aa")


@pytest.mark.parametrize(
    ("vendor", "model", "shared"),
    [
        ("anthropic", "claude-opus-4-20250514", "claude-opus-4"),
        ("anthropic", "claude-opus-4-5-20251101", "claude-opus-4"),
        ("anthropic", "claude-opus-4-8", "claude-opus-4"),
        ("anthropic", "claude-sonnet-4-6", "claude-sonnet-4"),
        ("anthropic", "claude-opus-5", "claude-opus-5"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", "gpt-4o-mini"),
        ("openai", "ft:", "ft:"),
        ("vertex", "claude-opus-4@20250514", "claude-opus-4"),
    ],
)
def test_models_that_share_a_limit_share_a_pace(vendor: str, model: str, shared: str) -> None:
    assert family(vendor, model) == shared


def test_a_salt_is_looked_at_again_after_a_minute() -> None:
    bench = Paced()
    bench.taught()
    first = bench.ledger.keys[-1]
    bench.ledger._salt = b"n" * 32
    bench.ledger.now += 61
    bench.call().start()
    bench.call().start()
    assert bench.ledger.keys[-1] != first
