"""From what an answer says of limits to the pace that keeps them."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.core.rates import SILENT, rates_of, window_of
from aden_transport.events import RateLimit
from aden_transport.ledger.pace import Rate
from aden_transport.vendors.limits import (
    anthropic_limits,
    azure_limits,
    cohere_limits,
    openai_limits,
    windowed_limits,
)

NOON = 1_790_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("limit", "left", "reset", "window"),
    [
        (60, 59, 1.0, (MINUTE, True)),
        (500, 499, 0.12, (MINUTE, True)),
        (150_000, 149_984, 0.006, (MINUTE, True)),
        (60, 0, 60.0, (MINUTE, True)),
        (60, 60, 0.0, (MINUTE, True)),
        (4000, 3999, 1.0, (MINUTE, True)),  # a date, in whole seconds
        (200, 199, 432.0, (DAY, True)),  # OpenAI's free tier
        (14_400, 14_370, 180.0, (DAY, True)),  # Groq
        (60, 30, 7.0, (MINUTE, False)),
        (60, 59, 59.0, (MINUTE, False)),
        (3000, 2999, 28.8, (MINUTE, False)),
        (1000, 400, 3000.0, (HOUR, False)),
        (1000, 400, 80_000.0, (DAY, False)),
        (1000, None, 50.0, (MINUTE, False)),
        (1000, 400, None, None),
    ],
)
def test_the_window_follows_from_what_comes_back_until_the_reset(
    limit: int, left: int | None, reset: float | None, window: Any
) -> None:
    assert window_of(limit, left, reset) == window


@pytest.mark.parametrize(
    ("limit", "left", "reset", "named", "window"),
    [
        (10, 4, 3.0, 10.0, (10.0, False)),
        (10, 9, 1.0, 10.0, (10.0, True)),
        (1, 0, None, 1.0, (1.0, False)),
        (60, 30, 7.0, MINUTE, (MINUTE, False)),
    ],
)
def test_a_window_that_is_named_is_that(
    limit: int, left: int, reset: float | None, named: float, window: Any
) -> None:
    assert window_of(limit, left, reset, named) == window


def requests(limit: RateLimit, target: float = 1.0) -> Rate:
    rate = rates_of(limit, target).families[0]
    assert rate is not None
    return rate


def test_the_target_spreads_calls_and_leaves_the_rest_for_a_burst() -> None:
    assert requests(RateLimit(60, 59, 1.0)) == Rate(1.0, 0.0)
    assert requests(RateLimit(60, 59, 1.0), 0.95) == Rate(1 / 0.95, 0.0)
    rate = requests(RateLimit(600, 599, 0.1), 0.95)
    assert (rate.interval, rate.burst) == pytest.approx((0.10526, 0.05263), abs=1e-4)
    assert requests(RateLimit(6000, 5999, 0.01), 0.5) == Rate(0.02, 1.0)


def test_a_sixth_of_a_windows_tokens_may_be_used_at_once() -> None:
    limit = RateLimit(limit_tokens=60_000, remaining_tokens=60_000, reset_tokens_s=0.0)
    assert rates_of(limit, 1.0).families == (None, Rate(0.001, 10.0), None, None)


def test_a_days_allowance_is_not_spread() -> None:
    rates = rates_of(RateLimit(200, 199, 432.0), 0.95)
    assert rates == SILENT


def test_nothing_left_holds_until_the_next() -> None:
    assert rates_of(RateLimit(60, 0, 60.0), 1.0).hold == 1.0
    assert rates_of(RateLimit(60, 0, 12.0), 1.0).hold == 12.0
    assert rates_of(RateLimit(200, 0, 86_400.0), 1.0).hold == 432.0
    assert rates_of(RateLimit(60, 0, None, window_requests_s=60.0), 1.0).hold == 1.0


def test_less_than_half_of_what_comes_back_bit_by_bit_is_others_use() -> None:
    assert requests(RateLimit(60, 30, 30.0)).slow_for == 0
    assert requests(RateLimit(60, 20, 40.0)) == Rate(1.0, 0.0, 1.5, 5.0)
    assert requests(RateLimit(60, 1, 59.0)) == Rate(1.0, 0.0, 4.0, 5.0)


def test_what_is_left_of_a_window_lasts_until_its_end() -> None:
    assert requests(RateLimit(60, 30, 28.0)).slow_for == 0
    assert requests(RateLimit(60, 5, 20.0)) == Rate(1.0, 0.0, 4.0, 20.0)
    assert rates_of(RateLimit(60, 30, 28.0), 1.0).is_steady
    assert not rates_of(RateLimit(60, 5, 20.0), 1.0).is_steady


def test_tokens_told_apart_are_paced_apart() -> None:
    limit = RateLimit(
        limit_tokens=100,
        remaining_tokens=100,
        reset_tokens_s=0.0,
        limit_input_tokens=600,
        remaining_input_tokens=600,
        reset_input_tokens_s=0.0,
        limit_output_tokens=60,
        remaining_output_tokens=60,
        reset_output_tokens_s=0.0,
    )
    assert rates_of(limit, 1.0).families == (None, None, Rate(0.1, 10.0), Rate(1.0, 10.0))


@pytest.mark.parametrize("limit", [None, RateLimit(), RateLimit(0, 0, 60.0), RateLimit(remaining_requests=3)])
def test_what_tells_no_limit_tells_no_rate(limit: RateLimit | None) -> None:
    assert rates_of(limit, 0.95) == SILENT


def named(**headers: str) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}


def test_openais_durations() -> None:
    headers = named(
        x_ratelimit_limit_requests="500",
        x_ratelimit_remaining_requests="490",
        x_ratelimit_reset_requests="1.2s",
        x_ratelimit_limit_tokens="30000",
        x_ratelimit_remaining_tokens="29880",
        x_ratelimit_reset_tokens="240ms",
    )
    found = rates_of(openai_limits(headers, NOON), 1.0).families
    assert found == (Rate(0.12, 0.0), Rate(0.002, 10.0), None, None)
    slow = named(
        x_ratelimit_limit_requests="60",
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="1m0s",
    )
    assert rates_of(openai_limits(slow, NOON), 1.0).hold == 1.0


def test_anthropics_dates() -> None:
    headers = named(
        anthropic_ratelimit_requests_limit="50",
        anthropic_ratelimit_requests_remaining="49",
        anthropic_ratelimit_requests_reset="2026-09-21T14:13:22Z",
    )
    assert requests(anthropic_limits(headers, NOON) or RateLimit()) == Rate(1.2, 0.0)


def test_windows_in_names() -> None:
    mistral = named(x_ratelimit_limit_req_10_second="10", x_ratelimit_remaining_req_10_second="9") | named(
        x_ratelimit_limit_tokens_minute="600", x_ratelimit_remaining_tokens_minute="500"
    )
    found = windowed_limits(mistral, NOON)
    assert rates_of(found, 1.0).families == (Rate(1.0, 0.0), Rate(0.1, 10.0), None, None)
    azure = named(
        x_ratelimit_limit_requests="120",
        x_ratelimit_remaining_requests="119",
        x_ratelimit_renewalperiod_requests="60",
    )
    assert requests(azure_limits(azure, NOON) or RateLimit()) == Rate(0.5, 0.0)
    cohere = named(x_trial_endpoint_call_limit="20", x_trial_endpoint_call_remaining="19")
    assert requests(cohere_limits(cohere, NOON) or RateLimit()) == Rate(3.0, 0.0)
