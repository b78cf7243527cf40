"""The arithmetic of one call."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import UnitPrices
from aden_transport.pricing.unit_prices import RATE_NAMES, UNIT_NAMES, Rates

MILLION = 10**6


@pytest.mark.parametrize(
    ("pico", "tokens", "nano"),
    [(500, 1, 0), (500, 3, 2), (1_500, 1, 2), (2_500, 1, 2), (501, 1, 1), (499, 1, 0), (1_000, 7, 7)],
)
def test_the_sum_is_rounded_once_half_to_even(pico: int, tokens: int, nano: int) -> None:
    assert UnitPrices({"input": pico}).cost(Usage(tokens)) == nano


def test_a_rate_that_is_no_whole_number_of_picos_stays_exact() -> None:
    third = UnitPrices({"input": "1000/3", "output": 1})
    assert third.cost(Usage(3)) == 1
    assert third.cost(Usage(3 * 10**9)) == 10**9
    assert UnitPrices({"audio_seconds": "100000000/3"}).cost(Usage(audio_seconds=0.3)) == 10_000


def test_a_part_without_a_rate_costs_what_encloses_it() -> None:
    prices = UnitPrices({"input": MILLION, "output": 2 * MILLION})
    plain = prices.cost(Usage(100, 50))
    assert prices.cost(Usage(100, 50, 40, 10, 20, 5, 3, 2, 1, 1)) == plain == 200_000


def test_a_part_with_a_rate_costs_its_own() -> None:
    rates = {
        "input": 10,
        "cached": 1,
        "cache_write": 12,
        "cache_write_1h": 20,
        "output": 100,
        "reasoning": 50,
    }
    prices = UnitPrices({name: rate * 1000 for name, rate in rates.items()})
    assert prices.cost(Usage(100, 10, 4, 30, 20, 5)) == 50 * 10 + 30 + 15 * 12 + 5 * 20 + 6 * 100 + 4 * 50


def test_long_writes_have_a_rate_where_writes_have_none() -> None:
    prices = UnitPrices({"input": 10_000, "cache_write_1h": 20_000})
    usage = Usage(100, cache_write_tokens=50, cache_write_1h_tokens=40)
    assert prices.cost(usage) == 60 * 10 + 40 * 20
    usage.server_tool_calls = 1
    assert prices.cost(usage) == 60 * 10 + 40 * 20


def test_long_writes_that_are_missing_in_the_writes_are_still_charged_once() -> None:
    prices = UnitPrices({"input": 10_000, "cache_write": 50_000, "cache_write_1h": 20_000})
    assert prices.cost(Usage(100, cache_write_1h_tokens=40)) == 60 * 10 + 40 * 20


@pytest.mark.parametrize(
    "usage",
    [
        Usage(10, cached_tokens=100),
        Usage(10, cache_write_tokens=100, cache_write_1h_tokens=100),
        Usage(0, 10, reasoning_tokens=100),
        Usage(10, 10, 0, 100, 100, 500, 100, 100, 100, 100),
    ],
)
def test_parts_that_exceed_the_whole_are_charged_and_the_rest_is_not_negative(usage: Usage) -> None:
    rates = dict.fromkeys(["input", "output"], 50_000_000)
    rates |= dict.fromkeys(["cached", "cache_write", "cache_write_1h", "reasoning", "audio_input"], 1000)
    assert UnitPrices(rates).cost(usage) >= 100


def test_the_prompt_s_length_chooses_the_rate_of_all_units() -> None:
    rates: Rates = {
        "input": [1_000, [100, 2_000], [200, 3_000]],
        "cached": 500,
        "output": [10_000, [100, 20_000]],
        "requests": 5_000,
    }
    prices = UnitPrices(rates)
    assert prices.cost(Usage(100, 1)) == 100 + 10 + 5
    assert prices.cost(Usage(101, 1)) == 202 + 20 + 5
    assert prices.cost(Usage(200, 1)) == 400 + 20 + 5
    assert prices.cost(Usage(201, 1)) == 603 + 20 + 5
    assert prices.cost(Usage(300, 0, 0, 100)) == 600 + 50 + 5


def test_a_request_costs_its_price_even_without_tokens() -> None:
    assert UnitPrices({"input": 1, "requests": 12_000_000}).cost(Usage()) == 12_000


def test_units_other_than_tokens_have_their_rates() -> None:
    names = ("characters", "images", "pages", "search_units", "server_tool_calls", "audio_seconds")
    prices = UnitPrices({name: 10 ** (place + 3) for place, name in enumerate(names)})
    usage = Usage(characters=1, images=2, pages=3, search_units=4, server_tool_calls=5, audio_seconds=6.5)
    assert prices.cost(usage) == 1 + 20 + 300 + 4_000 + 50_000 + 650_000


def test_units_that_nothing_prices_are_named() -> None:
    prices = UnitPrices({"input": 1, "output": 1})
    assert prices.unpriced(Usage(5, 5, 5, 5, 5, 5, 5, 5)) == ()
    assert prices.unpriced(Usage(5, images=1, audio_seconds=2.0)) == ("audio_seconds", "images")
    assert UnitPrices({"audio_seconds": 1}).unpriced(Usage(5, audio_seconds=1)) == ("input_tokens",)


def test_units_beside_the_usage_have_their_rates() -> None:
    prices = UnitPrices({"input": 1_000, "gb_days": 10**11, "video_seconds": 3 * 10**9})
    assert prices.cost(Usage(5), {"gb_days": 0.1}) == 5 + 10_000_000
    assert prices.cost(Usage(5), {"gb_days": 0.1, "video_seconds": 2.5}) == 5 + 10_000_000 + 7_500_000
    assert prices.cost(Usage(5), {}) == prices.cost(Usage(5), None) == 5


def test_units_count_above_a_tier_as_below_it() -> None:
    prices = UnitPrices({"input": [1_000, [10, 2_000]], "file_searches": 7_000})
    assert prices.cost(Usage(10), {"file_searches": 2}) == 10 + 14
    assert prices.cost(Usage(11), {"file_searches": 2}) == 22 + 14


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1, -0.5])
def test_what_is_no_amount_adds_nothing(amount: float) -> None:
    prices = UnitPrices({"input": 1_000, "gb_days": 10**11, "audio_seconds": 10**9})
    assert prices.cost(Usage(5), {"gb_days": amount}) == 5
    assert prices.cost(Usage(5, audio_seconds=amount), {"gb_days": 1}) == 5 + 10**8


def test_units_without_a_rate_are_named_and_add_nothing() -> None:
    prices = UnitPrices({"input": 1_000})
    units = {"trained_tokens": 5, "gb_days": 0}
    assert prices.unpriced(Usage(5, images=1), units) == ("images", "trained_tokens")
    assert prices.cost(Usage(5), units) == 5


def test_each_name_of_a_unit_is_the_name_of_a_rate() -> None:
    assert all(RATE_NAMES[name] is None for name in UNIT_NAMES)


def test_free_is_0() -> None:
    assert UnitPrices({"input": 0, "output": 0}).cost(Usage(10**9, 10**9)) == 0


COUNTS = st.integers(0, 10**7)
RATE = st.integers(0, 10**9)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Counts whose parts fit their wholes, cached tokens beside audio and images."""
    rest, cached, writes, long_writes, audio, image = (draw(COUNTS) for _ in range(6))
    text, reasoning, spoken, drawn = (draw(COUNTS) for _ in range(4))
    return Usage(
        input_tokens=rest + cached + writes + long_writes + audio + image,
        output_tokens=text + reasoning + spoken + drawn,
        reasoning_tokens=reasoning,
        cached_tokens=cached,
        cache_write_tokens=writes + long_writes,
        cache_write_1h_tokens=long_writes,
        audio_input_tokens=audio,
        audio_output_tokens=spoken,
        image_input_tokens=image,
        image_output_tokens=drawn,
    )


