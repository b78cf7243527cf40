"""What a call waits for before it is sent, where the control server has a word in it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.reserve import Money
from ...ledger.base import Line, Outcome
from ...policy import Explanation, OnUnknown, Plan, Verdict

if TYPE_CHECKING:
    from ...core.exchange import Exchange
    from .agent import ControlAgent

__all__ = ["Word"]

LEAST_S, MOST_S = 0.002, 0.02
"""Between two looks at whether the server has answered: a quarter of the time waited so far, within these."""
NO_POLICY = "No policy available and fail_open is False"
"""Aden's own words."""


class Word:
    """One meter's; see `core.reserve.Server`. On the path of calls: nothing here waits."""

    def __init__(self, agent: ControlAgent, unknown: OnUnknown) -> None:
        self._agent = agent
        self._unknown = unknown

    def before(self, exchange: Exchange, money: Money) -> Verdict | None:
        agent = self._agent
        if agent.in_force.received is not None:
            return None
        if not agent.loop.is_running:
            agent.start()
        if not agent.known.is_set() and time.monotonic() < agent.started_at + agent.connection.options.wait_s:
            return later(money)
        if self._unknown.server != "block":
            return None
        return refused(NO_POLICY)

    def lines(self, money: Money, lines: Sequence[Sequence[Line]]) -> Sequence[Sequence[Line]]:
        return lines

    def after(
        self, exchange: Exchange, money: Money, plan: Plan, outcome: Outcome, verdict: Verdict
    ) -> Verdict:
        return verdict


def later(money: Money) -> Verdict:
    """Look again in a moment."""
    return Verdict("ask", "allow", delay_s=min(max(LEAST_S, money.asked_s / 4), MOST_S))


def refused(why: str) -> Verdict:
    """The refusal of a call because of what the server says, or does not."""
    return Verdict("refuse", "block", because=(Explanation("block", "server", detail=why),))
