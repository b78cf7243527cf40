"""Where each answer keeps its figures: our own small payloads, the surprises among them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from aden_transport.events import MetricEvent, NormalizedUsage
from aden_transport.vendors import VENDORS, Operation, Reading, Vendor
from aden_transport.vendors.base import MAX_COUNT, count, text
from aden_transport.vendors.openai_shapes import seconds

from ..core.kit import (
    ANTHROPIC,
    AZURE,
    CHAT,
    EVENT_STREAM,
    GEMINI,
    GENERATE,
    OPENAI,
    VERTEX,
    Bench,
    headers,
    sse,
    wire,
)

MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
IN_DEPLOYMENT = "/openai/deployments/d/chat/completions"
VERTEX_CLAUDE = "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict"
VERTEX_GEMINI = "/v1/projects/p/locations/l/publishers/google/models/g:generateContent"


def answered(
    answer: Any, path: str = CHAT, host: str = OPENAI, body: Any = None, form: Any = None
) -> MetricEvent:
    """The event of an answer: JSON, or an event stream given as bytes."""
    stream = isinstance(answer, bytes)
    asked = {"model": "m", **({"stream": True} if stream else {}), **(body or {})}
    request = wire(None if form else asked, path, host=host, form=form)
    bench = Bench(stream_usage=False)
    return bench.answered(request, answer, answer=headers(EVENT_STREAM if stream else "application/json"))


def figures(usage: NormalizedUsage | None) -> dict[str, Any] | None:
    """What is not 0."""
    if usage is None:
        return None
    return {name: getattr(usage, name) for name in usage.__slots__ if getattr(usage, name)}


def chat(usage: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"finish_reason": "stop", "message": {}}], "usage": usage}


# -- usage of OpenAI and Azure -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", [(CHAT, OPENAI), (IN_DEPLOYMENT, AZURE), ("/v1beta/openai/chat/completions", GEMINI)]
)
@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (None, None),
        # what is not said is not 0
        ({}, None),
        ({"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}, None),
        ({"tokens": 9}, None),
        (
            {"prompt_tokens": None, "completion_tokens": 2, "total_tokens": 9},
            {"input_tokens": 7, "output_tokens": 2},
        ),
        ({"prompt_tokens": 7, "total_tokens": 9}, {"input_tokens": 7, "output_tokens": 2}),
        ({"prompt_tokens": 7, "total_tokens": 5}, {"input_tokens": 7}),
        ({"prompt_tokens": 9, "completion_tokens": 2}, {"input_tokens": 9, "output_tokens": 2}),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {
                    "cached_tokens": 64,
                    "audio_tokens": 7,
                    "image_tokens": 3,
                    "cache_write_tokens": 5,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": 30,
                    "audio_tokens": 4,
                    "accepted_prediction_tokens": 2,
                    "rejected_prediction_tokens": 1,
                },
            },
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "cached_tokens": 64,
                "cache_write_tokens": 5,
                "audio_input_tokens": 7,
                "image_input_tokens": 3,
                "reasoning_tokens": 30,
                "audio_output_tokens": 4,
                "accepted_prediction_tokens": 2,
                "rejected_prediction_tokens": 1,
            },
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "prompt_tokens_details": None,
                "completion_tokens_details": {},
            },
            {"input_tokens": 9, "output_tokens": 2},
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 0}},
            {"input_tokens": 9, "output_tokens": 2},
        ),
        # cached > input: beside the prompt, unless the total says that it is part of it (Grok on Azure)
        (
            {"prompt_tokens": 7, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 161}},
            {"input_tokens": 168, "output_tokens": 1, "cached_tokens": 161},
        ),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 1,
                "total_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 161},
            },
            {"input_tokens": 7, "output_tokens": 1, "cached_tokens": 7},
        ),
        # breakdowns and seconds beside the counts are not picked up
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "queue_time": 0.3,
                "usage_breakdown": {"models": [{"usage": {"prompt_tokens": 5}}]},
            },
            {"input_tokens": 9, "output_tokens": 2},
        ),
        ({"prompt_tokens": 6.0, "completion_tokens": "2"}, {"input_tokens": 6, "output_tokens": 2}),
    ],
)
def test_usage_of_a_chat(place: tuple[str, str], usage: Any, wanted: Any) -> None:
    assert figures(answered(chat(usage), *place).usage) == wanted


@pytest.mark.parametrize(
    ("usage", "output", "reasoning"),
    [
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, 74, 62),
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 47}, 12, 0),
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 1}, 12, 0),
    ],
)
def test_thinking_at_geminis_compatible_endpoint_stands_in_the_total_alone(
    usage: dict[str, int], output: int, reasoning: int
) -> None:
    place = ("/v1beta/openai/chat/completions", GEMINI)
    for answer in (
        chat(usage),
        sse({"choices": [{"finish_reason": "stop", "delta": {}}], "usage": usage}, done=True),
    ):
        found = answered(answer, *place).usage
        assert found is not None
        assert (found.input_tokens, found.output_tokens, found.reasoning_tokens) == (35, output, reasoning)


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (None, None),
        ({"input_tokens": 9, "output_tokens": 2}, {"input_tokens": 9, "output_tokens": 2}),
        (
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_tokens_details": {
                    "cached_tokens": 64,
                    "cache_write_tokens": 5,
                    "audio_tokens": 1,
                    "image_tokens": 2,
                },
                "output_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 3, "image_tokens": 4},
                "total_tokens": 150,
            },
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "cached_tokens": 64,
                "cache_write_tokens": 5,
                "audio_input_tokens": 1,
                "image_input_tokens": 2,
                "reasoning_tokens": 30,
                "audio_output_tokens": 3,
                "image_output_tokens": 4,
            },
        ),
        (
            {"input_tokens": 9, "output_tokens": 2, "input_tokens_details": 7},
            {"input_tokens": 9, "output_tokens": 2},
        ),
    ],
)
def test_usage_of_a_response(usage: Any, wanted: Any) -> None:
    answer = {
        "id": "r",
        "status": "completed",
        "usage": usage,
        "tool_usage": {"image_gen": {"input_tokens": 999, "output_tokens": 999}},
    }
    assert figures(answered(answer, RESPONSES).usage) == wanted
    assert figures(answered(answer, RESPONSES + "/compact").usage) == wanted
    stream = sse({"type": "response.completed", "response": answer})
    if wanted is not None:
        assert figures(answered(stream, RESPONSES).usage) == wanted


@pytest.mark.parametrize(
    ("path", "answer", "usage", "details"),
    [
        (
            "embeddings",
            {"usage": {"prompt_tokens": 8, "total_tokens": 8}, "data": [{}, {}]},
            {"input_tokens": 8},
            {"embeddings": 2},
        ),
        ("embeddings", {"usage": {"total_tokens": 8}}, {"input_tokens": 8}, None),
        ("embeddings", {"data": 7}, None, None),
        ("images/generations", {"data": [{}], "usage": None}, {"images": 1}, {"images": 1}),
        ("images/generations", {"data": []}, None, None),
        (
            "images/edits",
            {
                "data": [{}],
                "size": "1024x1024",
                "quality": "high",
                "usage": {
                    "input_tokens": 9,
                    "output_tokens": 50,
                    "input_tokens_details": {"image_tokens": 4},
                },
            },
            {
                "input_tokens": 9,
                "output_tokens": 50,
                "image_input_tokens": 4,
                "image_output_tokens": 50,
                "images": 1,
            },
            {"size": "1024x1024", "quality": "high", "images": 1},
        ),
        (
            "images/generations",
            {"data": [{}], "usage": {"output_tokens": 50, "output_tokens_details": {"image_tokens": 40}}},
            {"output_tokens": 50, "image_output_tokens": 40, "images": 1},
            {"images": 1},
        ),
        ("moderations", {"id": "m", "results": [{"flagged": False}]}, None, {"flagged": False, "inputs": 1}),
        ("moderations", {"results": 7}, None, None),
        (
            "audio/transcriptions",
            {"text": "Hi", "usage": {"type": "duration", "seconds": 3}, "language": "english"},
            {"audio_seconds": 3.0},
            {"audio_seconds": 3.0, "language": "english"},
        ),
        (
            "audio/transcriptions",
            {"text": "Hi", "usage": {"seconds": 2.5}},
            {"audio_seconds": 2.5},
            {"audio_seconds": 2.5},
        ),
        (
            "audio/transcriptions",
            {
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "output_tokens": 5,
                    "input_token_details": {"audio_tokens": 14},
                }
            },
            {"input_tokens": 14, "output_tokens": 5, "audio_input_tokens": 14},
            None,
        ),
        (
            "audio/translations",
            {"duration": 8.47, "segments": [{}, {}], "words": [{}]},
            {"audio_seconds": 8.47},
            {"audio_seconds": 8.47, "segments_count": 2, "words_count": 1},
        ),
        ("audio/transcriptions", {"text": "Hi"}, None, None),
        (
            "completions",
            {"usage": {"prompt_tokens": 5}, "choices": [7, {"text": "x"}]},
            {"input_tokens": 5},
            None,
        ),
    ],
)
def test_usage_and_details_of_the_other_apis(path: str, answer: Any, usage: Any, details: Any) -> None:
    event = answered(answer, f"/v1/{path}", body={"prompt": "x"})
    assert (figures(event.usage), event.operation_details) == (usage, details)


@pytest.mark.parametrize(
    ("path", "events", "usage"),
    [
        (
            "images/generations",
            [{"type": "image_generation.completed", "usage": {"output_tokens": 50}}],
            {"output_tokens": 50, "image_output_tokens": 50, "images": 1},
        ),
        ("images/edits", [{"type": "image_edit.completed"}], {"images": 1}),
        (
            "audio/transcriptions",
            [
                {"type": "transcript.text.delta", "delta": "Hi"},
                {"type": "transcript.text.done", "usage": {"input_tokens": 3}},
            ],
            {"input_tokens": 3},
        ),
    ],
)
def test_usage_of_streamed_media(path: str, events: list[Any], usage: Any) -> None:
    form = {"stream": "true"} if "audio" in path else None
    event = answered(sse(*events), f"/v1/{path}", form=form)
    assert (figures(event.usage), event.usage_source) == (usage, "reported")


@pytest.mark.parametrize(
    "path", ["images/generations", "audio/transcriptions", "audio/speech", "completions", "responses"]
)
def test_an_error_in_a_stream_is_read_by_every_api(path: str) -> None:
    form = {"stream": "true"} if "transcriptions" in path else None
    body = {"stream_format": "sse"} if "speech" in path else None
    event = answered(
        sse({"type": "error", "error": {"message": "broke", "code": 7}}), f"/v1/{path}", form=form, body=body
    )
    if "speech" not in path:  # whose stream documents no error
        assert event.error == "broke"
        assert event.error_code == "7"


def test_figures_of_a_request_are_those_that_are_figures() -> None:
    body = {"dimensions": 256, "encoding_format": "float", "input": "secret"}
    assert answered({}, "/v1/embeddings", body=body).operation_details == {
        "dimensions": 256,
        "encoding_format": "float",
    }
    assert answered({}, "/v1/embeddings", body={"dimensions": [1]}).operation_details is None


# -- usage of Anthropic ------------------------------------------------------------------------------

CLAUDE_USAGE = {
    "input_tokens": 10,
    "output_tokens": 40,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens_details": {"thinking_tokens": 25},
    "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 9},
    "service_tier": "standard",
    "inference_geo": "global",
    "iterations": [{"input_tokens": 999, "output_tokens": 999}],
}
CLAUDE_FIGURES = {
    "input_tokens": 140,
    "output_tokens": 40,
    "cached_tokens": 100,
    "cache_write_tokens": 30,
    "cache_write_1h_tokens": 20,
    "reasoning_tokens": 25,
    "server_tool_calls": 3,
}


@pytest.mark.parametrize("place", [(MESSAGES, ANTHROPIC), (VERTEX_CLAUDE, VERTEX)])
def test_usage_of_a_message(place: tuple[str, str]) -> None:
    answer = {"id": "m", "model": "claude", "stop_reason": "end_turn", "usage": CLAUDE_USAGE, "content": []}
    event = answered(answer, *place)
    assert figures(event.usage) == CLAUDE_FIGURES
    assert (event.finish_reasons, event.service_tier) == (("end_turn",), "standard")
    assert event.operation_details == {"inference_geo": "global"}


def claude_stream(start: Any, *deltas: Any) -> bytes:
    return sse(
        {"type": "message_start", "message": {"id": "m", "model": "claude", "usage": start}},
        *(
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
            for usage in deltas
        ),
        {"type": "message_stop"},
        named=True,
    )


@pytest.mark.parametrize(
    ("start", "deltas", "wanted"),
    [
        # only output at the end
        (
            {"input_tokens": 10, "output_tokens": 1},
            [{"output_tokens": 5}],
            {"input_tokens": 10, "output_tokens": 5},
        ),
        ({**CLAUDE_USAGE, "output_tokens": 1}, [{"output_tokens": 40}], CLAUDE_FIGURES),
        # repeated whole
        (CLAUDE_USAGE, [CLAUDE_USAGE], CLAUDE_FIGURES),
        # the input grows with server tools: the later value wins, nothing is added
        (
            {"input_tokens": 2225, "output_tokens": 1},
            [{"input_tokens": 9447, "output_tokens": 300}],
            {"input_tokens": 9447, "output_tokens": 300},
        ),
        (
            {"input_tokens": 10, "output_tokens": 1},
            [{"output_tokens": 3}, {"output_tokens": 5}],
            {"input_tokens": 10, "output_tokens": 5},
        ),
        (
            {"input_tokens": 10, "output_tokens": 1},
            [{"input_tokens": None, "output_tokens": 5}],
            {"input_tokens": 10, "output_tokens": 5},
        ),
        (None, [{"input_tokens": 10, "output_tokens": 5}], {"input_tokens": 10, "output_tokens": 5}),
        ({"input_tokens": 10, "output_tokens": 1}, [None], {"input_tokens": 10, "output_tokens": 1}),
    ],
)
def test_usage_of_a_streamed_message(start: Any, deltas: list[Any], wanted: Any) -> None:
    event = answered(claude_stream(start, *deltas), MESSAGES, ANTHROPIC)
    assert (figures(event.usage), event.usage_source) == (wanted, "reported")


@pytest.mark.parametrize("delta", [None, 7, {}, {"stop_reason": None}])
def test_a_message_goes_on_until_its_reason_comes(delta: Any) -> None:
    early = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}
    event = answered(sse(early, {"type": "message_stop"}), MESSAGES, ANTHROPIC)
    assert (event.finish_reasons, event.usage_source, event.output_tokens) == ((), "reported", 1)


def test_what_was_written_to_the_cache_may_be_told_by_its_lifetimes_alone() -> None:
    creation = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_creation": creation}
    event = answered({"type": "message", "usage": usage}, MESSAGES, ANTHROPIC)
    assert figures(event.usage) == {
        "input_tokens": 310,
        "output_tokens": 5,
        "cache_write_tokens": 300,
        "cache_write_1h_tokens": 200,
    }


def test_a_written_cache_of_an_hour_is_a_part_of_what_was_written() -> None:
    usage = {"cache_creation_input_tokens": 5, "cache_creation": {"ephemeral_1h_input_tokens": 50}}
    found = answered({"usage": usage}, MESSAGES, ANTHROPIC).usage
    assert found is not None
    assert (found.cache_write_tokens, found.cache_write_1h_tokens) == (5, 5)


def test_legacy_completions_of_anthropic_have_no_usage() -> None:
    answer = {"id": "compl", "model": "claude-2.1", "completion": " Hi", "stop_reason": "stop_sequence"}
    event = answered(answer, "/v1/complete", ANTHROPIC)
    assert (event.usage, event.finish_reasons, event.response_model) == (
        None,
        ("stop_sequence",),
        "claude-2.1",
    )
    event = answered(sse({**answer, "stop_reason": None}, answer, end="\r\n"), "/v1/complete", ANTHROPIC)
    assert (event.usage_source, event.output_tokens, event.finish_reasons) == (
        "estimated",
        2,
        ("stop_sequence",),
    )


# -- usage of Gemini and Vertex ----------------------------------------------------------------------


@pytest.mark.parametrize("place", [(GENERATE, GEMINI), (VERTEX_GEMINI, VERTEX)])
@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11},
            {"input_tokens": 9, "output_tokens": 2},
        ),
        # thoughts and tool-use prompts stand outside of candidates and prompt
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 2,
                "thoughtsTokenCount": 50,
                "toolUsePromptTokenCount": 30,
                "cachedContentTokenCount": 4,
                "totalTokenCount": 91,
            },
            {"input_tokens": 39, "output_tokens": 52, "reasoning_tokens": 50, "cached_tokens": 4},
        ),
        ({"candidatesTokenCount": 2, "thoughtsTokenCount": 5}, {"output_tokens": 7, "reasoning_tokens": 5}),
        ({"promptTokenCount": 9, "totalTokenCount": 9}, {"input_tokens": 9}),
        ({"totalTokenCount": 9}, {"input_tokens": 9}),
        ({"promptTokenCount": 0}, {}),
        ({"trafficType": "ON_DEMAND"}, None),
        ({}, None),
        (7, None),
        (
            {
                "promptTokenCount": 100,
                "candidatesTokenCount": 50,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 10},
                    {"modality": "AUDIO", "tokenCount": 60},
                    {"modality": "IMAGE", "tokenCount": 30},
                    7,
                ],
                "candidatesTokensDetails": [
                    {"modality": "IMAGE", "tokenCount": 40},
                    {"modality": "AUDIO", "tokenCount": 5},
                ],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 999}],
            },
            {
                "input_tokens": 100,
                "output_tokens": 50,
                "audio_input_tokens": 60,
                "image_input_tokens": 30,
                "audio_output_tokens": 5,
                "image_output_tokens": 40,
            },
        ),
        ({"promptTokenCount": 9, "promptTokensDetails": {"modality": "AUDIO"}}, {"input_tokens": 9}),
    ],
)
def test_usage_of_generated_content(place: tuple[str, str], usage: Any, wanted: Any) -> None:
    answer = {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": usage,
        "modelVersion": "g",
        "responseId": "r",
    }
    event = answered(answer, *place)
    assert (figures(event.usage), event.finish_reasons, event.response_id) == (wanted, ("STOP",), "r")


STREAM_GENERATE = GENERATE.replace(":generate", ":streamGenerate")


def test_usage_of_streamed_content_is_cumulative() -> None:
    pieces = [
        {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": n, "totalTokenCount": 9 + n}}
        for n in (1, 2, 3)
    ]
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"trafficType": "ON_DEMAND"}}
    event = answered(sse(*pieces, last, end="\r\n"), STREAM_GENERATE, GEMINI)
    assert (figures(event.usage), event.usage_source) == ({"input_tokens": 9, "output_tokens": 3}, "reported")
    assert event.operation_details == {"traffic_type": "ON_DEMAND"}


@pytest.mark.parametrize(
    ("usage", "tier"),
    [
        ({"serviceTier": "standard"}, "standard"),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": 1}, None),
        ({"trafficType": "ON_DEMAND_FLEX", "serviceTier": "priority"}, "priority"),
    ],
)
def test_the_tier_of_generated_content_is_the_one_with_a_price(usage: Any, tier: str | None) -> None:
    assert (
        answered({"usageMetadata": {"promptTokenCount": 1, **usage}}, GENERATE, GEMINI).service_tier == tier
    )


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        ({"candidates": [{"finishReason": 1}, {"finishReason": 2, "index": 1}]}, ("STOP", "MAX_TOKENS")),
        ({"candidates": [{"finishReason": 99}]}, ("99",)),
        ({"candidates": [{"finishReason": 0}, {"finishReason": None}, 7]}, ()),
        ({"candidates": [{"finishReason": "STOP", "index": "first"}]}, ("STOP",)),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, ("SAFETY",)),
        ({"promptFeedback": {}}, ()),
    ],
)
def test_reasons_of_generated_content(answer: Any, reasons: tuple[str, ...]) -> None:
    event = answered(answer, GENERATE, GEMINI)
    assert event.finish_reasons == reasons


@pytest.mark.parametrize(
    ("verb", "answer", "usage", "details"),
    [
        (
            "embedContent",
            {"embedding": {}, "usageMetadata": {"promptTokenCount": 4}},
            {"input_tokens": 4},
            {"embeddings": 1},
        ),
        ("batchEmbedContents", {"embeddings": [{}, {}]}, None, {"embeddings": 2}),
        ("embedContent", {"metadata": {"billableCharacterCount": 12}}, {"characters": 12}, None),
        ("embedContent", {"metadata": {}}, None, None),
        (
            "predict",
            {"predictions": [{"embeddings": {"statistics": {"token_count": n}}} for n in (3, 4.0)]},
            {"input_tokens": 7},
            {"embeddings": 2},
        ),
        (
            "predict",
            {"predictions": [{"bytesBase64Encoded": "x"}, {"bytesBase64Encoded": "y"}]},
            {"images": 2},
            {"images": 2},
        ),
        ("predict", {"predictions": [{}, 7]}, None, None),
        ("predict", {"predictions": 7}, None, None),
    ],
)
def test_usage_of_googles_embeddings_and_predictions(
    verb: str, answer: Any, usage: Any, details: Any
) -> None:
    event = answered(answer, f"/v1/publishers/google/models/e:{verb}", VERTEX)
    assert (figures(event.usage), event.operation_details) == (usage, details)


# -- malformed usage ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "counted", "faults"),
    [
        (0, 0, []),
        (7, 7, []),
        (MAX_COUNT, MAX_COUNT, []),
        (None, 0, []),
        (6.0, 6, []),
        (6.5, 6, []),
        ("12", 12, []),
        (-1, 0, ["usage.negative"]),
        (-0.5, 0, ["usage.negative"]),
        (MAX_COUNT + 1, 0, ["usage.huge"]),
        (10**30, 0, ["usage.huge"]),
        (1e30, 0, ["usage.huge"]),
        (float("inf"), 0, ["usage.huge"]),
        (float("-inf"), 0, ["usage.negative"]),
        (float("nan"), 0, ["usage.malformed"]),
        (True, 0, ["usage.malformed"]),
        (False, 0, ["usage.malformed"]),
        ("", 0, ["usage.malformed"]),
        ("-1", 0, ["usage.malformed"]),
        ("1e3", 0, ["usage.malformed"]),
        ("９", 0, ["usage.malformed"]),
        ("9" * 14, 0, ["usage.malformed"]),
        ([], 0, ["usage.malformed"]),
        ({}, 0, ["usage.malformed"]),
    ],
)
def test_a_count_is_a_number_of_tokens_or_a_fault(value: Any, counted: int, faults: list[str]) -> None:
    reading = Reading()
    assert count(value, reading) == counted
    assert count(value, reading) == counted
    assert reading.faults == faults


@pytest.mark.parametrize(
    ("value", "found"),
    [(3, 3.0), ("2.5", 2.5), (0, 0.0), (366 * 86400, 366 * 86400.0)],
)
def test_a_duration_is_a_number_of_seconds(value: Any, found: float) -> None:
    reading = Reading()
    assert seconds(value, reading) == found
    assert reading.faults == []


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 1e9, "x", None, [], 10**400])
def test_what_is_no_duration_is_a_fault(value: Any) -> None:
    reading = Reading()
    assert seconds(value, reading) == 0
    assert reading.faults == ["usage.malformed"]


@pytest.mark.parametrize(
    ("value", "found"), [("a", "a"), ("", None), (7, None), (None, None), ("x" * 300, "x" * 256)]
)
def test_text_is_text_of_a_bounded_length(value: Any, found: str | None) -> None:
    assert text(value) == found


BEDROCK_HOST = "bedrock-runtime.us-east-1.amazonaws.com"
CONVERSE = ("/model/amazon.nova-lite-v1%3A0/converse", BEDROCK_HOST)
MISTRAL_HOST, VOYAGE_HOST = "api.mistral.ai", "api.voyageai.com"
INCOMPLETE = ("usage.incomplete",)


@pytest.mark.parametrize(
    ("path", "host", "answer"),
    [
        (CHAT, OPENAI, {"usage": {}}),
        ("/v1/completions", OPENAI, {"usage": {"prompt_tokens": None}}),
        ("/v1/responses", OPENAI, {"status": "completed", "usage": {}}),
        ("/v1/embeddings", OPENAI, {"usage": {"prompt_tokens": None}}),
        ("/v1/audio/transcriptions", OPENAI, {"usage": {"type": "tokens"}}),
        ("/v1/rerank", "api.together.ai", {"usage": {}}),
        (CHAT, MISTRAL_HOST, {"usage": {}}),
        ("/v1/ocr", MISTRAL_HOST, {"usage_info": {}}),
        ("/v1/embeddings", VOYAGE_HOST, {"usage": {}}),
        (MESSAGES, ANTHROPIC, {"usage": {"service_tier": "standard"}}),
        (*CONVERSE, {"usage": {}}),
        (GENERATE, GEMINI, {"usageMetadata": {}}),
        ("/v1beta/models/gemini-embedding-001:embedContent", GEMINI, {"usageMetadata": {}}),
        ("/v1beta/interactions", GEMINI, {"status": "completed", "usage": {}}),
    ],
)
def test_usage_without_a_count_is_unknown_and_costs_nobody_knows_what(
    path: str, host: str, answer: Any
) -> None:
    event = answered({"id": "a", "model": "gpt-4o", **answer}, path, host, body={"model": "gpt-4o"})
    assert (event.usage, event.usage_source, event.cost_nano_usd) == (None, None, None)


@pytest.mark.parametrize(
    ("path", "host", "answer", "usage", "faults"),
    [
        (CHAT, OPENAI, {"usage": {"prompt_tokens": 9}}, {"input_tokens": 9}, INCOMPLETE),
        (CHAT, OPENAI, {"usage": {"completion_tokens": 2}}, {"output_tokens": 2}, INCOMPLETE),
        (CHAT, OPENAI, {"usage": {"total_tokens": 11}}, {"input_tokens": 11}, INCOMPLETE),
        ("/v1/responses", OPENAI, {"usage": {"output_tokens": 2}}, {"output_tokens": 2}, INCOMPLETE),
        (MESSAGES, ANTHROPIC, {"usage": {"output_tokens": 2}}, {"output_tokens": 2}, INCOMPLETE),
        (MESSAGES, ANTHROPIC, {"usage": {"input_tokens": 9}}, {"input_tokens": 9}, INCOMPLETE),
        (*CONVERSE, {"usage": {"inputTokens": 9}}, {"input_tokens": 9}, INCOMPLETE),
        (
            GENERATE,
            GEMINI,
            {"usageMetadata": {"candidatesTokenCount": 2}},
            {"output_tokens": 2},
            INCOMPLETE,
        ),
        (
            GENERATE,
            GEMINI,
            {"usageMetadata": {"candidatesTokenCount": 2, "totalTokenCount": 11}},
            {"input_tokens": 9, "output_tokens": 2},
            (),
        ),
        (
            "/v1beta/interactions",
            GEMINI,
            {"status": "completed", "usage": {"total_output_tokens": 2}},
            {"output_tokens": 2},
            INCOMPLETE,
        ),
        (
            "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict",
            VERTEX,
            {"predictions": [{"embeddings": {"statistics": {}}}]},
            {},
            INCOMPLETE,
        ),
    ],
)
def test_a_count_that_is_missing_is_taken_from_the_total_or_named(
    path: str, host: str, answer: Any, usage: Any, faults: Any
) -> None:
    event = answered({"type": "message", **answer}, path, host)
    assert (figures(event.usage), event.faults) == (usage, faults)


def test_a_count_that_an_earlier_event_has_said_stands() -> None:
    end = {"choices": [{"finish_reason": "stop", "delta": {}}]}
    for usages in (
        [{"prompt_tokens": 9}, {"completion_tokens": 2}],
        [{"prompt_tokens": 9}, {"prompt_tokens": 9, "completion_tokens": 2}],
        [{"prompt_tokens": 9, "completion_tokens": 1}, {"prompt_tokens": None, "completion_tokens": 2}],
        [{"prompt_tokens": 9, "completion_tokens": 2}, {}],
    ):
        event = answered(sse(*({**end, "usage": usage} for usage in usages), done=True))
        assert (figures(event.usage), event.faults) == ({"input_tokens": 9, "output_tokens": 2}, ())


def test_a_prompt_that_the_last_event_does_not_count_stands() -> None:
    said = {"promptTokenCount": 9, "totalTokenCount": 9}
    last = {"promptTokenCount": None, "candidatesTokenCount": 2}
    end = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": last}
    event = answered(sse({"usageMetadata": said}, end), STREAM_GENERATE, GEMINI)
    assert (figures(event.usage), event.faults) == ({"input_tokens": 9, "output_tokens": 2}, ())


def test_a_streamed_message_without_its_beginning_says_what_is_missing() -> None:
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
    event = answered(sse(delta, {"type": "message_stop"}, named=True), MESSAGES, ANTHROPIC)
    assert (figures(event.usage), event.faults) == ({"output_tokens": 2}, INCOMPLETE)


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (
            {
                "input_tokens": 9,
                "output_tokens": 2,
                "total_tokens": 41,
                "output_tokens_details": {"reasoning_tokens": 30},
            },
            {"input_tokens": 9, "output_tokens": 32, "reasoning_tokens": 30},
        ),
        (
            {"input_tokens": 7, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 161}},
            {"input_tokens": 168, "output_tokens": 1, "cached_tokens": 161},
        ),
    ],
)
def test_no_part_of_a_response_is_more_than_its_whole(usage: Any, wanted: Any) -> None:
    answer = {"id": "r", "status": "completed", "usage": usage}
    assert figures(answered(answer, "/v1/responses").usage) == wanted


def test_malformed_usage_is_named_in_the_event() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 1e40, "prompt_tokens_details": {"cached_tokens": True}}
    event = answered(chat(usage))
    assert figures(event.usage) == {}
    assert set(event.faults) == {"usage.negative", "usage.huge", "usage.malformed"}


@pytest.mark.parametrize("usage", [[], "9", 7, True])
@pytest.mark.parametrize(
    ("path", "host"),
    [(CHAT, OPENAI), ("/v1/completions", OPENAI), (RESPONSES, OPENAI), (MESSAGES, ANTHROPIC)],
)
def test_usage_that_is_no_object_is_a_fault(path: str, host: str, usage: Any) -> None:
    event = answered({"usage": usage}, path, host)
    assert (event.usage, event.faults) == (None, ("usage.malformed",))


@pytest.mark.parametrize("usage", [[], "9", 7, True])
def test_streamed_usage_that_is_no_object_is_a_fault_named_once(usage: Any) -> None:
    event = answered(sse({**chat(usage), "usage": usage}, {"usage": usage}, done=True))
    assert (event.usage_source, event.faults) == ("estimated", ("usage.malformed",))


# -- what else an answer says ------------------------------------------------------------------------


def tools(event: MetricEvent) -> list[tuple[str | None, str | None, int, int]]:
    return [(tool.id, tool.name, tool.index, tool.arguments_bytes) for tool in event.tool_calls or ()]


def test_tool_calls_of_a_chat() -> None:
    calls = [
        {"id": "a", "function": {"name": "look", "arguments": '{"q":"ä"}'}},
        {"id": "b", "type": "custom", "custom": {"name": "run", "input": "ls"}},
        {"id": "c", "function": 7},
        "no call",
    ]
    event = answered({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]})
    assert tools(event) == [("a", "look", 0, 10), ("b", "run", 1, 2), ("c", None, 2, 0)]
    assert tools(answered({"choices": [{"message": {"tool_calls": {"no": "list"}}}, 7]})) == []
    legacy = {"choices": [{"message": {"function_call": {"name": "look", "arguments": "{}"}}}]}
    assert tools(answered(legacy)) == [(None, "look", 0, 2)]


def test_tool_calls_of_a_streamed_chat() -> None:
    def piece(call: Any, choice: Any = 0) -> dict[str, Any]:
        return {"choices": [{"index": choice, "delta": {"tool_calls": call}}, 7]}

    stream = sse(
        piece([{"index": 0, "id": "a", "function": {"name": "look", "arguments": ""}}]),
        piece([{"index": 0, "function": {"arguments": '{"q":'}}]),
        piece([{"index": 0, "function": {"arguments": "1}"}}, "odd"]),
        piece([{"index": 0, "id": "b", "function": {"name": "run"}}], 1),
        piece([{"index": [], "id": "no key"}], "odd"),
        piece({"no": "list"}),
        {"choices": [{"index": 2, "delta": {"function_call": {"name": "old", "arguments": "{}"}}}]},
        {"choices": [{"index": 0, "delta": None, "finish_reason": "tool_calls"}]},
        done=True,
    )
    event = answered(stream, body={"tools": [{}]})
    assert tools(event) == [("a", "look", 0, 7), ("b", "run", 1, 0), (None, "old", 2, 2)]


def test_tool_calls_of_a_response() -> None:
    output = [
        {"type": "message"},
        {"type": "function_call", "id": "fc", "call_id": "a", "name": "look", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "b", "name": "run", "input": "ls"},
        {"type": "web_search_call"},
        {"type": "file_search_call"},
        {"type": "reasoning"},
        {"type": 7},
        7,
    ]
    answer = {"id": "r", "status": "completed", "output": output, "usage": {"input_tokens": 1}}
    event = answered(answer, RESPONSES)
    assert tools(event) == [("a", "look", 0, 2), ("b", "run", 1, 2)]
    assert event.operation_details == {
        "server_tool_calls": 2,
        "web_search_calls": 1,
        "file_search_calls": 1,
    }
    assert event.usage is not None
    assert event.usage.server_tool_calls == 1
    created = {"type": "response.created", "response": {**answer, "status": "in_progress"}}
    stream = sse(created, {"type": "response.completed", "response": answer})
    assert tools(answered(stream, RESPONSES)) == tools(event)


def test_tool_calls_of_a_message() -> None:
    content = [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "a", "name": "look", "input": {"q": 1}},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "b", "name": "stop", "input": {}},
        7,
    ]
    assert tools(answered({"content": content}, MESSAGES, ANTHROPIC)) == [
        ("a", "look", 0, 7),
        ("b", "stop", 1, 0),
    ]
    assert tools(answered({"content": 7}, MESSAGES, ANTHROPIC)) == []


def test_tool_calls_of_a_streamed_message() -> None:
    def start(index: Any, **block: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": block}

    def argument(index: Any, piece: Any) -> dict[str, Any]:
        return {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": "input_json_delta", "partial_json": piece},
        }

    stream = sse(
        {"type": "message_start", "message": 7},
        start(0, type="server_tool_use", id="s", name="web_search"),
        argument(0, '{"query":'),
        start(1, type="tool_use", id="a", name="look"),
        argument(1, '{"q":'),
        argument(1, "1}"),
        argument([], "{}"),
        argument(9, "{}"),
        {"type": "content_block_delta", "index": 1, "delta": 7},
        {"type": "content_block_start", "index": 2, "content_block": None},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    )
    event = answered(stream, MESSAGES, ANTHROPIC, body={"tools": [{}]})
    assert tools(event) == [("a", "look", 0, 7)]
    assert event.finish_reasons == ("tool_use",)


def test_function_calls_of_generated_content() -> None:
    parts = [
        {"text": "Hm"},
        {"functionCall": {"name": "look", "args": {"q": 1}}},
        {"functionCall": {"id": "b", "name": "run"}},
        7,
    ]
    answer = {"candidates": [{"content": {"parts": parts}}, {"content": 7}, {"content": {"parts": 7}}]}
    assert tools(answered(answer, GENERATE, GEMINI)) == [(None, "look", 0, 7), ("b", "run", 1, 0)]


def test_a_function_call_may_come_in_parts() -> None:
    def part(**call: Any) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}

    more = {"jsonPath": "$.city", "willContinue": True}
    stream = sse(
        part(),
        part(name="look", willContinue=True),
        part(partialArgs=[{**more, "stringValue": "Bos"}, 7], willContinue=True),
        part(partialArgs=[{**more, "stringValue": "ton"}, {"jsonPath": "$.n", "numberValue": 1}]),
        part(),
        part(name="run", willContinue=True),
        part(partialArgs=7),
        {"candidates": [{"finishReason": "STOP"}]},
    )
    event = answered(stream, STREAM_GENERATE, GEMINI)
    assert tools(event) == [(None, "look", 0, 6), (None, "run", 1, 0)]


def test_tool_calls_are_bounded() -> None:
    reading = Reading()
    for key in range(2000):
        reading.tool(key, id="i" * 999, name="n" * 999, arguments=None)
    assert reading.tools is not None
    assert len(reading.tools) == 1024
    assert len(reading.tools[0].name or "") == 256
    reading.tool(0, id="", name="other", arguments="ä")
    assert (reading.tools[0].name, reading.tools[0].arguments_bytes) == ("other", 2)


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        ({"status": "completed"}, ("completed",)),
        ({"status": "failed"}, ("failed",)),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            ("max_output_tokens",),
        ),
        ({"status": "incomplete", "incomplete_details": None}, ("incomplete",)),
        ({"status": "queued"}, ()),
        ({"status": 7}, ()),
        ({}, ()),
    ],
)
def test_reasons_of_a_response(body: Any, reasons: tuple[str, ...]) -> None:
    assert answered(body, RESPONSES).finish_reasons == reasons


def test_usage_of_unfinished_work_is_not_final() -> None:
    event = answered({"status": "in_progress", "usage": {"input_tokens": 0}}, RESPONSES)
    assert (event.usage, event.usage_source) == (None, None)


@pytest.mark.parametrize(
    ("event", "error", "code"),
    [
        (
            {"type": "error", "message": "broke", "code": "rate_limit_exceeded"},
            "broke",
            "rate_limit_exceeded",
        ),
        (
            {"type": "error", "error": {"message": "broke", "code": "insufficient_quota"}},
            "broke",
            "insufficient_quota",
        ),
        ({"type": "error"}, "error event in the stream", None),
        (
            {
                "type": "response.failed",
                "response": {"status": "failed", "error": {"message": "broke", "code": "server_error"}},
            },
            "broke",
            "server_error",
        ),
    ],
)
def test_an_error_event_of_a_response(event: Any, error: str, code: str | None) -> None:
    found = answered(sse(event), RESPONSES)
    assert (found.status_code, found.error, found.error_code) == (200, error, code)


def test_an_error_event_of_a_message() -> None:
    found = answered(
        sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        MESSAGES,
        ANTHROPIC,
    )
    assert (found.error, found.error_type) == ("Overloaded", "service_unavailable")


def test_an_error_in_generated_content() -> None:
    data = {"error": {"code": 503, "message": "try later", "status": "UNAVAILABLE"}}
    found = answered(sse(data), STREAM_GENERATE, GEMINI)
    assert (found.error, found.error_code) == ("try later", "503")


def test_azures_empty_first_names_are_none() -> None:
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": []}
    second = {
        "id": "c",
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "system_fingerprint": "fp",
    }
    event = answered(sse(first, second, done=True), IN_DEPLOYMENT, AZURE)
    assert (event.response_id, event.response_model, event.system_fingerprint) == ("c", "gpt-4o", "fp")
    assert event.request_model == "d"


def test_a_whole_reading() -> None:
    answer = {
        **chat({"prompt_tokens": 9, "completion_tokens": 2}),
        "service_tier": "flex",
        "system_fingerprint": None,
    }
    event = answered(answer)
    figures = event.to_dict()
    kept = ("model", "response_id", "service_tier", "finish_reasons", "usage", "usage_source")
    assert {name: figures[name] for name in kept} == snapshot(
        {
            "model": "m",
            "response_id": "c",
            "service_tier": "flex",
            "finish_reasons": ("stop",),
            "usage": {
                "input_tokens": 9,
                "output_tokens": 2,
                "total_tokens": 11,
                "reasoning_tokens": 0,
                "cached_tokens": 0,
            },
            "usage_source": "reported",
        }
    )


# -- anything ----------------------------------------------------------------------------------------

KEYS = [
    *(
        "id",
        "model",
        "choices",
        "usage",
        "prompt_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "message",
        "delta",
    ),
    *(
        "tool_calls",
        "function",
        "arguments",
        "index",
        "finish_reason",
        "function_call",
        "error",
        "code",
        "status",
    ),
    *(
        "response",
        "output",
        "type",
        "incomplete_details",
        "input_tokens_details",
        "data",
        "results",
        "duration",
    ),
    *(
        "content",
        "content_block",
        "input",
        "cache_creation",
        "server_tool_use",
        "usageMetadata",
        "candidates",
    ),
    *(
        "promptTokensDetails",
        "modality",
        "parts",
        "functionCall",
        "args",
        "predictions",
        "embeddings",
        "statistics",
    ),
    *(
        "metadata",
        "billableCharacterCount",
        "promptFeedback",
        "blockReason",
        "seconds",
        "text",
        "total_tokens",
    ),
]
WORDS = [
    *(
        "error",
        "message_start",
        "message_delta",
        "content_block_delta",
        "content_block_start",
        "tool_use",
        "function_call",
    ),
    *(
        "input_json_delta",
        "response.completed",
        "x.completed",
        "x.delta",
        "transcript.text.done",
        "speech.audio.done",
    ),
    *("completed", "x_call", "AUDIO", "duration"),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)
OPERATIONS: list[tuple[Vendor, Operation]] = [
    (v, r.operation) for v in VENDORS for r in v.routes if r.operation.metered
]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(body=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=8))
def test_no_answer_whatever_is_too_odd_to_be_read(body: dict[str, Any]) -> None:
    body = json.loads(json.dumps(body))
    for vendor, operation in OPERATIONS:
        reading = Reading()
        if operation.read_body is not None:
            operation.read_body(body, reading)
        if operation.stream is not None:
            operation.stream.read_event("", body, reading)
            operation.stream.read_event("error", body, reading)
        if operation.read_request is not None:
            operation.read_request(body)
        if operation.streams is not None:
            assert operation.streams(body) in (True, False)
        for name in NormalizedUsage.__slots__ if reading.usage else ():
            assert 0 <= getattr(reading.usage, name) <= 16 * MAX_COUNT, (vendor.id, name)


def test_every_table_says_where_it_is_from_and_when_it_was_checked() -> None:
    for vendor in VENDORS:
        assert vendor.source.startswith("https://")
        assert vendor.checked >= "2026-01-01"
        assert vendor.otel
        assert all(route.rewrite_path == ("model" in route.pattern.groupindex) for route in vendor.routes)
