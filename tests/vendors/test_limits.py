"""Rate-limit headers, dialect by dialect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.vendors.gemini import google_limits
from aden_transport.vendors.limits import (
    MAX_LIMIT,
    anthropic_limits,
    azure_limits,
    bare_limits,
    cohere_limits,
    compatible_limits,
    duration,
    openai_limits,
    retry_after,
    together_limits,
    until,
    whole,
    windowed_limits,
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


UNLIMITED = "9223372036854767616"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({}, None),
        ({"retry-after": "2"}, {"retry_after_s": 2}),
        # Hugging Face's router, which speaks for Cerebras
        (
            {
                "x-ratelimit-remaining-requests-day": "2879999",
                "x-ratelimit-remaining-requests-hour": "119999",
                "x-ratelimit-remaining-requests-minute": "1999",
                "x-ratelimit-remaining-tokens-day": UNLIMITED,
                "x-ratelimit-remaining-tokens-hour": UNLIMITED,
                "x-ratelimit-remaining-tokens-minute": UNLIMITED,
            },
            {"remaining_requests": 1999, "window_requests_s": 60},
        ),
        # of a day hardly anything is left
        (
            {
                "x-ratelimit-limit-requests-day": "14400",
                "x-ratelimit-remaining-requests-day": "3",
                "x-ratelimit-reset-requests-day": "33011.382867",
                "x-ratelimit-limit-requests-minute": "30",
                "x-ratelimit-remaining-requests-minute": "29",
                "x-ratelimit-reset-requests-minute": "11.38",
                "x-ratelimit-limit-tokens-minute": "60000",
                "x-ratelimit-remaining-tokens-minute": "59000",
                "x-ratelimit-reset-tokens-minute": "11.38",
            },
            {
                "limit_requests": 14400,
                "remaining_requests": 3,
                "reset_requests_s": 33011.382867,
                "window_requests_s": 86_400,
                "window_tokens_s": 60,
                "limit_tokens": 60000,
                "remaining_tokens": 59000,
                "reset_tokens_s": 11.38,
            },
        ),
        # Mistral; what is counted in seconds of audio and costs of queries is left out
        (
            {
                "x-ratelimit-limit-req-10-second": "60",
                "x-ratelimit-remaining-req-10-second": "51",
                "x-ratelimit-limit-req-minute": "360",
                "x-ratelimit-remaining-req-minute": "51",
                "x-ratelimit-limit-tokens-minute": "2000000",
                "x-ratelimit-remaining-tokens-minute": "1999147",
                "x-ratelimit-limit-tokens-month": "10000000000",
                "x-ratelimit-remaining-tokens-month": "9999999147",
                "x-ratelimit-tokens-query-cost": "78",
                "x-ratelimit-limit-audio-seconds-minute": "7200",
                "x-ratelimit-remaining-audio-seconds-minute": "7191",
            },
            {
                "limit_requests": 60,
                "remaining_requests": 51,
                "limit_tokens": 2_000_000,
                "remaining_tokens": 1_999_147,
                "window_requests_s": 10,
                "window_tokens_s": 60,
            },
        ),
        # as Mistral named its tokens before
        (
            {
                "ratelimitbysize-limit": "500000",
                "ratelimitbysize-remaining": "499984",
                "ratelimitbysize-reset": "43",
                "ratelimitbysize-query-cost": "16",
                "x-ratelimitbysize-limit-month": "1000000000",
                "x-ratelimitbysize-remaining-month": "999999984",
            },
            {"limit_tokens": 500_000, "remaining_tokens": 499_984, "reset_tokens_s": 43},
        ),
        # DigitalOcean, Fireworks
        (
            {
                "x-ratelimit-limit-tokens-per-day": "1000",
                "x-ratelimit-remaining-tokens-per-day": "900",
                "x-ratelimit-reset-tokens-per-day": str(int(NOW) + 90),
                "x-ratelimit-limit-tokens-prompt": "500",
                "x-ratelimit-remaining-tokens-generated": "40",
                "x-ratelimit-over-limit": "no",
            },
            {
                "limit_tokens": 1000,
                "window_tokens_s": 86_400,
                "remaining_tokens": 900,
                "reset_tokens_s": 90,
                "limit_input_tokens": 500,
                "remaining_output_tokens": 40,
            },
        ),
        ({"x-ratelimit-limit-requests-fortnight": "5", "x-ratelimit-reset-requests-day": "5"}, None),
    ],
)
def test_of_several_windows_the_one_with_least_left_is_told(
    names: dict[str, str], wanted: dict[str, Any] | None
) -> None:
    for read in (windowed_limits, compatible_limits):
        found = read(named(names), NOW)
        assert (None if found is None else found.to_dict()) == (
            wanted if wanted is None else pytest.approx(wanted)
        )


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            {
                "x-ratelimit-limit-requests": "120",
                "x-ratelimit-remaining-requests": "119",
                "x-ratelimit-reset-requests": "500",
                "x-ratelimit-renewalperiod-requests": "60",
                "x-ratelimit-limit-tokens": "120000",
                "x-ratelimit-remaining-tokens": "119986",
                "x-ratelimit-reset-tokens": "7",
                "x-ratelimit-renewalperiod-tokens": "60",
                "x-ratelimit-abusepenalty-active": "False",
                "retry-after-ms": "1500",
            },
            {
                "limit_requests": 120,
                "remaining_requests": 119,
                "reset_requests_s": 0.5,
                "limit_tokens": 120_000,
                "remaining_tokens": 119_986,
                "reset_tokens_s": 0.007,
                "window_requests_s": 60,
                "window_tokens_s": 60,
                "retry_after_s": 1.5,
            },
        ),
        ({"x-ratelimit-renewalperiod-requests": "60", "x-ratelimit-abusepenalty-active": "False"}, None),
        (
            {"x-ratelimit-renewalperiod-requests": "60", "x-ratelimit-remaining-requests": "5"},
            {"remaining_requests": 5, "window_requests_s": 60},
        ),
    ],
)
def test_azures_resets_are_milliseconds(names: dict[str, str], wanted: dict[str, Any] | None) -> None:
    for read in (azure_limits, openai_limits, compatible_limits):
        found = read(named(names), NOW)
        assert (None if found is None else found.to_dict()) == (
            wanted if wanted is None else pytest.approx(wanted)
        )


TOGETHER = {
    "x-ratelimit": "false",
    "x-ratelimit-limit": "30",
    "x-ratelimit-remaining": "59",
    "x-ratelimit-reset": "2",
    "x-ratelimit-limit-tokens": "3000",
    "x-ratelimit-remaining-tokens": "2910",
    "retry-after": "2",
}


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({}, None),
        (
            TOGETHER,
            {
                "limit_requests": 30,
                "remaining_requests": 59,
                "reset_requests_s": 2,
                "limit_tokens": 3000,
                "remaining_tokens": 2910,
                "retry_after_s": 2,
            },
        ),
        (
            {"x-ratelimit-remaining": "1", "x-tokenlimit-limit": "9", "x-tokenlimit-remaining": "8"},
            {"remaining_requests": 1, "limit_tokens": 9, "remaining_tokens": 8},
        ),
        ({"x-ratelimit": "false"}, None),
    ],
)
def test_together_counts_requests_under_bare_names(
    names: dict[str, str], wanted: dict[str, Any] | None
) -> None:
    found = together_limits(named(names), NOW)
    assert (None if found is None else found.to_dict()) == wanted


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (
            {"ratelimit-remaining": "2999", "ratelimit-reset": "1"},
            {"remaining_requests": 2999, "reset_requests_s": 1},
        ),
        (
            {
                "x-ratelimit-limit": "20",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": str(int(NOW + 30) * 1000),
            },
            {"limit_requests": 20, "remaining_requests": 0, "reset_requests_s": 30},
        ),
        ({"ratelimit-limit": "100, 100;w=60", "retry-after": "1"}, {"retry_after_s": 1}),
    ],
)
def test_bare_names_count_requests(names: dict[str, str], wanted: dict[str, Any]) -> None:
    for read in (bare_limits, compatible_limits):
        found = read(named(names), NOW)
        assert found is not None
        assert found.to_dict() == wanted


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({}, None),
        (
            {
                "x-trial-endpoint-call-limit": "10",
                "x-trial-endpoint-call-remaining": "9",
                "x-endpoint-monthly-call-limit": "1000",
            },
            {"limit_requests": 10, "remaining_requests": 9, "window_requests_s": 60},
        ),
        (
            {"x-endpoint-monthly-call-limit": "1000"},
            {"limit_requests": 1000, "window_requests_s": 2_592_000},
        ),
    ],
)
def test_coheres_trial_keys_have_calls(names: dict[str, str], wanted: dict[str, Any] | None) -> None:
    found = cohere_limits(named(names), NOW)
    assert (None if found is None else found.to_dict()) == wanted


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        # LiteLLM repeats what the vendor said
        (
            {
                "x-ratelimit-limit-requests": "15000",
                "x-ratelimit-remaining-requests": "14999",
                "llm_provider-x-ratelimit-limit-requests": "1",
                "llm_provider-x-ratelimit-reset-requests": "4ms",
                "llm_provider-x-ratelimit-remaining-tokens": "1999993",
                "llm_provider-x-ratelimit-reset-tokens": "0s",
            },
            {
                "limit_requests": 15_000,
                "remaining_requests": 14_999,
                "reset_requests_s": 0.004,
                "remaining_tokens": 1_999_993,
                "reset_tokens_s": 0,
            },
        ),
        (
            {"llm_provider-anthropic-ratelimit-requests-remaining": "7"},
            {"remaining_requests": 7},
        ),
        (
            {
                "anthropic-ratelimit-input-tokens-limit": "80",
                "anthropic-ratelimit-input-tokens-reset": "2026-09-21T14:13:30Z",
            },
            {"limit_input_tokens": 80, "reset_input_tokens_s": 10},
        ),
        ({"llm_provider-" * 9 + "x-ratelimit-limit-requests": "1"}, None),
        ({"llm_provider-retry-after": "7"}, {"retry_after_s": 7}),
    ],
)
def test_a_gateway_says_it_itself_or_repeats_it(names: dict[str, str], wanted: dict[str, Any] | None) -> None:
    for read in (openai_limits, compatible_limits):
        found = read(named(names), NOW)
        assert (None if found is None else found.to_dict()) == wanted


@given(
    st.dictionaries(
        st.sampled_from(
            [
                prefix + what + rest
                for prefix in (
                    "x-ratelimit-",
                    "llm_provider-x-ratelimit-",
                    "ratelimit-",
                    "anthropic-ratelimit-",
                )
                for what in ("limit", "remaining", "reset", "renewalperiod")
                for rest in ("", "-requests", "-tokens", "-requests-day", "-tokens-minute")
            ]
            + ["retry-after", "retry-after-ms", "x-trial-endpoint-call-limit", "x-tokenlimit-remaining"]
        ),
        st.one_of(st.binary(max_size=30), st.integers().map(lambda n: str(n).encode())),
    )
)
def test_any_header_is_a_figure_or_nothing(names: dict[str, bytes]) -> None:
    values = {name.encode(): value for name, value in names.items()}
    for read in (openai_limits, azure_limits, compatible_limits, together_limits, cohere_limits, bare_limits):
        found = read(values, NOW)
        for value in () if found is None else found.to_dict().values():
            assert 0 <= value < MAX_LIMIT


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


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"6ms", 0.006),
        (b"60", 60),
        (str(int(NOW) + 5).encode(), 5),
        (str((int(NOW) + 5) * 1000).encode(), 5),
        (str(int(NOW) - 5).encode(), 0),
        (b"9" * 30, 366 * 86400),
        (b"2026-09-21T14:13:30Z", 10),
        (b"soon", None),
        (b"1" * 65, None),
    ],
)
def test_a_reset_is_seconds_from_now(value: bytes | None, seconds: float | None) -> None:
    found = until(value, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))
