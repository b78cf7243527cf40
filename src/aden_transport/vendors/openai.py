"""OpenAI. https://platform.openai.com/docs/api-reference"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import openai_objects as objects
from . import openai_shapes as shapes
from .base import Operation, StreamShape, Vendor, asks_stream, route, text
from .limits import openai_limits

__all__ = ["OPENAI", "ROUTES"]


def _numbers(body: Mapping[str, Any], *names: str) -> dict[str, int]:
    """Whole numbers of a request; forms carry them as text."""
    found: dict[str, int] = {}
    for name in names:
        value = body.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31:
            found[name] = value
    return found


def _words(body: Mapping[str, Any], *names: str) -> dict[str, str]:
    return {name: value for name in names if (value := text(body.get(name), 32)) is not None}


def _chat_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    n = body.get("n")
    return {"n": n} if isinstance(n, int) and n > 1 else {}


def _embedding_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**_numbers(body, "dimensions"), **_words(body, "encoding_format")}


def _image_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**_numbers(body, "n"), **_words(body, "size", "quality", "style", "output_format")}


def _video_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found: dict[str, Any] = {**_numbers(body, "n"), **_words(body, "size")}
    length = objects.video_seconds(body.get("seconds"))
    return found if length is None else {**found, "video_seconds": length}


def _run_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return _numbers(body, "max_prompt_tokens", "max_completion_tokens")


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
    streams=asks_stream,
    asks_usage=True,
    read_request=_chat_details,
    cap="max_completion_tokens",
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
    streams=asks_stream,
    asks_usage=True,
    cap="max_tokens",
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
    streams=asks_stream,
    cap="max_output_tokens",
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
    streams=asks_stream,
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
RUN = Operation(
    "run",
    objects.read_run,
    StreamShape(
        objects.read_run_event,
        terminals=(b"\nevent: done", b"\ndata: [DONE]", b"\ndata:[DONE]"),
        quiet=(-3, 125),  # `}` and a blank line; the last one ends in `]`
        every_event=True,
    ),
    streams=asks_stream,
    read_request=_run_details,
    metadata="native",
)
RUN_POLL = Operation("run", objects.read_run, deferred=True)
BATCH = Operation("batch", objects.read_batch, metadata="native")
BATCH_POLL = Operation("batch", objects.read_batch, deferred=True)
TRAINING = Operation("fine_tuning", objects.read_training, metadata="native")
TRAINING_POLL = Operation("fine_tuning", objects.read_training, deferred=True)
CHECKPOINTS = Operation("fine_tuning", objects.read_checkpoints, deferred=True)
STORE = Operation("vector_store", objects.read_vector_store, metadata="native")
STORE_POLL = Operation("vector_store", objects.read_vector_store, deferred=True)
STORE_FILE = Operation("vector_store_file", objects.read_vector_store_file)
STORE_FILE_POLL = Operation("vector_store_file", objects.read_vector_store_file, deferred=True)
STORE_FILES = Operation("vector_store_file_batch", objects.read_vector_store)
STORE_FILES_POLL = Operation("vector_store_file_batch", objects.read_vector_store, deferred=True)
STORE_SEARCH = Operation("vector_store_search", objects.read_vector_store_search)
VIDEO = Operation("video", objects.read_video, read_request=_video_details)
VIDEO_POLL = Operation("video", objects.read_video, deferred=True)
VIDEO_JOB = Operation("video", objects.read_video_job)
VIDEO_JOB_POLL = Operation("video", objects.read_video_job, deferred=True)
NO_USE = Operation("none", metered=False)

ROUTES = (
    route("POST", r"/chat/completions", CHAT, strong=True),
    route("POST", r"/responses", RESPONSES),
    route("POST", r"/responses/compact", COMPACT),
    route("POST", r"/responses/input_tokens", NO_USE),
    route("POST", r"/responses/[^/]+/cancel", RESPONSE_POLL),
    route("GET", r"/responses/[^/]+", RESPONSE_POLL),
    route("POST", r"/embeddings", EMBEDDINGS),
    route("POST", r"/images/(?:generations|edits|variations)", IMAGES),
    route("POST", r"/audio/(?:transcriptions|translations)", TRANSCRIPTION),
    route("POST", r"/audio/speech", SPEECH),
    route("POST", r"/moderations", MODERATION),
    route("POST", r"/completions", COMPLETION),
    # Assistants
    route("POST", r"/threads(?:/[^/]+)?/runs", RUN),
    route("POST", r"/threads/[^/]+/runs/[^/]+/submit_tool_outputs", RUN),
    route("POST", r"/threads/[^/]+/runs/[^/]+/cancel", RUN_POLL),
    route("GET", r"/threads/[^/]+/runs/[^/]+", RUN_POLL),
    # Anthropic's batches are of messages.
    route("POST", r"(?<!/messages)/batches", BATCH),
    route("POST", r"(?<!/messages)/batches/[^/]+/cancel", BATCH_POLL),
    route("GET", r"(?<!/messages)/batches/[^/]+", BATCH_POLL),
    # Training
    route("POST", r"/fine_tuning/jobs", TRAINING),
    route("POST", r"/fine_tuning/jobs/[^/]+/cancel", TRAINING_POLL),
    route("GET", r"/fine_tuning/jobs/[^/]+", TRAINING_POLL),
    route("GET", r"/fine_tuning/jobs/[^/]+/checkpoints", CHECKPOINTS),
    # Vector stores
    route("POST", r"/vector_stores", STORE),
    route("GET", r"/vector_stores/[^/]+", STORE_POLL),
    route("POST", r"/vector_stores/[^/]+/search", STORE_SEARCH),
    route("POST", r"/vector_stores/[^/]+/files", STORE_FILE),
    route("GET", r"/vector_stores/[^/]+/files/[^/]+", STORE_FILE_POLL),
    route("POST", r"/vector_stores/[^/]+/file_batches", STORE_FILES),
    route("POST", r"/vector_stores/[^/]+/file_batches/[^/]+/cancel", STORE_FILES_POLL),
    route("GET", r"/vector_stores/[^/]+/file_batches/[^/]+", STORE_FILES_POLL),
    # Videos
    route("POST", r"/videos(?:/edits|/extensions|/[^/]+/remix)?", VIDEO),
    route("GET", r"/videos/[^/]+", VIDEO_POLL),
    route("POST", r"/video/generations/jobs", VIDEO_JOB),
    route("GET", r"/video/generations/jobs/[^/]+", VIDEO_JOB_POLL),
    # Objects that are stored, tickets for a WebSocket, and figures of the past. Containers are billed by
    # the minutes that they run, which no answer says; an evaluation's usage is of several models at once.
    route(
        "POST",
        r"/(?:files|uploads|assistants|threads|conversations|containers|evals|skills|realtime|organization)"
        r"(?:/.*)?",
        NO_USE,
    ),
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
    completion_cap=True,
    latency_header=b"openai-processing-ms",
    organization_header=b"openai-organization",
    read_rate_limit=openai_limits,
    checked="2026-11-21",
    source="https://platform.openai.com/docs/api-reference",
)
