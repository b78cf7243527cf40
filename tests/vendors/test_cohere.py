"""Cohere: what is billed is the usage, what was processed stands beside it; two versions, three framings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport.events import MetricEvent, RateLimit

from ..core.kit import CLASSIFIER, EVENT_STREAM, JSON, Bench, every_cut, headers, sse, wire
from .test_shapes import figures

HOST, V1, V2 = "api.cohere.com", "/v1/chat", "/v2/chat"
COMMAND, LINES = "command-r-08-2024", "application/stream+json"
USAGE = {
    "billed_units": {"input_tokens": 12, "output_tokens": 49},
    "tokens": {"input_tokens": 212, "output_tokens": 51},
    "cached_tokens": 208,
}
PROCESSED = {"processed_input_tokens": 212, "processed_output_tokens": 51, "processed_cached_tokens": 208}
BILLED = {"input_tokens": 12, "output_tokens": 49}


def answered(
    answer: Any, path: str = V2, *, kind: str = JSON, status: int = 200, asked: Any = None, **more: str
) -> MetricEvent:
    stream = {} if kind == JSON else {"stream": True}
    request = wire({"model": COMMAND, **stream, **(asked or {})}, path, host=HOST)
    return Bench().answered(request, answer, status, headers(kind, **more))


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values)


def delta(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    place = {} if index is None else {"index": index}
    return {"type": kind, **place, "delta": {"message": message}}


def end(reason: str = "COMPLETE", usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": usage, **more}}


START = {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}}
CALL = {"id": "w_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
MORE = {"function": {"arguments": '{"city":"Paris"}'}}


# -- version 2 ----------------------------------------------------------------------------------------


def test_usage_is_what_is_billed() -> None:
    body = {"id": "m1", "finish_reason": "COMPLETE", "message": {"role": "assistant"}, "usage": USAGE}
    event = answered(body)
    assert figures(event.usage) == BILLED
    assert event.operation_details == PROCESSED
    assert (event.response_id, event.response_model, event.finish_reasons) == ("m1", None, ("COMPLETE",))
    assert event.cost == pytest.approx((12 * 0.15 + 49 * 0.60) / 1e6)


@pytest.mark.parametrize(
    ("usage", "wanted", "faults"),
    [
        (None, None, ()),
        ({}, None, ()),
        ({"billed_units": {}}, None, ()),
        ("much", None, ("usage.malformed",)),
        # Where the bill is not said, what was processed is the next best.
        ({"tokens": {"input_tokens": 5, "output_tokens": 2}}, {"input_tokens": 5, "output_tokens": 2}, ()),
        (
            {"billed_units": {"input_tokens": 6.0, "output_tokens": 2.0}},
            {"input_tokens": 6, "output_tokens": 2},
            (),
        ),
        ({"billed_units": {"input_tokens": -6}}, {}, ("usage.negative",)),
    ],
)
def test_usage_in_other_forms(usage: Any, wanted: Any, faults: tuple[str, ...]) -> None:
    event = answered({"id": "m1", "usage": usage})
    assert (figures(event.usage), event.faults) == (wanted, faults)


def test_tools() -> None:
    calls = [{**CALL, **MORE, "function": {"name": "weather", **MORE["function"]}}, 1, {"function": None}]
    event = answered({"id": "m1", "finish_reason": "TOOL_CALL", "message": {"tool_calls": calls}})
    assert [(t.id, t.name, t.arguments_bytes) for t in event.tool_calls or ()] == [("w_1", "weather", 16)]


@pytest.mark.parametrize("done", [False, True])
def test_a_stream_ends_with_its_message_however_it_is_cut(done: bool) -> None:
    text = [delta("content-delta", 0, content={"text": text}) for text in ("He", "llo", '"message-end"')]
    stream = sse(START, *text, {"type": "content-end", "index": 0}, end(), named=True, done=done)
    for pieces in every_cut(stream):
        bench = Bench()
        exchange = bench.receiving(
            wire({"model": COMMAND, "stream": True}, V2, host=HOST), answer=headers(EVENT_STREAM)
        )
        for piece in pieces:
            exchange.feed(piece)
        event = bench.event  # without the body's end
        assert figures(event.usage) == BILLED
        assert (event.response_id, event.operation_details) == ("m1", PROCESSED)
        assert (event.usage_source, event.finish_reasons, event.faults) == ("reported", ("COMPLETE",), ())


def test_tools_in_a_stream() -> None:
    stream = sse(
        START,
        delta("tool-plan-delta", tool_plan="I will"),
        delta("tool-call-start", 0, tool_calls=CALL),
        delta("tool-call-delta", 0, tool_calls=MORE),
        {"type": "tool-call-end", "index": 0},
        end("TOOL_CALL"),
        named=True,
    )
    event = answered(stream, kind=EVENT_STREAM, asked={"tools": [{}]})
    assert [(t.id, t.name, t.arguments_bytes) for t in event.tool_calls or ()] == [("w_1", "weather", 16)]


def test_more_of_a_call_whose_beginning_was_not_read_is_none() -> None:
    stream = sse(START, delta("tool-call-delta", 0, tool_calls=MORE), end("TOOL_CALL"), named=True)
    assert answered(stream, kind=EVENT_STREAM).tool_calls is None


@pytest.mark.parametrize(
    ("reason", "said", "kind"),
    [
        ("ERROR", "out of memory", "server_error"),
        ("ERROR", None, "server_error"),
        ("TIMEOUT", None, "timeout_error"),
        ("ERROR_TOXIC", None, "content_filter_error"),
    ],
)
def test_an_answer_that_failed_under_status_200(reason: str, said: str | None, kind: str) -> None:
    stream = sse(START, end(reason, {}, error=said), named=True)
    event = answered(stream, kind=EVENT_STREAM)
    assert (event.status_code, event.finish_reasons) == (200, (reason,))
    assert (event.error, event.error_type) == (said or f"finish_reason {reason}", kind)
    assert event.usage_source == "estimated"


# -- version 1 ----------------------------------------------------------------------------------------

WHOLE = {
    "response_id": "r1",
    "generation_id": "g1",
    "text": "Hello",
    "finish_reason": "COMPLETE",
    "meta": USAGE,
}
STREAM = (
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g1"},
    {"is_finished": False, "event_type": "text-generation", "text": "Hello"},
    {"is_finished": True, "event_type": "stream-end", "response": WHOLE, "finish_reason": "COMPLETE"},
)


def test_the_first_version() -> None:
    event = answered({**WHOLE, "tool_calls": [{"name": "f", "parameters": {"a": 1}}, 1]}, V1)
    assert figures(event.usage) == BILLED
    assert (event.response_id, event.finish_reasons) == ("r1", ("COMPLETE",))
    assert [(t.name, t.arguments_bytes) for t in event.tool_calls or ()] == [("f", 7)]


def test_its_stream_is_lines_however_it_is_cut() -> None:
    for pieces in every_cut(lines(*STREAM)):
        event = answered(list(pieces), V1, kind=LINES)
        assert figures(event.usage) == BILLED
        assert (event.response_id, event.operation_details, event.faults) == ("r1", PROCESSED, ())


def test_its_stream_as_server_sent_events() -> None:
    stream = sse(*STREAM)
    assert figures(answered(stream, V1, kind=EVENT_STREAM).usage) == BILLED


def test_its_stream_that_is_long() -> None:
    stream = lines(STREAM[0], *[STREAM[1]] * 3000, STREAM[2])
    pieces = [stream[at : at + 999] for at in range(0, len(stream), 999)]
    assert figures(answered(pieces, V1, kind=LINES).usage) == BILLED


def test_its_stream_that_fails() -> None:
    error = {"event_type": "stream-error", "is_finished": True, "finish_reason": "ERROR", "err": "no luck"}
    event = answered(lines(STREAM[0], error), "/v1/generate", kind=LINES)
    assert (event.error, event.error_type) == ("no luck", "server_error")


def test_generations_and_summaries() -> None:
    body = {"id": "g", "generations": [{"finish_reason": "COMPLETE"}, {"finish_reason": "MAX_TOKENS"}, 1]}
    event = answered({**body, "meta": {"billed_units": BILLED}}, "/v1/generate")
    assert figures(event.usage) == BILLED
    assert (event.operation, event.finish_reasons) == ("text_completion", ("COMPLETE", "MAX_TOKENS"))
    assert answered({"id": "s", "meta": {"billed_units": BILLED}}, "/v1/summarize").input_tokens == 12


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (V2, [{"type": "message-end", "delta": None}]),
        (
            V2,
            [
                {
                    "type": "content-delta",
                    "index": [],
                    "delta": {"message": {"content": "He", "tool_calls": []}},
                }
            ],
        ),
        (V2, [{"type": "content-delta", "delta": {"message": None}}]),
        (
            V2,
            [{"type": "tool-call-start", "index": {}, "delta": {"message": {"tool_calls": {"function": 1}}}}],
        ),
        (V1, [{"event_type": "stream-end", "response": None, "finish_reason": 1}]),
        (V1, [{"event_type": "debug", "prompt": "…"}]),
    ],
)
def test_events_in_forms_that_nobody_documents_are_passed_over(path: str, events: Any) -> None:
    event = answered(sse(*events), path, kind=EVENT_STREAM, asked={"tools": [{}]})
    assert (event.usage_source, event.error, event.tool_calls) == ("estimated", None, None)


@pytest.mark.parametrize("path", [V1, V2])
def test_an_error_in_place_of_an_event(path: str) -> None:
    event = answered(sse({"message": "internal server error"}), path, kind=EVENT_STREAM)
    assert (event.error, event.error_type) == ("internal server error", "server_error")


# -- both ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "billed", "wanted"),
    [
        ("/v1/embed", {"input_tokens": 2}, {"input_tokens": 2}),
        ("/v2/embed", {"images": 1}, {"images": 1}),
        ("/v2/embed", {"input_tokens": 4, "image_tokens": 6}, {"input_tokens": 10, "image_input_tokens": 6}),
        ("/v2/embed", {"text_tokens": 4, "image_tokens": 6}, {"input_tokens": 10, "image_input_tokens": 6}),
        ("/v1/rerank", {"search_units": 1}, {"search_units": 1}),
        ("/v2/rerank", {"search_units": 2}, {"search_units": 2}),
        ("/v2/parse", {"pages": 3}, {"pages": 3}),
        ("/v1/classify", {"classifications": 5}, None),
    ],
)
def test_other_units(path: str, billed: Any, wanted: Any) -> None:
    event = answered({"id": "e1", "meta": {"api_version": {"version": "2"}, "billed_units": billed}}, path)
    assert figures(event.usage) == wanted
    assert event.response_id == "e1"
    assert (event.operation_details or {}).get("classifications") == billed.get("classifications")


@pytest.mark.parametrize("vectors", [[[0.5], [0.5]], {"int8": [[1], [2]]}])
def test_embeddings_are_counted(vectors: Any) -> None:
    event = answered({"id": "e", "embeddings": vectors}, "/v2/embed")
    assert event.operation_details == {"embeddings": 2}


def test_the_bill_stands_at_the_end_of_a_large_answer() -> None:
    body = {
        "id": "e",
        "embeddings": [[0.123456789] * 1000] * 200,
        "meta": {"billed_units": {"input_tokens": 9}},
    }
    assert answered(body, "/v2/embed").input_tokens == 9


def test_an_error_is_in_the_message() -> None:
    event = answered({"id": "e", "message": "too many tokens: size limit exceeded"}, status=400)
    assert (event.error, event.error_type) == (
        "too many tokens: size limit exceeded",
        "invalid_request_error",
    )


def test_headers() -> None:
    event = answered(
        WHOLE,
        V1,
        x_debug_trace_id="trace",
        x_envoy_upstream_service_time="12",
        x_trial_endpoint_call_limit="40",
        x_trial_endpoint_call_remaining="39",
    )
    assert (event.request_id, event.server_latency_ms) == ("trace", 12.0)
    assert event.rate_limit == RateLimit(40, 39, window_requests_s=60.0)


def test_openai_s_format_on_its_hosts() -> None:
    call = CLASSIFIER.classify(wire({}, "/compatibility/v1/chat/completions", host=HOST))
    assert call is not None
    assert (call.vendor.id, call.operation.name, call.operation.asks_usage) == ("cohere", "chat", False)


@pytest.mark.parametrize(("agent", "known"), [("cohere/7.3.1", True), ("my-app/1.0", False)])
@pytest.mark.parametrize("path", [V1, V2, "/v2/embed", "/v1/rerank"])
def test_elsewhere_only_the_sdk_tells(path: str, agent: str, known: bool) -> None:
    request = wire({}, path, host="gateway.example.com", names={"user-agent": agent})
    assert CLASSIFIER.may_be_call(request.host, path)
    assert (CLASSIFIER.classify(request) is not None) is known


@pytest.mark.parametrize("path", ["/v1/tokenize", "/v1/detokenize", "/v1/datasets", "/v1/embed-jobs"])
def test_what_is_no_use_of_a_model(path: str) -> None:
    assert CLASSIFIER.classify(wire({}, path, host=HOST)) is None
    assert CLASSIFIER.classify(wire({}, "/v1/models", host=HOST, method="GET")) is None
