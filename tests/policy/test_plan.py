"""What a call may use and what it touches: rules, bounds that are not known, budgets of a run."""
# ruff: noqa: E501 (messages are written whole)

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aden_transport.ledger.base import NEVER, Outcome, Totals
from aden_transport.policy import (
    Call,
    Index,
    OnUnknown,
    Policy,
    Terms,
    decide,
    describe_policy,
    explain_call,
    floors,
    load,
    match_of,
    output_cap,
    plan_call,
)
from aden_transport.policy.money import MAX_NANO, amount
from aden_transport.policy.values import Budget

from .kit import NANO, NOON, README, Desk

KEY = "-|global"


def test_a_call_that_meets_nothing_is_free() -> None:
    desk = Desk({})
    assert desk.ask(None).action == "allow"
    assert desk.plan.is_free
    assert [list(lines) for lines in desk.plan.lines()] == [[]]


def test_the_lines_of_a_call() -> None:
    desk = Desk(
        [{**README, "period": "daily"}, {"type": "agent", "name": "a", "limit": 5, "mode": "expected"}]
    )
    desk.ask(cost=2, expected=0.5, agent="a")
    first, second = desk.plan.lines()[0]
    assert (first.key, first.hold, first.expected, first.unit) == (
        "2025-11-22|global",
        2 * NANO,
        NANO // 2,
        "usd",
    )
    assert (first.limit_held, first.limit_expected) == (100 * NANO, NEVER)
    assert (first.degrade_at, first.throttle_at) == (80 * NANO, 95 * NANO)
    assert first.expires_at == 1_763_856_000 + 86_400
    assert (second.key, second.limit_held, second.limit_expected) == ("-|agent:a", NEVER, 5 * NANO)
    assert (second.degrade_at, second.throttle_at, second.expires_at) == (NEVER, NEVER, 0)
    assert [candidate.model for candidate in desk.plan.candidates] == ["gpt-4o", "gpt-4o-mini"]
    assert [len(lines) for lines in desk.plan.lines()[:1]] == [2]


def test_a_rolling_window_counts_its_older_parts() -> None:
    desk = Desk({"limit": 10, "period": {"rolling": "1h"}, "generation": 1})
    desk.ask()
    line = desk.plan.lines()[0][0]
    assert len(line.also) == 60
    assert all(key.endswith("#1|global") for key in (line.key, *line.also))
    desk.set(line.also[59], spent=9)
    assert desk.ask(cost=1).kind == "send"
    assert desk.ask(cost=1.1).kind == "refuse"
    assert desk.ask(cost=1.1, at=NOON + 60).kind == "send"


def test_holds_are_cut_to_what_stores_can_count_and_expectations_to_holds() -> None:
    desk = Desk({"limit": 10, "limitAction": "alert"})
    desk.ask(cost=1e9, expected=2e9)
    line = desk.plan.lines()[0][0]
    assert (line.hold, line.expected) == (MAX_NANO, MAX_NANO)


def test_bounds_are_asked_once_for_a_candidate_whose_turn_comes_and_never_without_dollars() -> None:
    asked: list[str | None] = []

    def bounds(model: str | None) -> tuple[int, int]:
        asked.append(model)
        return 1, 1

    index = Index(load(README))
    plan = plan_call(index, Call({}, "openai", "gpt-4o", NOON), bounds)
    assert asked == ["gpt-4o"]
    assert plan.lines()[1] is plan.lines()[1]
    assert asked == ["gpt-4o", "gpt-4o-mini"]
    plan_call(Index(Policy()), Call({}, "openai", "gpt-4o", NOON), bounds)
    assert len(asked) == 2


