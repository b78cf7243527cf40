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


# -- what a server says ---------------------------------------------------------------------------------


class Told(dict[str, Price]):
    """Notes what it was asked for."""

    def __init__(self, prices: dict[str, Price]) -> None:
        super().__init__(prices)
        self.asked: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.append(key)
        return super().get(key, default)


def told(prices: dict[str, Price], provider: str, model: str, **more: Any) -> UnitPrices:
    prices_of_all = PriceBook()
    prices_of_all.tell(prices)
    return found(prices_of_all.find(provider, model, at=NOON, **more))


def test_what_a_server_says_counts_for_the_parts_that_it_names() -> None:
    prices = told({"gpt-4o": Price(5, 20)}, "openai", "gpt-4o-2024-08-06")
    listed = found(PriceBook().find("openai", "gpt-4o", at=NOON))
    assert prices.cost(TEXT) == 25_000_000_000
    assert prices.rates["cached"] == listed.rates["cached"]
    assert (prices.source, prices.provider, prices.model) == ("server", "openai", "gpt-4o")


def test_a_price_of_one_provider_counts_for_it_alone() -> None:
    of_one = {"openai/gpt-4o": Price(5, 20), "gpt-4o": Price(6, 20)}
    assert told(of_one, "openai", "gpt-4o").cost(TEXT) == 25_000_000_000
    assert told(of_one, "github-copilot", "gpt-4o").cost(TEXT) == 26_000_000_000
    assert told({"nobody/new": Price(1, 1)}, "nobody", "new").cost(TEXT) == 2_000_000_000


def test_what_a_server_says_as_the_data_do_is_from_the_data() -> None:
    for same in (Price(2.5, 10), Price(2.5, 10, 1.25)):
        assert told({"gpt-4o": same}, "openai", "gpt-4o").source == "genai-prices 0.2.3 openai/gpt-4o"
    # Cached tokens without a price are charged as input.
    listed = found(PriceBook().find("openai", "gpt-4", at=NOON))
    assert "cached" not in listed.rates
    assert told({"gpt-4": Price(30, 60, 30)}, "openai", "gpt-4").source == listed.source
    assert told({"gpt-4": Price(40, 60, 30)}, "openai", "gpt-4").rates["cached"] == 30_000_000


def test_a_server_says_nothing_of_tiers() -> None:
    batch = told({"gpt-4o": Price(5, 20)}, "openai", "gpt-4o", batch=True)
    assert batch.source == "genai-prices 0.2.3 openai/gpt-4o batch"


def test_the_user_s_own_price_counts_before_a_server_s() -> None:
    own = PriceBook({"openai/gpt-4o": Price(1, 1)})
    own.tell({"openai/gpt-4o": Price(5, 20)})
    assert found(own.find("openai", "gpt-4o", at=NOON)).source == "override"


def test_a_server_s_prices_are_asked_for_what_a_call_needs() -> None:
    prices, all_told = PriceBook(), Told({"gpt-4o": Price(5, 20), "o1": Price(1, 1)})
    assert prices.find("openai", "gpt-4o", at=NOON) is not None
    prices.tell(all_told)
    assert (prices.version, all_told.asked) == (1, [])
    for _ in range(3):
        assert found(prices.find("openai", "gpt-4o", at=NOON)).source == "server"
    assert len(all_told.asked) <= 10