PARTS = ("cached", "cache_write", "cache_write_1h", "reasoning", "audio_input", "image_input")
RATES = st.fixed_dictionaries({"input": RATE, "output": RATE}, optional=dict.fromkeys(PARTS, RATE))


def added(one: Usage, other: Usage) -> Usage:
    total = Usage()
    for name in Usage.__slots__:
        setattr(total, name, getattr(one, name) + getattr(other, name))
    return total


@settings(deadline=None)
@given(RATES, st.lists(COUNTS, min_size=12, max_size=12), st.floats(0, 10**5))
def test_any_counts_cost_a_whole_number_that_is_not_negative(
    rates: dict[str, int], counts: list[int], seconds: float
) -> None:
    usage = Usage(*counts)
    usage.audio_seconds = seconds
    cost = UnitPrices(rates).cost(usage)
    assert type(cost) is int
    assert cost >= 0


@settings(deadline=None)
@given(RATES, usages(), usages())
def test_two_calls_cost_what_their_sum_does_but_for_rounding(
    rates: dict[str, int], one: Usage, other: Usage
) -> None:
    prices = UnitPrices(rates)
    assert abs(prices.cost(one) + prices.cost(other) - prices.cost(added(one, other))) <= 1


@settings(deadline=None)
@given(RATES, usages(), COUNTS, COUNTS)
def test_more_tokens_never_cost_less(rates: dict[str, int], usage: Usage, more: int, longer: int) -> None:
    prices = UnitPrices(rates)
    grown = added(usage, Usage(more, longer))
    assert prices.cost(grown) >= prices.cost(usage)


@settings(deadline=None)
@given(RATES, usages())
def test_the_short_path_and_the_full_one_agree(rates: dict[str, int], usage: Usage) -> None:
    usage.audio_input_tokens = usage.audio_output_tokens = 0
    usage.image_input_tokens = usage.image_output_tokens = 0
    rates.pop("reasoning", None)
    short = UnitPrices(rates).cost(usage)
    assert UnitPrices({**rates, "requests": 0}).cost(usage) == short
    exact = Fraction(UnitPrices({name: rate * 1000 for name, rate in rates.items()}).cost(usage), 1000)
    assert abs(exact - short) <= Fraction(1, 2)
