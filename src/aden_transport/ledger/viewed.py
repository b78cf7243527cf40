"""A ledger whose sums a server knows better: what others have spent is added to what this one counts.

With a server that grants no leases, all a host knows of the others is a sum that was read a while ago.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from .base import NEVER, Intent, Ledger, Line, Outcome, Totals
from .hold_end import EndsMany, many_of

__all__ = ["ViewedLedger", "viewed"]

BOUNDS = ("limit_held", "limit_expected", "degrade_at", "throttle_at")


class ViewedLedger:
    """`inner`, on sums that are `offsets` higher; see `Ledger`, whose other methods are those of `inner`."""

    def __init__(self, inner: Ledger) -> None:
        self.inner = inner
        self.offsets: Mapping[str, int] = {}
        """By key: nano-dollars that others have spent. Replaced whole."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def many(self) -> EndsMany | None:
        """See `many_of`."""
        return many_of(self.inner)

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        offsets = self.offsets
        shifted = [tuple([_shifted(line, offsets) for line in lines]) for lines in candidates]
        outcome = self.inner.reserve(op_id, shifted, now=now, expires_at=expires_at, intent=intent)
        return replace(outcome, totals=_added(candidates[outcome.candidate], outcome.totals, offsets))

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        return _added(lines, self.inner.totals(lines), self.offsets)


def viewed(inner: Ledger) -> Ledger:
    """`inner`, whose sums are seen from what a server says; nothing yet."""
    return cast("Ledger", ViewedLedger(inner))


def _shifted(line: Line, offsets: Mapping[str, int]) -> Line:
    offset = _offset(line, offsets)
    if not offset:
        return line
    given = {name: value for name in BOUNDS if (value := getattr(line, name)) != NEVER}
    # A bound that others have passed is passed by any call that costs something.
    return replace(line, **{name: max(0, value - offset) for name, value in given.items()})


def _added(lines: Sequence[Line], totals: Sequence[Totals], offsets: Mapping[str, int]) -> tuple[Totals, ...]:
    return tuple(
        [
            replace(found, spent=max(0, found.spent + offset))
            if (offset := _offset(line, offsets))
            else found
            for line, found in zip(lines, totals, strict=True)
        ]
    )


def _offset(line: Line, offsets: Mapping[str, int]) -> int:
    return offsets.get(line.key, 0) + sum(offsets.get(key, 0) for key in line.also)
