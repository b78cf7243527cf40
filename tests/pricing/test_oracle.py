"""Our arithmetic against genai-prices: all models, all units, tiers, dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import genai_prices
import pytest
from genai_prices import types

from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import PriceBook
from aden_transport.pricing.unit_prices import RATE_NAMES, Units

from .oracle import NOON, OURS, WITHOUT_PRICE, genai_cost, genai_usage, reachable_models


class Case(NamedTuple):
    """The same use in our terms and in the oracle's."""

    usage: Usage
    units: Units | None
    theirs: genai_prices.Usage


USAGES: dict[str, Case] = {
    name: Case(usage, None, genai_usage(usage))
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
FILE_SEARCHES: Units = {"file_searches": 4}
USAGES["file searches"] = Case(Usage(100, 10), FILE_SEARCHES, genai_usage(Usage(100, 10), FILE_SEARCHES))

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


class Comparison:
    """Prices of ours against the oracle's, counted."""

    def __init__(self) -> None:
        self.book = PriceBook()
        self.models: set[tuple[str, str]] = set()
        self.equal = 0
        self.ours: Counter[tuple[str, str]] = Counter()
        """Costs that differ by a rate of ours, by that rate."""
        self.different: list[str] = []

    def compare(
        self,
        provider: str,
        name: str,
        *,
        at: float = NOON,
        service_tier: str | None = None,
        batch: bool = False,
        usages: Iterable[str] = USAGES,
    ) -> None:
        prices = self.book.find(provider, name, at=at, service_tier=service_tier, batch=batch)
        assert prices is not None, f"{provider}/{name}"
        self.models.add((provider, name))
        for key in usages:
            case = USAGES[key]
            added = [n for n in prices.cited if needs(n, case)]
            if added:
                self.ours.update((prices.provider, n) for n in added)
                continue
            cost = prices.cost(case.usage, case.units)
            expected = genai_cost(case.theirs, name, provider, at=at, service_tier=service_tier, batch=batch)
            if abs(cost - expected * 10**9) <= 0.5000001:
                self.equal += 1
            else:
                where = f"{provider}/{name} {service_tier} {batch} {at} {key}"
                self.different.append(f"{where}: {cost} != {expected}")


def needs(rate: str, case: Case) -> bool:
    field = RATE_NAMES[rate]
    return bool(getattr(case.usage, field) if field else (case.units or {}).get(rate))


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
    seen = Comparison()
    for provider, model, name in MODELS:
        if (provider.id, model.id) not in WITHOUT_PRICE:
            seen.compare(provider.id, name)
    assert seen.different == []
    assert set(seen.ours) <= set(OURS)
    # models, their costs that are equal, those that need a rate which the oracle lacks
    assert (len(seen.models), seen.equal, seen.ours.total()) == (2_319, 55_468, 190)


def test_batch_and_tiers_cost_what_the_oracle_says() -> None:
    seen = Comparison()
    for provider, model, name in MODELS:
        if model.price_variants:
            for tier, batch in CONTEXTS:
                seen.compare(provider.id, name, service_tier=tier, batch=batch, usages=FEW)
    assert seen.different == []
    assert set(seen.ours) <= set(OURS)
    assert (len(seen.models), seen.equal, seen.ours.total()) == (111, 6_797, 196)


def test_dated_prices_and_hours_of_the_day_cost_what_the_oracle_says() -> None:
    seen = Comparison()
    for provider, model, name in MODELS:
        for at in switches(model):
            for batch in (False, True) if model.price_variants else (False,):
                seen.compare(provider.id, name, at=at, batch=batch, usages=["text", "cached"])
    assert seen.different == []
    assert (len(seen.models), seen.equal, seen.ours.total()) == (317, 3_618, 12)


def test_every_unit_that_the_oracle_prices_is_compared() -> None:
    book = PriceBook()
    found = [book.find(p.id, n, at=NOON) for p, m, n in MODELS if (p.id, m.id) not in WITHOUT_PRICE]
    counts = Counter(rate for prices in found if prices for rate in prices.rates.keys() - prices.cited.keys())
    compared = {rate for rate in counts for case in USAGES.values() if needs_or_counts(rate, case)}
    assert set(counts) == compared
    assert sum(counts.values()) > 5_000


def needs_or_counts(rate: str, case: Case) -> bool:
    """`requests` count in every case; cached audio and images have a test of their own."""
    return rate in ("requests", "cached_audio", "cached_image") or needs(rate, case)


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
    seen = Comparison()
    for name in ("gpt-4o", "gpt-5", "o3", "claude-sonnet-4-5"):
        for tier, batch in CONTEXTS:
            seen.compare("azure", name, service_tier=tier, batch=batch)
    assert (seen.different, seen.ours.total()) == ([], 0)


def test_the_ten_seconds_that_groq_bills_at_least() -> None:
    book = PriceBook()
    prices = book.find("groq", "whisper-large-v3", at=NOON)
    assert prices is not None
    assert prices.cost(Usage(audio_seconds=1)) == prices.cost(Usage(audio_seconds=10)) == 308_333
    assert prices.cost(Usage(audio_seconds=0)) == 0
