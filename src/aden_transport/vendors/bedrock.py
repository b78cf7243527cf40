"""Amazon Bedrock: Converse, the vendors' own formats through InvokeModel, and OpenAI's and Anthropic's APIs.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
https://docs.aws.amazon.com/bedrock/latest/userguide/endpoints.html
"""

from __future__ import annotations

import binascii
import dataclasses
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any

from .._json import loads
from ..events import NormalizedUsage
from . import openai
from .anthropic import ANTHROPIC, read_legacy, read_message, read_message_event
from .base import (
    Headers,
    Operation,
    Reading,
    Route,
    StreamShape,
    Vendor,
    arguments_text,
    asked_images,
    count,
    incomplete,
    malformed,
    route,
    text,
)
from .limits import openai_limits
from .openai_shapes import read_chat, read_chat_event, read_completion, read_error

__all__ = ["BEDROCK"]


# -- Converse ----------------------------------------------------------------------------------------


def token_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """None where there are no counts.

    `inputTokens` leaves out what was read from and written to the cache; ours includes both.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html; Nova's own format
    names the cache's counts `…TokenCount`.
    """
    get = usage.get
    if get("inputTokens") is None or get("outputTokens") is None:
        if get("inputTokens") is None and get("outputTokens") is None:
            return None
        incomplete(reading)
    cached = count(get("cacheReadInputTokens", get("cacheReadInputTokenCount")), reading)
    written = count(get("cacheWriteInputTokens", get("cacheWriteInputTokenCount")), reading)
    out = NormalizedUsage(
        count(get("inputTokens"), reading) + cached + written, count(get("outputTokens"), reading)
    )
    out.cached_tokens, out.cache_write_tokens = cached, written
    details: Any = get("cacheDetails")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping) and detail.get("ttl") == "1h":
            hour = out.cache_write_1h_tokens + count(detail.get("inputTokens"), reading)
            out.cache_write_1h_tokens = min(hour, written)
    return out


def _take_converse(body: Mapping[str, Any], reading: Reading) -> None:
    """What an answer of Converse and its `metadata` event have in common."""
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = token_usage(usage, reading) or reading.usage
    elif usage is not None:
        malformed(reading)
    tier: Any = body.get("serviceTier")
    if isinstance(tier, Mapping):
        reading.service_tier = text(tier.get("type"), 64) or reading.service_tier


def read_converse(body: Mapping[str, Any], reading: Reading) -> None:
    _take_converse(body, reading)
    _finish(body.get("stopReason"), reading)
    output: Any = body.get("output")
    message: Any = output.get("message") if isinstance(output, Mapping) else None
    content: Any = message.get("content") if isinstance(message, Mapping) else None
    for position, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, Mapping):
            _tool_use(block.get("toolUse"), position, reading)


def _tool_use(call: Any, key: Any, reading: Reading) -> None:
    """A tool that the application is to run; the vendor runs those of type `server_tool_use` itself."""
    if not isinstance(call, Mapping) or call.get("type") == "server_tool_use":
        return
    sent = arguments_text(call.get("input"))
    reading.tool(key, id=call.get("toolUseId"), name=call.get("name"), arguments=sent)


def _finish(reason: Any, reading: Reading, index: int = 0) -> None:
    if isinstance(reason, str) and reason:
        reading.finish_reasons[index] = reason[:64]


def read_converse_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html"""
    match name:
        case "contentBlockDelta":
            _read_delta(event, reading)
        case "contentBlockStart":
            start: Any = event.get("start")
            if isinstance(start, Mapping):
                _tool_use(start.get("toolUse"), event.get("contentBlockIndex"), reading)
        case "messageStop":
            _finish(event.get("stopReason"), reading)
        case "metadata":
            _take_converse(event, reading)
        case "messageStart" | "contentBlockStop":
            pass
        case _:
            read_exception(name, event, reading)


def _read_delta(event: Mapping[str, Any], reading: Reading) -> None:
    delta: Any = event.get("delta")
    if not isinstance(delta, Mapping):
        return
    thought, call = delta.get("reasoningContent"), delta.get("toolUse")
    arguments = call.get("input") if isinstance(call, Mapping) else None
    reading.add_text(delta.get("text"))
    reading.add_text(thought.get("text") if isinstance(thought, Mapping) else None)
    reading.add_text(arguments)
    index = event.get("contentBlockIndex")
    if isinstance(index, int) and index in (reading.tools or ()):
        reading.tool(index, id=None, name=None, arguments=arguments)


# -- errors ------------------------------------------------------------------------------------------

KINDS = {
    "throttlingexception": "rate_limit_error",
    "servicequotaexceededexception": "rate_limit_error",
    "modelnotreadyexception": "overloaded_error",
    "serviceunavailableexception": "overloaded_error",
    "modeltimeoutexception": "timeout_error",
    "validationexception": "invalid_request_error",
}
"""Exceptions in a stream, whose status was 200, in other vendors' words; the rest are server errors."""


