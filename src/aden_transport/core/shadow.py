"""A policy that is enforced for a share of tenants. For the others it is in shadow mode: every decision is
made and told, the ledger counts on past the limits, and the call is sent as it is.

What is spent is what was truly spent: calls that would have been blocked count. So a decision in shadow is
the one that the policy would make about this call now, not the end of a simulated day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .._guard import internal_fault
from ..errors import LedgerUnavailable
from ..policy import Call as Asked
from ..policy import Index, Plan, Policy, Verdict, decide, plan_call
from ..policy.lifted import judged_on, lifted, lifted_lines
from ..policy.verdict import ALLOWED
from .decide import Shadowed
from .reserve import EMPTY, Budgets, Money
from .runs import active_runs

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = ["PartlyEnforced", "is_enforced", "share_of"]

WHO = ("tenant", "customer", "agent")
"""Whom a call is of: the first of these that it names."""


def is_enforced(attributes: Mapping[str, Any], fraction: float, agent_name: str | None = None) -> bool:
    """Whether the policy is enforced for a call of these attributes: the same in every process and release.

    A call that names no tenant goes by its customer, else its agent, else the `agent_name` of the options;
    one that names none of them is enforced at a fraction of 1 only. Whoever is enforced at one fraction is
    at every higher one.
    """
    if fraction >= 1:
        return True
    for kind in WHO:
        name = attributes.get(kind) or (agent_name if kind == "agent" else None)
        if name:
            return share_of(kind, str(name)) < fraction
    return False


def share_of(kind: str, name: str) -> float:
    """A number in [0, 1) that stays with a name."""
    digest = blake2b(f"{kind}\0{name}".encode("utf-8", "replace"), digest_size=8, person=b"aden.enforce")
    return int.from_bytes(digest.digest(), "big") / 2.0**64


class PartlyEnforced(Budgets):
    """Budgets that are enforced for some; `fraction` 0 is shadow mode for all."""

    def __init__(self, *args: Any, fraction: float, agent_name: str | None, **given: Any) -> None:
        super().__init__(*args, **given)
        self._fraction = fraction
        self._agent_name = agent_name
        # For budgets of runs, which a program sets for itself and which hold whatever the policy does.
        self._lifted = Index(Policy(on_unknown=self.index.policy.on_unknown))

    def ask(self, exchange: Exchange, money: Money) -> Verdict:
        if is_enforced(exchange.metadata or EMPTY, self._fraction, self._agent_name):
            return super().ask(exchange, money)
        if self.begin is not None:
            self.begin()
        if money.held:
            self._give_back_first(money)
        if (over := self._over()) is not None:
            return over
        try:
            return self._tell(exchange, money)
        except LedgerUnavailable as exc:
            return self._without_ledger(exc)
        except Exception as exc:  # noqa: BLE001 - what is only told must not refuse a call
            internal_fault("shadow", exc)
            return ALLOWED

    def _tell(self, exchange: Exchange, money: Money) -> Verdict:
        """Reserve without limits, and say what would be done on the sums that came back."""
        plan, free = self._plans(exchange, money.model)
        if free.stop is not None:
            return decide(free)
        waited_s, lines = money.waited_s, lifted_lines(free, plan)
        if not lines:
            return self._only_told(exchange, judged_on(plan, (), ()), waited_s)
        now = self._wall()
        self._look_around(exchange, now)
        money.plan = free
        outcome = self._reserve(exchange, money, free, [lines], now)
        if not money.held:
            return decide(free, outcome)
        return self._only_told(exchange, judged_on(plan, lines, outcome.totals, waited_s=waited_s), waited_s)

    def _plans(self, exchange: Exchange, model: str | None) -> tuple[Plan, Plan]:
        """The plan that would be carried out, and the one without limits that is."""
        asked, matches = self._asked(exchange, model, caps=False)
        bounds = cache(self._bounds_of(exchange, matches))
        hindered = self._hindered(exchange)
        own = len(matches) - sum(len(run.matches) for run in active_runs())
        plan = plan_call(
            self.index,
            asked,
            bounds,
            unknown=self.unknown,
            hindered=hindered,
            matches=matches[:own],
        )
        free = plan_call(
            self._lifted,
            asked,
            bounds,
            unknown=self.unknown,
            matches=[*lifted(matches[:own]), *matches[own:]],
        )
        return plan, free

    def _only_told(self, exchange: Exchange, would: Verdict, waited_s: float) -> Verdict:
        alerts = self._with_new_alerts(exchange, would).alerts
        if would.kind == "refuse" and would.wait_s:
            # Most calls that wait for others to settle are sent then; whether this one would be is not known.
            would = replace(would, kind="send", action="throttle", delay_s=would.wait_s)
        elif would.action in ("allow", "alert"):
            return replace(would, alerts=alerts)
        if waited_s:
            would = replace(would, delay_s=0.0)
        elif would.delay_s:
            exchange.logical.waited_s = would.delay_s
        return Shadowed("send", "alert" if would.alerts else "allow", alerts=alerts, would=would)

    def _alerting(self, exchange: Exchange, money: Money) -> Plan | None:
        attributes = exchange.metadata or EMPTY
        if is_enforced(attributes, self._fraction, self._agent_name):
            return money.plan
        asked = Asked(attributes, exchange.call.vendor.id, money.model, exchange.started_at)
        rules = self.index.rules(asked.provider, asked.model)
        alerts = tuple([rule for rule in rules.alerts if rule.scope.holds(attributes)])
        return Plan(asked, self.index.match(attributes, asked.at), alerts=alerts)

    def _without_ledger(self, exc: LedgerUnavailable) -> Verdict:
        verdict = super()._without_ledger(exc)
        if verdict.kind == "send" or active_runs():
            return verdict
        return Shadowed("send", "allow", would=verdict)
