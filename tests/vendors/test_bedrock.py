"""Amazon Bedrock: its own formats, those of the models' vendors inside them, and its errors."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.core.classify import Call
from aden_transport.core.estimate import tokens_of
from aden_transport.core.steps import Send
from aden_transport.core.wire import WireRequest
from aden_transport.events import BeforeRequestResult, MetricEvent, NormalizedUsage
from aden_transport.vendors import Reading
from aden_transport.vendors.bedrock import BEDROCK, FORMATS, read_chunk, read_converse_event, read_invoked

from ..core.kit import CLASSIFIER, Bench, headers, wire
from ..framing.frames import chunk, event, exception, frame

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0"
STREAM = "application/vnd.amazon.eventstream"


def answered(
    answer: Any,
    how: str,
    model: str = CLAUDE,
    body: Any = None,
    status: int = 200,
    names: dict[str, str] | None = None,
) -> MetricEvent:
    """The event of an answer: JSON, or an event stream given as bytes or in pieces."""
    stream = isinstance(answer, bytes) or (isinstance(answer, list) and isinstance(answer[0], bytes))
    request = wire(body or {}, f"/model/{model}/{how}", host=HOST)
    kind = STREAM if stream else "application/json"
    return Bench().answered(request, answer, status, headers(kind, **(names or {})))


def figures(usage: NormalizedUsage | None) -> dict[str, Any] | None:
    """What is not 0."""
    if usage is None:
        return None
    return {name: getattr(usage, name) for name in usage.__slots__ if getattr(usage, name)}


# -- which call it is --------------------------------------------------------------------------------


def classified(host: str, path: str, agent: str | None = None, method: str = "POST") -> Call | None:
    names = {} if agent is None else {"user-agent": agent}
    return CLASSIFIER.classify(wire(None, path, host=host, method=method, names=names))


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("bedrock-runtime.us-east-1.amazonaws.com:443", "us-east-1"),
        ("BEDROCK-RUNTIME.us-east-1.amazonaws.com.", "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
        ("bedrock-runtime.eu-west-1.api.aws", "eu-west-1"),
        ("bedrock-runtime.cn-north-1.api.amazonwebservices.com.cn", "cn-north-1"),
        ("bedrock-mantle.us-west-2.api.aws", "us-west-2"),
        ("vpce-0a-1b.bedrock-runtime.ap-south-1.vpce.amazonaws.com", "ap-south-1"),
    ],
)
def test_hosts_name_their_region(host: str, region: str) -> None:
    for path in ("/model/amazon.nova-lite-v1%3A0/converse", "/openai/v1/chat/completions"):
        assert CLASSIFIER.may_be_call(host, path)
        call = classified(host, path)
        assert call is not None
        assert (call.vendor.id, call.known_host, call.region) == ("bedrock", True, region)


@pytest.mark.parametrize(
    "host",
    [
        "s3.us-east-1.amazonaws.com",
        "bedrock.us-east-1.amazonaws.com",
        "bedrock-runtime.us-east-1.amazonaws.com.example.com",
        "bedrock-runtime.us-east-1.example.com",
        "bedrock-runtime.amazonaws.com",
        "my-bedrock-runtime.us-east-1.amazonaws.com",
        "bedrock-agent-runtime.us-east-1.amazonaws.com",
    ],
)
def test_other_hosts_are_none_of_bedrocks(host: str) -> None:
    assert not CLASSIFIER.may_be_call(host, "/")
    call = classified(host, "/model/m/converse")
    assert call is not None
    assert not call.known_host  # the path is unmistakable, whatever gateway it leads to


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/model/amazon.nova-lite-v1%3A0/converse", "chat amazon.nova-lite-v1:0"),
        ("/model/amazon.nova-lite-v1:0/converse-stream", "chat amazon.nova-lite-v1:0"),
        ("/model/anthropic.claude-v2%3A1/invoke", "chat anthropic.claude-v2:1"),
        ("/model/anthropic.claude-v2%3A1/invoke-with-response-stream", "chat anthropic.claude-v2:1"),
        (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude/invoke",
            "chat arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude",
        ),
        ("/model/amazon.titan-embed-text-v2%3A0/invoke", "embeddings amazon.titan-embed-text-v2:0"),
        ("/model/amazon.titan-embed-image-v1/invoke", "embeddings amazon.titan-embed-image-v1"),
        ("/model/cohere.embed-english-v3/invoke", "embeddings cohere.embed-english-v3"),
        ("/model/cohere.rerank-v3-5%3A0/invoke", "rerank cohere.rerank-v3-5:0"),
        ("/model/amazon.nova-canvas-v1%3A0/invoke", "image_generation amazon.nova-canvas-v1:0"),
        ("/model/stability.sd3-5-large-v1%3A0/invoke", "image_generation stability.sd3-5-large-v1:0"),
        ("/openai/v1/chat/completions", "chat"),
        ("/openai/v1/responses", "responses"),
        ("/anthropic/v1/messages", "chat"),
        ("/model/m/count-tokens", None),
        ("/async-invoke", None),
        ("/guardrail/g/version/1/apply", None),
        ("/guardrail-checks/invoke", None),
        ("/model/m/invoke-with-bidirectional-stream", None),
    ],
)
def test_paths_say_what_is_asked_of_which_model(path: str, wanted: str | None) -> None:
    call = classified(HOST, path)
    found = None if call is None else " ".join(filter(None, (call.operation.name, call.model)))
    assert found == wanted


def test_a_gateway_is_told_by_the_sdk_that_calls_it() -> None:
    path = "/model/anthropic.claude-v2/invoke"
    for agent in ("AnthropicBedrock/Python 2.12.0", "AsyncAnthropicBedrock/Python 2.12.0"):
        call = classified("127.0.0.1:8000", path, agent)
        assert call is not None
        assert (call.vendor.id, call.known_host, call.region) == ("bedrock", False, None)
    assert classified("127.0.0.1:8000", path) is None
    assert classified("127.0.0.1:8000", "/v1/responses", "BedrockOpenAI/Python 3.54.0") is not None


# -- Converse ----------------------------------------------------------------------------------------

WITH_CACHE = {
    "inputTokens": 10,
    "outputTokens": 4,
    "totalTokens": 7365,
    "cacheReadInputTokens": 7000,
    "cacheWriteInputTokens": 351,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 300}, {"ttl": "5m", "inputTokens": 51}],
}
CONVERSED = {
    "metrics": {"latencyMs": 5},
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"text": "Let me look."},
                {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"q": 1}}},
                {"toolUse": {"toolUseId": "s1", "name": "code", "input": {}, "type": "server_tool_use"}},
                {"toolUse": {"toolUseId": "t2", "name": "stop", "input": {}, "type": "tool_use"}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": WITH_CACHE,
    "serviceTier": {"type": "priority"},
}


def test_input_of_converse_includes_the_cache() -> None:
    found = answered(CONVERSED, "converse")
    assert figures(found.usage) == {
        "input_tokens": 7361,
        "output_tokens": 4,
        "cached_tokens": 7000,
        "cache_write_tokens": 351,
        "cache_write_1h_tokens": 300,
    }
    assert found.total_tokens == WITH_CACHE["totalTokens"]
    assert (found.usage_source, found.finish_reasons, found.service_tier) == (
        "reported",
        ("tool_use",),
        "priority",
    )
    assert (found.provider, found.region, found.response_model) == ("bedrock", "us-east-1", None)
    assert [(t.id, t.name, t.index, t.arguments_bytes) for t in found.tool_calls or ()] == [
        ("t1", "look", 0, 7),
        ("t2", "stop", 1, 0),
    ]


def converse_stream(usage: Any = None) -> bytes:
    tool = {"toolUse": {"toolUseId": "t1", "name": "look"}}
    ran = {"toolUse": {"toolUseId": "s1", "name": "code", "type": "server_tool_use"}}
    return b"".join(
        (
            event("messageStart", {"role": "assistant", "p": "abc"}),
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}}),
            event("contentBlockDelta", {"delta": {"reasoningContent": {"text": "hm"}}}),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("contentBlockStart", {"contentBlockIndex": 1, "start": tool}),
            event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"q":'}}}),
            event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "1}"}}}),
            event("contentBlockStart", {"contentBlockIndex": 2, "start": ran}),
            event("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{}"}}}),
            event("messageStop", {"stopReason": "tool_use"}),
            event("metadata", {"usage": usage or WITH_CACHE, "serviceTier": {"type": "flex"}}),
        )
    )


def test_a_stream_of_converse_is_read_like_its_answer() -> None:
    found = answered(converse_stream(), "converse-stream")
    assert figures(found.usage) == figures(answered(CONVERSED, "converse").usage)
    assert (found.usage_source, found.stream, found.finish_reasons) == ("reported", True, ("tool_use",))
    assert (found.service_tier, found.faults) == ("flex", ())
    assert [(t.id, t.name, t.arguments_bytes) for t in found.tool_calls or ()] == [("t1", "look", 7)]


def test_cuts_do_not_matter() -> None:
    stream = converse_stream()
    whole = answered(stream, "converse-stream").to_dict()
    for size in (1, 7, 4096):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        cut = answered(pieces, "converse-stream").to_dict()
        for each in (whole, cut):
            each.pop("latency_ms", None)
            each.pop("time_to_first_chunk_ms", None)
        assert cut == whole


def test_a_stream_that_is_broken_off_is_estimated() -> None:
    stream = event("contentBlockDelta", {"delta": {"text": "x" * 400}})
    found = answered(stream + converse_stream()[:50], "converse-stream", body={"messages": []})
    assert (found.usage_source, found.output_tokens) == ("estimated", tokens_of("x" * 400))
    assert set(found.faults) == {"stream.truncated", "aws_event_stream.truncated"}


def test_a_long_stream_is_read_in_batches() -> None:
    piece = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x" * 100}})
    found = answered([piece] * 3000 + [converse_stream()], "converse-stream")
    assert (found.usage_source, found.output_tokens, found.faults) == ("reported", 4, ())


@pytest.mark.parametrize(
    ("sent", "code", "kind", "message"),
    [
        (
            exception("throttlingException", {"message": "Too many"}),
            "throttlingException",
            "rate_limit_error",
            "Too many",
        ),
        (
            exception("serviceUnavailableException", {}),
            "serviceUnavailableException",
            "service_unavailable",
            "serviceUnavailableException",
        ),
        (
            exception("modelTimeoutException", {"message": "slow"}),
            "modelTimeoutException",
            "timeout_error",
            "slow",
        ),
        (
            exception("validationException", {"message": "bad"}),
            "validationException",
            "invalid_request_error",
            "bad",
        ),
        (
            exception("validationException", {"message": "Input is too long for requested model."}),
            "validationException",
            "context_length_exceeded",
            "Input is too long for requested model.",
        ),
        (
            exception("modelStreamErrorException", {"message": "lost", "originalStatusCode": 500}),
            "modelStreamErrorException",
            "server_error",
            "lost",
        ),
        (
            frame({":message-type": "error", ":error-code": "InternalError", ":error-message": "oh"}),
            "InternalError",
            "server_error",
            "oh",
        ),
        (frame({":message-type": "error"}), None, "server_error", "unnamed exception"),
    ],
)
@pytest.mark.parametrize("how", ["converse-stream", "invoke-with-response-stream"])
def test_an_exception_in_a_stream_is_its_error(
    how: str, sent: bytes, code: str | None, kind: str, message: str
) -> None:
    found = answered(sent, how)
    assert (found.error, found.error_type, found.error_code) == (message, kind, code)
    assert found.status_code == 200


@pytest.mark.parametrize(
    ("status", "name", "message", "code", "kind"),
    [
        (429, "ThrottlingException", "Too many", "ThrottlingException", "rate_limit_error"),
        (
            403,
            "AccessDeniedException:http://internal.amazon.com/coral/",
            "no",
            "AccessDeniedException",
            "permission_error",
        ),
        (
            400,
            "ValidationException",
            "Input is too long for requested model.",
            "ValidationException",
            "context_length_exceeded",
        ),
        (408, None, "slow", None, "timeout_error"),
    ],
)
@pytest.mark.parametrize("how", ["converse", "converse-stream", "invoke", "invoke-with-response-stream"])
def test_an_error_is_named_in_a_header(
    how: str, status: int, name: str | None, message: str, code: str | None, kind: str
) -> None:
    named = {} if name is None else {"x_amzn_errortype": name}
    found = answered({"message": message}, how, status=status, names=named)
    assert (found.error, found.error_code, found.error_type) == (message, code, kind)
    assert found.usage is None


# -- InvokeModel: the formats of the models' vendors --------------------------------------------------

MESSAGE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 9511, "output_tokens": 44},
}


@pytest.mark.parametrize(
    ("model", "answer", "usage", "reasons"),
    [
        (CLAUDE, MESSAGE, {"input_tokens": 9514, "cached_tokens": 9511, "output_tokens": 44}, ("tool_use",)),
        (
            "amazon.titan-text-express-v1",
            {
                "inputTextTokenCount": 5.0,
                "results": [
                    {"tokenCount": 15, "completionReason": "FINISH"},
                    {"tokenCount": 6.0, "completionReason": "LENGTH"},
                ],
            },
            {"input_tokens": 5, "output_tokens": 21},
            ("FINISH", "LENGTH"),
        ),
        (
            "amazon.nova-lite-v1%3A0",
            {
                "output": {"message": {"content": []}},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 5, "outputTokens": 6, "cacheReadInputTokenCount": 7},
            },
            {"input_tokens": 12, "cached_tokens": 7, "output_tokens": 6},
            ("end_turn",),
        ),
        (
            "meta.llama3-1-70b-instruct-v1%3A0",
            {
                "generation": "a",
                "prompt_token_count": 5,
                "generation_token_count": 10,
                "stop_reason": "length",
            },
            {"input_tokens": 5, "output_tokens": 10},
            ("length",),
        ),
        (
            "ai21.jamba-1-5-mini-v1%3A0",
            {
                "id": "c",
                "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 17, "completion_tokens": 8},
            },
            {"input_tokens": 17, "output_tokens": 8},
            ("stop",),
        ),
        (
            "mistral.mistral-large-2402-v1%3A0",
            {"choices": [{"index": 0, "message": {"content": "x"}, "stop_reason": "length"}]},
            None,
            ("length",),
        ),
        ("deepseek.r1-v1%3A0", {"choices": [{"text": "x", "stop_reason": "stop"}]}, None, ("stop",)),
        (
            "mistral.mistral-7b-instruct-v0%3A2",
            {"outputs": [{"text": "x", "stop_reason": "stop"}, {"stop_reason": "length"}]},
            None,
            ("stop", "length"),
        ),
        (
            "cohere.command-text-v14",
            {"id": "a", "generations": [{"finish_reason": "COMPLETE"}, {"finish_reason": "MAX_TOKENS"}]},
            None,
            ("COMPLETE", "MAX_TOKENS"),
        ),
        (
            "cohere.command-r-v1%3A0",
            {
                "response_id": "a",
                "generation_id": "b",
                "text": "x",
                "finish_reason": "COMPLETE",
                "tool_calls": [{"name": "look", "parameters": {}}, 7],
            },
            None,
            ("COMPLETE",),
        ),
        (
            "anthropic.claude-v2%3A1",
            {"completion": " Hi", "stop_reason": "stop_sequence"},
            None,
            ("stop_sequence",),
        ),
        (
            "ai21.j2-ultra-v1",
            {
                "id": 1234,
                "completions": [{"finishReason": {"reason": "endoftext"}}, {"finishReason": "length"}],
            },
            None,
            ("endoftext", "length"),
        ),
        ("unheard.of-v1", {"answer": 42}, None, ()),
    ],
)
def test_an_invoked_model_answers_in_its_vendors_format(
    model: str, answer: Any, usage: Any, reasons: tuple[str, ...]
) -> None:
    found = answered(answer, "invoke", model)
    assert (figures(found.usage), found.finish_reasons) == (usage, reasons)
    assert found.usage_source == ("reported" if usage else None)


COUNTS = {
    "x_amzn_bedrock_input_token_count": "4",
    "x_amzn_bedrock_output_token_count": "50",
    "x_amzn_bedrock_cache_read_input_token_count": "10",
    "x_amzn_bedrock_cache_write_input_token_count": "20",
    "x_amzn_bedrock_invocation_latency": "1859",
    "x_amzn_bedrock_service_tier": "flex",
    "x_amzn_requestid": "r-1",
}
IN_HEADERS = {"input_tokens": 34, "output_tokens": 50, "cached_tokens": 10, "cache_write_tokens": 20}


def test_headers_count_where_the_body_does_not() -> None:
    found = answered({"outputs": [{"stop_reason": "stop"}]}, "invoke", "mistral.m", names=COUNTS)
    assert (figures(found.usage), found.usage_source) == (IN_HEADERS, "reported")
    assert (found.request_id, found.server_latency_ms, found.service_tier) == ("r-1", 1859.0, "flex")


def test_the_bodys_own_counts_win() -> None:
    found = answered(MESSAGE, "invoke", names=COUNTS)
    assert (found.input_tokens, found.output_tokens) == (9514, 44)


@pytest.mark.parametrize(
    ("counts", "usage", "faults"),
    [
        ({"x_amzn_bedrock_input_token_count": "7"}, {"input_tokens": 7}, ()),
        ({"x_amzn_bedrock_input_token_count": "no"}, {}, ("usage.malformed",)),
        ({"x_amzn_bedrock_output_token_count": "-1"}, {}, ("usage.malformed",)),
    ],
)
def test_odd_counts_in_headers(counts: dict[str, str], usage: Any, faults: tuple[str, ...]) -> None:
    found = answered({}, "invoke", "mistral.m", names=counts)
    assert (figures(found.usage), found.faults) == (usage, faults)


@pytest.mark.parametrize(
    ("model", "answer", "counts", "usage", "details"),
    [
        (
            "amazon.titan-embed-text-v2%3A0",
            {"embedding": [0.1], "inputTextTokenCount": 7},
            {},
            {"input_tokens": 7},
            {"embeddings": 1},
        ),
        (
            "cohere.embed-english-v3",
            {"id": "e", "embeddings": [[0.1], [0.2]]},
            {"x_amzn_bedrock_input_token_count": "9"},
            {"input_tokens": 9},
            {"embeddings": 2},
        ),
        (
            "cohere.embed-v4%3A0",
            {"embeddings": {"float": [[0.1]], "int8": [[1]]}},
            {},
            None,
            {"embeddings": 1},
        ),
        ("cohere.embed-v4%3A0", {"embeddings": {}}, {}, None, None),
    ],
)
def test_embeddings(model: str, answer: Any, counts: dict[str, str], usage: Any, details: Any) -> None:
    found = answered(answer, "invoke", model, names=counts)
    assert (found.operation, figures(found.usage), found.operation_details) == ("embeddings", usage, details)


@pytest.mark.parametrize(
    ("asked", "answer", "images"),
    [
        ({}, {"images": ["aGk=", "aGk="]}, 2),
        ({"imageGenerationConfig": {"numberOfImages": 3}}, {"images": [], "error": "held back"}, 0),
        ({"imageGenerationConfig": {"numberOfImages": 3}}, b'{"images":["' + b"x" * 3_000_000 + b'"]}', 3),
        ({}, b'{"images":["' + b"x" * 3_000_000 + b'"]}', 1),
    ],
)
def test_images_are_counted_even_where_their_answer_is_too_large_to_read(
    asked: Any, answer: Any, images: int
) -> None:
    request = wire(asked, "/model/amazon.nova-canvas-v1%3A0/invoke", host=HOST)
    found = Bench().answered(request, answer)
    assert found.usage is not None
    assert (found.operation, found.usage.images) == ("image_generation", images)
    assert found.cost_nano_usd is None


@pytest.mark.parametrize(
    "asked", [{"imageGenerationConfig": {"numberOfImages": n}} for n in ("2", 0, -1, 10**6)]
)
def test_an_odd_number_of_images_is_not_counted(asked: Any) -> None:
    request = wire(asked, "/model/amazon.nova-canvas-v1%3A0/invoke", host=HOST)
    assert Bench().answered(request, {"error": None}).usage is None


# -- InvokeModelWithResponseStream ---------------------------------------------------------------------

METRICS = {
    "inputTokenCount": 4,
    "outputTokenCount": 10,
    "cacheReadInputTokenCount": 5,
    "cacheWriteInputTokenCount": 6,
    "invocationLatency": 1155,
}
MEASURED = {"amazon-bedrock-invocationMetrics": METRICS}
IN_METRICS = {"input_tokens": 15, "output_tokens": 10, "cached_tokens": 5, "cache_write_tokens": 6}


@pytest.mark.parametrize(
    ("events", "usage", "reasons"),
    [
        (
            [
                {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 3}}},
                {"type": "content_block_delta", "delta": {"text": "Hi"}},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn"},
                    "usage": {"output_tokens": 88},
                },
                {"type": "message_stop", **MEASURED},
            ],
            {"input_tokens": 3, "output_tokens": 88},
            ("end_turn",),
        ),
        (
            [
                {
                    "generation": "a",
                    "prompt_token_count": 10,
                    "generation_token_count": 1,
                    "stop_reason": None,
                },
                {"generation": "b", "prompt_token_count": None, "generation_token_count": 2},
                {
                    "generation": "",
                    "prompt_token_count": None,
                    "generation_token_count": 3,
                    "stop_reason": "stop",
                },
            ],
            {"input_tokens": 10, "output_tokens": 3},
            ("stop",),
        ),
        (
            [
                {
                    "outputText": "a",
                    "inputTextTokenCount": 6.0,
                    "totalOutputTextTokenCount": 3.0,
                    "completionReason": "FINISH",
                }
            ],
            {"input_tokens": 6, "output_tokens": 3},
            ("FINISH",),
        ),
        (
            [
                {
                    "outputText": "no",
                    "inputTextTokenCount": 6.0,
                    "totalOutputTextTokenCount": 3.0,
                    "amazon-bedrock-guardrailAction": "INTERVENED",
                }
            ],
            {"input_tokens": 6, "output_tokens": 3},
            ("guardrail_intervened",),
        ),
        (
            [
                {"messageStart": {"role": "assistant"}},
                {"contentBlockDelta": {"delta": {"text": "It"}, "contentBlockIndex": 0}},
                {"messageStop": {"stopReason": "max_tokens"}},
                {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 10}}, **MEASURED},
            ],
            {"input_tokens": 5, "output_tokens": 10},
            ("max_tokens",),
        ),
        (
            [
                {"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": {"prompt_tokens": 17}},
                {
                    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 17, "completion_tokens": 8},
                },
                MEASURED,
            ],
            {"input_tokens": 17, "output_tokens": 8},
            ("stop",),
        ),
        (
            [
                {"completion": "a", "stop_reason": None},
                {"completion": "", "stop_reason": "max_tokens", **MEASURED},
            ],
            IN_METRICS,
            ("max_tokens",),
        ),
        (
            [{"type": "completion", "completion": "a", "stop_reason": "stop_sequence", **MEASURED}],
            IN_METRICS,
            ("stop_sequence",),
        ),
        (
            [
                {"index": 0, "is_finished": False, "text": " In"},
                {"index": 1, "is_finished": True, "finish_reason": "MAX_TOKENS"},
                {"is_finished": True, "finish_reason": "COMPLETE", **MEASURED},
            ],
            IN_METRICS,
            ("MAX_TOKENS", "COMPLETE"),
        ),
        ([{"outputs": [{"text": "a", "stop_reason": "stop"}], **MEASURED}], IN_METRICS, ("stop",)),
    ],
)
def test_a_stream_of_an_invoked_model(events: list[Any], usage: Any, reasons: tuple[str, ...]) -> None:
    found = answered(b"".join(map(chunk, events)), "invoke-with-response-stream")
    assert (figures(found.usage), found.finish_reasons, found.faults) == (usage, reasons, ())
    assert (found.usage_source, found.stream) == ("reported", True)


@pytest.mark.parametrize(
    "payload", [{}, {"bytes": "not base64"}, {"bytes": "bm8="}, {"bytes": 7}, {"bytes": "W10="}]
)
def test_a_chunk_that_cannot_be_read_is_a_fault_named_once(payload: Any) -> None:
    last = chunk({"completion": "", "stop_reason": "stop_sequence", **MEASURED})
    found = answered(event("chunk", payload) * 2 + last, "invoke-with-response-stream")
    assert (figures(found.usage), found.faults) == (IN_METRICS, ("stream.malformed",))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-5, 1 << 60) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = [
    *("id", "index", "type", "message", "content", "usage", "stopReason", "stop_reason", "finish_reason"),
    *("text", "results", "tokenCount", "totalOutputTextTokenCount", "embedding", "delta", "start", "toolUse"),
    *("contentBlockIndex", "serviceTier", "cacheDetails", "cacheWriteInputTokens", "response_id"),
    "amazon-bedrock-invocationMetrics",
    *(name for name, _ in FORMATS),
]
ODD = st.dictionaries(
    st.sampled_from(MEMBERS),
    ANYTHING | st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=4),
    max_size=6,
)


@pytest.mark.parametrize(
    ("how", "answer", "faults"),
    [
        ("converse", {"usage": 7}, ("usage.malformed",)),
        ("converse", {"output": {"message": {"content": [7, {"toolUse": 7}]}}}, ()),
        ("converse", {"usage": {"cacheDetails": [7]}}, ()),
        ("converse-stream", event("contentBlockStart", {}) + event("contentBlockDelta", {"delta": 7}), None),
        ("invoke", {"results": [7], "inputTextTokenCount": None}, ()),
        ("invoke", {"outputText": 7}, ()),
        ("invoke", {"generations": [7]}, ()),
        ("invoke", {"outputs": [7]}, ()),
        ("invoke", {"images": 7}, ()),
    ],
)
def test_answers_of_another_form_are_read_as_far_as_they_go(how: str, answer: Any, faults: Any) -> None:
    found = answered(answer, how)
    assert faults is None or found.faults == faults
    assert found.error is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ODD, st.sampled_from(("chunk", "metadata", "contentBlockDelta", "contentBlockStart", "messageStop", "x"))
)
def test_no_answer_is_too_odd_to_be_read(body: dict[str, Any], name: str) -> None:
    reading = Reading()
    read_invoked(body, reading)
    read_converse_event(name, body, reading)
    try:
        inner = base64.b64encode(json.dumps(body).encode()).decode()
    except UnicodeEncodeError:
        inner = ""
    read_chunk("chunk", {"bytes": inner}, reading)
    read_chunk(name, body, reading)


# -- prices and rewriting ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "million_input_usd"), [("us.", 3.3), ("global.", 3.0)]
)  # https://aws.amazon.com/bedrock/pricing/
def test_the_profile_that_was_asked_is_priced(profile: str, million_input_usd: float) -> None:
    model = f"{profile}anthropic.claude-sonnet-4-5-20250929-v1%3A0"
    usage = {"input_tokens": 100_000, "output_tokens": 0}
    found = answered({**MESSAGE, "usage": usage}, "invoke", model)
    assert found.response_model == "claude-sonnet-4-5-20250929"
    assert found.cost == pytest.approx(million_input_usd / 10)


BEARER = {"authorization": "Bearer key"}
SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=x", "x-amz-date": "20261122T000000Z"}


def degraded(request: WireRequest) -> Any:
    bench = Bench(has_hook=True)
    exchange = bench.open(request)
    exchange.start()
    step = exchange.answer(BeforeRequestResult.degrade("amazon.nova-micro-v1:0", "dear"))
    return exchange, step


def test_a_call_with_a_key_is_degraded_by_its_path() -> None:
    request = wire({}, "/model/amazon.nova-pro-v1%3A0/converse", host=HOST, names=BEARER)
    exchange, step = degraded(request)
    assert isinstance(step, Send)
    assert step.rewrite is not None
    assert step.rewrite.target == b"/model/amazon.nova-micro-v1%3A0/converse"
    assert (exchange.degraded_from, exchange.sent_model) == ("amazon.nova-pro-v1:0", "amazon.nova-micro-v1:0")


def test_a_signed_call_is_not_changed() -> None:
    request = wire({}, "/model/amazon.nova-pro-v1%3A0/converse", host=HOST, names=SIGNED)
    exchange, step = degraded(request)
    assert isinstance(step, Send)
    assert step.rewrite is None
    assert (exchange.decision.action, exchange.decision.hindered) == ("alert", "signed")


def test_the_table_speaks_of_aws() -> None:
    assert (BEDROCK.otel, BEDROCK.price_provider) == ("aws.bedrock", "aws")
