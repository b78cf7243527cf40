"""Lines of the fleet as lines of one owner, and its sums as those of the fleet: between the two stands what
others have spent and hold, and what a lease grants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

from .base import NEVER, SEAL, Line, Outcome, Totals
from .leases import Account

__all__ = ["Lowered", "MissingLease", "View", "lacks", "lowered", "of_fleet", "shifted"]


class MissingLease(Exception):
    """A candidate touches keys whose leases were not looked up."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines


@dataclass(slots=True)
class View:
    """What a key of the fleet stands at, beyond the local sums of its lease."""

    account: Account
    granted: int
    """What may be used in all under the lease."""
    spent: int
    held: int
    """Of the owner's other leases."""
    expected: int
    held_by_others: int
    is_fresh: bool
    """Whether others still hold that, as far as one can know."""

    def of(self, sums: Totals) -> Totals:
        """The fleet's sums, where the local ones are these."""
        return Totals(
            sums.spent + self.spent,
            sums.held % SEAL + self.held + self.held_by_others,
            sums.expected + self.expected,
        )

    @property
    def stands_at(self) -> int:
        """What of a limit is taken by all but the lease."""
        return self.spent + self.held + (self.held_by_others if self.is_fresh else 0)


def lowered(line: Line, view: View) -> Line:
    """What the local ledger has to judge."""
    out = Line(view.account.local_key, line.hold, line.expected, unit=line.unit)
    out.limit_held = SEAL - 1
    likely = view.spent + view.expected
    if line.limit_held != NEVER:
        out.limit_held = min(out.limit_held, line.limit_held - view.stands_at)
        if line.hold:
            out.limit_held = min(out.limit_held, view.granted)
    if line.limit_expected != NEVER:
        out.limit_expected = line.limit_expected - likely
    if out.limit_held < 0 or (line.limit_expected != NEVER and out.limit_expected < 0):
        # There is no limit below 0: something is asked for where nothing may be had.
        out.hold, out.limit_held, out.limit_expected = max(1, line.hold), 0, NEVER
    out.degrade_at = NEVER if line.degrade_at == NEVER else max(0, line.degrade_at - likely)
    out.throttle_at = NEVER if line.throttle_at == NEVER else max(0, line.throttle_at - likely)
    return out


class Lowered(Sequence[Sequence[Line]]):
    """Candidates for the local ledger, made when it comes to them.

    Raises: MissingLease.
    """

    __slots__ = ("_candidates", "_is_fleet", "_views")

    def __init__(
        self,
        candidates: Sequence[Sequence[Line]],
        views: Mapping[str, View],
        is_fleet: Callable[[str], bool],
    ) -> None:
        self._candidates = candidates
        self._views = views
        self._is_fleet = is_fleet

    def __len__(self) -> int:
        return len(self._candidates)

    @overload
    def __getitem__(self, index: int) -> Sequence[Line]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sequence[Line]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Lowered(self._candidates[index], self._views, self._is_fleet)
        lines, views = self._candidates[index], self._views
        out: list[Line] = []
        for line in lines:
            view = views.get(line.key)
            if view is not None:
                out.append(lowered(line, view))
            elif self._is_fleet(line.key):
                raise MissingLease(lines)
            else:
                out.append(line)
        return out


def of_fleet(line: Line, view: View | None, own: int, now: float) -> Line:
    """A line as the fleet would judge it, were there no leases. `own`: used and held under the lease."""
    if view is None or line.limit_held == NEVER:
        return line
    account, limit = view.account, line.limit_held
    if account.limit is not None and account.is_fresh(now):
        limit = min(limit, account.limit)
    if line.hold and account.is_denied(own + line.hold, now):
        limit = min(limit, view.stands_at + view.granted)
    return Line(
        line.key,
        line.hold,
        line.expected,
        max(0, limit),
        line.limit_expected,
        line.degrade_at,
        line.throttle_at,
        line.unit,
        line.also,
        line.expires_at,
    )


def lacks(line: Line, view: View | None, own: int) -> bool:
    """Whether the lease does not cover the line."""
    return view is not None and line.limit_held != NEVER and line.hold > 0 and own + line.hold > view.granted


def shifted(outcome: Outcome, lines: Sequence[Line], views: Mapping[str, View]) -> Outcome:
    """A local outcome in the fleet's sums. `lines`: of its candidate."""
    if len(lines) != len(outcome.totals):
        return outcome
    found = [
        totals if (view := views.get(line.key)) is None else view.of(totals)
        for line, totals in zip(lines, outcome.totals, strict=True)
    ]
    return replace(outcome, totals=tuple(found))
