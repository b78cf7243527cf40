"""Google's counts in our convention.

Sources: https://ai.google.dev/api/generate-content#UsageMetadata,
https://ai.google.dev/api/interactions-api, checked 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Reading, count, incomplete

__all__ = ["generate_usage", "interaction_usage", "objects_of", "searches_billed"]

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
        if not total and get("promptTokenCount") is None:
            return None
        out.input_tokens = total
    elif get("promptTokenCount") is None:
        _take_the_rest(count(get("totalTokenCount"), reading), out, reading)
    return out


def _take_the_rest(total: int, out: NormalizedUsage, reading: Reading) -> None:
    """The prompt that was not counted, as far as the total or an earlier event tells."""
    if total > out.total_tokens:
        out.input_tokens += total - out.total_tokens
    elif reading.usage is not None:
        out.input_tokens = max(out.input_tokens, reading.usage.input_tokens)
    else:
        incomplete(reading)


MODALITIES = {
    ("input_tokens_by_modality", "audio"): "audio_input_tokens",
    ("input_tokens_by_modality", "image"): "image_input_tokens",
    ("output_tokens_by_modality", "audio"): "audio_output_tokens",
    ("output_tokens_by_modality", "image"): "image_output_tokens",
}


def interaction_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """Thoughts and tool-use prompts stand beside output and input; ours include them. None where there are no
    counts."""
    get = usage.get
    if get("total_input_tokens") is None:
        if get("total_output_tokens") is None:
            return None
        incomplete(reading)
    thoughts = count(get("total_thought_tokens"), reading)
    out = NormalizedUsage(
        count(get("total_input_tokens"), reading) + count(get("total_tool_use_tokens"), reading),
        count(get("total_output_tokens"), reading) + thoughts,
        thoughts,
        count(get("total_cached_tokens"), reading),
    )
    for (member, modality), field in MODALITIES.items():
        for detail in objects_of(get(member)):
            if detail.get("modality") == modality:
                setattr(out, field, count(detail.get("tokens"), reading))
    for tool in objects_of(get("grounding_tool_count")):
        if tool.get("type") == "google_search":
            searches = count(tool.get("count"), reading)
            reading.detail("web_search_calls", searches or None)
            out.server_tool_calls = searches_billed(searches, reading.response_model)
    return out


def searches_billed(queries: int, model: str | None) -> int:
    """Since Gemini 3 each search is billed, before it each answer for which there were any.

    https://ai.google.dev/gemini-api/docs/google-search#pricing
    """
    return min(queries, 1) if (model or "").startswith(("gemini-1", "gemini-2")) else queries


def objects_of(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, whatever it is."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
