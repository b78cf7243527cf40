"""Vendors that speak OpenAI's format on hosts of their own."""

from collections.abc import Mapping
from typing import Any

PROVIDERS = (
    "openrouter",
    "deepseek",
    "groq",
    "xai",
    "perplexity",
    "together",
    "cerebras",
    "moonshot",
    "zai",
    "alibaba",
    "crusoe",
    "databricks",
    "snowflake",
    "writer",
    "heroku",
    "cloudflare",
    "portkey",
    "pydantic-gateway",
)

NO_USE = {
    "models": "a list",
}

LISTED = {
    "cloudflare.*": {
        "request_id": "Cloudflare knows a request by its ray id",
    },
    "deepseek.chat-completions.*": {
        "request_id": "DeepSeek knows a request by its trace id",
    },
    "groq.chat-completions.200.*": {
        "request_id": "stood in the header and in `x_groq`; the recording has lost its headers",
    },
    "openrouter.chat-completions.200.stream.35670edf": {
        "reasoning_tokens": "more than the output that they are part of, counted as all of it",
    },
    "snowflake.*": {
        "service_tier": "an empty tier is none",
    },
    "azure.chat-completions.200.stream.f8a9dbeb": {
        "cached_tokens": "more than the prompt that they are part of, counted as all of it",
    },
    "azure.chat-completions.200.stream.b130f721": {
        "cached_tokens": "more than the prompt that they are part of, counted as all of it",
    },
    "azure.chat-completions.200.stream.45d263c4": {
        "cached_tokens": "more than the prompt that they are part of, counted as all of it",
    },
    "pydantic-gateway.generatecontent.*": {
        "service_tier": "the traffic type is no tier, except where it names one with its own price",
    },
}

REPEATED = {
    "pydantic-gateway.responses.200.plain.9fa855d1": (
        "on a host that nobody has heard of only the SDK's user agent says that `/responses` is a call, and "
        "the recording has lost it: no event"
    ),
}


def xai(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """Chat leaves reasoning out of `completion_tokens`; the total says so."""
    parts = figures["input_tokens"] + figures["output_tokens"] + figures["reasoning_tokens"]
    if expected["total_tokens"] == parts:
        figures["output_tokens"] += figures["reasoning_tokens"]


def pydantic_gateway(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """It passes on the vendors' own counts, Gemini's among them."""
    if "thoughtsTokenCount" in expected["usage_raw"]:
        figures["output_tokens"] += figures["reasoning_tokens"]


ADJUST = {"xai": xai, "pydantic-gateway": pydantic_gateway}