@pytest.mark.parametrize("what", ["price", "size"])
def test_what_cannot_be_known_is_allowed_blocked_or_a_sum(what: str) -> None:
    def said(value: Any) -> dict[str, OnUnknown]:
        return {"unknown": OnUnknown(price=value) if what == "price" else OnUnknown(size=value)}

    cost: Any = None if what == "price" else "size"
    desk = Desk({"limit": 1})
    assert desk.ask(costs={"gpt-4o": cost}).action == "allow"
    assert desk.plan.candidates[0].unknown == what
    blocked = desk.ask(costs={"gpt-4o": cost}, options=said("block"))
    assert (blocked.kind, blocked.because[0].cause) == ("refuse", what)
    assert blocked.reason is not None
    assert f'on_unknown={{"{what}": …}}' in blocked.reason
    for sum_, kind in ((NANO, "send"), (NANO + 1, "refuse")):
        assert desk.ask(costs={"gpt-4o": cost}, options=said(sum_)).kind == kind


def test_a_budget_says_it_before_the_policy_and_that_before_the_option() -> None:
    option = {"unknown": OnUnknown(price="block")}
    budget = {"limit": 1, "on_unknown": {"price": "allow"}}
    assert Desk(budget).ask(costs={"gpt-4o": None}, options=option).kind == "send"
    policy = {"budgets": [{"limit": 1}], "on_unknown": {"price": "allow"}}
    assert Desk(policy).ask(costs={"gpt-4o": None}, options=option).kind == "send"
    assert Desk({"limit": 1}).ask(costs={"gpt-4o": None}, options=option).kind == "refuse"
    assert Desk({}).ask(costs={"gpt-4o": None}, options=option).kind == "send"


def test_a_target_whose_cost_must_be_known_and_is_not_is_no_target() -> None:
    desk = Desk({**README, "on_unknown": {"price": "block"}}).set(KEY, spent=85)
    verdict = desk.ask(costs={"gpt-4o": 0.1, "gpt-4o-mini": None})
    assert (verdict.action, verdict.hindered) == ("alert", "its price is not known")
    assert desk.ask(costs={"gpt-4o": 0.1, "gpt-4o-mini": 0.1}).to_model == "gpt-4o-mini"


@pytest.mark.parametrize(
    ("scope", "model", "provider", "attributes", "blocked"),
    [
        ({}, "any", "openai", {}, True),
        ({"model_pattern": "*-preview"}, "GPT-5-Preview", "openai", {}, True),
        ({"model_pattern": "*-preview"}, "gpt-5", "openai", {}, False),
        ({"model_pattern": "g*"}, None, "openai", {}, False),
        ({"provider": "Anthropic"}, "claude", "anthropic", {}, True),
        ({"provider": "anthropic"}, "gpt-5", "openai", {}, False),
        ({"context_id": "u1"}, "m", "openai", {"context_id": "u1"}, True),
        ({"context_id": "u1"}, "m", "openai", {}, False),
        ({"agent": "team-*", "tenant_id": "t"}, "m", "openai", {"agent": "team-a", "tenant": "t"}, True),
        ({"agent": "team-*", "tenant_id": "t"}, "m", "openai", {"agent": "team-a", "tenant": "T"}, False),
        ({"tag": "beta"}, "m", "openai", {"tags": ("alpha", "beta")}, True),
        ({"tags": ["beta"]}, "m", "openai", {"tags": ("alpha",)}, False),
    ],
)
def test_block_rules(
    scope: dict[str, Any], model: str | None, provider: str, attributes: dict[str, Any], blocked: bool
) -> None:
    desk = Desk({"blocks": [{"reason": "not here", **scope}]})
    verdict = desk.ask(model, provider=provider, **attributes)
    assert verdict.kind == ("refuse" if blocked else "send")
    if blocked:
        assert verdict.reason == "blocked by a rule: not here; change the block rule of the policy."
        assert desk.outcome is None


def test_a_degrade_rule_always_holds() -> None:
    desk = Desk({"degradations": [{"from_model": "gpt-4*", "to_model": "gpt-4o-mini", "trigger": "always"}]})
    verdict = desk.ask("gpt-4o")
    assert (verdict.action, verdict.to_model) == ("degrade", "gpt-4o-mini")
    assert verdict.because[0].cause == "rule"
    assert desk.ask("gpt-4o-mini").action == "allow"
    assert desk.ask("o3").action == "allow"
    hindered = desk.ask("gpt-4o", options={"hindered": lambda model: "signed"})
    assert (hindered.action, hindered.hindered, hindered.to_model) == ("alert", "signed", None)


