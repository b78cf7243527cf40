"""Cohere, both versions of its API. https://docs.cohere.com/reference

`billed_units` is what a call costs; `tokens` counts what the model processed, with the text that Cohere
adds by itself: "tokens you don't have control over, you are not charged for them"
(https://docs.cohere.com/docs/how-does-cohere-pricing-work). Usage follows the bill, and what was processed
stands in the details. Answers do not name the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import openai
from .base import (
    Operation,
    Reading,
    StreamShape,
    Vendor,
    arguments_text,
    asks_stream,
    count,
    malformed,
    route,
    text,
)
from .limits import cohere_limits
from .openai_shapes import read_error

__all__ = ["COHERE"]

BILLED = ("input_tokens", "output_tokens", "search_units", "images", "pages", "image_tokens", "text_tokens")
FAILURES = {"ERROR": "server_error", "ERROR_TOXIC": "content_filter", "TIMEOUT": "timeout_error"}
"""Finish reasons of answers that failed under status 200, each with the kind of error that it is."""


def _take_usage(usage: Any, reading: Reading) -> None:
    """`usage` (v2) or `meta` (v1, embed, rerank)."""
    if not isinstance(usage, Mapping):
        if usage is not None:
            malformed(reading)
        return
    billed, tokens = usage.get("billed_units"), usage.get("tokens")
    if isinstance(tokens, Mapping):
        reading.detail("processed_input_tokens", count(tokens.get("input_tokens"), reading))
        reading.detail("processed_output_tokens", count(tokens.get("output_tokens"), reading))
    if usage.get("cached_tokens") is not None:
        # Of those processed, so often more than were billed; no price depends on it.
        reading.detail("processed_cached_tokens", count(usage["cached_tokens"], reading))
    if isinstance(billed, Mapping):
        _take_billed(billed, reading)
    elif isinstance(tokens, Mapping):
        reading.usage = NormalizedUsage(
            count(tokens.get("input_tokens"), reading), count(tokens.get("output_tokens"), reading)
        )


def _take_billed(billed: Mapping[str, Any], reading: Reading) -> None:
    """Each member is a line of the bill, so that text and image tokens add up."""
    if billed.get("classifications") is not None:
        reading.detail("classifications", count(billed["classifications"], reading))
    if not any(billed.get(member) is not None for member in BILLED):
        return
    of_text = billed.get("input_tokens")
    out = NormalizedUsage(
        count(billed.get("text_tokens") if of_text is None else of_text, reading),
        count(billed.get("output_tokens"), reading),
    )
    out.image_input_tokens = count(billed.get("image_tokens"), reading)
    out.input_tokens += out.image_input_tokens
    out.search_units = count(billed.get("search_units"), reading)
    out.images = count(billed.get("images"), reading)
    out.pages = count(billed.get("pages"), reading)
    reading.usage = out


def _finished(reason: Any, message: Any, reading: Reading) -> None:
    if not isinstance(reason, str) or not reason:
        return
    reading.finish_reasons[0] = reason[:64]
    if reason in FAILURES:
        reading.error = text(message, 1000) or f"finish_reason {reason}"
        reading.error_kind = FAILURES[reason]


# -- version 2 ----------------------------------------------------------------------------------------


def read_v2_chat(body: Mapping[str, Any], reading: Reading) -> None:
    reading.response_id = text(body.get("id")) or reading.response_id
    message: Any = body.get("message")
    calls: Any = message.get("tool_calls") if isinstance(message, Mapping) else None
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, Mapping):
            _v2_tool(call, position, reading)
    _finished(body.get("finish_reason"), None, reading)
    _take_usage(body.get("usage"), reading)


def _v2_tool(call: Mapping[str, Any], key: int, reading: Reading) -> None:
    function: Any = call.get("function")
    if not isinstance(function, Mapping):
        return
    arguments = function.get("arguments")
    if function.get("name") is None and key not in (reading.tools or ()):
        return  # more of a call whose beginning was not read
    reading.tool(key, id=call.get("id"), name=function.get("name"), arguments=arguments)
    reading.add_text(arguments)


def read_v2_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """https://docs.cohere.com/docs/streaming"""
    kind = event.get("type") or name
    delta: Any = event.get("delta")
    if kind == "message-start":
        reading.response_id = text(event.get("id")) or reading.response_id
    elif not isinstance(delta, Mapping):
        if "error" in event or "message" in event:
            read_error(event, reading)
    elif kind == "message-end":
        _finished(delta.get("finish_reason"), delta.get("error"), reading)
        _take_usage(delta.get("usage"), reading)
    elif isinstance(delta.get("message"), Mapping):
        _v2_delta(event, delta["message"], reading)


def _v2_delta(event: Mapping[str, Any], message: Mapping[str, Any], reading: Reading) -> None:
    content, calls = message.get("content"), message.get("tool_calls")
    if isinstance(content, Mapping):
        reading.add_text(content.get("text"))
        reading.add_text(content.get("thinking"))
    reading.add_text(message.get("tool_plan"))
    if isinstance(calls, Mapping):
        index = event.get("index")
        _v2_tool(calls, index if isinstance(index, int) else 0, reading)


