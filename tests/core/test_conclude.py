"""From what was seen to the event: usage, its source, its price, its error."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from inline_snapshot import snapshot

from aden_transport.core.classify import Classifier
from aden_transport.core.conclude import MAX_COUNTED_IDS
from aden_transport.core.hook_context import context_of
from aden_transport.core.wire import WireRequest
from aden_transport.events import MetricEvent, NormalizedUsage
from aden_transport.pricing import Price, PriceBook

from .kit import ANTHROPIC, EVENT_STREAM, GEMINI, NOON, Bench, headers, pairs, sse, wire

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 40}]}
STREAM = {**HELLO, "stream": True}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100}
ANSWER = {
    "id": "c",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
PRICES = PriceBook({"openai/gpt-4o": Price(1, 2), "openai/only-images": Price(1, 2, per_image="0.04")})


def delta(text: str, reason: str | None = None) -> dict[str, Any]:
    return {
        "id": "c",
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}],
    }


def streamed(data: bytes, ending: str = "eof", body: Any = None, **settings: Any) -> MetricEvent:
    bench = Bench(PRICES, stream_usage=False, **settings)
    exchange = bench.receiving(wire(body or STREAM), answer=headers(EVENT_STREAM))
    exchange.feed(data)
    if ending == "fail":
        exchange.fail(ConnectionResetError("gone"))
    else:
        {"eof": exchange.receive_eof, "close": exchange.close}[ending]()
    return bench.event


# -- where usage comes from --------------------------------------------------------------------------


def test_reported_usage_is_priced_by_the_model_that_answered() -> None:
    event = Bench(PRICES).answered(wire(HELLO), ANSWER)
    assert (event.usage_source, event.cost_nano_usd, event.price_source) == (
        "reported",
        1_200_000,
        "override",
    )
    assert event.cost_usd == Decimal("0.0012")


def test_an_unknown_answering_model_is_priced_as_the_one_that_was_asked_for() -> None:
    event = Bench(PRICES).answered(wire(HELLO), {**ANSWER, "model": "my-deployment"})
    assert event.cost_nano_usd == 1_200_000


@pytest.mark.parametrize(
    ("asked", "answered"), [("mine", "mine"), (None, "mine"), ("mine", None), (None, None)]
)
def test_a_model_without_a_price_costs_what_nobody_knows(asked: str | None, answered: str | None) -> None:
    event = Bench(PRICES).answered(wire({"model": asked, "messages": []}), {**ANSWER, "model": answered})
    assert (event.usage_source, event.cost_nano_usd, event.price_source) == ("reported", None, None)


def test_a_vendor_without_prices_of_its_own_is_looked_for_by_its_name() -> None:
    classifier = Classifier()
    classifier.register("acme", hosts=["llm.example.com"])
    bench = Bench(PriceBook({"acme/gpt-4o": Price(3, 3)}))
    exchange = bench.open(wire(HELLO, host="llm.example.com"), classifier)
    exchange.start()
    exchange.receive_response(200, headers())
    exchange.feed(json.dumps(ANSWER).encode())
    exchange.receive_eof()
    assert (bench.event.provider, bench.event.cost_nano_usd) == ("acme", 3_300_000)


def test_an_answer_without_usage_is_not_estimated() -> None:
    event = Bench(PRICES).answered(wire(HELLO), {**ANSWER, "usage": None})
    assert (event.usage, event.usage_source, event.cost_nano_usd, event.faults) == (None, None, None, ())


FINISHED = sse(delta("x" * 400), delta("", "stop"))
UNFINISHED = sse(delta("x" * 400))


@pytest.mark.parametrize(
    ("data", "ending", "source", "faults"),
    [
        (FINISHED + sse({"choices": [], "usage": USAGE}, done=True), "eof", "reported", ()),
        (FINISHED + sse({"choices": [], "usage": USAGE}), "close", "reported", ()),
        (FINISHED + sse({"choices": [], "usage": USAGE}), "fail", "reported", ()),
        (FINISHED + sse(done=True), "eof", "estimated", ()),
        (FINISHED, "eof", "estimated", ()),
        (FINISHED, "close", "estimated", ()),
        (UNFINISHED, "eof", "estimated", ("stream.truncated",)),
        (UNFINISHED, "close", "estimated", ("stream.abandoned",)),
        (UNFINISHED, "fail", "estimated", ("stream.abandoned",)),
        (b"", "eof", "estimated", ("stream.truncated",)),
        (b"", "close", "estimated", ("stream.abandoned",)),
        (sse({"choices": [], "usage": USAGE}), "close", "estimated", ("stream.abandoned",)),
    ],
)
def test_a_streams_usage_is_reported_or_estimated(
    data: bytes, ending: str, source: str, faults: tuple[str, ...]
) -> None:
    event = streamed(data, ending)
    assert (event.usage_source, event.faults) == (source, faults)
    assert event.usage is not None
    assert event.cost_nano_usd is not None
    if source == "estimated":
        reported = b"usage" in data
        assert event.usage.input_tokens == (1000 if reported else 7)
        assert event.usage.output_tokens == (100 if reported else 25 if data else 0)


def test_what_the_vendor_has_reported_stands_in_an_estimate() -> None:
    start = {
        "type": "message_start",
        "message": {"id": "m", "usage": {"input_tokens": 70, "output_tokens": 500}},
    }
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 40}}
    bench = Bench()
    request = wire(
        {"model": "claude-sonnet-4-5", "stream": True, "messages": []}, "/v1/messages", host=ANTHROPIC
    )
    exchange = bench.receiving(request, answer=headers(EVENT_STREAM))
    exchange.feed(sse(start, text))
    exchange.close()
    event = bench.event
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("estimated", 70, 500)


@pytest.mark.parametrize(
    ("ending", "faults"), [("eof", ("body.malformed",)), ("close", ("body.malformed", "body.abandoned"))]
)
def test_a_body_that_was_not_read_to_its_end_says_so(ending: str, faults: tuple[str, ...]) -> None:
    bench = Bench()
    exchange = bench.receiving(wire(HELLO))
    exchange.feed(b'{"id": "c", ')
    {"eof": exchange.receive_eof, "close": exchange.close}[ending]()
    assert bench.event.faults == faults


def test_a_body_that_was_closed_after_all_of_it_came_is_whole() -> None:
    bench = Bench(PRICES)
    exchange = bench.receiving(wire(HELLO))
    exchange.feed(json.dumps(ANSWER).encode())
    exchange.close()
    assert (bench.event.usage_source, bench.event.faults) == ("reported", ())


def test_an_error_that_was_closed_early_is_no_abandoned_answer() -> None:
    bench = Bench()
    bench.receiving(wire(HELLO), 500).close()
    assert (bench.event.faults, bench.event.error) == ((), "HTTP 500")


# -- what follows from the request ---------------------------------------------------------------------

SPEECH = {"model": "tts-1", "input": "Hello, world", "voice": "alloy"}


@pytest.mark.parametrize("raw", [b"ID3 audio", b""])
def test_speech_is_billed_by_its_characters(raw: bytes) -> None:
    event = Bench().answered(wire(SPEECH, "/v1/audio/speech"), raw, answer=headers("audio/mpeg"))
    assert event.usage == NormalizedUsage(characters=12)
    assert (event.usage_source, event.operation_details) == ("reported", {"characters": 12})
    assert event.cost_nano_usd == 180_000


@pytest.mark.parametrize(
    ("body", "characters"), [({"model": "tts-1"}, None), ({"model": "tts-1", "input": 7}, None), (None, None)]
)
def test_speech_of_an_unknown_length_has_no_usage(body: Any, characters: int | None) -> None:
    event = Bench().answered(wire(body, "/v1/audio/speech"), b"ID3", answer=headers("audio/mpeg"))
    assert (event.usage, event.usage_source, event.operation_details) == (None, None, None)


def test_refused_speech_costs_nothing() -> None:
    event = Bench().answered(wire(SPEECH, "/v1/audio/speech"), {"error": {"message": "no"}}, 400)
    assert (event.usage, event.cost_nano_usd) == (None, None)


@pytest.mark.parametrize(
    ("events", "source"),
    [
        ([{"type": "speech.audio.done", "usage": {"input_tokens": 3, "output_tokens": 40}}], "reported"),
        ([{"type": "speech.audio.delta", "audio": "x"}], None),
    ],
)
def test_streamed_speech_has_the_usage_that_it_reports(events: list[Any], source: str | None) -> None:
    body = {**SPEECH, "model": "gpt-4o-mini-tts", "stream_format": "sse"}
    event = Bench().answered(wire(body, "/v1/audio/speech"), sse(*events), answer=headers(EVENT_STREAM))
    assert event.usage_source == source
    assert (event.usage is None) == (source is None)


def test_a_free_operation_costs_0_and_says_why() -> None:
    answer = {
        "id": "m",
        "model": "omni-moderation-latest",
        "results": [{"flagged": True}, {"flagged": False}],
    }
    event = Bench().answered(wire({"input": "x"}, "/v1/moderations"), answer)
    assert (event.cost_nano_usd, event.usage, event.usage_source) == (0, None, None)
    assert event.price_source == "free of charge, https://platform.openai.com/docs/api-reference"
    assert event.operation_details == {"flagged": True, "inputs": 2}
    refused = Bench().answered(wire({"input": "x"}, "/v1/moderations"), {}, 429)
    assert (refused.cost_nano_usd, refused.price_source) == (None, None)


def test_figures_of_the_request_and_the_answer_are_joined() -> None:
    body = {"model": "gpt-image-1", "prompt": "x", "n": 2, "size": "auto", "quality": 7}
    answer = {
        "created": 1,
        "size": "1024x1024",
        "data": [{}, {}],
        "usage": {"input_tokens": 5, "output_tokens": 50},
    }
    event = Bench().answered(wire(body, "/v1/images/generations"), answer)
    # A quality that is no word is left out: each detail has one type.
    assert event.operation_details == {"n": 2, "size": "1024x1024", "images": 2}
    bare = Bench().answered(wire({"model": "gpt-4o", "messages": [], "n": 3}), ANSWER)
    assert bare.operation_details == {"n": 3}
    none = Bench().answered(wire(HELLO), ANSWER)
    assert none.operation_details is None


def test_units_without_a_price_are_named() -> None:
    body = {"model": "tts-nameless", "input": "Hi"}
    prices = PriceBook({"openai/tts-nameless": Price(1, 2)})
    event = Bench(prices).answered(wire(body, "/v1/audio/speech"), b"ID3", answer=headers("audio/mpeg"))
    assert (event.cost_nano_usd, event.faults) == (None, ("unpriced.characters",))


def test_a_search_without_a_price_leaves_the_cost_of_the_tokens() -> None:
    usage = {"input_tokens": 10, "output_tokens": 1, "server_tool_use": {"web_search_requests": 2}}
    prices = PriceBook({"anthropic/claude-x": Price(1, 2)})
    request = wire({"model": "claude-x", "messages": []}, "/v1/messages", host=ANTHROPIC)
    event = Bench(prices).answered(request, {"id": "m", "model": "claude-x", "usage": usage})
    assert (event.cost_nano_usd, event.faults) == (12_000, ("unpriced.server_tool_calls",))


@pytest.mark.parametrize(
    ("model", "usage", "cost", "faults"),
    [
        ("only-images", None, 80_000_000, ()),
        ("gpt-4o", None, None, ("unpriced.images",)),
        ("gpt-4o", {"input_tokens": 5, "output_tokens": 50}, 105_000, ()),
    ],
)
def test_images_are_billed_by_the_piece_or_by_tokens(
    model: str, usage: Any, cost: int | None, faults: tuple[str, ...]
) -> None:
    request = wire({"model": model, "prompt": "x"}, "/v1/images/generations")
    event = Bench(PRICES).answered(request, {"data": [{}, {}], "usage": usage})
    assert (event.cost_nano_usd, event.faults) == (cost, faults)
    assert event.usage is not None
    assert event.usage.images == 2


# -- polls ---------------------------------------------------------------------------------------------

DONE = {"id": "resp_1", "model": "gpt-4o", "status": "completed", "background": True, "output": []}
DONE["usage"] = {"input_tokens": 1000, "output_tokens": 100}


def poll(bench: Bench, answer: Any, status: int = 200) -> list[MetricEvent]:
    before = len(bench.events)
    exchange = bench.receiving(wire(None, "/v1/responses/resp_1", method="GET"), status)
    exchange.feed(json.dumps(answer).encode())
    exchange.receive_eof()
    return bench.events[before:]


def test_a_poll_is_counted_once_when_its_answer_has_come() -> None:
    bench = Bench(PRICES)
    for status in ("queued", "in_progress"):
        assert poll(bench, {**DONE, "status": status, "usage": None}) == []
    (event,) = poll(bench, DONE)
    assert (event.usage_source, event.cost_nano_usd, event.response_id) == ("reported", 1_200_000, "resp_1")
    assert poll(bench, DONE) == []
    assert len(poll(bench, {**DONE, "id": "resp_2"})) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {**DONE, "background": False},
        {k: v for k, v in DONE.items() if k != "background"},
        {**DONE, "id": None},
        {"error": {"message": "no such response"}},
    ],
)
def test_a_poll_of_nothing_that_was_used_here_is_no_event(answer: Any) -> None:
    assert poll(Bench(), answer) == []


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "incomplete"])
def test_the_end_of_work_is_told_once_even_without_usage(status: str) -> None:
    bench = Bench(PRICES)
    ended = {**DONE, "status": status, "usage": None}
    (event,) = poll(bench, ended)
    assert (event.finish_reasons, event.usage, event.usage_source) == ((status,), None, None)
    assert event.cost_nano_usd is None
    assert poll(bench, ended) == []


def test_a_poll_that_never_had_an_answer_is_no_event() -> None:
    bench = Bench()
    bench.sent(wire(None, "/v1/responses/r", method="GET")).fail(ConnectionResetError())
    assert bench.events == []


def test_background_work_is_counted_by_the_poll_or_by_the_call_but_once() -> None:
    bench = Bench(PRICES)
    queued = {**DONE, "status": "queued", "usage": None}
    event = bench.answered(wire({"model": "gpt-4o", "background": True}, "/v1/responses"), queued)
    assert (event.usage, event.usage_source, event.cost_nano_usd) == (None, None, None)
    assert event.operation_details == {"background": True}
    assert len(poll(bench, DONE)) == 1
    other = Bench(PRICES)
    other.answered(wire({"model": "gpt-4o", "background": True}, "/v1/responses"), DONE)
    assert poll(other, DONE) == []


def test_a_queued_stream_has_nothing_to_estimate() -> None:
    """An estimate would count what the poll at its end counts again."""
    created = {"type": "response.created", "response": {**DONE, "status": "queued", "usage": None}}
    gone = {"type": "response.queued", "response": {**DONE, "status": "queued", "usage": None}}
    body = {"model": "gpt-4o", "background": True, "stream": True}
    bench = Bench()
    exchange = bench.receiving(wire(body, "/v1/responses"), answer=headers(EVENT_STREAM))
    exchange.feed(sse(created, gone))
    exchange.receive_eof()
    assert (bench.event.usage, bench.event.usage_source) == (None, None)
    assert len(poll(bench, DONE)) == 1


def test_a_streamed_poll_is_counted_like_any_other() -> None:
    bench = Bench(PRICES)
    for expected in (1, 1):
        exchange = bench.receiving(
            wire(None, "/v1/responses/resp_1?stream=true", method="GET"), answer=headers(EVENT_STREAM)
        )
        exchange.feed(sse({"type": "response.completed", "response": DONE}))
        exchange.receive_eof()
        assert len(bench.events) == expected


def test_answers_that_were_counted_are_remembered_in_bounds() -> None:
    bench = Bench()
    counted = bench.settings.counted_ids
    for number in range(MAX_COUNTED_IDS):
        counted[("openai", f"r{number}")] = None
    assert len(poll(bench, DONE)) == 1
    assert len(counted) == MAX_COUNTED_IDS // 2 + 1
    assert ("openai", f"r{MAX_COUNTED_IDS - 1}") in counted


# -- errors --------------------------------------------------------------------------------------------


def test_an_error_is_told_in_the_specifications_words() -> None:
    error = {
        "message": "Rate limit reached for sk-abcdef123456",
        "type": "tokens",
        "code": "rate_limit_exceeded",
    }
    event = Bench().answered(wire(HELLO), {"error": error}, 429, headers(retry_after="2"))
    assert (event.status_code, event.error_type, event.error_code) == (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
    )
    assert event.error == "Rate limit reached for [redacted]"
    assert (event.usage, event.cost_nano_usd) == (None, None)
    assert event.rate_limit is not None
    assert event.rate_limit.retry_after_s == 2


def test_the_requests_own_credential_is_never_told() -> None:
    names = {"Authorization": "Bearer canary-4f1d9c72a8"}
    answer = {"error": {"message": "bad key canary-4f1d9c72a8"}}
    event = Bench().answered(wire(HELLO, names=names), answer, 401)
    assert event.error == "bad key [redacted]"
    bench = Bench()
    request = wire(None, "/v1beta/models/g:generateContent?key=canary-4f1d9c72a8", host=GEMINI)
    bench.sent(request).fail(OSError("GET https://h/?key=canary-4f1d9c72a8"))
    assert "canary" not in str(bench.event.to_dict())


def test_an_error_inside_a_stream_is_one() -> None:
    data = sse(delta("x" * 40), {"error": {"message": "overloaded", "code": 503}})
    event = streamed(data)
    assert (event.status_code, event.error, event.error_type) == (200, "overloaded", "service_unavailable")
    assert (event.error_code, event.usage_source, event.faults) == ("503", "estimated", ())


@pytest.mark.parametrize(("status", "data"), [(500, b""), (502, b"<html>bad gateway</html>")])
def test_an_error_without_words_is_its_status(status: int, data: bytes) -> None:
    event = Bench().answered(wire(HELLO), data, status, headers("text/html"))
    assert (event.error, event.error_type) == (f"HTTP {status}", "server_error")


class ConnectTimeout(TimeoutError):
    """As httpx's."""