def read_exception(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """An exception in the middle of a stream: `throttlingException`, `modelStreamErrorException`, …"""
    read_error(event, reading)
    reading.error = reading.error or name[:128] or "unnamed exception"
    reading.error_kind = KINDS.get(name.lower(), "server_error")
    _name_error(name, reading)


def _name_error(name: str, reading: Reading) -> None:
    reading.error_code = text(name, 128) or reading.error_code
    if reading.error is not None and reading.error.startswith("Input is too long"):
        reading.error_kind = "context_length_exceeded"


# -- InvokeModel -------------------------------------------------------------------------------------
# Each model vendor has a format of its own; a member that no other has tells whose an answer is.
# https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html


def read_llama(body: Mapping[str, Any], reading: Reading) -> None:
    """Counts run up from event to event; the prompt's stands in the first one only."""
    reading.add_text(body.get("generation"))
    _finish(body.get("stop_reason"), reading)
    _take_counts(body.get("prompt_token_count"), body.get("generation_token_count"), reading)


def _take_counts(given: Any, made: Any, reading: Reading) -> None:
    """Take over the counts that are there; one that is not leaves what is known."""
    if given is None and made is None:
        return
    usage = reading.usage = reading.usage or NormalizedUsage()
    usage.input_tokens = usage.input_tokens if given is None else count(given, reading)
    usage.output_tokens = usage.output_tokens if made is None else count(made, reading)


def read_titan(body: Mapping[str, Any], reading: Reading) -> None:
    """Titan's texts, whole or one of a stream (where counts may be `6.0`), and its embeddings."""
    made: Any = body.get("totalOutputTextTokenCount")
    results: Any = body.get("results")
    if isinstance(results, list):
        found = [result for result in results if isinstance(result, Mapping)]
        made = sum(count(result.get("tokenCount"), reading) for result in found)
        for position, result in enumerate(found):
            _finish(result.get("completionReason"), reading, position)
    _finish(body.get("completionReason"), reading)
    if body.get("amazon-bedrock-guardrailAction") == "INTERVENED":  # there is no other reason then
        reading.finish_reasons.setdefault(0, "guardrail_intervened")
    reading.add_text(body.get("outputText"))
    _take_counts(body.get("inputTextTokenCount"), made, reading)
    if "embedding" in body:
        reading.detail("embeddings", 1)


def read_embeddings(body: Mapping[str, Any], reading: Reading) -> None:
    """Cohere's embeddings, a list or a list by type; tokens stand in the headers only."""
    found: Any = body.get("embeddings")
    if isinstance(found, Mapping):
        found = next(iter(found.values()), None)
    reading.response_id = text(body.get("id")) or reading.response_id
    reading.detail("embeddings", len(found) if isinstance(found, list) else None)


def read_cohere(body: Mapping[str, Any], reading: Reading) -> None:
    """Command's generations and Command R's texts, whole or streamed."""
    reading.response_id = text(body.get("response_id") or body.get("id")) or reading.response_id
    generations: Any = body.get("generations")
    for position, generation in enumerate(generations if isinstance(generations, list) else ()):
        if isinstance(generation, Mapping):
            reading.add_text(generation.get("text"))
            _finish(generation.get("finish_reason"), reading, position)
    if generations is None and body.get("is_finished") is not True:
        reading.add_text(body.get("text"))  # a stream's last event repeats the whole text
    index = body.get("index")
    _finish(body.get("finish_reason"), reading, index if isinstance(index, int) else 0)
    calls: Any = body.get("tool_calls")
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, Mapping):
            reading.tool(position, id=None, name=call.get("name"), arguments=None)


def read_jurassic(body: Mapping[str, Any], reading: Reading) -> None:
    completions: Any = body.get("completions")
    for position, completion in enumerate(completions if isinstance(completions, list) else ()):
        reason = completion.get("finishReason") if isinstance(completion, Mapping) else None
        _finish(reason.get("reason") if isinstance(reason, Mapping) else reason, reading, position)


def read_mistral(body: Mapping[str, Any], reading: Reading) -> None:
    outputs: Any = body.get("outputs")
    for position, output in enumerate(outputs if isinstance(outputs, list) else ()):
        if isinstance(output, Mapping):
            reading.add_text(output.get("text"))
            _finish(output.get("stop_reason"), reading, position)


