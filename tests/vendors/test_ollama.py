"""Ollama: lines of JSON of which the last has the counts, streamed unless told otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport.core.estimate import tokens_of
from aden_transport.core.steps import Send
from aden_transport.events import MetricEvent

from ..core.kit import CLASSIFIER, EVENT_STREAM, JSON, Bench, every_cut, headers, sse, wire
from .test_shapes import figures

LOCAL, NDJSON = "localhost:11434", "application/x-ndjson"
CHAT, GENERATE = "/api/chat", "/api/generate"
COUNTS = {"prompt_eval_count": 17, "eval_count": 63}
DURATIONS = {
    "total_duration": 3_722_518_334,
    "load_duration": 1_534_053_125,
    "prompt_eval_duration": 179_676_000,
    "eval_duration": 2_006_086_000,
}
IN_MS = {
    "total_duration_ms": 3722.518334,
    "load_duration_ms": 1534.053125,
    "prompt_eval_duration_ms": 179.676,
    "eval_duration_ms": 2006.086,
}


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "llama3", "message": {"role": "assistant", "content": content}, "done": False, **more}


def last(**more: Any) -> dict[str, Any]:
    return said("", done=True, done_reason="stop", **more)


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"\n" for value in values)


def answered(answer: Any, path: str = CHAT, *, kind: str | None = None, **asked: Any) -> MetricEvent:
    request = wire({"model": "llama3", **asked}, path, host=LOCAL)
    return Bench().answered(
        request, answer, answer=headers(kind or (NDJSON if isinstance(answer, bytes) else JSON))
    )


@pytest.mark.parametrize(
    ("asked", "stream"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)]
)
def test_it_streams_unless_it_is_told_not_to(asked: dict[str, Any], stream: bool) -> None:
    call = CLASSIFIER.classify(wire({}, CHAT, host=LOCAL))
    assert call is not None
    assert call.operation.streams is not None
    assert call.operation.streams(asked) is stream


def test_a_stream_however_it_is_cut() -> None:
    stream = lines(said("He"), said("llo"), last(**COUNTS, **DURATIONS))
    for pieces in every_cut(stream):
        event = answered(list(pieces), kind=NDJSON)
        assert figures(event.usage) == {"input_tokens": 17, "output_tokens": 63}
        assert (event.operation, event.response_model, event.stream) == ("chat", "llama3", True)
        assert (event.usage_source, event.finish_reasons, event.faults) == ("reported", ("stop",), ())
        assert event.operation_details == IN_MS


def test_a_stream_of_many_lines() -> None:
    stream = lines(*[said("word ")] * 5000, last(**COUNTS))
    pieces = [stream[at : at + 777] for at in range(0, len(stream), 777)]
    event = answered(pieces, kind=NDJSON)
    assert (event.usage_source, event.output_tokens, event.faults) == ("reported", 63, ())


def test_one_long_line() -> None:
    stream = lines(said("x" * 100_000), last(**COUNTS))
    pieces = [stream[at : at + 4096] for at in range(0, len(stream), 4096)]
    assert answered(pieces, kind=NDJSON).output_tokens == 63


def test_an_answer_in_one_piece_where_a_stream_was_asked_for() -> None:
    event = answered(json.dumps(last(**COUNTS), indent=1).encode(), kind=JSON)
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 17, 63)


def test_text_that_was_generated() -> None:
    body = {"model": "llama3", "response": "{}", "done": True, "done_reason": "length", **COUNTS}
    event = answered(body, GENERATE, stream=False)
    assert (event.operation, event.finish_reasons) == ("text_completion", ("length",))
    assert figures(event.usage) == {"input_tokens": 17, "output_tokens": 63}


def test_the_cache_is_a_part_of_the_prompt() -> None:
    event = answered(last(**COUNTS, prompt_eval_cached_count=16), stream=False)
    assert figures(event.usage) == {"input_tokens": 17, "output_tokens": 63, "cached_tokens": 16}


@pytest.mark.parametrize("answer", [last(eval_count=79), lines(said("a"), last(eval_count=79))])
def test_a_prompt_that_is_left_out_is_said_to_be_unknown(answer: Any) -> None:
    event = answered(answer, stream=isinstance(answer, bytes))
    assert figures(event.usage) == {"output_tokens": 79}
    assert event.usage_source == "reported"
    assert event.faults == ("usage.incomplete",)


def test_without_counts_a_stream_is_estimated() -> None:
    event = answered(lines(said("one two "), said("three"), last()))
    assert (event.usage_source, event.finish_reasons) == ("estimated", ("stop",))
    assert event.output_tokens == tokens_of("one two three")


def test_loading_a_model_uses_none() -> None:
    event = answered({"model": "llama3", "done": True, "done_reason": "load"}, GENERATE, stream=False)
    assert (event.usage, event.finish_reasons) == (None, ("load",))


def test_a_stream_that_breaks_off() -> None:
    event = answered(lines(said("x" * 40)))
    assert event.usage_source == "estimated"
    assert "stream.truncated" in event.faults


def test_tools_come_in_any_line_and_with_arguments_as_an_object() -> None:
    calls = [
        {"function": {"name": "weather", "arguments": {"city": "Paris"}}},
        {"function": {"name": "now"}},
        1,
    ]
    told = said("", message={"role": "assistant", "content": "", "tool_calls": calls})
    event = answered(lines(told, *[said("word ")] * 10, last(**COUNTS)))
    assert [(t.name, t.arguments_bytes) for t in event.tool_calls or ()] == [("weather", 16), ("now", 0)]
    whole = answered({**told, **COUNTS, "done": True}, stream=False)
    assert [tool.name for tool in whole.tool_calls or ()] == ["weather", "now"]


def test_an_error_within_a_stream() -> None:
    event = answered(lines(said("He"), {"error": "the model runner has stopped"}))
    assert (event.error, event.error_type) == ("the model runner has stopped", "server_error")
    assert event.usage_source == "estimated"


def test_embeddings() -> None:
    body = {"model": "m", "embeddings": [[0.5], [0.5]], "prompt_eval_count": 10, "load_duration": 7_126_128}
    event = answered(body, "/api/embed")
    assert figures(event.usage) == {"input_tokens": 10}
    assert event.operation_details == {"embeddings": 2, "load_duration_ms": 7.126128}
    old = answered({"embedding": [0.5]}, "/api/embeddings")
    assert (old.usage, old.operation_details) == (None, {"embeddings": 1})


def test_the_counts_of_many_embeddings_stand_at_their_end() -> None:
    body = {"model": "m", "embeddings": [[0.123456789] * 1000] * 200, "prompt_eval_count": 10}
    assert answered(body, "/api/embed").input_tokens == 10


def test_questions_with_a_choice_of_answers() -> None:
    body = {"model": "m", "answers": {}, "usage": {"input_tokens": 12, "output_tokens": 1}}
    event = answered(body, "/v1/systemone")
    assert (event.operation, event.input_tokens, event.output_tokens) == ("classification", 12, 1)


@pytest.mark.parametrize(("usage", "faults"), [(None, ()), ("some", ("usage.malformed",))])
def test_answers_without_usage(usage: Any, faults: tuple[str, ...]) -> None:
    event = answered({"model": "m", "usage": usage}, "/v1/systemone")
    assert (event.usage, event.faults) == (None, faults)


@pytest.mark.parametrize("value", [True, -1, "1", 1.5, None, 10**30])
def test_durations_that_are_none(value: Any) -> None:
    assert answered(last(**COUNTS, total_duration=value), stream=False).operation_details is None


def test_what_it_costs_is_not_known() -> None:
    assert answered(last(**COUNTS), stream=False).cost is None


def test_the_cap_stands_in_the_options() -> None:
    call = CLASSIFIER.classify(wire({}, GENERATE, host=LOCAL))
    assert call is not None
    assert call.operation.output_cap == ("options.num_predict",)


def test_openai_s_format_on_its_hosts() -> None:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    stream = sse({"id": "c", "model": "m", "choices": [choice]}, done=True)
    event = answered(stream, "/v1/chat/completions", kind=EVENT_STREAM, stream=True)
    # Where usage was asked for and none came, it is estimated.
    assert (event.provider, event.operation, event.usage_source) == ("ollama", "chat", "estimated")


def test_openai_s_format_is_asked_for_usage() -> None:
    request = wire({"model": "m", "stream": True}, "/v1/chat/completions", host=LOCAL)
    step = Bench(stream_usage=True).open(request).start()
    assert isinstance(step, Send)
    assert b"include_usage" in (step.rewrite.body or b"" if step.rewrite else b"")


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("127.0.0.1:11434", CHAT, "chat"),
        ("gpu.internal:11434", GENERATE, "text_completion"),
        ("[::1]:11434", "/api/embed", "embeddings"),
        ("ollama.com", CHAT, "chat"),
        (LOCAL, "/v1/messages", "chat"),
    ],
)
def test_hosts(host: str, path: str, name: str) -> None:
    call = CLASSIFIER.classify(wire({}, path, host=host))
    assert call is not None
    assert (call.vendor.id, call.operation.name) == ("ollama", name)


@pytest.mark.parametrize(("agent", "known"), [("ollama-python/0.6.3 (arm64)", True), ("my-app/1.0", False)])
def test_elsewhere_only_the_sdk_tells(agent: str, known: bool) -> None:
    request = wire({}, CHAT, host="app.example.com", names={"user-agent": agent})
    assert (CLASSIFIER.classify(request) is not None) is known


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/tags"),
        ("POST", "/api/show"),
        ("POST", "/api/pull"),
        ("GET", "/api/ps"),
        ("GET", "/v1/models"),
    ],
)
def test_what_is_no_use_of_a_model(method: str, path: str) -> None:
    assert CLASSIFIER.classify(wire({}, path, host=LOCAL, method=method)) is None
