"""Which candidate of a call is held: the same rule in every store, over numbers.

`ledger/redis.py` says it in Lua; the contract suite holds both to the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .base import NEVER, Line, Outcome, Totals

__all__ = ["judge"]


def judge(candidates: Sequence[Sequence[Line]], totals_of: Callable[[Line], Totals]) -> Outcome:
    """The outcome of `Ledger.reserve`. `totals_of` is asked for a candidate's lines when its turn comes."""
    # One loop, as it is in the path of every call: smaller functions take a third more instructions.
    left = len(candidates)
    for lines in candidates:
        left -= 1
        found: list[Totals] = []
        passed_over, misfit, wait = False, NEVER, NEVER
        for line in lines:
            sums = totals_of(line)
            spent = sums.spent
            likely = spent + sums.expected + line.expected
            if NEVER < line.degrade_at <= likely:
                passed_over = True
            if misfit == NEVER and (
                NEVER < line.limit_held < spent + sums.held + line.hold
                or NEVER < line.limit_expected < likely
            ):
                misfit = len(found)
            if wait == NEVER and NEVER < line.throttle_at <= likely:
                wait = len(found)
            found.append(sums)
        if left and (passed_over or misfit != NEVER):
            continue
        index, totals = len(candidates) - left - 1, tuple(found)
        if misfit != NEVER:
            return Outcome("refused", index, totals, misfit, _waiting_may_help(lines, totals))
        return Outcome("held" if wait == NEVER else "throttled", index, totals, wait)
    raise ValueError("a call without a candidate")


def _waiting_may_help(lines: Sequence[Line], totals: Sequence[Totals]) -> bool:
    for line, sums in zip(lines, totals, strict=True):
        likely = sums.spent + sums.expected + line.expected
        if NEVER < line.limit_held < max(likely, sums.spent + line.hold):
            return False
        if NEVER < line.limit_expected < likely:
            return False
    return True
