"""Gemini API and Vertex AI. https://ai.google.dev/api/generate-content"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import gemini_objects as objects
from . import openai
from .anthropic import MESSAGES_STREAM, read_message, read_message_event
from .base import (
    Operation,
    Reading,
    Route,
    StreamShape,
    Vendor,
    arguments_text,
    asked_images,
    asks_stream,
    count,
    incomplete,
    route,
    text,
)
from .gemini_usage import generate_usage, searches_billed
from .limits import retry_after
from .openai import CHAT, EMBEDDINGS
from .openai_shapes import read_chat, read_chat_event, read_error

__all__ = ["GEMINI", "VERTEX"]


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
        _bill_searches(reading)
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


def _bill_searches(reading: Reading) -> None:
    searches = (reading.details or {}).get("web_search_calls", 0)
    if searches and reading.usage is not None:
        reading.usage.server_tool_calls = searches_billed(searches, reading.response_model)


def _searches(grounding: Any, reading: Reading) -> None:
    """Google bills each query once and no empty one.

    https://ai.google.dev/gemini-api/docs/google-search#pricing
    """
    queries: Any = grounding.get("webSearchQueries") if isinstance(grounding, Mapping) else None
    if isinstance(queries, list):
        known = (reading.details or {}).get("web_search_calls", 0)
        new = len({query for query in queries if isinstance(query, str) and query})
        reading.detail("web_search_calls", max(known, new) or None)


def _candidate(candidate: Mapping[str, Any], position: int, reading: Reading) -> None:
    index = candidate.get("index", position)
    index = index if isinstance(index, int) else position
    reason = candidate.get("finishReason")
    if isinstance(reason, str):
        reading.finish_reasons[index] = reason[:64]
    elif isinstance(reason, int) and reason:  # some answers have enums as numbers
        reading.finish_reasons[index] = FINISH_REASONS.get(reason) or str(reason)[:64]
    _searches(candidate.get("groundingMetadata"), reading)
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, Mapping):
            continue
        reading.add_text(part.get("text"))
        call = part.get("functionCall")
        if isinstance(call, Mapping):
            _function_call(call, reading)


def _function_call(call: Mapping[str, Any], reading: Reading) -> None:
    """One a part, without an id on the Gemini API. Whole, or begun by a part with the name and gone on with
    by parts without: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling"""
    partial: Any = call.get("partialArgs")
    pieces = partial if isinstance(partial, list) else ()
    values = [piece.get("stringValue") for piece in pieces if isinstance(piece, Mapping)]
    sent = arguments_text(call.get("args")) or "".join(value for value in values if isinstance(value, str))
    reading.add_text(sent)
    key = len(reading.tools) if reading.tools else 0
    if call.get("name") is None and not sent and not key:
        return  # the rest of a call whose beginning was not read
    if call.get("name") is None and key:
        key -= 1
    reading.tool(key, id=call.get("id"), name=call.get("name"), arguments=sent)


def read_embed(body: Mapping[str, Any], reading: Reading) -> None:
    usage: Any = body.get("usageMetadata")
    if isinstance(usage, Mapping):
        tokens = usage.get("promptTokenCount", usage.get("totalTokenCount"))
        reading.usage = NormalizedUsage(count(tokens, reading)) if tokens is not None else None
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("billableCharacterCount") is not None:
        reading.usage = reading.usage or NormalizedUsage()
        reading.usage.characters = count(metadata["billableCharacterCount"], reading)
    many = body.get("embeddings")
    reading.detail("embeddings", len(many) if isinstance(many, list) else 1 if "embedding" in body else None)


def read_predict(body: Mapping[str, Any], reading: Reading) -> None:
    """Vertex text embeddings and Imagen: figures stand inside each prediction. Pictures that were held back
    are not billed."""
    predictions = body.get("predictions")
    tokens = 0
    seen = images = held_back = 0
    for prediction in predictions if isinstance(predictions, list) else ():
        if not isinstance(prediction, Mapping):
            continue
        held_back += "raiFilteredReason" in prediction
        embeddings = prediction.get("embeddings")
        statistics = embeddings.get("statistics") if isinstance(embeddings, Mapping) else None
        if isinstance(statistics, Mapping):
            seen += 1
            if statistics.get("token_count") is None:
                incomplete(reading)
            tokens += count(statistics.get("token_count"), reading)
        elif "bytesBase64Encoded" in prediction or "gcsUri" in prediction:
            images += 1
    if seen:
        reading.usage = NormalizedUsage(tokens)
        reading.detail("embeddings", seen)
    elif images or held_back:
        reading.usage = NormalizedUsage(images=images)
        reading.detail("images", images)


def _asked_images(body: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters: Any = body.get("parameters")
    n = parameters.get("sampleCount") if isinstance(parameters, Mapping) else None
    return {"n": n} if isinstance(n, int) and 0 < n <= 1024 else {}


def read_partner(body: Mapping[str, Any], reading: Reading) -> None:
    """Partners' models: Claude's format, or OpenAI's (Mistral, Jamba); Mistral's OCR by pages."""
    if "choices" in body:
        read_chat(body, reading)
        return
    read_message(body, reading)
    info: Any = body.get("usage_info")
    if isinstance(info, Mapping):
        reading.usage = NormalizedUsage(pages=count(info.get("pages_processed"), reading))


def read_partner_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    (read_chat_event if "choices" in event else read_message_event)(name, event, reading)


CAP = ("generationConfig.maxOutputTokens", "generation_config.max_output_tokens")
GENERATE = Operation("generate_content", read_generate, output_cap=CAP, cap=CAP[0])
STREAM_SSE = StreamShape(
    lambda _name, event, reading: read_generate(event, reading),
    quiet=(-1, 10),  # nothing marks the last event
)
STREAM_GENERATE = Operation(
    "generate_content", read_generate, STREAM_SSE, always_streams=True, output_cap=CAP, cap=CAP[0]
)
EMBED = Operation("embeddings", read_embed)
PREDICT = Operation("predict", read_predict)
PREDICT_EMBEDDINGS = Operation("embeddings", read_predict)
PREDICT_IMAGES = Operation("image_generation", read_predict, read_request=_asked_images, rate_by=asked_images)
INTERACTION_STREAM = StreamShape(
    objects.read_interaction_event,
    terminals=(b'"event_type":"interaction.completed"', b"\nevent: interaction.completed"),
    quiet=(-5, 97),  # the last letter but one of `"step.delta"}`; the last event ends in `completed"}`
)
INTERACTION = Operation(
    "interactions",
    objects.read_interaction,
    INTERACTION_STREAM,
    streams=asks_stream,
    output_cap=("generation_config.max_output_tokens",),
    cap="generation_config.max_output_tokens",
)
INTERACTION_POLL = Operation("interactions", objects.read_interaction, INTERACTION_STREAM, deferred=True)
BATCH = Operation("batch", objects.read_batch)
BATCH_POLL = Operation("batch", objects.read_batch, deferred=True)
JOB = Operation("batch", objects.read_job)
JOB_POLL = Operation("batch", objects.read_job, deferred=True)
VIDEO = Operation("video", objects.read_operation, read_request=objects.read_video_request)
VIDEO_POLL = Operation("video", objects.read_operation, deferred=True)
RAW_PREDICT = Operation(
    "chat", read_partner, output_cap=("max_tokens",), cap="max_tokens", metadata="user_id"
)
STREAM_RAW_PREDICT = Operation(
    "chat",
    read_partner,
    dataclasses.replace(
        MESSAGES_STREAM,
        read_event=read_partner_event,
        terminals=(*MESSAGES_STREAM.terminals, b"\ndata: [DONE]", b"\ndata:[DONE]"),
    ),
    always_streams=True,
    output_cap=("max_tokens",),
    cap="max_tokens",
    metadata="user_id",
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
    route("POST", r"/models/(?P<model>[^/:]*embedding[^/:]*):predict", PREDICT_EMBEDDINGS),
    route("POST", r"/models/(?P<model>image[^/:]*):predict", PREDICT_IMAGES),
    route("POST", MODEL + r":predict", PREDICT),
    route("POST", MODEL + r":predictLongRunning", VIDEO),
    route("GET", r"/models/[^/:]+/operations/[^/:]+", VIDEO_POLL),
    route("POST", MODEL + r":fetchPredictOperation", VIDEO_POLL),
    route("POST", MODEL + r":(?:batchGenerateContent|asyncBatchEmbedContent)", BATCH),
    route("GET", r"/batches/[^/:]+", BATCH_POLL),
    route("POST", r"/interactions", INTERACTION),
    route("GET", r"/interactions/[^/]+", INTERACTION_POLL),
    route("POST", r"/interactions/[^/]+/cancel", INTERACTION_POLL),
    route("POST", MODEL + r":(?:countTokens|computeTokens)", NO_USE),
    route("POST", r"/(?:openai|endpoints/openapi)/chat/completions", COMPATIBLE_CHAT),
    route("POST", r"/(?:openai|endpoints/openapi)/embeddings", EMBEDDINGS),
)


def google_limits(headers: Mapping[bytes, bytes], now: float) -> Any:
    """Google sends no rate-limit family, only `retry-after` on some 429s."""
    from ..events import RateLimit

    wait = retry_after(headers, now)
    return None if wait is None else RateLimit(retry_after_s=wait)


def _of_openai(known: Route) -> Route:
    """OpenAI's own models, in their own API."""
    pattern = r"/publishers/openai/v1" + known.pattern.pattern.removesuffix("$")
    return route(known.method, pattern, known.operation)


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
        route("POST", r"/batchPredictionJobs", JOB),
        route("GET", r"/batchPredictionJobs/[^/:]+", JOB_POLL),
        *map(_of_openai, openai.ROUTES),
    ),
    hosts=(
        "aiplatform.googleapis.com",
        "aiplatform.us.rep.googleapis.com",
        "aiplatform.eu.rep.googleapis.com",
    ),
    host_suffixes=("-aiplatform.googleapis.com", "-aiplatform.mtls.googleapis.com"),
    host_pattern=re.compile(
        r"(?:aiplatform\.(?=[a-z]+\.rep\.))?(?P<region>[a-z][a-z0-9-]*?)"
        r"(?:-aiplatform(?:\.mtls)?|(?<!aiplatform)\.rep)\.googleapis\.com"
    ),
    price_provider="google",
    request_id_headers=(b"x-goog-request-id", b"x-request-id"),
    read_rate_limit=google_limits,
    checked="2026-11-21",
    source="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
)
