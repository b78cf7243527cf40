"""Ollama, on one's own machine and on ollama.com. https://docs.ollama.com/api

`/api/…` is its own format, `/v1/…` is OpenAI's and Anthropic's. What a call costs is not known: models on
one's own machine cost no fee, the cloud's are paid by subscription (https://ollama.com/pricing), and one
and the same local server hands on to either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import openai
from .anthropic import MESSAGES
from .base import Operation, Reading, StreamShape, Vendor, arguments_text, count, malformed, route, text
from .openai_shapes import item_usage, read_error

__all__ = ["OLLAMA"]

DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
"""In nanoseconds. https://docs.ollama.com/api/usage"""
MAX_NANOSECONDS = 366 * 86400 * 10**9


def read_ollama(body: Mapping[str, Any], reading: Reading) -> None:
    """An answer of `/api/chat` or `/api/generate`, or one line of a streamed one; the last has the counts."""
    reading.response_model = text(body.get("model")) or reading.response_model
    message: Any = body.get("message")
    if isinstance(message, Mapping):
        _message(message, reading)
    for member in ("response", "thinking"):
        reading.add_text(body.get(member))
    reason = body.get("done_reason")
    if body.get("done") is True:
        reading.finish_reasons[0] = reason[:64] if isinstance(reason, str) and reason else "stop"
        _counts(body, reading)
    if "error" in body:
        read_error(body, reading)


def _message(message: Mapping[str, Any], reading: Reading) -> None:
    for member in ("content", "thinking"):
        reading.add_text(message.get(member))
    calls: Any = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            _tool(call, function, reading)


def _tool(call: Mapping[str, Any], function: Mapping[str, Any], reading: Reading) -> None:
    sent = arguments_text(function.get("arguments"))
    reading.add_text(sent)
    # Calls come whole, one after the other.
    key = len(reading.tools) if reading.tools else 0
    reading.tool(key, id=call.get("id"), name=function.get("name"), arguments=sent)


def _counts(body: Mapping[str, Any], reading: Reading) -> None:
    """`prompt_eval_count` includes `prompt_eval_cached_count`. Releases before 0.2.6 left it out where the
    whole prompt was cached (https://github.com/ollama/ollama/pull/5371): how long it was is unknown then.
    """
    prompt, cached, output = map(body.get, ("prompt_eval_count", "prompt_eval_cached_count", "eval_count"))
    if prompt is not None or output is not None:
        reading.usage = NormalizedUsage(count(prompt, reading), count(output, reading))
        reading.usage.cached_tokens = min(count(cached, reading), reading.usage.input_tokens)
        if prompt is None and "usage.incomplete" not in reading.faults:
            reading.faults.append("usage.incomplete")
    for member in DURATIONS:
        value = body.get(member)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_NANOSECONDS:
            reading.detail(f"{member}_ms", value / 1e6)


def read_embed(body: Mapping[str, Any], reading: Reading) -> None:
    """`/api/embed`, and `/api/embeddings`, which it replaced and which counts nothing."""
    reading.response_model = text(body.get("model")) or reading.response_model
    _counts(body, reading)
    many: Any = body.get("embeddings")
    reading.detail("embeddings", len(many) if isinstance(many, list) else 1 if "embedding" in body else None)


def read_system_one(body: Mapping[str, Any], reading: Reading) -> None:
    """Questions with a choice of answers: https://docs.ollama.com/api"""
    reading.response_model = text(body.get("model")) or reading.response_model
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = item_usage(usage, reading) or reading.usage
    elif usage is not None:
        malformed(reading)


LINES = StreamShape(
    lambda _name, line, reading: read_ollama(line, reading),
    framing="ndjson",
    every_event=True,  # tools come in any line
    quiet=(-1, 10),  # nothing marks the last line but its end: clients read to the end of the body
)


def _streams(body: Mapping[str, Any]) -> bool:
    return body.get("stream") is not False


CHAT = Operation(
    "chat",
    read_ollama,
    LINES,
    streams=_streams,
    output_cap=("options.num_predict",),
    cap="options.num_predict",
)
GENERATE = dataclasses.replace(CHAT, name="text_completion")
EMBED = Operation("embeddings", read_embed)
SYSTEM_ONE = Operation("classification", read_system_one)

OLLAMA = Vendor(
    id="ollama",
    otel="ollama",
    routes=(
        route("POST", r"/api/chat", CHAT),
        route("POST", r"/api/generate", GENERATE),
        route("POST", r"/api/(?:embed|embeddings)", EMBED),
        route("POST", r"/v1/systemone", SYSTEM_ONE),
        route("POST", r"/v1/messages", MESSAGES),
        *(dataclasses.replace(known, strong=False) for known in openai.ROUTES),
    ),
    hosts=("ollama.com", "www.ollama.com"),
    host_suffixes=(":11434",),  # the port that its server listens on, whatever the host
    user_agents=(b"ollama-python/",),
    # https://docs.ollama.com/api/openai-compatibility: `stream_options.include_usage` is supported.
    accepts_stream_options=True,
    checked="2026-11-22",
    source="https://docs.ollama.com/api",
)
