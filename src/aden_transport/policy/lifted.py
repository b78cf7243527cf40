"""A policy that counts and stops nothing: what is reserved where its decisions are only told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from ..ledger.base import NEVER, Line, Totals
from ..ledger.rule import judge
from .index import Match
from .money import MAX_NANO
from .plan import Plan
from .values import OnUnknown, Terms
from .verdict import Verdict, decide

__all__ = ["judged_on", "lifted", "lifted_lines"]

EVERYTHING = OnUnknown("allow", "allow", "allow", "allow")


def lifted(matches: Sequence[Match]) -> list[Match]:
    """The same budgets with limits that nothing reaches."""
    return [match._replace(terms=_lifted(match.terms)) for match in matches]


@lru_cache(maxsize=1024)
def _lifted(terms: Terms) -> Terms:
    # A hard limit stays hard, since that is how calls of unknown cost are charged.
    hard = terms.ladder.limit_held != NEVER
    return replace(
        terms,
        limit=MAX_NANO,
        limit_action="block" if hard else "alert",
        mode="hard" if hard else "expected",
        thresholds=(),
        target=None,
        on_unknown=EVERYTHING,
    )


def lifted_lines(plan: Plan, asked: Plan) -> tuple[Line, ...]:
    """What to reserve for a call that is sent as it is: the lines of its lifted `plan`, and those of the
    throttle rules of the plan that is `asked` about, which count their calls."""
    own = plan.candidates[0].lines
    if not asked.candidates:
        return own
    rules = asked.candidates[0].lines[len(asked.matches) :]
    return (*own, *(replace(line, throttle_at=NEVER) for line in rules))


def judged_on(
    plan: Plan, lines: Sequence[Line], totals: Sequence[Totals], *, waited_s: float = 0.0
) -> Verdict:
    """What would be done about a call, on the totals that reserving `lines` gave.

    It is `"send"` or `"refuse"`: of a call that would have to wait, `delay_s` says how long. `waited_s`: how
    long it would have been delayed before, as it is delayed once.
    """
    if plan.stop is not None:
        return decide(plan)
    sums = {line.key: found for line, found in zip(lines, totals, strict=True)}

    def totals_of(line: Line) -> Totals:
        return sums[line.key]

    if not waited_s:
        verdict = decide(plan, judge(plan.lines(), totals_of))
        if verdict.kind != "wait":
            return verdict
        waited_s = verdict.delay_s
    return decide(plan, judge(plan.lines(waited=True), totals_of), waited_s=waited_s)
