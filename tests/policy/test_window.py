"""Windows: every instant lies in one, and they tile time."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.policy.window import FOREVER, Kind, Period, window_at

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Nuuk",
    "Asia/Gaza",
    "America/St_Johns",
]
KINDS: list[Kind] = ["hourly", "daily", "weekly", "monthly"]
PERIODS = [*map(Period, KINDS), *(Period("rolling", s) for s in (60, 3600, 86_400, 604_800))]


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@given(st.sampled_from(PERIODS), st.sampled_from(ZONES), st.floats(min_value=0, max_value=4_000_000_000))
def test_every_instant_lies_in_its_window_and_windows_tile(period: Period, zone: str, now: float) -> None:
    window = window_at(period, zone, now)
    assert window.start <= now < window.end
    assert window_at(period, zone, window.start) == window
    following = window_at(period, zone, window.end)
    assert following.start == window.end
    assert following.name != window.name
    assert window.resets_at is not None
    assert window.resets_at >= window.end
    assert window.expires_at > window.resets_at
    assert window_at(period, zone, math.nextafter(window.end, 0)) == window
    assert not {"|", "#"} & set(window.name + window.mark)


@given(st.sampled_from(KINDS[1:]), st.sampled_from(ZONES), st.integers(0, 4_000_000_000))
def test_names_say_the_local_date(kind: Kind, zone: str, now: int) -> None:
    name = window_at(Period(kind), zone, now).name
    local = datetime.fromtimestamp(now, ZoneInfo(zone))
    expected = {
        "daily": f"{local:%Y-%m-%d}",
        "weekly": "{}-W{:02d}".format(*local.isocalendar()[:2]),
        "monthly": f"{local:%Y-%m}",
    }
    if name != expected[kind]:
        # A clock set back over midnight repeats a part of the day before.
        before = datetime.fromtimestamp(now - 7200, ZoneInfo(zone))
        after = datetime.fromtimestamp(now + 7200, ZoneInfo(zone))
        assert before.utcoffset() != after.utcoffset()


@pytest.mark.parametrize(
    ("period", "zone", "now", "name", "start", "end"),
    [
        ("hourly", "UTC", "2025-11-22T06:30", "2025-11-22T06Z", "2025-11-22T06:00", "2025-11-22T07:00"),
        (
            "hourly",
            "Asia/Kolkata",
            "2025-11-22T06:30",
            "2025-11-22T06Z",
            "2025-11-22T06:00",
            "2025-11-22T07:00",
        ),
        ("daily", "UTC", "2025-11-22T23:59:59", "2025-11-22", "2025-11-22T00:00", "2025-11-23T00:00"),
        ("daily", "UTC", "2025-11-23T00:00", "2025-11-23", "2025-11-23T00:00", "2025-11-24T00:00"),
        (
            "daily",
            "America/New_York",
            "2025-11-23T04:59",
            "2025-11-22",
            "2025-11-22T05:00",
            "2025-11-23T05:00",
        ),
        # 25 and 23 hours.
        ("daily", "Europe/Berlin", "2025-10-26T12:00", "2025-10-26", "2025-10-25T22:00", "2025-10-26T23:00"),
        ("daily", "Europe/Berlin", "2025-03-30T12:00", "2025-03-30", "2025-03-29T23:00", "2025-03-30T22:00"),
        # Midnight is skipped.
        ("daily", "Africa/Cairo", "2025-04-25T12:00", "2025-04-25", "2025-04-24T22:00", "2025-04-25T21:00"),
        # 00:01 becomes 23:01 of the day before; the 7th has begun.
        (
            "daily",
            "America/St_Johns",
            "2010-11-07T02:40",
            "2010-11-07",
            "2010-11-07T02:30",
            "2010-11-08T03:30",
        ),
        # The 30th of December is skipped.
        ("daily", "Pacific/Apia", "2011-12-30T10:00", "2011-12-31", "2011-12-30T10:00", "2011-12-31T10:00"),
        ("weekly", "UTC", "2025-11-23T12:00", "2025-W47", "2025-11-17T00:00", "2025-11-24T00:00"),
        ("weekly", "UTC", "2025-12-31T12:00", "2026-W01", "2025-12-29T00:00", "2026-01-05T00:00"),
        ("monthly", "UTC", "2024-02-29T12:00", "2024-02", "2024-02-01T00:00", "2024-03-01T00:00"),
        ("monthly", "UTC", "2025-12-31T12:00", "2025-12", "2025-12-01T00:00", "2026-01-01T00:00"),
    ],
)
def test_calendar_windows(period: Kind, zone: str, now: str, name: str, start: str, end: str) -> None:
    window = window_at(Period(period), zone, at(now))
    assert window.name == name
    assert [
        datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M") for t in (window.start, window.end)
    ] == [
        start,
        end,
    ]
    assert window.resets_at == window.end


def test_no_period_never_resets() -> None:
    assert window_at(Period(), "UTC", 5.0) is FOREVER
    assert (FOREVER.resets_at, FOREVER.expires_at) == (None, 0.0)


@given(st.integers(60, 1_000_000).map(lambda n: n * 60), st.integers(0, 4_000_000_000))
def test_a_rolling_window_counts_all_that_happened_within_its_length(length: int, now: int) -> None:
    window = window_at(Period("rolling", length), "UTC", now)
    names = [window.name, *window.older]
    assert len(set(names)) == 61
    assert window_at(Period("rolling", length), "UTC", max(now - length, 0)).name in names
    assert window.end - window.start == length / 60
    assert window.resets_at == window.end + length


@pytest.mark.parametrize("now", [-1e9, -1.0, 1e13, 1e300])
def test_clocks_out_of_all_range_are_taken_for_their_neighbours(now: float) -> None:
    for period in PERIODS:
        assert window_at(period, "America/New_York", now).name
    assert str(Period("rolling", 3600)) == "rolling 60 min"
    assert str(Period("daily")) == "daily"
