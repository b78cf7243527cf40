"""A price that the user gives."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from aden_transport.errors import ConfigurationError
from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import Price, UnitPrices
from aden_transport.pricing.price import AMOUNTS
from aden_transport.pricing.unit_prices import RATE_NAMES


@pytest.mark.parametrize("amount", [2.5, "2.5", Decimal("2.5")])
def test_amounts_may_be_written_in_any_form(amount: Any) -> None:
    assert Price(amount, 10).rates() == {"input": 2_500_000, "output": 10_000_000}


def test_a_float_counts_as_the_decimal_it_prints_as() -> None:
    assert Price(0.1, 0.3).rates() == {"input": 100_000, "output": 300_000}


def test_an_amount_below_a_pico_dollar_stays_exact() -> None:
    assert Price("0.0000001", 0).rates() == {"input": "1/10", "output": 0}


def test_each_field_prices_its_unit() -> None:
    price = Price(
        1,
        2,
        0.5,
        1.25,
        cache_write_1h_per_mtok=2,
        reasoning_per_mtok=3,
        audio_input_per_mtok=4,
        audio_output_per_mtok=5,
        image_input_per_mtok=6,
        image_output_per_mtok=7,
        per_million_characters=15,
        per_audio_minute="0.006",
        per_image="0.04",
        per_page="0.001",
        per_search_unit="0.002",
        per_server_tool_call="0.01",
        per_request="0.005",
        trained_per_mtok=25,
        per_container_session="0.03",
        per_file_search="0.0025",
        per_gb_day="0.1",
        per_video_second="0.4",
    )
    prices = UnitPrices(price.rates())
    costs = {
        "cached_tokens": 500,
        "cache_write_tokens": 1_250,
        "audio_input_tokens": 4_000,
        "image_input_tokens": 6_000,
    }
    for name, nano in costs.items():
        assert prices.cost(Usage(1, **{name: 1})) == 5_000_000 + nano, name
    for name, nano in {"reasoning": 3_000, "audio_output": 5_000, "image_output": 7_000}.items():
        assert prices.cost(Usage(0, 1, **{f"{name}_tokens": 1})) == 5_000_000 + nano, name
    units = {"characters": 15_000, "images": 40_000_000, "pages": 1_000_000, "search_units": 2_000_000}
    for name, nano in (units | {"server_tool_calls": 10_000_000}).items():
        assert prices.cost(Usage(**{name: 1})) == 5_000_000 + nano, name
    assert prices.cost(Usage(audio_seconds=30)) == 5_000_000 + 3_000_000
    beside = {"trained_tokens": 25_000, "container_sessions": 30_000_000, "file_searches": 2_500_000}
    for name, nano in (beside | {"gb_days": 100_000_000, "video_seconds": 400_000_000}).items():
        assert prices.cost(Usage(), {name: 1}) == 5_000_000 + nano, name
    assert prices.cost(Usage(1, cache_write_tokens=1, cache_write_1h_tokens=1)) == 5_000_000 + 2_000


def test_cached_audio_and_images_are_charged_as_cached() -> None:
    prices = UnitPrices(Price(1, 2, 0.5, audio_input_per_mtok=8, image_input_per_mtok=9).rates())
    assert prices.cost(Usage(10, cached_tokens=10, audio_input_tokens=10)) == 10 * 500
    assert prices.cost(Usage(10, cached_tokens=10, image_input_tokens=10)) == 10 * 500


@pytest.mark.parametrize(
    "amount",
    [
        *(-1, -0.001, float("nan"), float("inf"), 10**400, True, None, [1]),
        *("", "cheap", "nan", "-1", "1e10", "1e999999999", "1e-999999999"),
        *(Decimal("sNaN"), Decimal("Infinity")),
    ],
)
def test_an_amount_that_is_no_price_says_what_to_give(amount: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Price\(output_per_mtok=.*from 0 to 1e9"):
        Price(1, amount)


def test_each_amount_of_a_price_list_is_a_field_and_has_a_rate() -> None:
    assert list(AMOUNTS) == [field.name for field in fields(Price)]
    assert {name for name, _ in AMOUNTS.values()} == set(RATE_NAMES) - {"cached_audio", "cached_image"}


def test_prices_are_values() -> None:
    assert Price(1, 2, cached_per_mtok=None) == Price(1, 2)
    assert hash(Price("1", 2)) == hash(Price("1", 2))
