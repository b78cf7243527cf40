"""OpenAI. https://platform.openai.com/docs/api-reference"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import openai_shapes as shapes
from .base import Operation, StreamShape, Vendor, route
from .limits import openai_limits

__all__ = ["OPENAI", "ROUTES"]


def _asks_stream(body: Mapping[str, Any]) -> bool:
    return body.get("stream") is True


def _chat_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    n = body.get("n")
    return {"n": n} if isinstance(n, int) and n > 1 else {}


def _embedding_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {"dimensions": body.get("dimensions"), "encoding_format": body.get("encoding_format")}
    return {key: value for key, value in found.items() if isinstance(value, (int, str))}


def _image_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("n", "size", "quality", "style")
    return {k: body[k] for k in names if isinstance(body.get(k), (int, str))}


def _speech_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    spoken = body.get("input")
    return {"characters": len(spoken)} if isinstance(spoken, str) else {}


def _speech_usage(details: Mapping[str, Any], usage: NormalizedUsage | None) -> NormalizedUsage | None:
    """Speech is billed by the characters of the request unless the answer reports tokens."""
    characters = details.get("characters")
    if usage is not None or not isinstance(characters, int):
        return usage
    return NormalizedUsage(characters=characters)


CHAT = Operation(
    "chat",
    shapes.read_chat,
    StreamShape(
        shapes.read_chat_event,
        terminals=(b"\ndata: [DONE]", b"\ndata:[DONE]"),
        quiet=(-3, 125),  # `}` and a blank line; the last one ends in `]`
    ),
    streams=_asks_stream,
    asks_usage=True,
    read_request=_chat_details,
    metadata="when_stored",
)
COMPLETION = Operation(
    "text_completion",
    shapes.read_completion,
    StreamShape(
        shapes.read_completion_event,
        terminals=(b"\ndata: [DONE]", b"\ndata:[DONE]"),
        quiet=(-3, 125),  # `}` and a blank line; the last one ends in `]`
    ),
    streams=_asks_stream,
    asks_usage=True,
)
RESPONSE_STREAM = StreamShape(
    shapes.read_response_event,
    terminals=(
        b'"type":"response.completed"',
        b'"type":"response.incomplete"',
        b'"type":"response.failed"',
        b"\nevent: response.completed",
        b"\nevent: response.incomplete",
        b"\nevent: response.failed",
    ),
    quiet=(-4, 34),  # deltas end in `"}`, the last one in `}}`
)
RESPONSES = Operation(
    "responses",
    shapes.read_response,
    RESPONSE_STREAM,
    streams=_asks_stream,
    metadata="native",
)
RESPONSE_POLL = Operation(
    "responses",
    shapes.read_response,
    RESPONSE_STREAM,
    deferred=True,
)
COMPACT = Operation("responses_compact", shapes.read_response)
EMBEDDINGS = Operation("embeddings", shapes.read_embeddings, read_request=_embedding_details)
IMAGES = Operation(
    "image_generation",
    shapes.read_images,
    StreamShape(
        shapes.read_image_event,
        terminals=(b'"type":"image_generation.completed"', b'"type":"image_edit.completed"'),
    ),
    streams=_asks_stream,
    read_request=_image_details,
)
TRANSCRIPTION = Operation(
    "transcription",
    shapes.read_transcription,
    StreamShape(shapes.read_transcription_event, terminals=(b'"type":"transcript.text.done"',)),
    streams=lambda form: form.get("stream") in (True, "true", "True"),
)
SPEECH = Operation(
    "speech",
    None,
    StreamShape(shapes.read_speech_event, terminals=(b'"type":"speech.audio.done"',)),
    streams=lambda body: body.get("stream_format") == "sse",
    read_request=_speech_details,
    rate_by=_speech_usage,
)
MODERATION = Operation("moderation", shapes.read_moderation, free=True)
NO_USE = Operation("none", metered=False)

ROUTES = (
    route("POST", r"/chat/completions", CHAT, strong=True),
    route("POST", r"/responses", RESPONSES),
    route("POST", r"/responses/compact", COMPACT),
    route("POST", r"/responses/(?:input_tokens|[^/]+/cancel)", NO_USE),
    route("GET", r"/responses/[^/]+", RESPONSE_POLL),
    route("POST", r"/embeddings", EMBEDDINGS),
    route("POST", r"/images/(?:generations|edits|variations)", IMAGES),
    route("POST", r"/audio/(?:transcriptions|translations)", TRANSCRIPTION),
    route("POST", r"/audio/speech", SPEECH),
    route("POST", r"/moderations", MODERATION),
    route("POST", r"/completions", COMPLETION),
)

OPENAI = Vendor(
    id="openai",
    otel="openai",
    routes=ROUTES,
    hosts=("api.openai.com",),
    host_suffixes=(".api.openai.com",),
    user_agents=(b"OpenAI/", b"AsyncOpenAI/"),
    price_provider="openai",
    accepts_stream_options=True,
    latency_header=b"openai-processing-ms",
    organization_header=b"openai-organization",
    read_rate_limit=openai_limits,
    checked="2026-11-21",
    source="https://platform.openai.com/docs/api-reference",
)