@pytest.mark.parametrize(
    ("exc", "error", "kind", "billing"),
    [
        (ConnectionResetError("gone"), "ConnectionResetError: gone", None, "unknown"),
        (TimeoutError(), "TimeoutError", "timeout_error", "unknown"),
        (ConnectTimeout("slow"), "ConnectTimeout: slow", "timeout_error", None),
        (KeyboardInterrupt(), "KeyboardInterrupt", None, "unknown"),
    ],
)
def test_an_exception_is_told_with_what_may_have_been_billed(
    exc: BaseException, error: str, kind: str | None, billing: str | None
) -> None:
    bench = Bench()
    bench.sent(wire(HELLO)).fail(exc)
    event = bench.event
    assert (event.error, event.error_type, event.billing) == (error, kind, billing)
    bench = Bench()
    bench.open(wire(HELLO)).fail(exc)
    assert bench.event.billing is None
    bench = Bench()
    bench.receiving(wire(HELLO)).fail(exc)
    assert bench.event.billing is None


# -- estimates beforehand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "cost"),
    [
        (wire({"model": "gpt-4o", "messages": "x" * 4000}), "0.00025"),
        (wire({"model": "gpt-4o", "messages": "x" * 4000, "max_tokens": 1000}), "0.00225"),
        (wire({"model": "gpt-4o", "messages": "x" * 4000, "max_tokens": 1000, "n": 3}), "0.00625"),
        (wire({"model": "gpt-4o", "messages": "x" * 4000, "max_tokens": 1000, "n": 0}), "0.00225"),
        (wire({"model": "gpt-4o", "messages": "x" * 4000, "max_tokens": 1000, "n": True}), "0.00225"),
        (wire({"model": "no-such-model"}), None),
        (wire({"messages": []}), None),
    ],
)
def test_what_a_call_may_cost_is_told_where_the_price_is_known(
    request_: WireRequest, cost: str | None
) -> None:
    context = context_of(Bench(PRICES).open(request_))
    assert context.estimated_cost_usd == (None if cost is None else Decimal(cost))


