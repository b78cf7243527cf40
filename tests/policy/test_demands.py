"""What a control server asks to degrade one call to, beside what the policy degrades it to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aden_transport.policy import OnUnknown, Verdict
from aden_transport.policy.ladder import Target

from .kit import NANO, Desk

COSTS: dict[str | None, Any] = {"gpt-4o": 1.0, "mini": 0.4, "nano": 0.1, "lite": 0.01}
LADDER = {
    "type": "global",
    "limit": 100.0,
    "thresholds": [
        {"percent": 50, "action": "degrade", "degradeTo": "mini"},
        {"percent": 80, "action": "degrade", "degradeTo": "nano"},
    ],
}


def asked(
    document: Any, *demands: str, spent: float = 0.0, model: str = "gpt-4o", **options: Any
) -> tuple[Desk, Verdict]:
    desk = Desk(document).set("-|global", spent=spent)
    targets: Sequence[Target] = [Target(name) for name in demands]
    costs = {**COSTS, **options.pop("costs", {})}
    verdict = desk.ask(model, costs=costs, options={"demands": targets, **options})
    return desk, verdict


def test_what_is_asked_for_is_sent_and_held_at_its_own_price() -> None:
    desk, verdict = asked({"type": "global", "limit": 100.0}, "nano")
    assert (verdict.kind, verdict.action, verdict.to_model) == ("send", "degrade", "nano")
    assert desk.plan.demanded
    assert [candidate.model for candidate in desk.plan.candidates] == ["nano"]
    assert desk.plan.lines()[0][0].hold == NANO // 10


@pytest.mark.parametrize(
    ("spent", "demand", "sent"),
    [
        (0.0, "lite", "lite"),
        (0.0, "mini", "mini"),
        (60.0, "lite", "lite"),
        (60.0, "nano", "nano"),
        (60.0, "unheard", "unheard"),
        (85.0, "mini", "nano"),
        (85.0, "nano", "nano"),
        (85.0, "lite", "lite"),
        (85.0, "unheard", "unheard"),
    ],
)
def test_the_cheaper_of_the_two_is_sent_else_what_the_server_asks_for(
    spent: float, demand: str, sent: str
) -> None:
    _, verdict = asked(LADDER, demand, spent=spent, costs={"unheard": None})
    assert (verdict.action, verdict.to_model) == ("degrade", sent)


def test_a_cheaper_model_of_a_rule_stands() -> None:
    document = {
        "budgets": [{"type": "global", "limit": 100.0}],
        "degradations": [{"from_model": "gpt-4o", "to_model": "nano", "trigger": "always"}],
    }
    desk, verdict = asked(document, "mini")
    assert (verdict.to_model, desk.plan.demanded) == ("nano", False)
    desk, verdict = asked(document, "lite")
    assert (verdict.to_model, desk.plan.demanded) == ("lite", True)
    assert all(why.cause != "rule" for why in verdict.because)


def test_of_several_the_cheapest_is_sent() -> None:
    assert asked({"type": "global", "limit": 100.0}, "mini", "lite", "nano")[1].to_model == "lite"


def test_nothing_dearer_than_the_call_is_sent() -> None:
    desk, verdict = asked({"type": "global", "limit": 100.0}, "gpt-4o", model="nano")
    assert (verdict.kind, verdict.to_model) == ("send", None)
    assert desk.plan.hindered == {"gpt-4o": "it costs more than nano"}
    assert asked({"type": "global", "limit": 100.0}, "nano", model="nano")[1].action == "allow"


def test_what_the_call_cannot_use_is_not_sent() -> None:
    _, verdict = asked(LADDER, "lite", hindered=lambda model: "signed" if model == "lite" else None)
    assert (verdict.kind, verdict.to_model, verdict.hindered) == ("send", None, "signed")


def test_it_is_held_within_the_limit_as_any_model() -> None:
    limit = {"type": "global", "limit": 100.0}
    assert asked(limit, "nano", spent=99.8)[1].to_model == "nano"
    refused = asked(limit, "nano", spent=99.95)[1]
    assert (refused.kind, refused.because[0].cause) == ("refuse", "limit")


def test_where_the_limit_degrades_what_is_asked_for_goes_on_in_the_place_of_a_dearer_model() -> None:
    degrades = {"type": "global", "limit": 100.0, "limitAction": "degrade", "degradeTo": "mini"}
    assert asked(degrades, "nano", spent=120.0)[1].to_model == "nano"
    assert asked({**degrades, "degradeTo": "lite"}, "nano", spent=120.0)[1].to_model == "lite"


def test_an_unknown_price_is_what_on_unknown_makes_of_it() -> None:
    blocks = OnUnknown(price="block")
    _, verdict = asked(LADDER, "unheard", costs={"unheard": None}, unknown=blocks)
    assert (verdict.kind, verdict.because[0].cause) == ("refuse", "price")
