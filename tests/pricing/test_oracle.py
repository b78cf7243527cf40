"""Our arithmetic against genai-prices: all models, all units, tiers, dates."""

from __future__ import annotations

from collections.abc import Iterator

import genai_prices
import pytest
from genai_prices import types

from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import PriceBook

from .oracle import NOON, WITHOUT_PRICE, genai_cost, genai_usage, reachable_models

USAGES: dict[str, tuple[Usage, genai_prices.Usage]] = {
    name: (usage, genai_usage(usage))
    for name, usage in {
        "nothing": Usage(),
        "one token": Usage(1, 1),
        "text": Usage(1_234, 567),
        "cached": Usage(10_000, 500, cached_tokens=7_001),
        "all cached": Usage(10_000, 1, cached_tokens=10_000),
        "cache writes 5m": Usage(5_003, 10, cached_tokens=1_001, cache_write_tokens=2_002),
        "cache writes 1h": Usage(5_003, 10, cache_write_tokens=2_002, cache_write_1h_tokens=2_002),
        "cache writes both": Usage(9_001, 10, 0, 3_000, cache_write_tokens=2_002, cache_write_1h_tokens=777),
        "reasoning": Usage(101, 4_000, reasoning_tokens=3_333),
        "audio": Usage(3_000, 2_000, audio_input_tokens=2_500, audio_output_tokens=1_900),
        "audio and cached": Usage(3_000, 20, cached_tokens=400, audio_input_tokens=2_500),
        "image": Usage(3_000, 2_000, image_input_tokens=2_500, image_output_tokens=1_900),
        "image, audio, cached": Usage(9_000, 9, 0, 1_000, image_input_tokens=2_500, audio_input_tokens=2_500),
        "at the tier": Usage(200_000, 1_000, cached_tokens=9_999),
        "above 128k and 199999": Usage(199_999 + 1, 1_000),
        "above 200k": Usage(200_001, 1_000, 0, 9_999, 5_000, 3_000),
        "above all tiers": Usage(600_001, 1_000, 500, 9_999, 5_000),
        "seconds": Usage(audio_seconds=61.37),
        "short seconds": Usage(audio_seconds=0.3),
        "seconds and tokens": Usage(100, 10, audio_seconds=12),
        "characters": Usage(characters=4_321),
        "pages": Usage(pages=17),
        "searches": Usage(100, 10, search_units=3, server_tool_calls=2),
    }.items()
}

CONTEXTS: list[tuple[str | None, bool]] = [
    (None, True),
    ("flex", False),
    ("priority", False),
    ("fast", False),
    ("default", False),
    ("priority", True),
    ("unheard-of", False),
]

MODELS = list(reachable_models())
FEW = [
    "text",
    "cached",
    "cache writes both",
    "above 200k",
    "above all tiers",
    "searches",
    "image",
    "audio",
    "seconds",
]


def disagreements(
    book: PriceBook,
    provider: str,
    name: str,
    *,
    at: float,
    service_tier: str | None = None,
    batch: bool = False,
    usages: list[str] | None = None,
) -> Iterator[str]:
    """One line for each usage whose cost is not the oracle's, rounded to nano-dollars."""
    prices = book.find(provider, name, at=at, service_tier=service_tier, batch=batch)
    assert prices is not None, f"{provider}/{name}"
    for key in usages or USAGES:
        ours, theirs = USAGES[key]
        expected = genai_cost(theirs, name, provider, at=at, service_tier=service_tier, batch=batch)
        if abs(prices.cost(ours) - expected * 10**9) > 0.5000001:
            yield f"{provider}/{name} {service_tier} {batch} {at} {key}: {prices.cost(ours)} != {expected}"


