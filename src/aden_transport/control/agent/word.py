"""What a call waits for before it is sent, where the control server has a word in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...core.reserve import Money
from ...ledger.base import NEVER, Ledger, Line, Outcome
from ...ledger.leased import LeasedLedger
from ...policy import Alert, Match, OnUnknown, Plan, Verdict
from ...policy.ladder import Target
from ...policy.values import Unknown
from .hybrid import Standing, draw_of, is_asked_about, may_be_overruled
from .joined import demanded, joined, refused
from .questions import Inquiry, Question

if TYPE_CHECKING:
    from ...core.exchange import Exchange
    from .agent import ControlAgent

__all__ = ["Word"]

LEAST_S, MOST_S = 0.002, 0.02
"""Between two looks at whether the server has answered: a quarter of the time waited so far, within these."""
NO_POLICY = "No policy available and fail_open is False"
"""Aden's own words."""
NO_ANSWER = 'the control server does not answer, and on_unknown["server"] is "block"'


class Word:
    """One meter's; see `core.reserve.Server`. On the path of calls: nothing here waits."""

    def __init__(self, agent: ControlAgent, unknown: OnUnknown) -> None:
        self._agent = agent
        self._options = agent.connection.options
        self._unknown = unknown

    def before(self, exchange: Exchange, money: Money) -> Verdict | None:
        agent = self._agent
        if not agent.loop.is_running:
            agent.run()
        if agent.in_force.received is None:
            return self._before_any_policy(money)
        inquiry = inquiry_of(money)
        if inquiry is not None and inquiry.is_open and self._waits(money):
            return later(money)
        return None

    def is_heard(self) -> bool:
        agent = self._agent
        if not agent.loop.is_running:
            agent.run()
        if agent.in_force.received is not None:
            return True
        return not self._may_be_heard_yet() and self._said != "block"

    def _may_be_heard_yet(self) -> bool:
        """Whether calls wait for the server's first word."""
        agent = self._agent
        return not agent.known.is_set() and time.monotonic() < agent.started_at + self._options.wait_s

    def _before_any_policy(self, money: Money) -> Verdict | None:
        if self._may_be_heard_yet():
            return later(money)
        return refused(NO_POLICY) if self._said == "block" else None

    @property
    def _said(self) -> Unknown | None:
        policy = self._agent.in_force.policy
        return self._unknown.server if policy is None else policy.on_unknown.over(self._unknown).server

    def _waits(self, money: Money) -> bool:
        """Whether the call has time left, and the server may answer within it."""
        return money.asked_s < self._options.wait_s and not self._agent.is_silent

    def after(
        self, exchange: Exchange, money: Money, plan: Plan, outcome: Outcome, verdict: Verdict
    ) -> Verdict:
        """Only an original server is asked: what is held at ours, or under leases, is known to be there."""
        if hasattr(money.budgets.ledger, "is_fleet"):
            return verdict
        return self._validated(exchange, money, plan, outcome, verdict)

    def tell_once(self, ledger: Ledger, alert: Alert, tell: Callable[[], object]) -> bool:
        """A server of ours knows the marks of the fleet; one that is silent is not waited for."""
        agent = self._agent
        if not isinstance(ledger, LeasedLedger) or not ledger.is_fleet(alert.key) or agent.is_silent:
            return False
        if not agent.loop.is_running and not agent.run():
            return False
        agent.marks.ask(alert.key, alert.mark, expires_at=alert.expires_at, tell=tell)
        return True

    # -- validation, by an original server ----------------------------------------------------------

    def demands(self, money: Money) -> Sequence[Target]:
        inquiry = inquiry_of(money)
        return () if inquiry is None else demanded(inquiry.heard)

    def lines(self, money: Money, lines: Sequence[Sequence[Line]]) -> Sequence[Sequence[Line]]:
        """Limits that a server, asked about this call, has seen to hold although the sums at hand say
        other."""
        inquiry = inquiry_of(money)
        if inquiry is None:
            return lines
        allowed = {
            match.ledger_key
            for match, answer in inquiry.heard
            if answer is not None and answer.action != "block"
        }
        if not allowed:
            return lines
        return [tuple([self._widened(line, allowed) for line in candidate]) for candidate in lines]

    def _widened(self, line: Line, allowed: set[str]) -> Line:
        if line.key not in allowed or line.limit_expected == NEVER:
            return line
        most = 1.0 + self._options.max_expected_overspend_percent / 100
        return replace(line, limit_expected=round(line.limit_expected * most))

    def _validated(
        self, exchange: Exchange, money: Money, plan: Plan, outcome: Outcome, verdict: Verdict
    ) -> Verdict:
        inquiry = inquiry_of(money)
        if inquiry is None:
            asked = self._questions(exchange, plan, outcome, verdict)
            if not asked:
                return verdict
            money.question = inquiry = Inquiry(asked)
            if self._waits(money):
                return later(money)
        heard = inquiry.heard
        said = joined(verdict, plan, heard, waited_s=money.waited_s, delayed=money.delayed)
        if said.kind != "refuse" and self._said == "block" and any(each.answer is None for each in heard):
            return refused(NO_ANSWER)
        return said

    def _questions(
        self, exchange: Exchange, plan: Plan, outcome: Outcome, verdict: Verdict
    ) -> list[tuple[Match, Question]]:
        """About the budgets that this call is to be asked about."""
        found: list[tuple[Match, Question]] = []
        draw = None
        for match, line, sums in zip(
            plan.matches, plan.candidates[outcome.candidate].lines, outcome.totals, strict=False
        ):
            limit = match.terms.limit
            if not _is_known(match) or not limit:
                continue
            now, then = sums.spent + sums.expected, sums.spent + sums.expected + line.expected
            if verdict.kind == "refuse":
                asks = may_be_overruled(Standing(then, limit), self._options)
            else:
                draw = draw_of(exchange.logical.trace_id) if draw is None else draw
                asks = is_asked_about(Standing(now, limit), self._options, draw=draw)
            if asks:
                ask = self._agent.questions.ask
                question = ask(match.key, match.ledger_key, estimate=line.expected, spent=now)
                found.append((match, question))
        return found


def _is_known(match: Match) -> bool:
    """Whether the server keeps a sum of this budget: not of a run, nor of one that a template makes."""
    budget = match.budget
    return match.terms.unit == "usd" and not budget.is_template and not match.ledger_key.startswith("-|run:")


def inquiry_of(money: Money) -> Inquiry | None:
    """What the call has asked."""
    return money.question if isinstance(money.question, Inquiry) else None


def later(money: Money) -> Verdict:
    """Look again in a moment."""
    pause_s = min(max(LEAST_S, money.asked_s / 4), MOST_S)
    money.asked_s += pause_s
    return Verdict("refuse", "block", again_s=pause_s)
