"""Rate-limit headers, dialect by dialect."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.vendors.gemini import google_limits
from aden_transport.vendors.limits import (
    MAX_LIMIT,
    anthropic_limits,
    duration,
    openai_limits,
    retry_after,
    whole,
)

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


def named(names: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in names.items()}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({}, None),
        ({"x-ratelimit-key": "k", "x-ratelimit-renewalperiod-requests": "60"}, None),
        (
            {
                "x-ratelimit-limit-requests": "5000",
                "x-ratelimit-remaining-requests": "4999",
                "x-ratelimit-reset-requests": "12ms",
                "x-ratelimit-limit-tokens": "800000",
                "x-ratelimit-remaining-tokens": "799803",
                "x-ratelimit-reset-tokens": "2m59.56s",
            },
            {
                "limit_requests": 5000,
                "remaining_requests": 4999,
                "reset_requests_s": 0.012,
                "limit_tokens": 800_000,
                "remaining_tokens": 799_803,
                "reset_tokens_s": 179.56,
            },
        ),
        ({"x-ratelimit-remaining-tokens": "7"}, {"remaining_tokens": 7}),
        (
            {"x-ratelimit-remaining-requests": "0", "retry-after-ms": "1500", "retry-after": "9"},
            {"remaining_requests": 0, "retry_after_s": 1.5},
        ),
        ({"retry-after": "9"}, {"retry_after_s": 9}),
        ({"x-ratelimit-limit-requests": "unlimited", "x-ratelimit-reset-requests": "soon"}, {}),
    ],
)
def test_openais_limits_are_counts_and_durations(
    names: dict[str, str], wanted: dict[str, Any] | None
) -> None:
    found = openai_limits(named(names), NOW)
    assert (None if found is None else found.to_dict()) == (
        wanted if wanted is None else pytest.approx(wanted)
    )


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({}, None),
        ({"retry-after": "3"}, {"retry_after_s": 3}),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-09-21T14:13:30Z",
                "anthropic-ratelimit-tokens-limit": "100",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-09-21T16:14:20+02:00",
                "anthropic-ratelimit-input-tokens-limit": "80",
                "anthropic-ratelimit-output-tokens-remaining": "20",
                "anthropic-ratelimit-output-tokens-reset": "2026-09-21T14:13:20.500",
            },
            {
                "limit_requests": 50,
                "remaining_requests": 49,
                "reset_requests_s": 10,
                "limit_tokens": 100,
                "remaining_tokens": 0,
                "reset_tokens_s": 60,
                "limit_input_tokens": 80,
                "remaining_output_tokens": 20,
                "reset_output_tokens_s": 0.5,
            },
        ),
        (
            {
                "anthropic-ratelimit-tokens-limit": "1",
                "anthropic-ratelimit-tokens-reset": "2020-01-01T00:00:00Z",
            },
            {"limit_tokens": 1, "reset_tokens_s": 0},
        ),
        (
            {"anthropic-ratelimit-tokens-limit": "1", "anthropic-ratelimit-tokens-reset": "tomorrow"},
            {"limit_tokens": 1},
        ),
        (
            {"anthropic-ratelimit-tokens-limit": "1", "anthropic-ratelimit-tokens-reset": "x" * 65},
            {"limit_tokens": 1},
        ),
        ({"anthropic-ratelimit-tokens-reset": "2026-09-21T14:13:30Z"}, None),
    ],
)
def test_anthropics_resets_are_points_in_time(names: dict[str, str], wanted: dict[str, Any] | None) -> None:
    found = anthropic_limits(named(names), NOW)
    assert (None if found is None else found.to_dict()) == (
        wanted if wanted is None else pytest.approx(wanted)
    )


@pytest.mark.parametrize(
    ("names", "wait"), [({}, None), ({"retry-after": "30"}, 30), ({"x-ratelimit-limit": "1"}, None)]
)
def test_google_says_only_when_to_come_back(names: dict[str, str], wait: float | None) -> None:
    found = google_limits(named(names), NOW)
    assert (None if found is None else found.retry_after_s) == wait


@pytest.mark.parametrize(
    ("names", "wait"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "Mon, 21 Sep 2026 14:14:20 GMT"}, 60),
        ({"retry-after": "Mon, 21 Sep 2020 14:14:20 GMT"}, 0),
        ({"retry-after": "Mon, 21 Sep 9999 14:14:20 GMT"}, 366 * 86400),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "odd", "retry-after": "3"}, 3),
        ({"retry-after-ms": "-1"}, None),
    ],
)
def test_when_to_come_back(names: dict[str, str], wait: float | None) -> None:
    assert retry_after(named(names), NOW) == wait


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (None, None),
        (b"0", 0),
        (b"5000", 5000),
        (str(MAX_LIMIT - 1).encode(), MAX_LIMIT - 1),
        (b"9223372036854767616", None),
        (b"9" * 21, None),
        (b"-1", None),
        (b"1.5", None),
        (b"", None),
        (b"false", None),
        (b" 7", None),
    ],
)
def test_a_limit_is_a_whole_number_that_means_something(value: bytes | None, number: int | None) -> None:
    assert whole(value) == number


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"6ms", 0.006),
        (b"1.182s", 1.182),
        (b"10.332999999s", 10.332999999),
        (b"2m59.56s", 179.56),
        (b"6m0s", 360),
        (b"1h30m", 5400),
        (b"1d", 86400),
        (b"5us", 5e-6),
        (b"5ns", 5e-9),
        (b"0", 0),
        (b"60", 60),
        (b"", None),
        (b"x6ms", None),
        (b"6ms!", None),
        (b"-6ms", None),
        (b"367d", None),
        (b"1e400", None),
        (b"nan", None),
        (b"1" * 65, None),
    ],
)
def test_a_duration_is_seconds(value: bytes | None, seconds: float | None) -> None:
    found = duration(value)
    assert found == (None if seconds is None else pytest.approx(seconds))
