"""Anthropic Messages. https://docs.anthropic.com/en/api/messages"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Operation, Reading, StreamShape, Vendor, count, malformed, route, text
from .limits import anthropic_limits
from .openai_shapes import read_error

__all__ = ["ANTHROPIC", "MESSAGES", "MESSAGES_STREAM"]


def message_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage:
    """`input_tokens` leaves out what was read from and written to the cache; ours includes both.

    `usage.iterations[]` repeats the figures per server-side turn and is not added.
    """
    cached = count(usage.get("cache_read_input_tokens"), reading)
    written = count(usage.get("cache_creation_input_tokens"), reading)
    out = NormalizedUsage(
        count(usage.get("input_tokens"), reading) + cached + written,
        count(usage.get("output_tokens"), reading),
    )
    out.cached_tokens = cached
    out.cache_write_tokens = written
    creation = usage.get("cache_creation")
    if written and isinstance(creation, Mapping):
        hour = count(creation.get("ephemeral_1h_input_tokens"), reading)
        out.cache_write_1h_tokens = min(hour, written)
    details: Any = usage.get("output_tokens_details")
    if isinstance(details, Mapping):
        out.reasoning_tokens = count(details.get("thinking_tokens"), reading)
    server_tools = usage.get("server_tool_use")
    if isinstance(server_tools, Mapping):
        # Only searches are billed by the call; fetches and code execution are not.
        out.server_tool_calls = count(server_tools.get("web_search_requests"), reading)
    return out


def _head(message: Mapping[str, Any], reading: Reading) -> None:
    reading.response_id = text(message.get("id")) or reading.response_id
    reading.response_model = text(message.get("model")) or reading.response_model
    usage: Any = message.get("usage")
    if usage.__class__ is dict:
        reading.usage = message_usage(usage, reading)
        reading.service_tier = text(usage.get("service_tier"), 64) or reading.service_tier
        reading.detail("inference_geo", text(usage.get("inference_geo"), 64))
    elif usage is not None:
        malformed(reading)


def read_message(message: Mapping[str, Any], reading: Reading) -> None:
    _head(message, reading)
    reason = message.get("stop_reason")
    if isinstance(reason, str):
        reading.finish_reasons[0] = reason[:64]
    content = message.get("content")
    for position, block in enumerate(content if isinstance(content, list) else ()):
        if isinstance(block, Mapping) and block.get("type") == "tool_use":
            _tool(block, position, reading)


def _tool(block: Mapping[str, Any], position: int, reading: Reading) -> None:
    from .._json import dumps

    arguments = block.get("input")
    sent = dumps(arguments).decode("utf-8", "replace") if arguments else ""
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
        piece = delta.get(member)
        if isinstance(piece, str):
            reading.text_bytes += len(piece.encode("utf-8", "replace"))
    index = event.get("index")
    # The arguments of the vendor's own tools (`server_tool_use`) stream in the same way.
    if delta.get("type") == "input_json_delta" and isinstance(index, int) and index in (reading.tools or ()):
        reading.tool(index, id=None, name=None, arguments=delta.get("partial_json"))


def _merged(known: NormalizedUsage | None, usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage:
    """The running totals of `message_delta` over those of `message_start`; absent members stay."""
    if known is None:
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
    completion = body.get("completion")
    if isinstance(completion, str):
        reading.text_bytes += len(completion.encode("utf-8", "replace"))


def _asks_stream(body: Mapping[str, Any]) -> bool:
    return body.get("stream") is True


MESSAGES_STREAM = StreamShape(
    read_message_event,
    terminals=(b'"type":"message_stop"', b'"type": "message_stop"', b"\nevent: message_stop"),
    quiet=(-4, 125),  # deltas end in `}}`, the last one in `"}`
)
MESSAGES = Operation(
    "chat",
    read_message,
    MESSAGES_STREAM,
    streams=_asks_stream,
    output_cap=("max_tokens",),
    metadata="user_id",
)
NO_USE = Operation("none", metered=False)
LEGACY = Operation(
    "text_completion",
    read_legacy,
    StreamShape(lambda _name, event, reading: read_legacy(event, reading)),
    streams=_asks_stream,
    output_cap=("max_tokens_to_sample",),
)

ANTHROPIC = Vendor(
    id="anthropic",
    otel="anthropic",
    routes=(
        route("POST", r"/v1/messages", MESSAGES, strong=True),
        route("POST", r"/v1/messages/(?:count_tokens|batches(?:/.*)?)", NO_USE),
        route("POST", r"/v1/complete", LEGACY),
    ),
    hosts=("api.anthropic.com", "claude.googleapis.com"),
    user_agents=(b"Anthropic/", b"AsyncAnthropic/"),
    price_provider="anthropic",
    request_id_headers=(b"request-id", b"x-request-id"),
    organization_header=b"anthropic-organization-id",
    read_rate_limit=anthropic_limits,
    checked="2026-11-21",
    source="https://docs.anthropic.com/en/api/messages",
)
