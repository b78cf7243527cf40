"""Cohere, Mistral, Ollama and Voyage; what there is of Replicate."""

from collections.abc import Mapping
from typing import Any

PROVIDERS: tuple[str, ...] = ("mistral", "cohere", "ollama", "voyage", "replicate")

NO_USE = {
    "cohere.v1.models": "a model's description",
    "cohere.v1.tokenize": "counting, no consumption",
    "models": "a list, or a model's description",
    "ollama.show": "a model's description",
}

LISTED: Mapping[str, Mapping[str, str]] = {
    "cohere.cohere-v1-chat.200.stream.*": {
        "response_id": "the last event names the response; the recording took the generation in it",
    },
    "cohere.cohere-v1-generate.200.plain.*": {
        "finish_reasons": "each generation has its own; left out there",
    },
    "cohere.cohere-v1-generate.200.stream.*": {
        "response_id": "the response's; the recording took the generation's in it",
    },
    "mistral.*": {
        "service_tier": "the tier stands inside the usage",
    },
}


def mistral(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """`prompt_tokens` leaves out the tokens of audio, which `total_tokens` includes."""
    beside = (expected["total_tokens"] or 0) - figures["input_tokens"] - figures["output_tokens"]
    if expected["duration_seconds"] and beside > 0:
        figures["input_tokens"] += beside
        figures["audio_input_tokens"] = figures["audio_input_tokens"] or beside


def cohere(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """Usage is what is billed; the cached tokens are a part of what was processed."""
    billed = expected["billed_units"] or {}
    figures["input_tokens"] = billed.get("input_tokens", 0)
    figures["output_tokens"] = billed.get("output_tokens", 0)
    figures["cached_tokens"] = 0


def voyage(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """There is only a total, and no output."""
    figures["input_tokens"] = expected["total_tokens"]


ADJUST = {"mistral": mistral, "cohere": cohere, "voyage": voyage}
