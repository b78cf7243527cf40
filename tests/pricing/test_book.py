"""Finding the price of a call."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aden_transport.errors import ConfigurationError
from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import Price, PriceBook, UnitPrices, book

from .oracle import NOON

TEXT = Usage(1_000_000, 1_000_000)
SHORT = Usage(1_000, 1_000)


def found(prices: UnitPrices | None) -> UnitPrices:
    assert prices is not None
    return prices


def test_a_known_model_has_its_price_and_says_where_it_is_from() -> None:
    prices = found(PriceBook().find("openai", "gpt-4o", at=NOON))
    assert prices.cost(TEXT) == 12_500_000_000
    assert prices.source == "genai-prices 0.2.3 openai/gpt-4o"
    assert (prices.provider, prices.model, prices.tier, prices.dated) == (
        "openai",
        "gpt-4o",
        "standard",
        None,
    )
    assert prices.rates["output"] == 10_000_000


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "no-such-model"), ("no-such-provider", "gpt-4o"), ("", ""), ("azure", "my-deployment")],
)
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    prices = PriceBook()
    assert prices.find(provider, model, at=NOON) is None
    assert prices.find(provider, model, at=NOON) is None


def test_azure_falls_back_to_openai() -> None:
    prices = found(PriceBook().find("azure", "gpt-4o-2024-08-06", at=NOON))
    assert prices.source == "genai-prices 0.2.3 openai/gpt-4o"


@pytest.mark.parametrize(
    "tier", [None, "", "auto", "default", "standard", "standard_only", "on_demand", "ON_DEMAND"]
)
def test_the_vendors_words_for_no_tier_mean_the_standard_price(tier: str | None) -> None:
    prices = found(PriceBook().find("openai", "o3", at=NOON, service_tier=tier))
    assert (prices.tier, prices.source) == ("standard", "genai-prices 0.2.3 openai/o3")


def test_a_tier_has_its_price_in_whatever_case_it_is_reported() -> None:
    prices = PriceBook()
    flex = found(prices.find("openai", "o3", at=NOON, service_tier="flex"))
    assert (flex.tier, flex.dated, flex.cost(TEXT)) == ("flex", "2026-10-12", 5_000_000_000)
    assert flex.source == "genai-prices 0.2.3 openai/o3 flex"
    assert found(prices.find("openai", "o3", at=NOON, service_tier="FLEX")).source == flex.source


def test_a_tier_without_a_price_is_given_the_standard_one_and_says_so() -> None:
    prices = PriceBook()
    unknown = found(prices.find("openai", "gpt-4o", at=NOON, service_tier="Scale"))
    assert unknown.tier == "standard"
    assert unknown.source == "genai-prices 0.2.3 openai/gpt-4o (standard: no scale price)"
    assert unknown.cost(TEXT) == 12_500_000_000
    resold = found(prices.find("azure", "gpt-4o", at=NOON, service_tier="priority", batch=True))
    assert resold.source == "genai-prices 0.2.3 openai/gpt-4o (standard: no batch+priority price)"


@pytest.mark.parametrize(
    ("tier", "batch"), [(None, True), ("batch", False), ("batch", True), ("default", True)]
)
def test_batch_is_said_by_the_caller_or_by_the_tier(tier: str | None, batch: bool) -> None:
    prices = found(PriceBook().find("anthropic", "claude-opus-4-5", at=NOON, service_tier=tier, batch=batch))
    assert (prices.tier, prices.cost(TEXT)) == ("batch", 15_000_000_000)


def test_of_a_batch_in_a_tier_what_has_a_price_is_named() -> None:
    both = found(PriceBook().find("openai", "gpt-4o", at=NOON, service_tier="scale", batch=True))
    assert both.source == "genai-prices 0.2.3 openai/gpt-4o batch (standard: no scale price)"
    assert (
        found(PriceBook().find("openai", "gpt-4o", at=NOON, service_tier="fast", batch=True)).tier
        == "batch+fast"
    )


def test_a_held_answer_expires_when_the_price_changes_and_not_before() -> None:
    prices = PriceBook()
    change = datetime(2026, 10, 12, tzinfo=UTC).timestamp()
    before = found(prices.find("openai", "o3", at=change - 1, service_tier="flex"))
    assert before.source.endswith("(standard: no flex price)")
    assert prices.find("openai", "o3", at=change - 0.001, service_tier="flex") is before
    after = found(prices.find("openai", "o3", at=change, service_tier="flex"))
    assert after.source.endswith("openai/o3 flex")
    assert prices.find("openai", "o3", at=change + 3600, service_tier="flex") is after
    assert found(prices.find("openai", "o3", at=change - 1, service_tier="flex")).tier == "standard"


def test_a_price_by_the_hour_changes_within_the_day() -> None:
    prices = PriceBook()
    midnight = NOON // 86_400 * 86_400
    day = [found(prices.find("deepseek", "deepseek-flash", at=midnight + hour * 3600)) for hour in range(24)]
    dear = [hour for hour, price in enumerate(day) if price.cost(SHORT) == 1_500_000]
    assert dear == [1, 2, 3, 6, 7, 8, 9]
    assert (day[2].dated, day[6].dated, day[12].dated) == ("01:00-04:00 UTC", "06:00-10:00 UTC", None)


def test_the_held_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "_HELD_AT_MOST", 3)
    prices = PriceBook()
    first = prices.find("openai", "gpt-4o", at=NOON)
    assert prices.find("openai", "gpt-4o", at=NOON) is first
    for number in range(3):
        prices.find("openai", f"unknown-{number}", at=NOON)
    assert prices.find("openai", "gpt-4o", at=NOON) is not first


def test_an_override_wins_in_every_tier() -> None:
    prices = PriceBook({"openai/GPT-4o": Price(1, 2)})
    mine = found(prices.find("openai", "gpt-4O", at=NOON, service_tier="priority", batch=True))
    assert (mine.cost(TEXT), mine.source, mine.model) == (3_000_000_000, "override", "gpt-4o")
    assert found(prices.find("openai", "gpt-4o-2024-08-06", at=NOON)).source == "override"
    assert found(prices.find("openai", "gpt-4o-mini", at=NOON)).source != "override"


def test_an_override_of_the_name_goes_before_one_of_the_model() -> None:
    prices = PriceBook({"openai/gpt-4o": Price(1, 1), "openai/gpt-4o-2024-08-06": Price(5, 5)})
    assert found(prices.find("openai", "gpt-4o-2024-08-06", at=NOON)).cost(TEXT) == 10_000_000_000


@pytest.mark.parametrize(
    ("key", "provider", "model"),
    [
        ("gemini/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("google/gemini-2.5-pro", "gemini", "gemini-2.5-pro"),
        ("openrouter/openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        ("My-Host/llama", "my-host", "Llama"),
        ("azure/my-deployment", "azure", "my-deployment"),
        ("openai/stranger", "openai", "stranger"),
    ],
)
def test_an_override_counts_for_any_provider_and_its_aliases(key: str, provider: str, model: str) -> None:
    assert found(PriceBook({key: Price(1, 2)}).find(provider, model, at=NOON)).source == "override"


@pytest.mark.parametrize("key", ["gpt-4o", "/gpt-4o", " /gpt-4o", "openai/", "", 7])
def test_a_key_of_another_form_says_how_to_write_it(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="write it as 'provider/model'"):
        PriceBook({key: Price(1, 2)})


def test_a_value_of_another_type_says_what_to_give() -> None:
    values: Any = {"openai/gpt-4o": (1, 2)}
    with pytest.raises(ConfigurationError, match="give a Price"):
        PriceBook(values)


def test_the_data_is_read_at_the_first_use() -> None:
    prices = PriceBook({"openai/gpt-4o": Price(1, 2)})
    assert prices._snapshot is None
    prices.find("openai", "gpt-4o", at=NOON)
    assert prices.snapshot is prices.snapshot
