"""Callers whom a budget delays leave one after the other, in all processes that share its ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import floor

from .._guard import internal_fault
from ..errors import LedgerUnavailable
from ..ledger.base import Ledger
from ..policy import Plan, Verdict
from ..policy.ladder import MAX_DELAY_S

__all__ = ["MOST_TURNS", "in_turn", "turn"]

MOST_TURNS = 64
"""Turns that a caller looks for, each a question to the ledger; none is asked where nobody is delayed."""


def in_turn(plan: Plan, verdict: Verdict, ledger: Ledger, op_id: str, now: float) -> Verdict:
    """A verdict to wait, with the wait that is the caller's own.

    `op_id` is at random, and so spreads callers for whom there are no turns left.
    """
    key, longest_s = _whose(plan, verdict)
    every_s = verdict.delay_s

    def take(number: int) -> bool:
        until = (number + 1) * every_s + longest_s
        return ledger.mark_once(key, f"turn:{every_s}:{number}", expires_at=until)

    if every_s <= 0:
        return verdict
    try:
        delay_s = turn(take, now=now, every_s=every_s, longest_s=longest_s, luck=hash(op_id) & 0xFFFF)
    except LedgerUnavailable as exc:
        internal_fault("ledger", exc)
        return verdict
    return verdict if delay_s == every_s else replace(verdict, delay_s=delay_s)


def turn(take: Callable[[int], bool], *, now: float, every_s: float, longest_s: float, luck: int) -> float:
    """Seconds to wait: a multiple of `every_s`, at most `longest_s`, and of no other caller.

    Time is cut into turns of `every_s`; `take(number)` is True for the first who asks for one. Callers beyond
    the turns that begin within `longest_s`, or beyond `MOST_TURNS`, share them evenly.
    """
    turns = max(1, floor(longest_s / every_s + 1e-9))  # 0.3 / 0.1 is a little less than 3
    first = floor(now / every_s) + 1
    for number in range(min(turns, MOST_TURNS)):
        if take(first + number):
            return (number + 1) * every_s
    return (1 + luck % turns) * every_s


def _whose(plan: Plan, verdict: Verdict) -> tuple[str, float]:
    """What delays a call: the key of the budget or rule, and the longest delay that it may cause."""
    by = next((why.budget_id for why in verdict.because if why.action == "throttle"), None)
    for match in plan.matches:
        if match.key == by:
            return match.ledger_key, min(match.terms.max_delay_s, MAX_DELAY_S)
    return next((rule.key for rule in plan.throttles if rule.delay_s == verdict.delay_s), ""), MAX_DELAY_S