def test_the_first_usable_rule_counts_and_budgets_go_on_from_it() -> None:
    rules = [{"from_model": "a", "to_model": "b"}, {"from_model": "a", "to_model": "c"}]
    steps = [{"percent": 80, "action": "degrade", "degradeTo": "d"}]
    desk = Desk({"budgets": [{"limit": 10, "thresholds": steps}], "degradations": rules})
    assert desk.ask("a").to_model == "b"
    assert desk.ask("a", options={"hindered": lambda model: "no" if model == "b" else None}).to_model == "c"
    assert desk.set(KEY, spent=9).ask("a").to_model == "d"


def test_a_degrade_rule_for_limits_of_the_vendor_waits_for_them() -> None:
    desk = Desk({"degradations": [{"from_model": "a", "to_model": "b", "trigger": "rate_limit"}]})
    assert desk.ask("a").to_model is None
    assert desk.ask("a", rate_limited=True).to_model == "b"


def test_a_degrade_rule_with_a_percentage_is_a_step_of_each_budget() -> None:
    rule = {"from_model": "a", "to_model": "b", "trigger": "budget_threshold", "threshold_percent": 60}
    desk = Desk({"budgets": [{"limit": 10}], "degradations": [rule]})
    assert desk.set(KEY, spent=5.9).ask("a").action == "allow"
    assert desk.set(KEY, spent=6).ask("a").to_model == "b"
    assert desk.ask("c").to_model is None


def test_throttle_rules_delay_all_calls_or_those_beyond_their_rate() -> None:
    desk = Desk({"throttles": [{"provider": "openai", "delay_ms": 300}]})
    verdict = desk.ask()
    assert (verdict.kind, verdict.action, verdict.delay_s) == ("wait", "throttle", 0.3)
    assert verdict.reason == "delayed by a rule, by 0.3 s."
    assert desk.ask(waited=True).kind == "send"
    assert desk.ask(provider="anthropic").action == "allow"
    desk = Desk({"throttles": [{"requests_per_minute": 2}]})
    desk.ask()
    line = desk.plan.lines()[0][0]
    assert (line.unit, line.hold, line.throttle_at) == ("calls", 1, 3)
    desk.sums[line.key] = Totals(1, 0, 0)
    assert desk.ask().kind == "send"
    desk.sums[line.key] = Totals(1, 1, 1)
    assert (desk.ask().kind, desk.ask().delay_s) == ("wait", 1.0)
    assert desk.ask(at=NOON + 60).kind == "send"


def test_alert_rules_tell_of_calls_models_and_percentages() -> None:
    rules = [
        {"trigger": "always", "context_id": "u1", "message": "one"},
        {"trigger": "model_usage", "model_pattern": "o3*", "level": "info", "message": "two"},
        {"trigger": "budget_threshold", "threshold_percent": 70, "level": "critical", "message": "three"},
    ]
    desk = Desk({"budgets": [{"limit": 10}], "alerts": rules})
    assert desk.ask().action == "allow"
    first = desk.ask("o3-mini", context_id="u1")
    assert [(alert.message, alert.level, alert.key) for alert in first.alerts] == [
        ("one", "warning", ""),
        ("two", "info", ""),
    ]
    (third,) = desk.set(KEY, spent=7).ask().alerts
    assert (third.message, third.level, third.key, third.mark) == ("three", "critical", KEY, "alert:70")


def test_a_call_that_waits_is_told_of_once() -> None:
    document = {"throttles": [{"delay_ms": 10}], "alerts": [{"trigger": "always", "message": "m"}]}
    assert Desk(document).ask().alerts == ()
    assert len(Desk(document).ask(waited=True).alerts) == 1


