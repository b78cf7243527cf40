"""What genai-prices says, in the terms of `NormalizedUsage` and `PriceBook.find`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
from genai_prices import types
from genai_prices.data import providers

from aden_transport.events import NormalizedUsage
from aden_transport.pricing.unit_prices import Units

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()

_NO_PRICE = "listed without a price: genai-prices adds up to 0, we say None"

WITHOUT_PRICE = {
    ("cerebras", "qwen-3-coder-480b"): _NO_PRICE,
    ("google", "gemma-3"): _NO_PRICE,
    ("google", "gemma-3n"): _NO_PRICE,
    ("huggingface_together", "ServiceNow-AI/Apriel-1.6-15b-Thinker"): _NO_PRICE,
    ("huggingface_together", "prism-ml/Ternary-Bonsai-27B-AWQ-4bit"): _NO_PRICE,
    ("huggingface_together", "prism-ml/Ternary-Bonsai-27B-gguf"): _NO_PRICE,
    ("openrouter", "gemini-2.5-pro-exp-03-25"): _NO_PRICE,
    ("openrouter", "google/gemini-flash-1.5-8b-exp"): _NO_PRICE,
    ("openrouter", "google/lyria-3-clip-preview"): _NO_PRICE,
    ("openrouter", "google/lyria-3-pro-preview"): _NO_PRICE,
    ("openrouter", "stealth/crouton-alpha"): _NO_PRICE,
}
"""Every disagreement with genai-prices on models, each with its reason."""

OURS = {
    ("openai", "server_tool_calls"): "OpenAI bills web searches of all models; genai-prices has it for some",
    ("openai", "file_searches"): "OpenAI bills file searches of all models; genai-prices has it for some",
    ("openai", "audio_input"): "gpt-4o-audio-preview is listed with its text prices alone",
    ("openai", "audio_output"): "gpt-4o-audio-preview is listed with its text prices alone",
    ("openai", "cached"): "fine-tuned models are listed without a price of cached tokens",
    ("mistral", "audio_input"): "voxtral bills audio by the second; genai-prices takes its tokens for text",
    ("cohere", "image_input"): "embed-v4.0 is listed without a price of images",
}
"""Every rate that genai-prices lacks for a model that it lists, each with its reason."""


def names_of(model: types.ModelInfo) -> list[str]:
    """The names in a model's match clause, its id first."""
    names = [model.id]
    pending: list[types.MatchLogic] = [model.match]
    while pending:
        match pending.pop():
            case types.ClauseOr(or_=parts) | types.ClauseAnd(and_=parts):
                pending += parts
            case types.ClauseEquals(equals=text) | types.ClauseStartsWith(starts_with=text):
                names.append(text)
            case types.ClauseContains(contains=text) | types.ClauseEndsWith(ends_with=text):
                names.append(text)
            case types.ClauseRegex():
                pass
    return names


def reachable_models() -> Iterator[tuple[types.Provider, types.ModelInfo, str]]:
    """Every model of every provider with a name that means it."""
    for provider in providers:
        for model in provider.models:
            named = (n for n in names_of(model) if provider.find_model(n, all_providers=providers) is model)
            yield provider, model, next(named)


def genai_usage(
    usage: NormalizedUsage,
    units: Units | None = None,
    *,
    cached_audio: int = 0,
    cached_image: int = 0,
) -> genai_prices.Usage:
    """`usage` as genai-prices takes it; of the overlaps, which it wants explicit, two are ever priced."""
    return genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        input_audio_tokens=usage.audio_input_tokens,
        output_audio_tokens=usage.audio_output_tokens,
        input_image_tokens=usage.image_input_tokens,
        output_image_tokens=usage.image_output_tokens,
        cache_audio_read_tokens=cached_audio,
        cache_image_read_tokens=cached_image,
        input_characters=usage.characters,
        audio_seconds=usage.audio_seconds,
        input_audio_seconds=usage.audio_seconds,
        input_document_pages=usage.pages,
        rerank_searches=usage.search_units,
        web_searches=usage.server_tool_calls,
        storage_searches=int((units or {}).get("file_searches", 0)),
    )


def genai_cost(
    usage: genai_prices.Usage,
    name: str,
    provider: str,
    *,
    at: float,
    service_tier: str | None = None,
    batch: bool = False,
) -> Decimal:
    """US dollars by `genai_prices.calc_price`."""
    context: dict[str, str] = {"processing": "batch"} if batch else {}
    if service_tier is not None:
        # Anthropic's word for a tier is `speed`.
        context |= {"service_tier": service_tier, "speed": service_tier}
    return genai_prices.calc_price(
        usage,
        name,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at, UTC),
        price_context=context or None,
    ).total_price
