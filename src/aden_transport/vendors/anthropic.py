"""Anthropic Messages. https://docs.anthropic.com/en/api/messages"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import (
    Operation,
    Reading,
    StreamShape,
    Vendor,
    arguments_text,
    asks_stream,
    count,
    incomplete,
    malformed,
    route,
    text,
)
from .limits import anthropic_limits
from .openai_shapes import read_error

__all__ = ["ANTHROPIC", "MESSAGES", "MESSAGES_STREAM"]


def message_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """None where there are no counts.

    `input_tokens` leaves out what was read from and written to the cache; ours includes both.

    `usage.iterations[]` repeats the figures per server-side turn, so that those are not added, and has the
    compactions, which stand nowhere else and are billed alike:
    https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage.
    """
    if all(usage.get(name) is None for name in COUNTS):
        return None
    out = _turn_usage(usage, reading)
    iterations: Any = usage.get("iterations")
    for turn in iterations if isinstance(iterations, list) else ():
        if not isinstance(turn, Mapping):
            continue
        if turn.get("type") == "compaction":
            _add(_turn_usage(turn, reading), out)
        elif turn.get("type") == "advisor_message" and UNPRICED_ADVISOR not in reading.faults:
            reading.faults.append(UNPRICED_ADVISOR)
    details: Any = usage.get("output_tokens_details")
    if isinstance(details, Mapping):
        out.reasoning_tokens = count(details.get("thinking_tokens"), reading)
    server_tools = usage.get("server_tool_use")
    if isinstance(server_tools, Mapping):
        # Only searches are billed by the call; fetches and code execution are not.
        out.server_tool_calls = count(server_tools.get("web_search_requests"), reading)
    return out


UNPRICED_ADVISOR = "unpriced.advisor_message"
"""Another model was asked for advice; its tokens are billed at its own price and are not in the counts:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool."""


COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def _turn_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage:
    """The counts that every turn has."""
    cached = count(usage.get("cache_read_input_tokens"), reading)
    written = count(usage.get("cache_creation_input_tokens"), reading)
    out = NormalizedUsage(
        count(usage.get("input_tokens"), reading) + cached + written,
        count(usage.get("output_tokens"), reading),
    )
    out.cached_tokens = cached
    out.cache_write_tokens = written
    creation = usage.get("cache_creation")
    if isinstance(creation, Mapping):
        hour = count(creation.get("ephemeral_1h_input_tokens"), reading)
        if usage.get("cache_creation_input_tokens") is None:
            written = hour + count(creation.get("ephemeral_5m_input_tokens"), reading)
            out.cache_write_tokens = written
            out.input_tokens += written
        out.cache_write_1h_tokens = min(hour, written)
    return out


def _add(usage: NormalizedUsage, total: NormalizedUsage) -> None:
    for name in NormalizedUsage.__slots__:
        setattr(total, name, getattr(total, name) + getattr(usage, name))


def _head(message: Mapping[str, Any], reading: Reading) -> None:
    reading.response_id = text(message.get("id")) or reading.response_id
    reading.response_model = text(message.get("model")) or reading.response_model
    usage: Any = message.get("usage")
    if usage.__class__ is dict:
        reading.usage = message_usage(usage, reading) or reading.usage
        reading.service_tier = text(usage.get("service_tier"), 64) or reading.service_tier
        reading.detail("inference_geo", text(usage.get("inference_geo"), 64))
    elif usage is not None:
        malformed(reading)


def read_message(message: Mapping[str, Any], reading: Reading) -> None:
    _head(message, reading)
    usage: Any = message.get("usage")
    if reading.usage is not None and None in (usage.get("input_tokens"), usage.get("output_tokens")):
        incomplete(reading)
    reason = message.get("stop_reason")
    if isinstance(reason, str):
        reading.finish_reasons[0] = reason[:64]
    content = message.get("content")
    for position, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, Mapping) and block.get("type") == "tool_use":
            _tool(block, position, reading)


def _tool(block: Mapping[str, Any], position: int, reading: Reading) -> None:
    sent = arguments_text(block.get("input"))
    reading.tool(position, id=block.get("id"), name=block.get("name"), arguments=sent)


def read_message_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """`message_start` has the input, `message_delta` the totals so far: the later value wins per field."""
    kind = event.get("type") or name
    if kind == "content_block_delta":
        _read_delta(event, reading)
    elif kind == "message_start":
        message: Any = event.get("message")
        if isinstance(message, Mapping):
            _head(message, reading)
    elif kind == "message_delta":
        delta: Any = event.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, Mapping) else None
        if isinstance(reason, str):
            reading.finish_reasons[0] = reason[:64]
        usage: Any = event.get("usage")
        if isinstance(usage, Mapping):
            reading.usage = _merged(reading.usage, usage, reading)
    elif kind == "content_block_start":
        block = event.get("content_block")
        if isinstance(block, Mapping) and block.get("type") == "tool_use":
            reading.tool(event.get("index"), id=block.get("id"), name=block.get("name"), arguments="")
    elif kind == "error":
        read_error(event, reading)


def _read_delta(event: Mapping[str, Any], reading: Reading) -> None:
    delta: Any = event.get("delta")
    if not isinstance(delta, Mapping):
        return
    for member in ("text", "thinking", "partial_json"):
        reading.add_text(delta.get(member))
    index = event.get("index")
    # The arguments of the vendor's own tools (`server_tool_use`) stream in the same way.
    if delta.get("type") == "input_json_delta" and isinstance(index, int) and index in (reading.tools or ()):
        reading.tool(index, id=None, name=None, arguments=delta.get("partial_json"))


def _merged(
    known: NormalizedUsage | None, usage: Mapping[str, Any], reading: Reading
) -> NormalizedUsage | None:
    """The running totals of `message_delta` over those of `message_start`; absent members stay."""
    if known is None:
        if usage.get("input_tokens") is None:
            incomplete(reading)  # it stood in an event that was not there
        return message_usage(usage, reading)
    plain = known.input_tokens - known.cached_tokens - known.cache_write_tokens
    whole: dict[str, Any] = {
        "input_tokens": plain,
        "output_tokens": known.output_tokens,
        "cache_read_input_tokens": known.cached_tokens,
        "cache_creation_input_tokens": known.cache_write_tokens,
        "cache_creation": {"ephemeral_1h_input_tokens": known.cache_write_1h_tokens},
        "output_tokens_details": {"thinking_tokens": known.reasoning_tokens},
        "server_tool_use": {"web_search_requests": known.server_tool_calls},
    }
    whole.update({key: value for key, value in usage.items() if value is not None})
    return message_usage(whole, reading)


def read_legacy(body: Mapping[str, Any], reading: Reading) -> None:
    reading.response_id = text(body.get("id")) or reading.response_id
    reading.response_model = text(body.get("model")) or reading.response_model
    if isinstance(body.get("stop_reason"), str):
        reading.finish_reasons[0] = body["stop_reason"][:64]
    reading.add_text(body.get("completion"))


def read_batch(body: Mapping[str, Any], reading: Reading) -> None:
    """A batch, as it is begun. Its usage stands in its results only.

    https://docs.anthropic.com/en/api/creating-message-batches
    """
    reading.batch = True
    reading.response_id = text(body.get("id"))
    reading.detail("batch_status", text(body.get("processing_status"), 64))
    counts: Any = body.get("request_counts")
    if isinstance(counts, Mapping):
        figures = {name: count(counts.get(name), reading) for name in BATCH_ENDS}
        reading.detail("request_counts_total", sum(figures.values()))
        reading.detail("request_counts_completed", figures["succeeded"])
        reading.detail("request_counts_failed", figures["errored"] + figures["canceled"] + figures["expired"])
    reading.tell_of_work(body.get("id"), body.get("created_at"), over=False)


BATCH_ENDS = ("processing", "succeeded", "errored", "canceled", "expired")


def read_batch_result(_name: str, line: Mapping[str, Any], reading: Reading) -> None:
    """One of a batch's results. The sum is of the batch, counted by the least id of its messages: the
    batch's own stands in the path only, and the order of results is not certain.

    https://docs.anthropic.com/en/api/retrieving-message-batch-results
    """
    result: Any = line.get("result")
    if not isinstance(result, Mapping):
        return
    reading.batch = True
    succeeded = result.get("type") == "succeeded"
    _count_one("request_counts_total", reading)
    _count_one("request_counts_completed" if succeeded else "request_counts_failed", reading)
    message: Any = result.get("message")
    if not succeeded or not isinstance(message, Mapping):
        return
    known, model, least = reading.usage or NormalizedUsage(), reading.response_model, reading.response_id
    _head(message, reading)
    if reading.usage is not None and reading.usage is not known:
        _add(reading.usage, known)
    reading.usage = known
    reading.response_id = min(filter(None, (least, reading.response_id)), default=None)
    if model is not None and model != reading.response_model:
        reading.response_model = MANY_MODELS
    reading.tell_of_work(reading.response_id, None, over=True)


MANY_MODELS = "various"
"""Of a batch whose requests were answered by several models: no price is theirs together."""


def _count_one(key: str, reading: Reading) -> None:
    reading.detail(key, (reading.details or {}).get(key, 0) + 1)


MESSAGES_STREAM = StreamShape(
    read_message_event,
    terminals=(b'"type":"message_stop"', b'"type": "message_stop"', b"\nevent: message_stop"),
    quiet=(-4, 125),  # deltas end in `}}`, the last one in `"}`
)
MESSAGES = Operation(
    "chat",
    read_message,
    MESSAGES_STREAM,
    streams=asks_stream,
    output_cap=("max_tokens",),
    metadata="user_id",
)
NO_USE = Operation("none", metered=False)
BATCH = Operation("batch", read_batch)
BATCH_RESULTS = Operation(
    "batch",
    stream=StreamShape(read_batch_result, framing="ndjson", ends_with_body=True),
    always_streams=True,
    deferred=True,
)
LEGACY = Operation(
    "text_completion",
    read_legacy,
    StreamShape(lambda _name, event, reading: read_legacy(event, reading)),
    streams=asks_stream,
    output_cap=("max_tokens_to_sample",),
)

ANTHROPIC = Vendor(
    id="anthropic",
    otel="anthropic",
    routes=(
        route("POST", r"/v1/messages", MESSAGES, strong=True),
        route("POST", r"/v1/messages/batches", BATCH),
        route("GET", r"/v1/messages/batches/[^/]+/results", BATCH_RESULTS),
        route("POST", r"/v1/messages/(?:count_tokens|batches/.*)", NO_USE),
        route("POST", r"/v1/complete", LEGACY),
    ),
    hosts=("api.anthropic.com", "claude.googleapis.com"),
    # The Claude Platform on AWS, which is Anthropic's own: https://platform.claude.com/docs/en/build-with-claude/claude-platform-on-aws
    host_pattern=re.compile(r"aws-external-anthropic\.(?P<region>[a-z]{2,8}(?:-[a-z0-9]+)+)\.api\.aws"),
    user_agents=(b"Anthropic/", b"AsyncAnthropic/"),
    price_provider="anthropic",
    request_id_headers=(b"request-id", b"x-request-id"),
    organization_header=b"anthropic-organization-id",
    read_rate_limit=anthropic_limits,
    checked="2026-11-22",
    source="https://docs.anthropic.com/en/api/messages",
)