def test_budgets_of_a_run_count_tokens_and_calls_beside_those_of_the_policy() -> None:
    run = [
        match_of(Budget("run:1:calls", "context", "run", Terms(3, unit="calls")), NOON),
        match_of(Budget("run:1:tokens", "context", "run", Terms(1_000, unit="tokens")), NOON),
    ]
    index = Index(load({"limit": 10}))
    call = Call({}, "openai", "m", NOON, tokens=(600, 200))
    matches = [*index.match(call.attributes, NOON), *run]
    plan = plan_call(index, call, lambda model: (5, 4), matches=matches)
    lines = plan.lines()[0]
    assert [(line.unit, line.hold, line.expected) for line in lines] == [
        ("usd", 5, 4),
        ("calls", 1, 1),
        ("tokens", 600, 200),
    ]
    sums = (Totals(0, 0, 0), Totals(1, 0, 0), Totals(500, 0, 0))
    verdict = decide(plan, Outcome("refused", 0, sums, 2))
    assert verdict.because[0].budget_id == "run:1:tokens"
    assert verdict.reason is not None
    assert "it has spent 500 tokens of 1,000 tokens, this call may cost 600 tokens" in verdict.reason
    only = plan_call(Index(Policy()), call, lambda model: None, matches=run)
    assert only.stop is None


def test_the_least_cap_on_output_counts() -> None:
    document = [
        {"limit": 1, "max_output_tokens": 500},
        {"type": "agent", "name": "a", "limit": 1, "max_output_tokens": 90},
    ]
    index = Index(load(document))
    assert output_cap(index.match({"agent": "a"}, NOON)) == 90
    assert output_cap(index.match({}, NOON)) == 500
    assert output_cap([]) is None


def test_spent_is_a_floor_for_its_window_told_once() -> None:
    budgets = load([{"limit": 10, "spent": 2, "period": "daily"}, {"id": "b", "limit": 1}]).budgets
    (floor,) = floors(budgets, NOON)
    assert (floor.key, floor.spent) == ("2025-11-22|global", 2 * NANO)
    (later,) = floors(budgets, NOON + 86_400)
    assert later.key == "2025-11-23|global"
    assert later.mark == floor.mark
    (again,) = floors([replace(budgets[0], generation=1)], NOON)
    assert again.mark != floor.mark


def test_all_budgets_that_refuse_are_named_the_ledgers_first() -> None:
    desk = Desk([{"limit": 1, "wait_ms": 500}, {"type": "agent", "name": "a", "limit": 2, "wait_ms": 900}])
    desk.set(KEY, held=1).set("-|agent:a", held=2)
    verdict = desk.ask(cost=0.5, expected=0.1, agent="a")
    assert [why.budget_id for why in verdict.because] == ["global", "agent:a"]
    assert verdict.wait_s == 0.5


def test_explain_tells_what_a_call_meets() -> None:
    desk = Desk({**README, "period": "monthly"}).set("2025-11|global", spent=96, held=1)
    verdict = desk.ask(cost=0.25)
    assert desk.outcome is not None
    text = explain_call(desk.plan, verdict, desk.outcome.totals)
    assert text.splitlines() == [
        "openai gpt-4o: degrade to gpt-4o-mini after 2 s",
        "  because degraded at 80 % by budget global: from gpt-4o to gpt-4o-mini; it has spent $96.00 of $100.00, "
        "open calls hold $1.00, this call may cost $0.25, it resets at 2025-12-01T00:00:00Z; raise the limit of "
        "global or wait until 2025-12-01T00:00:00Z.",
        "  because delayed at 95 % by budget global: by 2 s; it has spent $96.00 of $100.00, open calls hold $1.00, "
        "this call may cost $0.25, it resets at 2025-12-01T00:00:00Z; raise the limit of global or wait until "
        "2025-12-01T00:00:00Z.",
        "  budget global: limit $100.00, spent $96.00, reserved $1.00, monthly, resets at 2025-12-01T00:00:00Z",
        "  candidate gpt-4o: may cost $0.25, probably $0.25",
        "  candidate gpt-4o-mini: may cost $0.25, probably $0.25",
    ]
    desk = Desk({})
    desk.ask(None)
    assert explain_call(desk.plan, decide(desk.plan)).splitlines() == [
        "openai no model: allow",
        "  no budget matches",
        "  candidate no model: no budget of dollars",
    ]
    desk = Desk({"limit": 1, "wait_ms": 250}).set(KEY, held=1)
    verdict = desk.ask(cost=0.5, expected=0.1)
    assert "block unless open calls settle within 0.25 s" in explain_call(desk.plan, verdict)
    hindered = Desk(README).set(KEY, spent=85)
    verdict = hindered.ask(options={"hindered": lambda model: "signed"})
    text = explain_call(hindered.plan, verdict)
    assert "  not degraded: signed" in text
    assert "  alert [warning] budget global has spent $85.00 of $100.00, 50 % or more" in text


