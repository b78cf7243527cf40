"""Mistral AI. https://docs.mistral.ai/api

Chat, code completion and agents answer in OpenAI's format, with usage of Mistral's own. A request with
`stream_options` is refused (422), and needs none: the last event of a stream has the usage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import openai
from .base import Operation, Reading, StreamShape, Vendor, asks_stream, count, malformed, route, text
from .limits import windowed_limits
from .openai_shapes import chat_usage, read_chat, read_chat_event, read_embeddings, read_error, seconds

__all__ = ["MISTRAL"]


def mistral_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """`prompt_tokens` leaves out audio and what connectors read, which `total_tokens` includes; ours
    includes both.

    Audio is billed by its seconds (https://mistral.ai/pricing), its tokens are a part of the input.
    """
    out = chat_usage(usage, reading)
    heard = usage.get("prompt_audio_seconds")
    if out is None and heard is not None:
        out = NormalizedUsage()
    if out is None:
        return None
    if heard is not None:
        out.audio_seconds = seconds(heard, reading)
    beside = count(usage.get("total_tokens"), reading) - out.total_tokens
    if beside > 0:
        connectors = count(usage.get("connector_tokens"), reading)
        if out.audio_seconds and not out.audio_input_tokens:
            out.audio_input_tokens = max(beside - connectors, 0)
        out.input_tokens += min(beside, out.audio_input_tokens + connectors)
    return out


def _take_usage(body: Mapping[str, Any], reading: Reading) -> None:
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = used = mistral_usage(usage, reading) or reading.usage
        reading.service_tier = text(usage.get("service_tier"), 64) or reading.service_tier
        reading.detail("audio_seconds", used.audio_seconds or None if used is not None else None)
    elif usage is not None:
        malformed(reading)


def _head(body: Mapping[str, Any], reading: Reading) -> None:
    reading.response_id = text(body.get("id")) or reading.response_id
    reading.response_model = text(body.get("model")) or reading.response_model


def read_mistral_chat(body: Mapping[str, Any], reading: Reading) -> None:
    read_chat(body, reading)
    _take_usage(body, reading)


def read_mistral_chat_event(name: str, chunk: Mapping[str, Any], reading: Reading) -> None:
    read_chat_event(name, chunk, reading)
    if "usage" in chunk:
        _take_usage(chunk, reading)
    choices: Any = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta: Any = choice.get("delta") if isinstance(choice, Mapping) else None
        if isinstance(delta, Mapping) and isinstance(delta.get("content"), list):
            _add_text(delta["content"], reading)


def _add_text(content: Any, reading: Reading, depth: int = 0) -> None:
    """The text of a message's content: a string, a chunk, or a list of chunks of text and thinking."""
    if isinstance(content, list) and depth < MAX_DEPTH:
        for chunk in content:
            _add_text(chunk, reading, depth + 1)
    elif isinstance(content, Mapping) and depth < MAX_DEPTH:
        _add_text(content.get("text", content.get("thinking")), reading, depth + 1)
    else:
        reading.add_text(content)


MAX_DEPTH = 8
"""Of chunks: those of thinking have chunks of text inside."""


# -- conversations and agents -------------------------------------------------------------------------


def read_conversation(body: Mapping[str, Any], reading: Reading) -> None:
    """https://docs.mistral.ai/api/endpoint/beta/conversations"""
    reading.response_id = text(body.get("conversation_id")) or reading.response_id
    outputs: Any = body.get("outputs")
    for position, entry in enumerate(outputs if isinstance(outputs, list) else ()):
        if isinstance(entry, Mapping):
            _entry(entry, position, reading)
    _take_conversation_usage(body, reading)


def _entry(entry: Mapping[str, Any], key: Any, reading: Reading) -> None:
    reading.response_model = text(entry.get("model")) or reading.response_model
    if entry.get("type") in ("function.call", "function.call.delta"):
        arguments = entry.get("arguments")
        if isinstance(arguments, Mapping):
            from .._json import dumps

            arguments = dumps(arguments).decode("utf-8", "replace")
        reading.tool(key, id=entry.get("tool_call_id"), name=entry.get("name"), arguments=arguments)
        reading.add_text(arguments)


def _take_conversation_usage(body: Mapping[str, Any], reading: Reading) -> None:
    _take_usage(body, reading)
    usage: Any = body.get("usage")
    connectors: Any = usage.get("connectors") if isinstance(usage, Mapping) else None
    if reading.usage is None or not isinstance(connectors, Mapping):
        return
    calls = {name: count(times, reading) for name, times in connectors.items()}
    # Only searches have the price of a search.
    searches = sum(times for name, times in calls.items() if str(name).startswith("web_search"))
    reading.usage.server_tool_calls = searches
    reading.detail("server_tool_calls", sum(calls.values()) or None)


def read_conversation_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    kind = event.get("type") or name
    reading.response_id = text(event.get("conversation_id")) or reading.response_id
    if kind == "message.output.delta":
        reading.response_model = text(event.get("model")) or reading.response_model
        _add_text(event.get("content"), reading)
    elif kind == "function.call.delta":
        _entry({**event, "type": kind}, event.get("tool_call_id") or event.get("id"), reading)
    elif kind == "conversation.response.done":
        _take_conversation_usage(event, reading)
    elif kind == "conversation.response.error":
        reading.error = text(event.get("message"), 1000) or "error event in the stream"
        code = event.get("code")
        reading.error_code = str(code)[:128] if isinstance(code, (int, str)) else None
    elif "error" in event:
        read_error(event, reading)


# -- the others ---------------------------------------------------------------------------------------


def read_mistral_embeddings(body: Mapping[str, Any], reading: Reading) -> None:
    read_embeddings(body, reading)
    reading.response_id = text(body.get("id")) or reading.response_id


def read_ocr(body: Mapping[str, Any], reading: Reading) -> None:
    """Billed by the page. https://docs.mistral.ai/api/endpoint/ocr"""
    _head(body, reading)
    usage: Any = body.get("usage_info")
    if isinstance(usage, Mapping):
        if usage.get("pages_processed") is not None:
            reading.usage = NormalizedUsage(pages=count(usage["pages_processed"], reading))
        size = usage.get("doc_size_bytes")
        reading.detail("doc_size_bytes", count(size, reading) if size is not None else None)


def read_mistral_transcription(body: Mapping[str, Any], reading: Reading) -> None:
    """https://docs.mistral.ai/api/endpoint/audio/transcriptions"""
    _head(body, reading)
    _take_usage(body, reading)
    reading.detail("language", text(body.get("language"), 32))
    segments: Any = body.get("segments")
    if isinstance(segments, list):
        reading.detail("segments_count", len(segments))


def read_mistral_transcription_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    kind = event.get("type") or name
    if kind == "transcription.done":
        read_mistral_transcription(event, reading)
        reading.ended = True
    elif kind == "transcription.text.delta":
        reading.add_text(event.get("text"))
    elif "error" in event:
        read_error(event, reading)


def read_mistral_speech_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    if (event.get("type") or name) == "speech.audio.done":
        _take_usage(event, reading)
        reading.ended = True
    elif "error" in event:
        read_error(event, reading)


def read_classification(body: Mapping[str, Any], reading: Reading) -> None:
    """Moderations and classifications: most answers have no usage."""
    _head(body, reading)
    _take_usage(body, reading)
    results: Any = body.get("results")
    if isinstance(results, list):
        reading.detail("inputs", len(results))


def read_mistral_moderation(body: Mapping[str, Any], reading: Reading) -> None:
    read_classification(body, reading)
    results: Any = body.get("results")
    if isinstance(results, list):
        found = [r.get("categories") for r in results if isinstance(r, Mapping)]
        flagged = any(True in c.values() for c in found if isinstance(c, Mapping))
        reading.detail("flagged", flagged)


BATCH_OVER = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})
TRAINING_OVER = frozenset({"SUCCESS", "FAILED", "FAILED_VALIDATION", "CANCELLED"})
BATCH_COUNTS = (
    ("total_requests", "request_counts_total"),
    ("succeeded_requests", "request_counts_completed"),
    ("failed_requests", "request_counts_failed"),
)