def read_choices(body: Mapping[str, Any], reading: Reading) -> None:
    """OpenAI's form: gpt-oss, Jamba, Qwen, DeepSeek, and Mistral's, where an end is a `stop_reason`."""
    choices: Any = body.get("choices")
    choices = choices if isinstance(choices, list) else ()
    if any(isinstance(choice, Mapping) and "text" in choice for choice in choices):
        read_completion(body, reading)
    elif any(isinstance(choice, Mapping) and "delta" in choice for choice in choices):
        read_chat_event("", body, reading)
    else:
        read_chat(body, reading)
    for position, choice in enumerate(choices):
        if isinstance(choice, Mapping) and choice.get("finish_reason") is None:
            index = choice.get("index", position)
            _finish(choice.get("stop_reason"), reading, index if isinstance(index, int) else position)


def read_images(body: Mapping[str, Any], reading: Reading) -> None:
    """Stability's, Titan's and Nova's pictures, which are billed by the piece."""
    images: Any = body.get("images")
    if isinstance(images, list):
        reading.usage = NormalizedUsage(images=len(images))
        reading.detail("images", len(images))


def read_nova_event(body: Mapping[str, Any], reading: Reading) -> None:
    """Converse's events, named by a member instead of a header."""
    for name in CONVERSE_EVENTS:
        event: Any = body.get(name)
        if isinstance(event, Mapping):
            read_converse_event(name, event, reading)


CONVERSE_EVENTS = ("contentBlockStart", "contentBlockDelta", "messageStop", "metadata")
FORMATS: tuple[tuple[str, Callable[[Mapping[str, Any], Reading], None]], ...] = (
    ("choices", read_choices),
    ("output", read_converse),
    *((name, read_nova_event) for name in ("messageStart", *CONVERSE_EVENTS)),
    ("generation", read_llama),
    ("inputTextTokenCount", read_titan),
    ("outputText", read_titan),
    ("completion", read_legacy),
    ("generations", read_cohere),
    ("generation_id", read_cohere),
    ("is_finished", read_cohere),
    ("embeddings", read_embeddings),
    ("completions", read_jurassic),
    ("outputs", read_mistral),
    ("images", read_images),
)
"""The member by which a model vendor's answer is told, and what reads it."""


def read_invoked(body: Mapping[str, Any], reading: Reading) -> None:
    if body.get("type") == "message":
        read_message(body, reading)
        return
    for member, read in FORMATS:
        if member in body:
            read(body, reading)
            return