def test_check_tells_what_a_policy_says() -> None:
    policy = load(
        {
            "budgets": [
                {**README, "period": "monthly"},
                {
                    "type": "customer",
                    "name": "*",
                    "limit": 5,
                    "limitAction": "degrade",
                    "degradeToModel": "mini",
                },
            ],
            "blocks": [{"model_pattern": "o1"}],
        }
    )
    assert describe_policy(policy).splitlines() == [
        "2 budgets, 1 block rule",
        "  global: $100.00, monthly (UTC), hard",
        "    50 %: alert",
        "    80 %: degrade to gpt-4o-mini",
        "    95 %: throttle by 2 s",
        "    limit: block",
        "  customer:*: $5.00 each, expected",
        "    limit: degrade to mini",
    ]
    assert describe_policy(Policy()) == "an empty policy"
    many = load([{"type": "agent", "name": str(n), "limit": 1} for n in range(60)])
    assert describe_policy(many).splitlines()[-1] == "  … and 10 more"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "usd", "$0.00"),
        (9_400_000_000, "usd", "$9.40"),
        (125_000, "usd", "$0.000125"),
        (1, "usd", "$0.000000001"),
        (-1_500_000_000, "usd", "-$1.50"),
        (1_234_000_000_000, "usd", "$1,234.00"),
        (1_200, "tokens", "1,200 tokens"),
    ],
)
def test_amounts_are_written_for_people(value: int, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_rules_are_remembered_for_a_bounded_number_of_models() -> None:
    desk = Desk({"blocks": [{"model_pattern": "m1"}]})
    for number in range(1_100):
        desk.ask(f"m{number}")
    assert len(desk.index._rules) <= 1_000
    assert desk.ask("m1").kind == "refuse"


def test_a_step_of_a_rule_that_is_hindered_becomes_an_alert() -> None:
    rule = {"from_model": "a", "to_model": "b", "trigger": "budget_threshold", "threshold_percent": 60}
    desk = Desk({"budgets": [{"limit": 10}, {"id": "two", "limit": 20}], "degradations": [rule]})
    verdict = desk.set(KEY, spent=6).ask("a", options={"hindered": lambda model: "signed"})
    assert (verdict.action, verdict.hindered) == ("alert", "signed")
    assert [alert.mark for alert in verdict.alerts] == ["hindered:60"]


def test_a_rate_that_is_kept_delays_nothing_while_a_budget_does() -> None:
    steps = [{"percent": 50, "action": "throttle", "delayMs": 200}]
    budget = {"limit": 10, "thresholds": steps}
    desk = Desk({"budgets": [budget], "throttles": [{"requests_per_minute": 9, "delay_ms": 5000}]})
    verdict = desk.set(KEY, spent=6).ask()
    assert (verdict.delay_s, len(verdict.because)) == (0.2, 1)


def test_explain_of_a_run_that_counts_no_dollars() -> None:
    run = [match_of(Budget("run:1", "context", "run", Terms(3, unit="calls")), NOON)]
    plan = plan_call(Index(Policy()), Call({}, "openai", "m", NOON), lambda model: None, matches=run)
    assert explain_call(plan, decide(plan)).splitlines()[1:] == [
        "  budget run:1: limit 3 calls",
        "  candidate m: no budget of dollars",
    ]
