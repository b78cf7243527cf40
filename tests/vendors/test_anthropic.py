"""Anthropic: turns that the server takes, batches, and hosts of the platform elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.events import NormalizedUsage
from aden_transport.vendors import Reading
from aden_transport.vendors.anthropic import read_batch, read_batch_result

from ..core.kit import ANTHROPIC, CLASSIFIER, EVENT_STREAM, Bench, headers, sse, wire

MESSAGES = "/v1/messages"
RESULTS = "/v1/messages/batches/msgbatch_1/results"
JSON_LINES = "application/x-jsonl"


def figures(usage: NormalizedUsage | None) -> dict[str, Any] | None:
    """What is not 0."""
    if usage is None:
        return None
    return {name: getattr(usage, name) for name in usage.__slots__ if getattr(usage, name)}


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        ("POST", "/v1/messages", "chat"),
        ("POST", "/v1/messages/batches", "batch"),
        ("GET", RESULTS, "batch"),
        ("GET", "/v1/messages/batches", None),
        ("GET", "/v1/messages/batches/msgbatch_1", None),
        ("POST", "/v1/messages/batches/msgbatch_1/cancel", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("GET", "/v1/organizations/usage_report/messages", None),
        ("GET", "/v1/organizations/cost_report", None),
        ("POST", "/v1/organizations/api_keys/k", None),
        ("POST", "/v1/files", None),
    ],
)
def test_paths_say_what_is_asked(method: str, path: str, wanted: str | None) -> None:
    call = CLASSIFIER.classify(wire(None, path, host=ANTHROPIC, method=method))
    assert (call and call.operation.name) == wanted


def test_the_platform_on_aws_is_anthropics_own() -> None:
    host = "aws-external-anthropic.us-west-2.api.aws"
    event = Bench().answered(wire({"model": "m"}, MESSAGES, host=host), {"usage": {"input_tokens": 1}})
    assert (event.provider, event.region) == ("anthropic", "us-west-2")


# -- turns -------------------------------------------------------------------------------------------

COMPACTED = {
    "input_tokens": 23_000,
    "output_tokens": 1000,
    "iterations": [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500, "cache_read_input_tokens": 7},
        {"type": "message", "input_tokens": 23_000, "output_tokens": 1000},
        7,
    ],
}
WITH_COMPACTION = {"input_tokens": 203_007, "output_tokens": 4500, "cached_tokens": 7}


def test_compactions_are_billed_beside_the_message() -> None:
    answer = {"id": "m", "model": "claude-opus-4-6", "stop_reason": "end_turn", "usage": COMPACTED}
    event = Bench().answered(wire({}, MESSAGES, host=ANTHROPIC), answer)
    assert (figures(event.usage), event.faults) == (WITH_COMPACTION, ())


def test_compactions_of_a_stream_are_counted_once() -> None:
    started = {"id": "m", "model": "claude-opus-4-6", "usage": {"input_tokens": 23_000, "output_tokens": 1}}
    stream = sse(
        {"type": "message_start", "message": started},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 500}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": COMPACTED},
        {"type": "message_stop"},
    )
    request = wire({"stream": True}, MESSAGES, host=ANTHROPIC)
    event = Bench().answered(request, stream, answer=headers(EVENT_STREAM))
    assert figures(event.usage) == WITH_COMPACTION


def test_another_models_advice_is_named_as_unpriced() -> None:
    turns = [
        {"type": "message", "input_tokens": 10, "output_tokens": 1},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2518, "output_tokens": 22},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 9, "output_tokens": 9},
    ]
    answer = {"usage": {"input_tokens": 10, "output_tokens": 1, "iterations": turns}}
    event = Bench().answered(wire({}, MESSAGES, host=ANTHROPIC), answer)
    assert figures(event.usage) == {"input_tokens": 10, "output_tokens": 1}
    assert event.faults == ("unpriced.advisor_message",)


# -- batches -----------------------------------------------------------------------------------------


def test_beginning_a_batch_uses_nothing() -> None:
    counts = {"processing": 2, "succeeded": 0, "errored": 1, "canceled": 1, "expired": 1}
    batch = {"id": "msgbatch_1", "processing_status": "in_progress", "request_counts": counts}
    event = Bench().answered(wire({"requests": []}, MESSAGES + "/batches", host=ANTHROPIC), batch)
    assert (event.operation, event.response_id, event.usage, event.cost_nano_usd) == (
        "batch",
        "msgbatch_1",
        None,
        None,
    )
    assert event.operation_details == {
        "batch_status": "in_progress",
        "request_counts_total": 5,
        "request_counts_completed": 0,
        "request_counts_failed": 3,
    }


def result(id: str, usage: Any, model: str = "claude-haiku-4-5-20251001") -> dict[str, Any]:
    message = {"id": id, "model": model, "stop_reason": "end_turn", "usage": usage, "content": []}
    return {"custom_id": id, "result": {"type": "succeeded", "message": message}}


LINES = [
    result("msg_b", {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"}),
    result("msg_a", {"input_tokens": 100, "cache_read_input_tokens": 30, "output_tokens": 50}),
    {"custom_id": "c", "result": {"type": "errored", "error": {"type": "error"}}},
    {"custom_id": "d", "result": {"type": "expired"}},
    result("msg_c", None),
]
SUM = {"input_tokens": 140, "output_tokens": 55, "cached_tokens": 30}


def lines(*results: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in results)


def downloaded(bench: Bench, data: bytes, *, size: int = 1 << 20, broken: bool = False) -> None:
    request = wire(None, RESULTS, host=ANTHROPIC, method="GET")
    exchange = bench.receiving(request, answer=headers(JSON_LINES))
    for at in range(0, len(data), size):
        exchange.feed(data[at : at + size])
    if broken:
        exchange.close()
    else:
        exchange.receive_eof()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_batch_counts_once_and_its_usage_is_that_of_its_results(size: int) -> None:
    bench = Bench()
    downloaded(bench, lines(*LINES), size=size)
    event = bench.event
    assert (figures(event.usage), event.usage_source) == (SUM, "reported")
    assert (event.response_model, event.faults) == ("claude-haiku-4-5-20251001", ())
    assert event.operation_details == {
        "request_counts_total": 5,
        "request_counts_completed": 3,
        "request_counts_failed": 2,
    }
    assert event.cost
    assert "batch" in (event.price_source or "")  # a price of its own, or the word that there is none
    downloaded(bench, lines(*reversed(LINES)))
    assert len(bench.events) == 1


def test_results_that_are_not_read_to_their_end_are_not_counted_yet() -> None:
    bench = Bench()
    downloaded(bench, lines(*LINES), broken=True)
    assert bench.events == []
    downloaded(bench, lines(*LINES))
    assert figures(bench.event.usage) == SUM


def test_a_batch_of_several_models_has_no_price() -> None:
    bench = Bench()
    usage = {"input_tokens": 1, "output_tokens": 1}
    models = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-haiku-4-5")
    downloaded(bench, lines(*(result(f"msg_{n}", usage, model) for n, model in enumerate(models))))
    event = bench.event
    assert (event.response_model, event.input_tokens, event.cost_nano_usd) == ("various", 3, None)


def test_results_without_an_answer_count_nothing() -> None:
    bench = Bench()
    downloaded(bench, lines(LINES[2], LINES[3], {"result": 7}, {}))
    assert bench.events == []


def test_a_large_download_is_read_in_bounded_memory() -> None:
    bench = Bench()
    usage = {"input_tokens": 1, "output_tokens": 2}
    many = [result(f"msg_{n:06}", usage) for n in range(2000)]
    long = result("msg_x", usage)
    long["result"]["message"]["content"] = "x" * (2 << 20)
    downloaded(bench, lines(*many, long, *many[:1]), size=65_536)
    event = bench.event
    assert (event.input_tokens, event.output_tokens) == (2001, 4002)
    assert event.faults == ("ndjson.line_too_long",)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-5, 1 << 60) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = ("id", "type", "model", "result", "message", "usage", "iterations", "request_counts", "errored")
ODD = st.recursive(
    ANYTHING | st.just("succeeded") | st.just("compaction"),
    lambda inner: st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(MEMBERS), ODD, max_size=5), max_size=4))
def test_no_result_is_too_odd_to_be_read(found: list[dict[str, Any]]) -> None:
    reading = Reading()
    for line in found:
        read_batch(line, Reading())
        read_batch_result("", line, reading)