# -- version 1 ----------------------------------------------------------------------------------------


def read_v1_chat(body: Mapping[str, Any], reading: Reading) -> None:
    reading.response_id = text(body.get("response_id")) or reading.response_id
    _v1_tools(body.get("tool_calls"), reading)
    _finished(body.get("finish_reason"), None, reading)
    _take_usage(body.get("meta"), reading)


def _v1_tools(calls: Any, reading: Reading) -> None:
    for position, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, Mapping):
            sent = arguments_text(call.get("parameters"))
            reading.tool(position, id=None, name=call.get("name"), arguments=sent)


def read_v1_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """Lines of JSON; with `Accept: text/event-stream` the same as server-sent events."""
    kind = event.get("event_type") or name
    if kind == "text-generation":
        reading.add_text(event.get("text"))
    elif kind == "stream-end":
        response: Any = event.get("response")
        if isinstance(response, Mapping):
            reading.tools = None
            read_v1_chat(response, reading)
            reading.response_id = text(response.get("id")) or reading.response_id  # of `generate`
        _finished(event.get("finish_reason"), event.get("error"), reading)
    elif kind == "stream-error":
        _finished(event.get("finish_reason") or "ERROR", event.get("err"), reading)
    elif "message" in event and "event_type" not in event:
        read_error(event, reading)


def read_v1_generate(body: Mapping[str, Any], reading: Reading) -> None:
    """`generate` and `summarize`, both retired."""
    reading.response_id = text(body.get("id")) or reading.response_id
    generations: Any = body.get("generations")
    for position, generation in enumerate(generations if isinstance(generations, list) else ()):
        reason = generation.get("finish_reason") if isinstance(generation, Mapping) else None
        if isinstance(reason, str):
            reading.finish_reasons[position] = reason[:64]
    _take_usage(body.get("meta"), reading)


# -- both versions ------------------------------------------------------------------------------------


def read_plain(body: Mapping[str, Any], reading: Reading) -> None:
    """`embed`, `rerank`, `classify`, `parse`: an id, and what is billed in `meta`."""
    reading.response_id = text(body.get("id")) or reading.response_id
    _take_usage(body.get("meta"), reading)


def read_cohere_embed(body: Mapping[str, Any], reading: Reading) -> None:
    read_plain(body, reading)
    vectors: Any = body.get("embeddings")
    if isinstance(vectors, Mapping):  # by type
        vectors = next((by_type for by_type in vectors.values() if isinstance(by_type, list)), None)
    reading.detail("embeddings", len(vectors) if isinstance(vectors, list) else None)


V1_STREAM = StreamShape(
    read_v1_event,
    framing="ndjson",
    every_event=True,  # so that lines are told apart
    quiet=(-1, 10),  # nothing marks the last line but its end: clients read to the end of the body
)
V1_CHAT = Operation("chat", read_v1_chat, V1_STREAM, streams=asks_stream, cap="max_tokens")
V2_CHAT = Operation(
    "chat",
    read_v2_chat,
    StreamShape(
        read_v2_event,
        terminals=(
            b"\nevent: message-end",
            b'"type":"message-end"',
            b'"type": "message-end"',
            b"\ndata: [DONE]",  # which may follow in the same piece
        ),
        quiet=(-7, 34),  # text ends in `"}}}}`, the last event does not
    ),
    streams=asks_stream,
    cap="max_tokens",
)
GENERATE = Operation("text_completion", read_v1_generate, V1_STREAM, streams=asks_stream, cap="max_tokens")
EMBED = Operation("embeddings", read_cohere_embed)
RERANK = Operation("rerank", read_plain)
CLASSIFY = Operation("classification", read_plain)
PARSE = Operation("ocr", read_plain)
TRANSCRIPTION = Operation("transcription", read_plain)
# https://docs.cohere.com/docs/compatibility-api does not say that it takes `stream_options`.
COMPATIBLE_CHAT = dataclasses.replace(openai.CHAT, asks_usage=False)

COHERE = Vendor(
    id="cohere",
    otel="cohere",
    routes=(
        route("POST", r"/compatibility/v1/chat/completions", COMPATIBLE_CHAT),
        route("POST", r"/compatibility/v1/embeddings", openai.EMBEDDINGS),
        route("POST", r"/v2/chat", V2_CHAT),
        route("POST", r"/v1/chat", V1_CHAT),
        route("POST", r"/v1/(?:generate|summarize)", GENERATE),
        route("POST", r"/v[12]/embed", EMBED),
        route("POST", r"/v[12]/rerank", RERANK),
        route("POST", r"/v1/classify", CLASSIFY),
        route("POST", r"/v2/parse", PARSE),
        route("POST", r"/v2/audio/transcriptions", TRANSCRIPTION),
    ),
    hosts=("api.cohere.com", "api.cohere.ai"),
    user_agents=(b"cohere/",),
    price_provider="cohere",
    request_id_headers=(b"x-debug-trace-id", b"x-request-id"),
    latency_header=b"x-envoy-upstream-service-time",
    read_rate_limit=cohere_limits,
    checked="2026-11-22",
    source="https://docs.cohere.com/reference",
)
