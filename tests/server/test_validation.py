"""Aden's rule of validation, over budgets and sums: values in, values out."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.control.server.validation import Asked, Standing, attributes_of, judged
from aden_transport.policy import load, match_of

USD = 1_000_000_000
DEGRADE: dict[str, Any] = {"limitAction": "degrade", "degradeToModel": "mini", "degradeToProvider": "openai"}


def answer(
    spent: float, estimated: float, *, held: float = 0, local: float = 0, frozen: bool = False, **members: Any
) -> dict[str, Any]:
    (budget,) = load([{"type": "agent", "name": "a", "limit": 10, **members}]).budgets
    standing = Standing(match_of(budget, 0.0), int(spent * USD), int(held * USD), frozen)
    return judged([standing], Asked(int(estimated * USD), int(local * USD)), version="3")


@pytest.mark.parametrize(
    ("spent", "estimated", "members", "action"),
    [
        (0, 0, {}, "allow"),
        (9, 0.99, {}, "allow"),
        (9, 1, {}, "block"),
        (11, 0, {"limitAction": "kill"}, "block"),
        (11, 0, {"limitAction": "throttle"}, "throttle"),
        (11, 0, {"limitAction": "alert"}, "allow"),
        (11, 0, DEGRADE, "degrade"),
        (8, 1, DEGRADE, "degrade"),
        (8, 0.9, DEGRADE, "allow"),
        (0, 0, {"limit": 0}, "block"),
        (6, 0, {"thresholds": [{"percent": 50, "action": "degrade", "degradeTo": "mini"}]}, "degrade"),
        (6, 0, {"thresholds": [{"percent": 50, "action": "throttle"}]}, "throttle"),
        (6, 0, {"thresholds": [{"percent": 50, "action": "block"}]}, "block"),
    ],
)
def test_the_rule(spent: float, estimated: float, members: dict[str, Any], action: str) -> None:
    told = answer(spent, estimated, **members)
    assert told["action"] == action
    assert told["allowed"] is (action != "block")
    assert told["restricting_budget_id"] == (None if action == "allow" else "agent:a")


def test_the_members_are_those_of_aden() -> None:
    told = answer(9, 0.5, **DEGRADE)
    (checked,) = told.pop("budgets_checked")
    reason = "Budget agent:a: close to its limit: $9.50 of $10.00"
    assert told == {
        "allowed": True,
        "action": "degrade",
        "reason": reason,
        "authoritative_spend": 9.0,
        "budget_limit": 10.0,
        "usage_percent": 90.0,
        "projected_percent": 95.0,
        "degrade_to_model": "mini",
        "degrade_to_provider": "openai",
        "policy_version": "3",
        "restricting_budget_id": "agent:a",
        "restricting_budget_name": "a",
    }
    assert (checked["budget_id"], checked["budget_name"], checked["budget_type"]) == ("agent:a", "a", "agent")
    assert checked["reason"] == reason


def test_the_higher_sum_counts_and_what_is_held_on_a_hard_budget() -> None:
    assert answer(1, 0, local=10)["action"] == "block"
    assert answer(1, 0, local=10)["authoritative_spend"] == 10.0
    assert answer(1, 0, held=9)["action"] == "block"
    assert answer(1, 0, held=9, mode="expected")["action"] == "allow"


def test_a_frozen_budget_blocks() -> None:
    told = answer(0, 0, frozen=True)
    assert (told["action"], told["budget_limit"]) == ("block", 0.0)


def test_the_most_restrictive_budget_says() -> None:
    budgets = load(
        [{"limit": 5}, {"type": "agent", "name": "a", "limit": 1, "limitAction": "throttle"}]
    ).budgets
    standings = [Standing(match_of(budget, 0.0), 3 * USD, 0) for budget in budgets]
    told = judged(standings, Asked(0), version="1")
    assert told["restricting_budget_id"] == "agent:a"
    assert [one["action"] for one in told["budgets_checked"]] == ["allow", "throttle"]
    assert judged(standings, Asked(2 * USD), version="1")["restricting_budget_id"] == "global"


@pytest.mark.parametrize(
    ("context", "attributes"),
    [
        (
            {"tenant_id": "t", "customer_id": "c", "tags": ["x"]},
            {"tenant": "t", "customer": "c", "tags": ("x",)},
        ),
        ({"agent": "a", "feature": "f"}, {"agent": "a", "feature": "f"}),
        ({"type": "customer", "value": "c"}, {"customer": "c"}),
        ({"type": "tag", "tags": ["x", "y"]}, {"tags": ("x", "y")}),
        ({"type": "global"}, {"type": "global"}),
    ],
)
def test_the_attributes_of_a_context(context: dict[str, Any], attributes: dict[str, Any]) -> None:
    assert attributes_of(context) == attributes
