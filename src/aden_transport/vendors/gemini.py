"""Gemini API and Vertex AI. https://ai.google.dev/api/generate-content"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .anthropic import MESSAGES_STREAM, read_message
from .base import Operation, Reading, StreamShape, Vendor, count, route, text
from .limits import retry_after
from .openai import CHAT, EMBEDDINGS
from .openai_shapes import read_chat, read_chat_event, read_error

__all__ = ["GEMINI", "VERTEX"]

MODALITY_FIELDS = {
    ("promptTokensDetails", "AUDIO"): "audio_input_tokens",
    ("promptTokensDetails", "IMAGE"): "image_input_tokens",
    ("candidatesTokensDetails", "AUDIO"): "audio_output_tokens",
    ("candidatesTokensDetails", "IMAGE"): "image_output_tokens",
}


def generate_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """`candidatesTokenCount` leaves out thoughts and `promptTokenCount` leaves out tool-use prompts;
    ours include both. None where there are no counts (`{"trafficType": …}` alone)."""
    get = usage.get
    thoughts = count(get("thoughtsTokenCount"), reading)
    out = NormalizedUsage(
        count(get("promptTokenCount"), reading) + count(get("toolUsePromptTokenCount"), reading),
        count(get("candidatesTokenCount"), reading) + thoughts,
        thoughts,
        count(get("cachedContentTokenCount"), reading),
    )
    for (member, modality), field in MODALITY_FIELDS.items():
        details: Any = get(member)
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, Mapping) and detail.get("modality") == modality:
                setattr(out, field, count(detail.get("tokenCount"), reading))
    if not (out.input_tokens or out.output_tokens):
        total = count(get("totalTokenCount"), reading)
        if not total and "promptTokenCount" not in usage:
            return None
        out.input_tokens = total
    return out


def read_generate(body: Mapping[str, Any], reading: Reading) -> None:
    """One answer, or one piece of a streamed one: usage is cumulative, the last one holds."""
    reading.response_id = text(body.get("responseId")) or reading.response_id
    reading.response_model = text(body.get("modelVersion")) or reading.response_model
    candidates = body.get("candidates")
    for position, candidate in enumerate(candidates if isinstance(candidates, list) else ()):
        if isinstance(candidate, Mapping):
            _candidate(candidate, position, reading)
    usage: Any = body.get("usageMetadata")
    if isinstance(usage, Mapping):
        reading.usage = generate_usage(usage, reading) or reading.usage
        traffic = text(usage.get("trafficType"), 64)
        reading.detail("traffic_type", traffic)
        tier = text(usage.get("serviceTier"), 64) or TRAFFIC_TIERS.get(traffic or "")
        reading.service_tier = tier or reading.service_tier
    feedback = body.get("promptFeedback")
    if isinstance(feedback, Mapping) and isinstance(feedback.get("blockReason"), str):
        reading.finish_reasons.setdefault(0, feedback["blockReason"][:64])
        reading.detail("block_reason", feedback["blockReason"][:64])
    if "error" in body:
        read_error(body, reading)


FINISH_REASONS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}
"""The numbers that mean the same on the Gemini API and Vertex AI."""
TRAFFIC_TIERS = {"ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}
"""Vertex AI's names of the tiers with a price of their own."""


def _candidate(candidate: Mapping[str, Any], position: int, reading: Reading) -> None:
    index = candidate.get("index", position)
    index = index if isinstance(index, int) else position
    reason = candidate.get("finishReason")
    if isinstance(reason, str):
        reading.finish_reasons[index] = reason[:64]
    elif isinstance(reason, int) and reason:  # some answers have enums as numbers
        reading.finish_reasons[index] = FINISH_REASONS.get(reason) or str(reason)[:64]
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, Mapping):
            continue
        if isinstance(part.get("text"), str):
            reading.text_bytes += len(part["text"].encode("utf-8", "replace"))
        call = part.get("functionCall")
        if isinstance(call, Mapping):
            _function_call(call, reading)


def _function_call(call: Mapping[str, Any], reading: Reading) -> None:
    from .._json import dumps

    arguments = call.get("args")
    sent = dumps(arguments).decode("utf-8", "replace") if arguments else ""
    reading.text_bytes += len(sent)
    # Calls come whole, one a part, and have no id on the Gemini API.
    key = len(reading.tools) if reading.tools else 0
    reading.tool(key, id=call.get("id"), name=call.get("name"), arguments=sent)


def read_embed(body: Mapping[str, Any], reading: Reading) -> None:
    usage: Any = body.get("usageMetadata")
    if isinstance(usage, Mapping):
        reading.usage = NormalizedUsage(count(usage.get("promptTokenCount"), reading))
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("billableCharacterCount") is not None:
        reading.usage = reading.usage or NormalizedUsage()
        reading.usage.characters = count(metadata["billableCharacterCount"], reading)
    many = body.get("embeddings")
    reading.detail("embeddings", len(many) if isinstance(many, list) else 1 if "embedding" in body else None)


