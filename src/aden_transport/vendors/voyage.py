"""Voyage AI. https://docs.voyageai.com/reference

Answers say only how many tokens there were in all. Keys of MongoDB Atlas go to MongoDB's host. The SDK asks
with `requests` or, asynchronously, under aiohttp's own name, so that only the hosts tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Operation, Reading, Vendor, count, malformed, route, text
from .limits import compatible_limits

__all__ = ["VOYAGE"]

MODALITIES = ("text_tokens", "image_pixels", "video_pixels")
"""https://docs.voyageai.com/reference/multimodal-embeddings-api: what the total was counted from."""


def read_voyage(body: Mapping[str, Any], reading: Reading) -> None:
    reading.response_model = text(body.get("model")) or reading.response_model
    usage: Any = body.get("usage")
    if not isinstance(usage, Mapping):
        if usage is not None:
            malformed(reading)
        return
    if usage.get("total_tokens") is None:
        return
    reading.usage = out = NormalizedUsage(count(usage["total_tokens"], reading))
    for member in MODALITIES:
        if usage.get(member) is not None:
            reading.detail(member, count(usage[member], reading))
    if usage.get("image_pixels") and not usage.get("video_pixels"):
        out.image_input_tokens = max(out.input_tokens - count(usage.get("text_tokens"), reading), 0)


def read_voyage_embeddings(body: Mapping[str, Any], reading: Reading) -> None:
    read_voyage(body, reading)
    data: Any = body.get("data")
    if isinstance(data, list):
        reading.detail("embeddings", sum(_vectors(item) for item in data))


def _vectors(item: Any) -> int:
    """Contextualized chunks come as one list of vectors for each document."""
    inner = item.get("data") if isinstance(item, Mapping) else None
    return len(inner) if isinstance(inner, list) else 1


def _embedding_details(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {"dimensions": body.get("output_dimension"), "encoding_format": body.get("encoding_format")}
    return {key: value for key, value in found.items() if isinstance(value, (int, str))}


EMBEDDINGS = Operation("embeddings", read_voyage_embeddings, read_request=_embedding_details)
RERANK = Operation("rerank", read_voyage)

VOYAGE = Vendor(
    id="voyage",
    otel="voyageai",
    routes=(
        route("POST", r"/v1/(?:multimodal|contextualized)?embeddings", EMBEDDINGS),
        route("POST", r"/v1/rerank", RERANK),
    ),
    hosts=("api.voyageai.com", "ai.mongodb.com"),
    price_provider="voyageai",
    read_rate_limit=compatible_limits,
    checked="2026-11-22",
    source="https://docs.voyageai.com/reference",
)
