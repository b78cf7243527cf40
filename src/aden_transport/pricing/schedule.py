"""When a price holds: from a date on, or within hours of the day, in UTC.

A `When` is None (always), `"2026-08-01"` (from that midnight) or `[first, last]` in seconds of the day,
the last exclusive; where last < first the hours cross midnight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from typing import TypeAlias

__all__ = ["When", "holds", "label", "unchanged"]

When: TypeAlias = str | list[int] | None

_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()


def holds(when: When, at: float) -> bool:
    """Whether a price under `when` is in force `at` seconds after the epoch."""
    match when:
        case None:
            return True
        case str():
            return at >= _midnight(when)
        case [first, last]:
            second = at % _DAY
            if last < first:
                return second >= first or second < last
            return first <= second < last
        case _:
            raise ValueError(f"no such condition: {when!r}")


def unchanged(whens: Iterable[When], at: float) -> tuple[float, float]:
    """The span around `at`, last second exclusive, in which none of `whens` begins or ends."""
    start, end = -math.inf, math.inf
    for moment in _changes(whens, at):
        if moment <= at:
            start = max(start, moment)
        else:
            end = min(end, moment)
    return start, end


def label(when: When) -> str | None:
    """`when` for people: `"2026-08-01"`, `"00:30-16:30 UTC"` or None."""
    if isinstance(when, list):
        return "-".join(f"{second // 3600:02d}:{second % 3600 // 60:02d}" for second in when) + " UTC"
    return when


def _changes(whens: Iterable[When], at: float) -> Iterable[float]:
    today = at - at % _DAY
    for when in whens:
        if isinstance(when, str):
            yield _midnight(when)
        elif when is not None:
            yield from (today + day + second for second in when for day in (-_DAY, 0, _DAY))


def _midnight(day: str) -> int:
    return (date.fromisoformat(day).toordinal() - _EPOCH) * _DAY