def read_batch(body: Mapping[str, Any], reading: Reading) -> None:
    """A job says how many requests it has, and never what they used: that stands in its output file.

    https://docs.mistral.ai/api/endpoint/batch
    """
    _head(body, reading)
    status = text(body.get("status"), 64)
    reading.status = status
    reading.detail("batch_status", status)
    for member, key in BATCH_COUNTS:
        if body.get(member) is not None:
            reading.detail(key, count(body[member], reading))
    reading.detail("output_file_id", text(body.get("output_file")))
    reading.detail("error_file_id", text(body.get("error_file")))
    reading.tell_of_work(body.get("id"), body.get("created_at"), over=status in BATCH_OVER)


def read_training(body: Mapping[str, Any], reading: Reading) -> None:
    """https://docs.mistral.ai/api/endpoint/deprecated/fine-tuning"""
    _head(body, reading)
    status = text(body.get("status"), 64)
    reading.status = status
    reading.detail("training_status", status)
    tokens = body.get("trained_tokens")
    reading.detail("trained_tokens", count(tokens, reading) if tokens is not None else None)
    reading.tell_of_work(body.get("id"), body.get("created_at"), over=status in TRAINING_OVER)


# -- the table ----------------------------------------------------------------------------------------


assert openai.CHAT.stream is not None
CHAT = dataclasses.replace(
    openai.CHAT,
    read_body=read_mistral_chat,
    stream=dataclasses.replace(openai.CHAT.stream, read_event=read_mistral_chat_event),
    asks_usage=False,
    metadata="native",
)
assert CHAT.stream is not None
# An agent's tools are not named in the request.
AGENT = dataclasses.replace(CHAT, stream=dataclasses.replace(CHAT.stream, every_event=True))
FIM = dataclasses.replace(CHAT, name="text_completion", read_request=None)
CONVERSATION = Operation(
    "conversation",
    read_conversation,
    StreamShape(
        read_conversation_event,
        terminals=(
            b"\nevent: conversation.response.done",
            b"\nevent: conversation.response.error",
            b'"type":"conversation.response.done"',
            b'"type":"conversation.response.error"',
            b"\ndata: [DONE]",
        ),
        every_event=True,  # an agent's tools are not named in the request
    ),
    streams=asks_stream,
    output_cap=("completion_args.max_tokens",),
    cap="completion_args.max_tokens",
    metadata="native",
)
RESPONSES = dataclasses.replace(openai.RESPONSES, metadata="native")
EMBEDDINGS = dataclasses.replace(openai.EMBEDDINGS, read_body=read_mistral_embeddings, metadata="native")
OCR = Operation("ocr", read_ocr)
TRANSCRIPTION = Operation(
    "transcription",
    read_mistral_transcription,
    StreamShape(
        read_mistral_transcription_event,
        terminals=(
            b"\nevent: transcription.done",
            b'"type":"transcription.done"',
            b'"type": "transcription.done"',
            b"\ndata: [DONE]",
        ),
    ),
    streams=lambda form: form.get("stream") in (True, "true", "True"),
)
SPEECH = dataclasses.replace(
    openai.SPEECH,
    stream=StreamShape(
        read_mistral_speech_event,
        terminals=(
            b"\nevent: speech.audio.done",
            b'"type":"speech.audio.done"',
            b'"type": "speech.audio.done"',
            b"\ndata: [DONE]",
        ),
    ),
    streams=asks_stream,
    metadata="native",
)
MODERATION = Operation("moderation", read_mistral_moderation, metadata="native")
CLASSIFICATION = Operation("classification", read_classification, metadata="native")
BATCH = Operation("batch", read_batch, metadata="native")
TRAINING = Operation("fine_tuning", read_training, metadata="native")

