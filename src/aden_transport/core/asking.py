"""Calls that only a lease keeps out: how long they wait for the server, and what is done without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..events import Decision
from ..ledger.base import Ledger, Outcome
from ..ledger.leased import LeasedLedger
from ..policy import OnUnknown, Plan, Verdict, decide

if TYPE_CHECKING:
    from .reserve import Money

__all__ = ["UNANSWERED", "Asking", "beyond_leases", "unanswered"]

FIRST_S, LONGEST_S = 0.002, 0.05
"""The first pause between two looks at the lease, and the longest: each is twice the last."""
TIMEOUT_S = 2.0
UNANSWERED = Decision(
    "allow",
    "the control server did not answer in time: the call is counted, but no lease covers it",
    "policy",
)
"""Of a call that goes on all the same, where nothing else is decided."""


class Asking:
    """Of one meter's budgets."""

    def __init__(self) -> None:
        self.timeout_s = TIMEOUT_S
        """How long a call waits for the server."""
        self._given_up_at: float | None = None
        """When a call last waited in vain."""

    def again_in(self, money: Money, ledger: Ledger) -> float:
        """In how many seconds the call is to ask its ledger again; 0: it has waited long enough.

        Once a call has waited in vain, no other waits until the server has answered anything."""
        assert isinstance(ledger, LeasedLedger)
        now, answered_at = ledger.clock(), ledger.answered_at
        if self._given_up_at is not None and (answered_at is None or answered_at < self._given_up_at):
            return 0.0
        if money.asks_since is None:
            money.asks_since = now
        # A sync client on an event loop does not sleep as long as it is told to.
        left_s = self.timeout_s - max(money.asked_s, now - money.asks_since)
        if left_s <= 0:
            self._given_up_at = now
            return 0.0
        pause_s = min(money.asked_s + FIRST_S, LONGEST_S, left_s)
        money.asked_s += pause_s
        return pause_s


def beyond_leases(ledger: Ledger, plan: Plan, unknown: OnUnknown) -> Callable[..., Outcome]:
    """`Ledger.reserve` for a call that may go beyond its leases as far as `on_unknown["server"]` of a budget,
    else of policy and options, lets it. Where that is "block", the outcome still `asks`."""
    assert isinstance(ledger, LeasedLedger)
    allowances: dict[str, int | None] = {}
    for match in plan.matches:
        said = match.terms.on_unknown.over(unknown).server
        if said != "block":
            allowances[match.ledger_key] = said if isinstance(said, int) else None
    return partial(ledger.reserve_beyond, allowances=allowances)


def unanswered(plan: Plan, outcome: Outcome) -> Verdict:
    """The refusal of a call that no lease covers."""
    verdict = decide(plan, outcome)
    detail = "no lease covers it, and the control server did not answer in time"
    remedy = 'see that the server can be reached, or set on_unknown={"server": …}'
    because = tuple([replace(why, detail=detail, remedy=remedy) for why in verdict.because])
    return replace(verdict, because=because, wait_s=0.0)
