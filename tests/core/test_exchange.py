"""One call's life: every move, every ending, every answer of a hook."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.attributes import context, track_source
from aden_transport.core.exchange import (
    ASKING,
    ENDED,
    MODIFYING,
    NEW,
    PACING,
    RECEIVING,
    RESERVING,
    SENT,
    TRANSITIONS,
    WAITING,
    Exchange,
)
from aden_transport.core.pacing import Pacer
from aden_transport.core.reserve import Budgets, Money
from aden_transport.core.rewrite import MAX_PARSED_REQUEST
from aden_transport.core.steps import Ask, Consult, Modify, Refuse, Send, Wait
from aden_transport.core.wire import WireRequest
from aden_transport.errors import RequestCancelledError
from aden_transport.events import AlertEvent, BeforeRequestResult, Decision
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.store_thread import StoreThread
from aden_transport.policy import Index, OnUnknown, Verdict, load
from aden_transport.policy.verdict import ALLOWED
from aden_transport.pricing import PriceBook, UnitPrices

from .kit import (
    ANTHROPIC,
    CHAT,
    EVENT_STREAM,
    GEMINI,
    GENERATE,
    JSON,
    NOON,
    Bench,
    headers,
    sse,
    wire,
)

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}
ANSWER = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
CHUNKS = sse(
    {
        "id": "c1",
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
    },
    {"id": "c1", "model": "gpt-4o", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    done=True,
)
THROTTLE = BeforeRequestResult.throttle(250)
DELAY = Verdict("wait", "throttle", delay_s=0.25)
BUDGETS = Budgets(
    Index(load({"type": "global", "limit": 1})),
    MemoryLedger(),
    prices=PriceBook(),
    unknown=OnUnknown(),
    wall=lambda: NOON,
    thread=StoreThread(),
)


# -- states ------------------------------------------------------------------------------------------


def new(bench: Bench) -> Exchange:
    return bench.open(wire(HELLO))


def asking(bench: Bench) -> Exchange:
    exchange = new(bench)
    assert isinstance(exchange.start(), Ask)
    return exchange


def reserving(bench: Bench) -> Exchange:
    bench.settings.budgets = BUDGETS
    exchange = new(bench)
    assert isinstance(exchange.start(), Consult)
    return exchange


def modifying(bench: Bench) -> Exchange:
    exchange = new(bench)
    start_to_modify(exchange)
    return exchange


def start_to_modify(exchange: Exchange) -> None:
    exchange.settings.modify = lambda *_: None
    assert isinstance(exchange.start(), Modify) is (exchange.state == MODIFYING)


def reserve(exchange: Exchange) -> None:
    exchange.settings.budgets = BUDGETS
    exchange._consult(Money(BUDGETS, "op", "gpt-4o"))


def pacer(ledger: MemoryLedger | None = None, **given: Any) -> Pacer:
    given = {"thread": StoreThread(), "target": 0.95, "max_wait_s": 20.0, **given}
    return Pacer(ledger or MemoryLedger(), wall=lambda: NOON, **given)


def pacing(bench: Bench) -> Exchange:
    bench.settings.pacer = pacer()
    bench.settings.has_hook = False
    exchange = new(bench)
    assert isinstance(exchange.start(), Consult)
    bench.settings.has_hook = True
    return exchange


def take_turn(exchange: Exchange) -> None:
    exchange.pace = pacer().pace(None)
    exchange._take_turn(exchange.pace)


def after_the_hook(exchange: Exchange) -> None:
    if exchange.money is not None:
        exchange.money.after_hook = True
    exchange.consulted(ALLOWED)


def waiting(bench: Bench) -> Exchange:
    exchange = asking(bench)
    assert isinstance(exchange.answer(THROTTLE), Wait)
    return exchange


def sent(bench: Bench) -> Exchange:
    exchange = new(bench)
    assert isinstance(exchange.start(judged=False), Send)
    return exchange


def receiving(bench: Bench) -> Exchange:
    exchange = sent(bench)
    exchange.receive_response(200, headers())
    return exchange


def ended(bench: Bench) -> Exchange:
    exchange = receiving(bench)
    exchange.close()
    return exchange


STATES: Mapping[str, Callable[[Bench], Exchange]] = {
    NEW: new,
    MODIFYING: modifying,
    RESERVING: reserving,
    ASKING: asking,
    WAITING: waiting,
    PACING: pacing,
    SENT: sent,
    RECEIVING: receiving,
    ENDED: ended,
}
ON_THE_WAY = {NEW: SENT, MODIFYING: SENT, RESERVING: SENT, ASKING: SENT, WAITING: SENT}
TO_ASK = {MODIFYING: ASKING, RESERVING: ASKING, WAITING: SENT}
DECIDING = (NEW, RESERVING, ASKING, PACING)
UNPACED = (NEW, MODIFYING, RESERVING, ASKING, WAITING, SENT)
ANYWHERE = dict.fromkeys(STATES, ENDED)
MOVES: Mapping[str, tuple[Callable[[Exchange], object], Mapping[str, str]]] = {
    "start": (lambda e: e.start(), {**TO_ASK, NEW: ASKING}),
    "start to modify": (start_to_modify, {**TO_ASK, NEW: MODIFYING}),
    "modify": (lambda e: e.modify(None), {**TO_ASK, NEW: ASKING}),
    "modify_failed": (lambda e: e.modify_failed(ValueError()), {**TO_ASK, NEW: ASKING}),
    "reserve": (reserve, dict.fromkeys((NEW, MODIFYING, ASKING, WAITING, PACING, SENT), RESERVING)),
    "take a turn": (take_turn, dict.fromkeys(UNPACED, PACING)),
    "turn": (lambda e: e.paced(0.0), {PACING: SENT}),
    "turn to wait for": (lambda e: e.paced(1.0), {PACING: WAITING}),
    "verdict": (lambda e: e.consulted(ALLOWED), {RESERVING: ASKING}),
    "verdict after the hook": (after_the_hook, {RESERVING: SENT}),
    "verdict to wait": (lambda e: e.consulted(DELAY), {RESERVING: WAITING}),
    "start unjudged": (lambda e: e.start(judged=False), ON_THE_WAY),
    "answer": (lambda e: e.answer(None), ON_THE_WAY),
    "answer with a wait": (
        lambda e: e.answer(THROTTLE),
        dict.fromkeys(DECIDING, WAITING),
    ),
    "answer_failed": (lambda e: e.answer_failed(ValueError()), ON_THE_WAY),
    "waited": (lambda e: e.waited(1.0), ON_THE_WAY),
    "receive_response": (lambda e: e.receive_response(200, headers()), {SENT: RECEIVING}),
    "answer with a refusal": (lambda e: e.answer(BeforeRequestResult.cancel("no")), ANYWHERE),
    "receive_eof": (lambda e: e.receive_eof(), ANYWHERE),
    "close": (lambda e: e.close(), ANYWHERE),
    "fail": (lambda e: e.fail(OSError()), ANYWHERE),
    "withdraw": (lambda e: e.withdraw(), ANYWHERE),
}
"""What an adapter may do, and where each state goes by it; elsewhere it is a fault of the adapter."""


@pytest.mark.parametrize(("state", "move"), list(product(STATES, MOVES)))
def test_every_move_is_legal_where_the_table_says_and_nowhere_else(state: str, move: str) -> None:
    exchange = STATES[state](Bench(has_hook=True))
    assert exchange.state == state
    act, targets = MOVES[move]
    if state in targets:
        act(exchange)
        assert exchange.state == targets[state]
        assert targets[state] in TRANSITIONS[state] or (state, targets[state]) == (ENDED, ENDED)
    else:
        with pytest.raises(AssertionError, match=f"exchange went from {state} to "):
            act(exchange)
        assert exchange.state == state


def test_every_transition_of_the_table_can_happen() -> None:
    possible = {
        state: {targets[state] for _, targets in MOVES.values() if state in targets} for state in STATES
    }
    assert {state: targets - {state} for state, targets in possible.items()} == TRANSITIONS


# -- endings -----------------------------------------------------------------------------------------

ENDINGS: Mapping[str, Callable[[Exchange], object]] = {
    "complete": lambda e: e.feed(CHUNKS),
    "eof": lambda e: e.receive_eof(),
    "close": lambda e: e.close(),
    "fail": lambda e: e.fail(ConnectionResetError("gone")),
    "interrupt": lambda e: e.fail(KeyboardInterrupt()),
    "withdraw": lambda e: e.withdraw(),
}


@pytest.mark.parametrize(("first", "second"), list(product(ENDINGS, ENDINGS)))
def test_a_call_ends_once_however_often_it_is_told(first: str, second: str) -> None:
    bench = Bench(stream_usage=False)
    exchange = bench.receiving(wire({**HELLO, "stream": True}), answer=headers(EVENT_STREAM))
    assert list(bench.settings.open.values()) == [exchange]
    ENDINGS[first](exchange)
    assert exchange.state == ENDED
    assert bench.settings.open == {}
    ENDINGS[second](exchange)
    exchange.feed(b"what comes later is not looked at")
    assert len(bench.events) == (first != "withdraw")


@pytest.mark.parametrize("ending", ["eof", "close", "fail"])
@pytest.mark.parametrize("state", [NEW, ASKING, WAITING, SENT, RECEIVING])
def test_a_call_that_ends_early_has_its_event(state: str, ending: str) -> None:
    bench = Bench(has_hook=True)
    exchange = STATES[state](bench)
    ENDINGS[ending](exchange)
    event = bench.event
    assert len(bench.events) == 1
    assert event.status_code == (200 if state == RECEIVING else None)
    assert event.error == ("ConnectionResetError: gone" if ending == "fail" else None)
    # RFC 9110 §9.2.2: what was sent and is not answered may have been carried out.
    assert event.billing == ("unknown" if state == SENT else None)


def test_an_ended_call_keeps_neither_the_request_nor_the_answer() -> None:
    bench = Bench()
    exchange = bench.receiving(wire(HELLO))
    exchange.feed(json.dumps(ANSWER).encode())
    exchange.receive_eof()
    assert exchange.wire.body is None
    assert exchange.body == {}
    assert exchange.body_observer is None


def test_a_fault_while_concluding_is_counted_and_not_felt() -> None:
    class Broken(PriceBook):
        def find_plain(self, key: Any, at: float) -> UnitPrices | None:
            raise RuntimeError("no prices")

    reset_faults()
    bench = Bench(prices=Broken())
    exchange = bench.receiving(wire(HELLO))
    exchange.feed(json.dumps(ANSWER).encode())
    exchange.receive_eof()
    assert bench.events == []
    assert bench.settings.open == {}
    assert fault_counts() == {"conclude:RuntimeError": 1}
    reset_faults()


def test_an_observer_that_fails_lets_the_bytes_pass_and_says_so() -> None:
    reset_faults()
    bench = Bench()
    exchange = bench.receiving(wire(HELLO))
    assert exchange.observe_failed(RuntimeError("x")) is exchange.feed
    exchange.feed(b"{")
    exchange.receive_eof()
    assert bench.event.faults == ("observe.failed",)
    assert fault_counts() == {"observe:RuntimeError": 1}
    early = bench.sent(wire(HELLO))
    early.observe_failed(RuntimeError("before the answer"))
    early.close()
    assert not bench.event.faults
    reset_faults()


# -- the event ---------------------------------------------------------------------------------------


def test_an_event_says_what_the_call_was() -> None:
    bench = Bench(agent_name="reporter")
    with track_source("nightly"):
        event = bench.answered(
            wire(HELLO, names={"X-Client-Request-Id": "mine"}),
            ANSWER,
            answer=headers(x_request_id="req_1", openai_processing_ms="321", openai_organization="acme"),
        )
    assert event.event_id == f"{int(NOON * 1000):012x}{1:016x}"
    assert (event.span_id, event.trace_id, event.call_id) == (f"{1:016x}", f"{0:032x}", f"{2:016x}")
    assert (event.provider, event.operation, event.stream) == ("openai", "chat", False)
    assert (event.request_model, event.response_model) == ("gpt-4o", "gpt-4o-2024-08-06")
    assert (event.timestamp_s, event.attempt, event.status_code) == (NOON, 0, 200)
    assert (event.latency_ms, event.time_to_first_chunk_ms, event.server_latency_ms) == (250, None, 321)
    assert (event.request_id, event.client_request_id, event.organization) == ("req_1", "mine", "acme")
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 9, 2)
    assert (event.source, event.agent_name, event.metadata) == ("nightly", "reporter", None)
    assert (event.decision, event.finish_reasons, event.error) == (Decision("allow"), ("stop",), None)


def test_a_stream_says_when_its_first_piece_came() -> None:
    bench = Bench(stream_usage=False)
    exchange = bench.receiving(wire({**HELLO, "stream": True}), answer=headers(EVENT_STREAM))
    exchange.feed(CHUNKS)
    event = bench.event
    assert (event.time_to_first_chunk_ms, event.latency_ms) == (250, 500)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (HELLO, "gpt-4o"),
        ({"messages": []}, None),
        ({"model": 7}, None),
        (b"no json", None),
        (b"[1]", None),
        (b"", None),
        (None, None),
    ],
)
def test_a_request_that_cannot_be_read_is_metered_all_the_same(body: Any, model: str | None) -> None:
    bench = Bench()
    event = bench.answered(wire(body), ANSWER)
    assert (event.request_model, event.model, event.input_tokens) == (model, "gpt-4o-2024-08-06", 9)


def test_the_edges_of_a_huge_request_are_read() -> None:
    body = {
        "model": "gpt-4o",
        "messages": "x" * MAX_PARSED_REQUEST,
        "stream": True,
        "metadata": {"agent": "a"},
    }
    exchange = Bench().open(wire(body))
    assert (exchange.model, exchange.stream, exchange.metadata) == ("gpt-4o", True, {"agent": "a"})
    assert set(exchange.body) == {"model", "stream", "metadata"}


def test_a_multipart_request_is_read_by_its_fields() -> None:
    form = {"model": "whisper-1", "stream": "true", "metadata[agent]": "scribe"}
    exchange = Bench().open(wire(path="/v1/audio/transcriptions", form=form))
    assert (exchange.model, exchange.stream, exchange.metadata) == ("whisper-1", True, {"agent": "scribe"})


# -- answers of hooks --------------------------------------------------------------------------------

PROCEED = BeforeRequestResult.proceed()
RESULTS: Mapping[str, tuple[object, Decision]] = {
    "proceed": (PROCEED, Decision("allow")),
    "nothing": (None, Decision("allow")),
    "throttle": (THROTTLE, Decision("throttle", None, "hook", delay_s=0.25)),
    "no delay": (BeforeRequestResult.throttle(0), Decision("throttle", None, "hook")),
    "huge delay": (
        BeforeRequestResult.throttle(1e300, "slow"),
        Decision("throttle", "slow", "hook", delay_s=30.0),
    ),
    "degrade": (
        BeforeRequestResult.degrade("gpt-4o-mini", "dear", 100),
        Decision("degrade", "dear", "hook", to_model="gpt-4o-mini", delay_s=0.1),
    ),
    "alert": (
        BeforeRequestResult.alert("look", level="critical"),
        Decision("alert", "look", "hook", level="critical"),
    ),
    "alert with a delay": (
        BeforeRequestResult.alert("look", delay_ms=5),
        Decision("alert", "look", "hook", delay_s=0.005),
    ),
}
RUBBISH: Mapping[str, object] = {
    "text": "proceed",
    "true": True,
    "class": BeforeRequestResult,
    "NaN": BeforeRequestResult.throttle(math.nan),
    "infinite": BeforeRequestResult.throttle(math.inf),
    "negative": BeforeRequestResult.throttle(-1),
    "huge integer": BeforeRequestResult.throttle(10**400),
    "delay of text": BeforeRequestResult.throttle("100"),  # type: ignore[arg-type]
    "negative degrade": BeforeRequestResult.degrade("gpt-4o-mini", delay_ms=-0.001),
    "no model": BeforeRequestResult.degrade(""),
    "model of no text": BeforeRequestResult.degrade(None),  # type: ignore[arg-type]
    "no such action": BeforeRequestResult("explode"),  # type: ignore[arg-type]
}


def ask(bench: Bench, request: WireRequest | None = None) -> Exchange:
    exchange = bench.open(request or wire(HELLO))
    assert isinstance(exchange.start(), Ask)
    return exchange


@pytest.mark.parametrize("name", RESULTS)
def test_a_hooks_answer_becomes_the_calls_decision(name: str) -> None:
    result, decision = RESULTS[name]
    bench = Bench(has_hook=True)
    exchange = ask(bench)
    step = exchange.answer(result)
    if decision.delay_s:
        assert isinstance(step, Wait)
        assert step.seconds == decision.delay_s
        step = exchange.waited(step.seconds + 0.5)
    assert isinstance(step, Send)
    exchange.close()
    event = bench.event
    assert event.decision == decision
    assert event.throttle_ms == ((decision.delay_s + 0.5) * 1000 if decision.delay_s else 0)
    assert len(bench.alerts) == (decision.action == "alert")


@pytest.mark.parametrize("name", RUBBISH)
@pytest.mark.parametrize("fail_open", [True, False])
def test_an_answer_that_is_none_counts_as_a_failed_hook(name: str, fail_open: bool) -> None:
    reset_faults()
    bench = Bench(has_hook=True, fail_open=fail_open)
    step = ask(bench).answer(RUBBISH[name])
    assert sum(fault_counts().values()) == 1
    if fail_open:
        assert isinstance(step, Send)
        assert bench.events == []
    else:
        assert isinstance(step, Refuse)
        assert step.error.reason.startswith("before_request failed: ")
        assert bench.event.decision.action == "block"
    reset_faults()


@pytest.mark.parametrize("fail_open", [True, False])
def test_a_hook_that_raises_is_decided_by_fail_open(fail_open: bool) -> None:
    reset_faults()
    bench = Bench(has_hook=True, fail_open=fail_open)
    step = ask(bench).answer_failed(ZeroDivisionError("my bug"))
    assert fault_counts() == {"before_request:ZeroDivisionError": 1}
    assert isinstance(step, Send if fail_open else Refuse)
    if isinstance(step, Refuse):
        assert step.error.reason == "before_request failed: ZeroDivisionError"
        assert bench.event.error == step.error.reason
    reset_faults()


@pytest.mark.parametrize(
    ("reason", "shown"), [("over budget", "over budget"), ("", "cancelled by before_request")]
)
def test_a_cancelled_call_sends_nothing_and_emits_one_event(reason: str, shown: str) -> None:
    bench = Bench(has_hook=True)
    step = ask(bench).answer(BeforeRequestResult.cancel(reason))
    assert isinstance(step, Refuse)
    error = step.error
    assert type(error) is RequestCancelledError
    assert (error.reason, str(error), error.status_code) == (shown, shown, 403)
    assert error.context is not None
    assert (error.context.model, error.context.provider) == ("gpt-4o", "openai")
    assert error.decision == Decision("block", shown, "hook")
    event = bench.event
    assert len(bench.events) == 1
    assert (event.decision, event.error, event.status_code) == (error.decision, shown, None)
    assert (event.latency_ms, event.usage, event.cost_nano_usd, event.billing) == (0, None, None, None)


def test_a_hook_is_told_about_the_call() -> None:
    bench = Bench(has_hook=True, metadata={"tenant_id": "acme"})
    exchange = bench.open(wire({**HELLO, "max_tokens": 100, "n": 2, "stream": True}))
    step = exchange.start()
    assert isinstance(step, Ask)
    assert step.params == exchange.body
    told = step.context
    assert (told.model, told.provider, told.operation, told.stream) == ("gpt-4o", "openai", "chat", True)
    assert (told.trace_id, told.span_id) == (exchange.logical.trace_id, exchange.span_id)
    assert told.timestamp == "2026-09-21T14:13:20+00:00"
    assert told.metadata == {"tenant": "acme"}
    # 2 + 4 tokens of the prompt at $2.5, 2 * 100 at $10 a million.
    assert told.estimated_cost_usd == Decimal("0.002015")


def test_a_hook_is_given_an_empty_mapping_rather_than_none() -> None:
    step = Bench(has_hook=True).open(wire({"messages": []})).start()
    assert isinstance(step, Ask)
    assert step.context.metadata == {}
    assert step.context.estimated_cost_usd is None


def test_a_call_made_inside_a_hook_is_not_asked_about() -> None:
    exchange = Bench(has_hook=True).open(wire(HELLO))
    assert isinstance(exchange.start(judged=False), Send)


def test_an_alert_is_handed_on_with_what_it_is_about() -> None:
    bench = Bench(has_hook=True, context_id=lambda: "run-7")
    ask(bench).answer(BeforeRequestResult.alert("half is spent", level="info"))
    assert bench.alerts == [
        AlertEvent(
            level="info",
            message="half is spent",
            reason="half is spent",
            provider="openai",
            model="gpt-4o",
            timestamp="2026-09-21T14:13:20+00:00",
            context_id="run-7",
        )
    ]


def test_without_anybody_to_alert_the_call_goes_on() -> None:
    bench = Bench(has_hook=True, alert=None)
    assert isinstance(ask(bench).answer(BeforeRequestResult.alert("")), Send)


# -- degrading ---------------------------------------------------------------------------------------

CHEAPER = BeforeRequestResult.degrade("gpt-4o-mini", "dear")
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x"}


def degrade(bench: Bench, request: WireRequest, to: str = "gpt-4o-mini") -> tuple[Exchange, Send]:
    exchange = ask(bench, request)
    step = exchange.answer(BeforeRequestResult.degrade(to, "dear"))
    assert isinstance(step, Send)
    return exchange, step


def test_a_degraded_call_is_sent_to_the_other_model_and_says_so() -> None:
    bench = Bench(has_hook=True)
    exchange, step = degrade(bench, wire(HELLO))
    assert step.rewrite is not None
    assert json.loads(step.rewrite.body or b"") == {**HELLO, "model": "gpt-4o-mini"}
    exchange.close()
    event = bench.event
    assert (event.request_model, event.degraded_from, event.decision.action) == (
        "gpt-4o-mini",
        "gpt-4o",
        "degrade",
    )
    assert bench.alerts == []


def test_a_model_in_the_path_is_degraded_there() -> None:
    request = wire({"contents": []}, GENERATE + "?key=k", host=GEMINI)
    exchange, step = degrade(Bench(has_hook=True), request, "gemini-2.5-flash-lite")
    assert step.rewrite is not None
    assert step.rewrite.target == b"/v1beta/models/gemini-2.5-flash-lite:generateContent?key=k"
    assert step.rewrite.body is None
    assert exchange.degraded_from == "gemini-2.5-flash"


def test_a_model_in_a_form_is_degraded_there() -> None:
    form = {"model": "whisper-1", "metadata[agent]": "scribe", "metadata[other]": "x"}
    request = wire(path="/v1/audio/transcriptions", form=form)
    _, step = degrade(Bench(has_hook=True), request, "gpt-4o-mini-transcribe")
    assert step.rewrite is not None
    assert step.rewrite.form == {"model": "gpt-4o-mini-transcribe", "metadata[agent]": None}


def test_degrading_to_the_same_model_changes_nothing() -> None:
    exchange, step = degrade(Bench(has_hook=True), wire({**HELLO, "model": "gpt-4o-mini"}))
    assert step.rewrite is None
    assert (exchange.degraded_from, exchange.sent_model) == (None, "gpt-4o-mini")


@pytest.mark.parametrize(
    ("request_", "why", "model"),
    [
        (wire(HELLO, names=SIGNED), "signed", "gpt-4o"),
        (wire(None), "stream body", None),
        (wire({"messages": []}), "no model in the request", None),
        (wire(b"no json"), "no model in the request", None),
        (wire(b'{"model": "gpt-4o", "model": "gpt-4o"}'), None, "gpt-4o"),
    ],
)
def test_a_degrade_that_cannot_be_carried_out_becomes_an_alert(
    request_: WireRequest, why: str | None, model: str | None
) -> None:
    bench = Bench(has_hook=True)
    exchange, step = degrade(bench, request_)
    exchange.close()
    event = bench.event
    if why is None:
        assert step.rewrite is not None
        return
    assert step.rewrite is None
    assert event.decision == Decision("alert", "dear", "hook", "gpt-4o-mini", hindered=why)
    assert (event.request_model, event.degraded_from) == (model, None)
    assert [alert.message for alert in bench.alerts] == [f"not degraded to gpt-4o-mini: {why}"]


def test_a_huge_request_without_a_readable_body_is_not_degraded() -> None:
    """The model of a path can be told and changed, whatever the body is."""
    bench = Bench(has_hook=True)
    exchange, step = degrade(bench, wire(None, GENERATE, host=GEMINI), "gemini-2.5-flash-lite")
    assert step.rewrite is not None
    assert step.rewrite.target is not None
    assert exchange.degraded_from == "gemini-2.5-flash"


def test_a_model_that_stands_where_no_edit_can_reach_is_not_degraded() -> None:
    """In a huge body, edges are read and changed; escapes in the key are read only."""
    raw = b'{"mod\\u0065l":"gpt-4o","messages":"' + b"x" * MAX_PARSED_REQUEST + b'"}'
    bench = Bench(has_hook=True)
    exchange = ask(bench, wire(raw))
    exchange.model = exchange.sent_model = "gpt-4o"
    step = exchange.answer(CHEAPER)
    assert isinstance(step, Send)
    assert step.rewrite is None
    assert exchange.decision.hindered == "no model in the request"
    assert exchange.sent_model == "gpt-4o"


# -- one decision for all attempts -------------------------------------------------------------------


def test_attempts_of_a_call_share_its_decision_and_wait_once() -> None:
    bench = Bench(has_hook=True)
    first = ask(bench)
    step = first.answer(BeforeRequestResult.degrade("gpt-4o-mini", delay_ms=250))
    assert isinstance(step, Wait)
    first.waited(0.25)
    first.receive_response(500, headers())
    first.receive_eof()
    second = bench.open(wire(HELLO))
    step = second.start()
    assert isinstance(step, Send)
    assert step.rewrite is not None
    second.receive_response(200, headers())
    second.receive_eof()
    for event in bench.events:
        event.read()
    assert [event.attempt for event in bench.events] == [0, 1]
    assert [event.throttle_ms for event in bench.events] == [250, 0]
    assert [event.degraded_from for event in bench.events] == ["gpt-4o", "gpt-4o"]
    assert len({event.call_id for event in bench.events}) == 1
    assert len({event.event_id for event in bench.events}) == 2


def test_a_refused_call_is_asked_about_again() -> None:
    bench = Bench(has_hook=True)
    ask(bench).answer(BeforeRequestResult.cancel("no"))
    ask(bench)


def test_an_interrupted_call_is_not_carried_on() -> None:
    bench = Bench()
    bench.sent(wire(HELLO)).fail(KeyboardInterrupt())
    assert bench.open(wire(HELLO)).attempt == 0
    bench.sent(wire(HELLO)).fail(ConnectionResetError())
    assert bench.open(wire(HELLO)).attempt == 1


@pytest.mark.parametrize("gone_on", [True, False])
def test_a_redirect_hop_is_an_event_only_where_the_client_stops_there(gone_on: bool) -> None:
    bench = Bench(has_hook=True)
    first = ask(bench)
    first.answer(None)
    first.receive_response(307, headers(None), lambda: gone_on)
    first.receive_eof()
    assert first.state == ENDED
    assert len(bench.events) == (not gone_on)
    second = bench.open(wire(HELLO, "/v2/chat/completions"))
    assert isinstance(second.start(), Send if gone_on else Ask)
    assert second.attempt == 0
    assert (second.logical is first.logical) == gone_on


# -- answers of every kind ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "status", "read"),
    [
        (JSON, 200, True),
        ("application/json; charset=utf-8", 200, True),
        (None, 200, True),
        ("application/problem+json", 500, True),
        ("text/html", 502, True),
        ("text/plain", 200, False),
        ("audio/mpeg", 200, False),
    ],
)
def test_only_what_may_be_json_is_collected(content_type: str | None, status: int, read: bool) -> None:
    exchange = Bench().receiving(wire(HELLO), status, headers(content_type))
    assert (exchange.body_observer is not None) == read
    assert exchange.stream_observer is None


@pytest.mark.parametrize(
    ("body", "content_type", "status", "streams"),
    [
        ({"stream": True}, EVENT_STREAM, 200, True),
        ({"stream": True}, JSON, 200, True),
        ({}, EVENT_STREAM, 200, True),
        ({}, "application/x-ndjson", 200, True),
        ({"stream": True}, EVENT_STREAM, 429, False),
        ({}, JSON, 200, False),
    ],
)
def test_a_stream_is_one_by_the_request_or_the_answer(
    body: dict[str, Any], content_type: str, status: int, streams: bool
) -> None:
    exchange = Bench().receiving(wire({**HELLO, **body}), status, headers(content_type))
    assert (exchange.stream_observer is not None) == streams
    assert (exchange.body_observer is not None) == (not streams)


def test_a_stream_of_an_operation_without_one_is_not_read() -> None:
    exchange = Bench().receiving(wire({"model": "m"}, "/v1/embeddings"), 200, headers(EVENT_STREAM))
    assert exchange.stream_observer is None
    assert exchange.body_observer is None


def test_an_encoding_that_nobody_can_undo_is_a_fault() -> None:
    event = Bench().answered(wire(HELLO), ANSWER, answer=headers(content_encoding="rot13"))
    assert (event.faults, event.usage, event.status_code) == (("encoding.unsupported",), None, 200)


def test_an_encoded_answer_is_decoded() -> None:
    data = gzip.compress(json.dumps(ANSWER).encode())
    event = Bench().answered(wire(HELLO), data, answer=headers(content_encoding="gzip"))
    assert (event.faults, event.input_tokens) == ((), 9)


@pytest.mark.parametrize(
    "more",
    [{"tools": [{}]}, {"functions": [{}]}, {"n": 2}, {"n": "two"}],
    ids=["tools", "functions", "n", "odd n"],
)
def test_tool_calls_and_choices_are_read_from_the_middle_of_a_stream(more: dict[str, Any]) -> None:
    call = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": "{}"}}
    text = [{"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}}]} for _ in range(20)]
    middle = {
        "id": "c",
        "choices": [{"index": 1, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}],
    }
    bench = Bench(stream_usage=False)
    exchange = bench.receiving(wire({**HELLO, "stream": True, **more}), answer=headers(EVENT_STREAM))
    exchange.feed(sse(*text, middle, *text, done=True))
    event = bench.event
    assert [tool.name for tool in event.tool_calls or ()] == ["look"]
    assert event.finish_reasons == ("tool_calls",)


# -- what leaves -------------------------------------------------------------------------------------


def test_usage_is_asked_for_where_the_vendor_accepts_it_and_hidden() -> None:
    exchange = Bench().open(wire({**HELLO, "stream": True}))
    step = exchange.start()
    assert isinstance(step, Send)
    change = step.rewrite
    assert change is not None
    assert json.loads(change.body or b"") == {
        **HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert change.set_headers == {b"accept-encoding": b"identity"}
    assert exchange.usage_filter is not None


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        (wire(HELLO), {}),
        (wire({**HELLO, "stream": True}), {"stream_usage": False}),
        (wire({**HELLO, "stream": True}, hides_events=False), {}),
        (wire({**HELLO, "stream": True}, names=SIGNED), {}),
        (wire({**HELLO, "stream": True}, host="llm.example.com"), {}),
        (wire({**HELLO, "stream": True, "stream_options": {"include_usage": True}}), {}),
        (wire({**HELLO, "stream": True, "stream_options": 7}), {}),
        (wire({**HELLO, "stream": True}, "/v1/responses"), {}),
        (wire({**HELLO, "stream": True}, "/v1/messages", host=ANTHROPIC), {}),
    ],
)
def test_usage_is_not_asked_for(request_: WireRequest, settings: dict[str, Any]) -> None:
    exchange = Bench(**settings).open(request_)
    step = exchange.start()
    assert isinstance(step, Send)
    assert step.rewrite is None
    assert exchange.usage_filter is None


def test_a_stream_whose_body_was_never_seen_is_left_alone() -> None:
    exchange = Bench().open(wire(None))
    exchange.stream = True
    step = exchange.start()
    assert isinstance(step, Send)
    assert step.rewrite is None


def test_our_headers_and_our_metadata_stay_here() -> None:
    body = {**HELLO, "metadata": {"agent": "a", "other": 1}}
    names = {"X-Aden-Tenant": "acme", "x-aden-tag": "beta", "Accept": "*/*"}
    exchange = Bench().open(wire(body, names=names))
    step = exchange.start()
    assert isinstance(step, Send)
    assert step.rewrite is not None
    assert step.rewrite.drop_headers == {b"x-aden-tenant", b"x-aden-tag"}
    assert json.loads(step.rewrite.body or b"") == {**HELLO, "metadata": {"other": 1}}
    assert exchange.metadata == {"agent": "a", "other": 1, "tenant": "acme", "tags": ("beta",)}


@pytest.mark.parametrize("forward", ["always", "native"])
def test_metadata_that_the_vendor_takes_leaves(forward: str) -> None:
    exchange = Bench(forward_metadata=forward).open(
        wire({**HELLO, "store": True, "metadata": {"agent": "a"}})
    )
    step = exchange.start()
    assert isinstance(step, Send)
    assert step.rewrite is None


@pytest.mark.parametrize(
    ("forward", "gone"),
    [("always", []), ("native", ["metadata[agent]"]), ("never", ["metadata[agent]", "metadata[other]"])],
)
def test_metadata_in_a_form_leaves_as_the_option_says(forward: str, gone: list[str]) -> None:
    form = {"model": "whisper-1", "metadata[agent]": "a", "metadata[other]": "b"}
    step = Bench(forward_metadata=forward).open(wire(path="/v1/audio/transcriptions", form=form)).start()
    assert isinstance(step, Send)
    assert (step.rewrite.form if step.rewrite else None) == (dict.fromkeys(gone) or None)


def test_a_form_without_anything_of_ours_leaves_as_it_is() -> None:
    step = Bench().open(wire(path="/v1/audio/transcriptions", form={"model": "whisper-1"})).start()
    assert isinstance(step, Send)
    assert step.rewrite is None


def test_metadata_of_an_unreadable_stream_body_is_left_alone() -> None:
    """With a header of ours there is something to change, but no body to look into."""
    step = Bench().open(wire(None, names={"x-aden-agent": "a"})).start()
    assert isinstance(step, Send)
    assert step.rewrite is not None
    assert step.rewrite.body is None


# -- attribution -------------------------------------------------------------------------------------


def test_the_more_trusted_channel_wins() -> None:
    body = {**HELLO, "metadata": {"agent": "body", "tenant": "body", "customer": "body", "feature": "body"}}
    names = {"x-aden-agent": "header", "x-aden-tenant": "header"}
    options = {"agent": "option", "tenant": "option", "customer_id": "option"}
    bench = Bench(metadata=lambda: options, context_id=lambda: 7)
    with context(agent="context"):
        exchange = bench.open(wire(body, names=names))
    assert exchange.metadata == {
        "agent": "context",
        "tenant": "header",
        "customer": "option",
        "feature": "body",
        "context_id": "7",
    }


@pytest.mark.parametrize(
    ("settings", "metadata"),
    [
        ({"metadata": lambda: None}, {}),
        ({"metadata": {}}, {}),
        ({"context_id": lambda: None}, {}),
        ({"metadata": {"a": 1}, "context_id": lambda: "c"}, {"a": 1, "context_id": "c"}),
    ],
)
def test_options_may_have_nothing_to_say(settings: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert Bench(**settings).open(wire(HELLO)).metadata == metadata


def test_a_callable_that_raises_is_counted_and_not_felt() -> None:
    def broken() -> Mapping[str, Any]:
        raise LookupError("no tenant")

    reset_faults()
    assert Bench(metadata=broken).open(wire(HELLO)).metadata == {}
    assert fault_counts() == {"request_metadata:LookupError": 1}
    reset_faults()


@pytest.mark.parametrize("metadata", [None, 7, [], "agent"])
def test_metadata_of_another_shape_is_none(metadata: Any) -> None:
    exchange = Bench().open(wire({**HELLO, "metadata": metadata}))
    assert exchange.metadata is None
    step = exchange.start()
    assert isinstance(step, Send)
    assert step.rewrite is None


def test_the_path_of_the_table_is_the_one_that_is_metered() -> None:
    assert Bench().open(wire(HELLO)).wire.path == CHAT


@pytest.mark.parametrize("fail_open", [True, False])
def test_a_fault_in_deciding_follows_fail_open(fail_open: bool) -> None:
    bench = Bench(fail_open=fail_open)
    exchange = bench.open(wire(b'{"model":"gpt-4o"}'))
    step = exchange.decide_failed(RuntimeError("ours"))
    assert isinstance(step, Send if fail_open else Refuse)
    assert exchange.state == ("sent" if fail_open else "ended")


def test_a_rewrite_that_fails_becomes_an_alert() -> None:
    bench = Bench(has_hook=True)
    exchange, _ = degrade(bench, wire(b'{"model":"gpt-4o"}'))
    exchange.rewrite_failed(RuntimeError("ours"))
    assert (exchange.decision.action, exchange.decision.hindered) == ("alert", "rewrite failed")
    assert (exchange.degraded_from, exchange.sent_model) == (None, "gpt-4o")
