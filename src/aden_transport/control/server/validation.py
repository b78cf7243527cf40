"""Whether a call of a client that holds nothing may be made: Aden's rule and its answer, over the sums here.

Facts: github.com/adenhq/hive, `POST /v1/control/budget/validate`. What others hold on a hard budget counts as
spent, as it may be; the ladder of a budget holds, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...attributes import normalized
from ...policy.index import Match
from ...policy.ladder import Target, degrade_in_force, throttle_in_force
from ...policy.money import amount

__all__ = ["Asked", "Standing", "attributes_of", "judged", "nothing_to_judge"]

Action = Literal["allow", "throttle", "degrade", "block"]
ORDER: Sequence[Action] = ("allow", "throttle", "degrade", "block")
EARLY = 90
"""Percent of the limit from which a budget that degrades at its limit does so."""
KINDS: Mapping[str, str] = {
    "agent": "agent",
    "tenant": "tenant",
    "customer": "customer",
    "feature": "feature",
    "tag": "tags",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client says of its call, in nano-dollars."""

    estimated: int
    local_spend: int = 0
    """As the client has counted; the higher of its sum and ours counts."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget that the call meets."""

    match: Match
    spent: int
    held: int
    is_frozen: bool = False


@dataclass(frozen=True, slots=True)
class _Checked:
    standing: Standing
    action: Action
    reason: str
    spent: int
    projected: int
    target: Target | None

    @property
    def limit(self) -> int:
        return 0 if self.standing.is_frozen else self.standing.match.terms.limit

    def to_json(self) -> dict[str, Any]:
        match = self.standing.match
        return {
            "budget_id": match.key,
            "budget_name": match.name or match.budget.name or match.key,
            "budget_type": match.budget.type,
            "allowed": self.action != "block",
            "action": self.action,
            "reason": self.reason,
            "authoritative_spend": self.spent / 1e9,
            "budget_limit": self.limit / 1e9,
            "usage_percent": _percent(self.spent, self.limit),
            "projected_percent": _percent(self.projected, self.limit),
            "degrade_to_model": self.target.model if self.target else None,
            "degrade_to_provider": self.target.provider if self.target else None,
        }


def judged(standings: Sequence[Standing], asked: Asked, *, version: str) -> dict[str, Any]:
    """The answer about budgets, of which there is at least one: what the most restrictive one says."""
    checked = [_check(standing, asked) for standing in standings]
    strictest = max(checked, key=lambda one: ORDER.index(one.action))
    said = strictest.to_json()
    restricts = strictest.action != "allow"
    names = ("budget_id", "budget_name", "budget_type")
    return {
        **{name: value for name, value in said.items() if name not in names},
        "policy_version": version,
        "restricting_budget_id": said["budget_id"] if restricts else None,
        "restricting_budget_name": said["budget_name"] if restricts else None,
        "budgets_checked": [one.to_json() for one in checked],
    }


def nothing_to_judge(reason: str, *, version: str) -> dict[str, Any]:
    """The answer where no budget is met."""
    return {
        "allowed": True,
        "action": "allow",
        "reason": reason,
        "authoritative_spend": 0.0,
        "budget_limit": 0.0,
        "usage_percent": 0.0,
        "projected_percent": 0.0,
        "degrade_to_model": None,
        "degrade_to_provider": None,
        "policy_version": version,
        "restricting_budget_id": None,
        "restricting_budget_name": None,
        "budgets_checked": [],
    }


def attributes_of(context: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of a call in `context`: `{"agent", "tenant_id", "customer_id", "feature", "tags"}`, or
    `{"type", "value", "tags"}`, as aden-py says it."""
    kind, value = context.get("type"), context.get("value")
    if isinstance(kind, str) and kind in KINDS and "agent" not in context:
        return normalized({KINDS[kind]: value if value is not None else context.get("tags")})
    return normalized(context)


def _check(standing: Standing, asked: Asked) -> _Checked:
    match, terms = standing.match, standing.match.terms
    ladder = terms.ladder
    spent = max(standing.spent, asked.local_spend)
    projected = spent + (standing.held if terms.mode == "hard" else 0) + asked.estimated
    stop = max(ladder.limit_held, ladder.limit_expected)

    def check(action: Action, reason: str, target: Target | None = None) -> _Checked:
        return _Checked(standing, action, f"Budget {match.key}: {reason}", spent, projected, target)

    of_limit = f"{amount(projected)} of {amount(terms.limit)}"
    if standing.is_frozen:
        return check("block", "it is frozen")
    if ladder.relief is None and 0 <= stop <= projected:
        return check("block", f"the limit is reached: {of_limit}")
    step = degrade_in_force(ladder.degrades, projected)
    if step is not None:
        return check("degrade", of_limit, step.target)
    if terms.target is not None and projected * 100 >= terms.limit * EARLY:
        return check("degrade", f"close to its limit: {of_limit}", terms.target)
    if throttle_in_force(ladder, projected) is not None:
        return check("throttle", of_limit)
    return check("allow", f"within its limit: {of_limit}")


def _percent(value: int, limit: int) -> float:
    return value * 100 / limit if limit else 100.0