def switches(model: types.ModelInfo) -> list[float]:
    """Moments around every change of a model's price, in seconds since the epoch."""
    constraints = [c.constraint for c in model.prices] if isinstance(model.prices, list) else []
    constraints += [v.constraint for v in model.price_variants or ()]
    moments: list[float] = []
    for constraint in constraints:
        match constraint:
            case types.StartDateConstraint():
                moments.append((constraint.start_date.toordinal() - 719_163) * 86_400)
            case types.TimeOfDateConstraint(start_time=start, end_time=end):
                day = NOON // 86_400 * 86_400
                moments += [day + t.hour * 3600 + t.minute * 60 for t in (start, end)]
            case None:
                pass
    return [moment + offset for moment in sorted(set(moments)) for offset in (-0.5, 0, 3600)]


def test_every_model_of_the_oracle_is_reached() -> None:
    assert len(MODELS) > 2_000
    assert {"openai", "anthropic", "google", "azure", "mistral", "groq"} <= {p.id for p, _, _ in MODELS}


def test_every_model_costs_what_the_oracle_says() -> None:
    book = PriceBook()
    found = [
        line
        for provider, model, name in MODELS
        if (provider.id, model.id) not in WITHOUT_PRICE
        for line in disagreements(book, provider.id, name, at=NOON)
    ]
    assert found == []


def test_batch_and_tiers_cost_what_the_oracle_says() -> None:
    book = PriceBook()
    tiered = [(p, m, n) for p, m, n in MODELS if m.price_variants]
    found = [
        line
        for provider, _, name in tiered
        for tier, batch in CONTEXTS
        for line in disagreements(
            book, provider.id, name, at=NOON, service_tier=tier, batch=batch, usages=FEW
        )
    ]
    assert len(tiered) > 60
    assert found == []


def test_dated_prices_and_hours_of_the_day_cost_what_the_oracle_says() -> None:
    book = PriceBook()
    found = [
        line
        for provider, model, name in MODELS
        for at in switches(model)
        for batch in ((False, True) if model.price_variants else (False,))
        for line in disagreements(book, provider.id, name, at=at, batch=batch, usages=["text", "cached"])
    ]
    assert found == []


@pytest.mark.parametrize(("provider", "name"), WITHOUT_PRICE)
def test_a_model_without_a_price_is_unknown_and_not_free(provider: str, name: str) -> None:
    assert genai_cost(genai_prices.Usage(input_tokens=10**6), name, provider, at=NOON) == 0
    assert PriceBook().find(provider, name, at=NOON) is None


@pytest.mark.parametrize(
    ("usage", "cached_audio", "cached_image"),
    [
        (Usage(1_000, 0, cached_tokens=800, audio_input_tokens=700), 500, 0),
        (Usage(1_000, 0, cached_tokens=800, image_input_tokens=700), 0, 500),
        (Usage(1_000, 0, cached_tokens=900, audio_input_tokens=300, image_input_tokens=600), 300, 500),
    ],
)
def test_the_overlap_of_cache_and_modality_is_the_smallest_that_the_counts_allow(
    usage: Usage, cached_audio: int, cached_image: int
) -> None:
    prices = PriceBook().find("openai", "gpt-realtime", at=NOON)
    expected = genai_cost(
        genai_usage(usage, cached_audio=cached_audio, cached_image=cached_image),
        "gpt-realtime",
        "openai",
        at=NOON,
    )
    assert prices is not None
    assert prices.cost(usage) == expected * 10**9


def test_a_reseller_falls_back_to_the_standard_price_of_the_model_s_own_provider() -> None:
    book = PriceBook()
    assert [
        line
        for name in ("gpt-4o", "gpt-5", "o3", "claude-sonnet-4-5")
        for tier, batch in CONTEXTS
        for line in disagreements(book, "azure", name, at=NOON, service_tier=tier, batch=batch)
    ] == []


def test_the_ten_seconds_that_groq_bills_at_least() -> None:
    book = PriceBook()
    prices = book.find("groq", "whisper-large-v3", at=NOON)
    assert prices is not None
    assert prices.cost(Usage(audio_seconds=1)) == prices.cost(Usage(audio_seconds=10)) == 308_333
    assert prices.cost(Usage(audio_seconds=0)) == 0