def read_predict(body: Mapping[str, Any], reading: Reading) -> None:
    """Vertex text embeddings and Imagen: figures stand inside each prediction."""
    predictions = body.get("predictions")
    tokens = 0
    seen = images = 0
    for prediction in predictions if isinstance(predictions, list) else ():
        if not isinstance(prediction, Mapping):
            continue
        embeddings = prediction.get("embeddings")
        statistics = embeddings.get("statistics") if isinstance(embeddings, Mapping) else None
        if isinstance(statistics, Mapping):
            seen += 1
            tokens += count(statistics.get("token_count"), reading)
        elif "bytesBase64Encoded" in prediction:
            images += 1
    if seen:
        reading.usage = NormalizedUsage(tokens)
        reading.detail("embeddings", seen)
    elif images:
        reading.usage = NormalizedUsage(images=images)
        reading.detail("images", images)


CAP = ("generationConfig.maxOutputTokens", "generation_config.max_output_tokens")
GENERATE = Operation("generate_content", read_generate, output_cap=CAP)
STREAM_SSE = StreamShape(
    lambda _name, event, reading: read_generate(event, reading),
    quiet=(-1, 10),  # nothing marks the last event
)
STREAM_GENERATE = Operation(
    "generate_content", read_generate, STREAM_SSE, always_streams=True, output_cap=CAP
)
EMBED = Operation("embeddings", read_embed)
PREDICT = Operation("predict", read_predict)
RAW_PREDICT = Operation("chat", read_message, output_cap=("max_tokens",), metadata="user_id")
STREAM_RAW_PREDICT = Operation(
    "chat", read_message, MESSAGES_STREAM, always_streams=True, output_cap=("max_tokens",), metadata="user_id"
)
NO_USE = Operation("none", metered=False)


def _with_thinking(body: Mapping[str, Any], reading: Reading) -> None:
    """The OpenAI-compatible endpoint names thinking nowhere but in `total_tokens`."""
    sent, usage = body.get("usage"), reading.usage
    if not isinstance(sent, Mapping) or usage is None:
        return
    missing = count(sent.get("total_tokens"), reading) - usage.total_tokens
    if missing > 0:
        usage.output_tokens += missing
        usage.reasoning_tokens += missing


def read_compatible_chat(body: Mapping[str, Any], reading: Reading) -> None:
    read_chat(body, reading)
    _with_thinking(body, reading)


def read_compatible_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    read_chat_event(name, event, reading)
    _with_thinking(event, reading)


assert CHAT.stream is not None
COMPATIBLE_CHAT = dataclasses.replace(
    CHAT,
    read_body=read_compatible_chat,
    stream=dataclasses.replace(CHAT.stream, read_event=read_compatible_event),
)
MODEL = r"/(?:models|tunedModels|endpoints)/(?P<model>[^/:]+)"
ROUTES = (
    route("POST", MODEL + r":generateContent", GENERATE, strong=True),
    route("POST", MODEL + r":streamGenerateContent", STREAM_GENERATE, strong=True),
    route("POST", MODEL + r":(?:embedContent|batchEmbedContents)", EMBED, strong=True),
    route("POST", MODEL + r":predict", PREDICT),
    route("POST", MODEL + r":(?:countTokens|computeTokens)", NO_USE),
    route("POST", r"/(?:openai|endpoints/openapi)/chat/completions", COMPATIBLE_CHAT),
    route("POST", r"/(?:openai|endpoints/openapi)/embeddings", EMBEDDINGS),
)


def google_limits(headers: Mapping[bytes, bytes], now: float) -> Any:
    """Google sends no rate-limit family, only `retry-after` on some 429s."""
    from ..events import RateLimit

    wait = retry_after(headers, now)
    return None if wait is None else RateLimit(retry_after_s=wait)


GEMINI = Vendor(
    id="gemini",
    otel="gcp.gemini",
    routes=ROUTES,
    hosts=("generativelanguage.googleapis.com", "generativelanguage.mtls.googleapis.com"),
    user_agents=(b"google-genai-sdk/",),
    price_provider="google",
    request_id_headers=(b"x-goog-request-id", b"x-request-id"),
    latency_header=b"server-timing",
    read_rate_limit=google_limits,
    checked="2026-11-21",
    source="https://ai.google.dev/api/generate-content",
)
VERTEX = Vendor(
    id="vertex",
    otel="gcp.vertex_ai",
    routes=(
        *ROUTES,
        route("POST", r"/publishers/anthropic/models/count-tokens[^/:]*:rawPredict", NO_USE, strong=True),
        route("POST", MODEL + r":rawPredict", RAW_PREDICT, strong=True),
        route("POST", MODEL + r":streamRawPredict", STREAM_RAW_PREDICT, strong=True),
    ),
    hosts=(
        "aiplatform.googleapis.com",
        "aiplatform.us.rep.googleapis.com",
        "aiplatform.eu.rep.googleapis.com",
    ),
    host_suffixes=("-aiplatform.googleapis.com", "-aiplatform.mtls.googleapis.com"),
    price_provider="google",
    request_id_headers=(b"x-goog-request-id", b"x-request-id"),
    read_rate_limit=google_limits,
    checked="2026-11-21",
    source="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
)
