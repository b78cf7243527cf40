"""Rate limits that count down."""

from __future__ import annotations

import pytest

from aden_transport.testing.limits import RateLimit, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.006, "6ms"), (1.182, "1.182s"), (60, "1m0s"), (123.5, "2m3.5s"), (3723, "1h2m3s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_limits_stay_at_zero() -> None:
    limit = RateLimit(requests=1, tokens=10)
    for _ in range(3):
        limit.take(7)
    headers = dict(limit.openai())
    assert headers["x-ratelimit-remaining-requests"] == headers["x-ratelimit-remaining-tokens"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "1m0s"


def test_enforced_limits_admit_no_more_and_say_when() -> None:
    limit = RateLimit(requests=60, tokens=6000, enforced=True)
    assert [limit.admit(100.0) for _ in range(60)] == [0.0] * 60
    assert limit.admit(100.0) == pytest.approx(1.0)
    assert limit.admit(100.5) == pytest.approx(0.5)
    assert limit.admit(101.0) == 0.0
    assert limit.refused == 2
    headers = dict(limit.openai())
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "1m0s"


def test_a_minutes_limit_can_be_enforced_in_shorter_windows() -> None:
    limit = RateLimit(requests=60, tokens=6000, enforced=True, burst=2)
    assert [limit.admit(0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(1.0)]
    assert dict(limit.openai())["x-ratelimit-remaining-requests"] == "58"
    assert limit.admit(60.0) == 0.0


def test_tokens_that_were_used_up_refuse_the_next() -> None:
    limit = RateLimit(requests=60, tokens=6000, enforced=True)
    limit.admit(0.0)
    limit.take(7000)
    assert limit.admit(0.0) == pytest.approx(10.01)
    assert dict(limit.openai())["x-ratelimit-remaining-tokens"] == "0"
    assert limit.admit(10.1) == 0.0


def test_apis_billed_otherwise_tell_no_tokens() -> None:
    names = [name for name, _ in RateLimit(requests=1, tokens=1).openai(tokens=False)]
    assert len(names) == 3
    assert not any("tokens" in name for name in names)