def test_a_whole_event_as_a_dictionary() -> None:
    bench = Bench(PRICES, agent_name="reporter", metadata={"tenant": "acme"})
    event = bench.answered(wire(HELLO), ANSWER, answer=headers(x_request_id="req_1"))
    assert event.to_dict() == snapshot(
        {
            "timestamp": "2026-09-21T14:13:20+00:00",
            "model": "gpt-4o-2024-08-06",
            "event_id": "01a0c4506c000000000000000001",
            "trace_id": "00000000000000000000000000000000",
            "span_id": "0000000000000001",
            "provider": "openai",
            "operation": "chat",
            "request_model": "gpt-4o",
            "stream": False,
            "call_id": "0000000000000002",
            "attempt": 0,
            "response_model": "gpt-4o-2024-08-06",
            "response_id": "c",
            "request_id": "req_1",
            "latency_ms": 250.0,
            "status_code": 200,
            "usage_source": "reported",
            "cost_nano_usd": 1200000,
            "price_source": "override",
            "finish_reasons": ("stop",),
            "throttle_ms": 0.0,
            "agent_name": "reporter",
            "cost_usd": 0.0012,
            "usage": {
                "input_tokens": 1000,
                "output_tokens": 100,
                "total_tokens": 1100,
                "reasoning_tokens": 0,
                "cached_tokens": 0,
            },
            "decision": {"action": "allow", "source": "none"},
            "headers": {"content-type": "application/json", "x-request-id": "req_1"},
            "metadata": {"tenant": "acme"},
        }
    )


def test_headers_of_a_refused_call_are_none() -> None:
    assert pairs({}) == []
    bench = Bench()
    bench.sent(wire(HELLO)).close()
    assert (bench.event.headers, bench.event.rate_limit, bench.event.timestamp_s) == (None, None, NOON)