def read_chunk(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """An event of a model vendor's own stream, in base64.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_PayloadPart.html
    """
    if name != "chunk":
        read_exception(name, event, reading)
        return
    inner = _decoded(event.get("bytes"))
    if inner is None:
        if "stream.malformed" not in reading.faults:
            reading.faults.append("stream.malformed")
        return
    if inner.get("type") is not None and "completion" not in inner:
        read_message_event("", inner, reading)
    else:
        read_invoked(inner, reading)
    metrics: Any = inner.get("amazon-bedrock-invocationMetrics")
    # What the model's own format says is what its vendor bills; the metrics may leave out tool calls.
    if isinstance(metrics, Mapping) and reading.usage is None:
        get = metrics.get
        reading.usage = counted(
            get("inputTokenCount"),
            get("outputTokenCount"),
            get("cacheReadInputTokenCount"),
            get("cacheWriteInputTokenCount"),
            reading,
        )


def _decoded(data: Any) -> dict[str, Any] | None:
    try:
        value: Any = loads(b64decode(data))
    except (ValueError, TypeError, binascii.Error):
        return None
    return value if isinstance(value, dict) else None


def counted(given: Any, made: Any, cached: Any, written: Any, reading: Reading) -> NormalizedUsage:
    """Bedrock's own counts of an invocation, whose input leaves out the cache."""
    out = NormalizedUsage(count(given, reading), count(made, reading))
    out.cached_tokens, out.cache_write_tokens = count(cached, reading), count(written, reading)
    out.input_tokens += out.cached_tokens + out.cache_write_tokens
    return out


def read_invocation_headers(headers: Headers, reading: Reading) -> None:
    """The tier, the counts where the body has none (Cohere, Mistral, Claude 2), and an error's name."""
    _read_headers(headers, reading)
    given, made = headers.get(TOKENS % b"input"), headers.get(TOKENS % b"output")
    if reading.usage is None and (given is not None or made is not None):
        cached, written = (
            headers.get(TOKENS % b"cache-read-input"),
            headers.get(TOKENS % b"cache-write-input"),
        )
        reading.usage = counted(_text(given), _text(made), _text(cached), _text(written), reading)


TOKENS = b"x-amzn-bedrock-%s-token-count"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("ascii", "replace")


def _read_headers(headers: Headers, reading: Reading) -> None:
    error = headers.get(b"x-amzn-errortype")
    if error is not None:
        # `ValidationException:http://internal.amazon.com/…`
        _name_error(error.partition(b":")[0].decode("ascii", "replace"), reading)
    tier = headers.get(b"x-amzn-bedrock-service-tier")
    if tier is not None:
        reading.service_tier = text(tier.decode("ascii", "replace"), 64) or reading.service_tier


def _asked_images(body: Mapping[str, Any]) -> Mapping[str, Any]:
    config = body.get("imageGenerationConfig")
    n = config.get("numberOfImages", 1) if isinstance(config, Mapping) else 1
    return {"n": n} if isinstance(n, int) and 0 < n <= 1024 else {}


# -- the table ---------------------------------------------------------------------------------------

CAP = (
    "max_tokens",
    "max_tokens_to_sample",
    "max_completion_tokens",
    "max_gen_len",
    "inferenceConfig.maxTokens",
    "inferenceConfig.max_new_tokens",
    "textGenerationConfig.maxTokenCount",
    "maxTokens",
)
CONVERSE = Operation(
    "chat", read_converse, output_cap=CAP, cap="inferenceConfig.maxTokens", read_headers=_read_headers
)
CONVERSE_STREAM = dataclasses.replace(
    CONVERSE,
    stream=StreamShape(read_converse_event, framing="aws_event_stream", quiet=(-1, 10)),
    always_streams=True,
)
INVOKE = Operation(
    "chat", read_invoked, output_cap=CAP, metadata="user_id", read_headers=read_invocation_headers
)
INVOKE_STREAM = dataclasses.replace(
    INVOKE,
    stream=StreamShape(read_chunk, framing="aws_event_stream", quiet=(-1, 10)),
    always_streams=True,
)
EMBED = Operation("embeddings", read_invoked, read_headers=read_invocation_headers)
IMAGES = Operation(
    "image_generation",
    read_invoked,
    read_headers=_read_headers,
    read_request=_asked_images,
    rate_by=asked_images,
)
RERANK = Operation("rerank", read_invoked, read_headers=read_invocation_headers)
NO_USE = Operation("none", metered=False)

MODEL = r"/model/(?P<model>[^/]+)"
_OF_OTHERS: tuple[Route, ...] = (*openai.ROUTES, *ANTHROPIC.routes)

BEDROCK = Vendor(
    id="bedrock",
    otel="aws.bedrock",
    routes=(
        route("POST", MODEL + r"/converse", CONVERSE, strong=True),
        route("POST", MODEL + r"/converse-stream", CONVERSE_STREAM, strong=True),
        route("POST", r"/model/(?P<model>[^/]*embed[^/]*)/invoke", EMBED),
        route("POST", r"/model/(?P<model>[^/]*(?:image|canvas|stability\.)[^/]*)/invoke", IMAGES),
        route("POST", r"/model/(?P<model>[^/]*rerank[^/]*)/invoke", RERANK),
        route("POST", MODEL + r"/invoke", INVOKE),
        route("POST", MODEL + r"/invoke-with-response-stream", INVOKE_STREAM, strong=True),
        # Its answer is a receipt; what it comes to stands in no answer.
        route("POST", r"/(?:async-invoke|count-tokens|guardrail/.*/apply|guardrail-checks/invoke)", NO_USE),
        *(dataclasses.replace(known, strong=False) for known in _OF_OTHERS),
    ),
    # AWS endpoint rules of `bedrock-runtime` and its partitions; interface endpoints stand before them.
    host_pattern=re.compile(
        r"(?:[^.]+\.)?bedrock-(?:runtime|mantle)(?:-fips)?\.(?P<region>[a-z]{2,8}(?:-[a-z0-9]+)+)\."
        r"(?:(?:vpce\.)?amazonaws\.(?:com|com\.cn|eu)|api\.aws|api\.amazonwebservices\.(?:com\.cn|eu))"
    ),
    user_agents=(
        b"AnthropicBedrock/",
        b"AsyncAnthropicBedrock/",
        b"AnthropicBedrockMantle/",
        b"AsyncAnthropicBedrockMantle/",
        b"BedrockOpenAI/",
        b"AsyncBedrockOpenAI/",
    ),
    price_provider="aws",
    # Claude answers with Anthropic's name of it; the price is that of the profile that was asked.
    priced_as_requested=True,
    request_id_headers=(b"x-amzn-requestid", b"x-request-id"),
    latency_header=b"x-amzn-bedrock-invocation-latency",
    read_rate_limit=openai_limits,
    checked="2026-11-22",
    source="https://docs.aws.amazon.com/bedrock/latest/APIReference/",
)
