"""The window of a budget at a time: what its sums are kept under, and when they begin anew.

Windows of one period and time zone tile time: each instant lies in one of them. Days begin at local midnight,
weeks on Monday, months on the first; where a clock change skips midnight, at the first instant of the day.
Hours are the hours of UTC in every zone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

__all__ = ["FOREVER", "NO_PERIOD", "SUB_BUCKETS", "Kind", "Period", "Window", "window_at"]

Kind = Literal["none", "hourly", "daily", "weekly", "monthly", "rolling"]
SUB_BUCKETS = 60
HOUR = 3600
LAST = 250_000_000_000.0
"""A time in the year 9892. Clocks beyond it, and before 1970, are taken for its neighbours."""


@dataclass(frozen=True, slots=True)
class Period:
    """How often a budget begins anew."""

    kind: Kind = "none"
    length_s: int = 0
    """Of a rolling period: a multiple of 60."""

    def __str__(self) -> str:
        return f"rolling {self.length_s // 60} min" if self.kind == "rolling" else self.kind


NO_PERIOD = Period()


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time. Times are seconds since the epoch."""

    name: str
    """Part of the key of what is spent in it: `"2026-11"`, `"2026-W47"`, `"2026-11-22"`,
    `"2026-11-22T06Z"`, `"-"` (no period); of a rolling window the current sub-bucket. No `|` or `#`."""
    start: float
    end: float
    """Calls from `start` on and before `end` count under `name`."""
    resets_at: float | None
    """When nothing of what is spent by now counts any more; None: never."""
    mark: str
    """Names the time in which each threshold alerts once: `name`, or of a rolling window its length."""
    older: tuple[str, ...] = ()
    """Of a rolling window: the names of the sub-buckets that count, too."""
    expires_at: float = 0.0
    """When sums under `name` may be forgotten: as long after the end as a window lasts, an hour at least, for
    calls that end late. 0: never."""


FOREVER = Window("-", -math.inf, math.inf, None, "-")
"""The window of a budget without a period."""


def window_at(period: Period, timezone: str, at: float) -> Window:
    """The window of `period` in which `at` lies.

    `timezone` is an IANA name, or UTC. A rolling window is the current sub-bucket, a sixtieth of its length,
    and the 60 before it: never less than the whole length, so that no span of that length sees more than
    the limit.
    """
    at = min(max(at, 0.0), LAST)
    match period.kind:
        case "none":
            return FOREVER
        case "hourly":
            start = at - at % HOUR
            return _fixed(_utc(start).strftime("%Y-%m-%dT%HZ"), start, start + HOUR)
        case "rolling":
            return _rolling(period.length_s, at)
        case kind:
            return _calendar(kind, ZoneInfo(timezone), at)


def _fixed(name: str, start: float, end: float) -> Window:
    return Window(name, start, end, end, name, expires_at=end + max(end - start, HOUR))


def _rolling(length_s: int, at: float) -> Window:
    part = length_s // SUB_BUCKETS
    number = int(at // part)
    names = [f"r{length_s}.{n}" for n in range(number, number - SUB_BUCKETS - 1, -1)]
    end = float((number + 1) * part)
    gone = end + length_s
    return Window(
        names[0],
        float(number * part),
        end,
        gone,
        f"r{length_s}/{number // SUB_BUCKETS}",
        tuple(names[1:]),
        gone + max(length_s, HOUR),
    )


def _calendar(kind: Literal["daily", "weekly", "monthly"], zone: ZoneInfo, at: float) -> Window:
    first = _first_day(kind, datetime.fromtimestamp(at, zone).date())
    # A clock set back over midnight repeats a date: what counts is which beginnings lie behind.
    while at < _midnight(first, zone):
        first = _first_day(kind, first - timedelta(days=1))
    following = _following(kind, first)
    while at >= _midnight(following, zone):
        first, following = following, _following(kind, following)
    return _fixed(_name(kind, first), _midnight(first, zone), _midnight(following, zone))


def _first_day(kind: str, day: date) -> date:
    match kind:
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case _:
            return day


def _following(kind: str, first: date) -> date:
    match kind:
        case "weekly":
            return first + timedelta(days=7)
        case "monthly":
            return (first + timedelta(days=31)).replace(day=1)
        case _:
            return first + timedelta(days=1)


def _name(kind: str, first: date) -> str:
    match kind:
        case "weekly":
            year, week, _ = first.isocalendar()
            return f"{year}-W{week:02d}"
        case "monthly":
            return f"{first:%Y-%m}"
        case _:
            return first.isoformat()


def _midnight(day: date, zone: ZoneInfo) -> float:
    # PEP 495: of a midnight that comes twice, `fold=0` is the first; of one that is skipped, it counts with
    # the offset before the gap, which is the instant of the change.
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
