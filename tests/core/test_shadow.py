"""For whom a policy is enforced, and what it would have saved."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.core.decide import Shadowed, decided
from aden_transport.core.shadow import is_enforced, share_of
from aden_transport.events import Decision
from aden_transport.ledger.base import Line, Totals
from aden_transport.policy import Call, Index, Verdict, load, plan_call
from aden_transport.policy.lifted import judged_on, lifted, lifted_lines
from aden_transport.policy.verdict import Alert

VECTORS = [
    ("tenant", "acme", 0.41712856604815934),
    ("tenant", "globex", 0.6330162606938373),
    ("customer", "acme", 0.03668271207878956),
    ("agent", "writer", 0.16196879729451177),
    ("tenant", "Zürich", 0.36945154722689505),
    ("tenant", "", 0.5232085692567497),
]
"""Fixed: whoever is enforced today is so in every later release."""


@pytest.mark.parametrize(("kind", "name", "share"), VECTORS)
def test_a_name_keeps_its_share_for_ever(kind: str, name: str, share: float) -> None:
    assert share_of(kind, name) == share


def test_names_are_spread_evenly() -> None:
    shares = [share_of("tenant", str(number)) for number in range(10_000)]
    for fraction in (0.01, 0.1, 0.5, 0.9):
        assert abs(sum(share < fraction for share in shares) / 10_000 - fraction) < 0.01


@pytest.mark.parametrize(
    ("attributes", "agent_name", "kind", "name"),
    [
        ({"tenant": "a", "customer": "b", "agent": "c"}, "d", "tenant", "a"),
        ({"customer": "b", "agent": "c"}, "d", "customer", "b"),
        ({"agent": "c"}, "d", "agent", "c"),
        ({"feature": "x"}, "d", "agent", "d"),
        ({"tenant": ""}, "d", "agent", "d"),
    ],
)
def test_a_call_goes_by_the_first_that_it_names(
    attributes: Any, agent_name: str, kind: str, name: str
) -> None:
    share = share_of(kind, name)
    assert is_enforced(attributes, share + 1e-9, agent_name)
    assert not is_enforced(attributes, share, agent_name)


def test_who_names_nobody_is_enforced_at_one_only() -> None:
    assert is_enforced({}, 1.0)
    assert not is_enforced({}, 0.999999)
    assert not is_enforced({"tenant": "a"}, 0.0)


POLICY = {
    "budgets": [
        {
            "type": "global",
            "limit": 1,
            "thresholds": [
                {"percent": 50, "action": "alert"},
                {"percent": 80, "action": "degrade", "degradeTo": "small"},
                {"percent": 95, "action": "throttle", "delayMs": 2000},
            ],
            "limitAction": "block",
        },
        {"type": "global", "id": "soft", "limit": 2, "limitAction": "alert"},
    ],
    "throttles": [{"requests_per_minute": 5, "delay_ms": 1000}],
}
CALL = Call({}, "openai", "big", 0.0)


def cost(model: str | None) -> tuple[int, int]:
    return (100_000_000, 50_000_000) if model == "big" else (1_000_000, 1_000_000)


def plans() -> tuple[Any, Any, tuple[Line, ...]]:
    index = Index(load(POLICY))
    plan = plan_call(index, CALL, cost)
    free = plan_call(Index(load({"budgets": []})), CALL, cost, matches=lifted(plan.matches))
    return plan, free, lifted_lines(free, plan)


def test_a_lifted_plan_touches_the_same_keys_with_limits_that_nothing_reaches() -> None:
    plan, free, lines = plans()
    before = plan.candidates[0].lines
    assert [(line.key, line.hold, line.expected, line.unit) for line in lines] == [
        (line.key, line.hold, line.expected, line.unit) for line in before
    ]
    assert all(line.degrade_at == line.throttle_at == -1 for line in lines)
    assert [line.limit_held > 10**15 for line in lines] == [True, False, False]
    assert len(free.candidates) == 1


@pytest.mark.parametrize(
    ("spent", "kind", "action", "to_model", "delay"),
    [
        (0.10, "send", "allow", None, 0.0),
        (0.60, "send", "alert", None, 0.0),
        (0.80, "send", "degrade", "small", 0.0),
        (0.96, "send", "degrade", "small", 2.0),
        (0.9995, "refuse", "block", None, 0.0),
        (3.00, "refuse", "block", None, 0.0),
    ],
)
def test_what_would_be_done_is_read_from_the_sums_that_came_back(
    spent: float, kind: str, action: str, to_model: str | None, delay: float
) -> None:
    plan, _, lines = plans()
    sums = [Totals(int(spent * 1e9) if line.unit == "usd" else 0, 0, 0) for line in lines]
    verdict = judged_on(plan, lines, sums)
    assert (verdict.kind, verdict.action, verdict.to_model) == (kind, action, to_model)
    assert verdict.delay_s == delay
    assert bool(verdict.alerts) is (spent >= 0.5)
    again = judged_on(plan, lines, sums, waited_s=2.0)
    assert again.kind == kind


def test_a_shadow_stands_beside_the_decision_never_in_its_place() -> None:
    would = Verdict("refuse", "block", alerts=(Alert("warning", "half", "b"),))
    told = decided(Shadowed("send", "alert", alerts=(), would=would))
    assert (told.action, told.reason, told.budget_id) == ("alert", "half", "b")
    assert told.shadow is not None
    assert told.shadow.action == "block"
    before = Decision("degrade", "thrift", "hook", "small")
    told = decided(Shadowed("send", "alert", would=would), before)
    assert (told.action, told.source, told.to_model) == ("degrade", "hook", "small")
    assert told.shadow is not None
    assert decided(Verdict("send", "allow"), before) is before
