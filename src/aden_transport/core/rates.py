"""From what an answer says of limits to the pace that keeps them."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple, TypeAlias

from ..events import RateLimit
from ..ledger.pace import FAMILIES, Rate

__all__ = ["Rates", "rates_of", "window_of"]

Families: TypeAlias = tuple[Rate | None, Rate | None, Rate | None, Rate | None]

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
LONGEST = MINUTE
"""Calls are not spread over longer windows: a day's allowance is the caller's to use when he likes."""
ENFORCED_S = 1.0
"""The shortest window over which a minute's limit of requests is enforced: "60 requests per minute may be
enforced as 1 request per second", https://docs.anthropic.com/en/api/rate-limits"""
AHEAD = 1 / 6
"""Of a window's tokens, what may be used at once: one call alone may take more than a second's."""
RESOLUTION_S = 1.0
"""Of resets that are told as dates."""
SLOWEST = 4.0
"""By how much a key that others use as well is slowed, at most, ..."""
SLOW_S = 5.0
"""... and for how long after the last answer that said so."""


class Rates(NamedTuple):
    """What an answer says."""

    families: Families
    hold: float
    """Seconds for which nothing is left."""

    @property
    def is_steady(self) -> bool:
        """Whether the next answer probably says the same."""
        return not any(rate is not None and rate.slow_for for rate in self.families)


FIGURES = tuple(
    (name, attrgetter(f"limit_{name}", f"remaining_{name}", f"reset_{name}_s", f"window_{name}_s"))
    for name in FAMILIES
)
SILENT = Rates((None, None, None, None), 0.0)


def rates_of(limit: RateLimit | None, target: float) -> Rates:
    """`target`: the part of a limit that is aimed for."""
    if limit is None:
        return SILENT
    found: list[Rate | None] = []
    hold = 0.0
    apart = limit.limit_input_tokens is not None or limit.limit_output_tokens is not None
    for name, figures in FIGURES:
        most, left, reset, named = figures(limit)
        if not most or (apart and name == "tokens"):  # Anthropic's is the tighter one of the two told apart
            found.append(None)
            continue
        window = window_of(most, left, reset, named)
        if window is None:
            found.append(None)
            continue
        span, refills = window
        if left == 0:
            hold = max(hold, span / most if refills or reset is None else reset)
        found.append(_rate(name, most, left, reset, span, refills, target) if span <= LONGEST else None)
    return Rates((found[0], found[1], found[2], found[3]), hold)


def window_of(
    limit: int, left: int | None, reset: float | None, named: float | None = None
) -> tuple[float, bool] | None:
    """Over how many seconds a limit counts, and whether what is used comes back bit by bit, since then the
    reset is that of what was used (OpenAI, Groq, Anthropic); else all of it comes back at the reset.

    `named`: the window where a header's name tells it. None where nothing tells.
    """
    if reset is None:
        return None if named is None else (named, False)
    used = limit - left if left is not None and left <= limit else 0
    if named is not None:
        return named, _refills(named, used, limit, reset)
    # A day's reset that looks like one of this minute is of a call or two, and hardly a limit.
    span = MINUTE if reset <= MINUTE + RESOLUTION_S else DAY
    if _refills(span, used, limit, reset):
        return span, True
    return next((span for span in (MINUTE, HOUR) if reset <= span + RESOLUTION_S), DAY), False


def _refills(span: float, used: int, limit: int, reset: float) -> bool:
    """Whether a reset is the time in which what was used comes back at the limit's rate."""
    refilled = span * used / limit
    return abs(refilled - reset) <= max(RESOLUTION_S, refilled / 10)


def _rate(
    name: str, most: int, left: int | None, reset: float | None, span: float, refills: bool, target: float
) -> Rate:
    interval = span / most / target
    if name != "requests":
        burst = span * AHEAD
    elif interval < ENFORCED_S:
        burst = (1 / target - 1) * ENFORCED_S  # what the target leaves free in the shortest window
    else:
        burst = 0.0  # what it leaves free makes up for requests that are late on their way
    if left is None or reset is None:
        return Rate(interval, burst)
    if refills:
        # Our own calls use less than comes back: it is others that use the key where half is gone.
        scarce = most / 2 / max(left, 1)
        if scarce > 1:
            return Rate(interval, burst, interval * min(scarce, SLOWEST), SLOW_S)
    elif left < target * most / span * reset:
        return Rate(interval, burst, reset / max(left, 1) / target, reset)
    return Rate(interval, burst)
