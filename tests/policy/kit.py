"""A policy and the sums of its budgets, asked by tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aden_transport.ledger.base import Line, Outcome, Totals
from aden_transport.ledger.rule import judge
from aden_transport.policy import Call, Index, Plan, Verdict, decide, load, plan_call

NANO = 1_000_000_000
NOON = 1_763_812_800.0
"""2025-11-22 12:00 UTC, a Saturday."""

README: dict[str, Any] = {
    "type": "global",
    "limit": 100.00,
    "thresholds": [
        {"percent": 50, "action": "alert"},
        {"percent": 80, "action": "degrade", "degradeTo": "gpt-4o-mini"},
        {"percent": 95, "action": "throttle", "delayMs": 2000},
    ],
    "limitAction": "block",
}


class Desk:
    """Sums by key, and the rule of every ledger over them."""

    def __init__(self, document: Any, **options: Any) -> None:
        self.index = Index(load(document), **options)
        self.sums: dict[str, Totals] = {}
        self.plan: Plan
        self.outcome: Outcome | None = None

    def set(self, key: str, *, spent: float = 0, held: float = 0, expected: float = 0) -> Desk:
        """In dollars."""
        self.sums[key] = Totals(round(spent * NANO), round(held * NANO), round(expected * NANO))
        return self

    def totals(self, line: Line) -> Totals:
        found = [self.sums.get(key, Totals(0, 0, 0)) for key in (line.key, *line.also)]
        return Totals(
            sum(one.spent for one in found),
            sum(one.held for one in found),
            sum(one.expected for one in found),
        )

    def ask(
        self,
        model: str | None = "gpt-4o",
        *,
        cost: float | None = 0.0,
        expected: float | None = None,
        costs: Mapping[str | None, Any] | None = None,
        provider: str = "openai",
        at: float = NOON,
        waited: bool = False,
        rate_limited: bool = False,
        options: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> Verdict:
        """What would be done about a call that costs `cost` dollars at most; None: its price is not known."""

        def bounds(asked: str | None) -> Any:
            price = (costs or {}).get(asked, cost)
            if price is None or isinstance(price, str):
                return price
            return round(price * NANO), round((price if expected is None else expected) * NANO)

        call = Call(attributes, provider, model, at, rate_limited=rate_limited)
        self.plan = plan_call(self.index, call, bounds, **(options or {}))
        self.outcome = None
        if self.plan.stop is None and not self.plan.is_free:
            self.outcome = judge(self.plan.lines(waited=waited), self.totals)
        return decide(self.plan, self.outcome, waited_s=2.0 if waited else 0.0)