MISTRAL = Vendor(
    id="mistral",
    otel="mistral_ai",
    routes=(
        route("POST", r"/chat/completions", CHAT),
        route("POST", r"/agents/completions", AGENT),
        route("POST", r"/fim/completions", FIM),
        route("POST", r"/v1/conversations(?:/[^/]+(?:/restart)?)?", CONVERSATION),
        route("POST", r"/v1/responses", RESPONSES),
        route("POST", r"/embeddings", EMBEDDINGS),
        route("POST", r"/v1/ocr", OCR),
        route("POST", r"/audio/transcriptions", TRANSCRIPTION),
        route("POST", r"/audio/speech", SPEECH),
        route("POST", r"/v1/(?:chat/)?moderations", MODERATION),
        route("POST", r"/v1/(?:chat/)?classifications", CLASSIFICATION),
        route("POST", r"/v1/batch/jobs", BATCH),
        route("GET", r"/v1/batch/jobs/[^/]+", dataclasses.replace(BATCH, deferred=True)),
        route("POST", r"/v1/fine_tuning/jobs", TRAINING),
        route("GET", r"/v1/fine_tuning/jobs/[^/]+", dataclasses.replace(TRAINING, deferred=True)),
    ),
    hosts=("api.mistral.ai", "api.eu.mistral.ai", "api.us.mistral.ai", "codestral.mistral.ai"),
    user_agents=(b"mistral-client-python/",),
    price_provider="mistral",
    request_id_headers=(b"mistral-correlation-id", b"x-kong-request-id", b"x-request-id"),
    latency_header=b"x-envoy-upstream-service-time",
    read_rate_limit=windowed_limits,
    checked="2026-11-22",
    source="https://docs.mistral.ai/api",
)
