"""The ladder: alert, degrade, throttle, block, within one budget and across budgets."""

from __future__ import annotations

import itertools

import pytest

from aden_transport.ledger.base import NEVER
from aden_transport.policy import crossed_alerts, load
from aden_transport.policy.ladder import strictest

from .kit import README, Desk

KEY = "-|global"


@pytest.mark.parametrize(
    ("spent", "kind", "action", "to_model", "delay_s"),
    [
        (0, "send", "allow", None, 0),
        (49.99, "send", "allow", None, 0),
        (50, "send", "alert", None, 0),
        (79, "send", "alert", None, 0),
        (80, "send", "degrade", "gpt-4o-mini", 0),
        (94, "send", "degrade", "gpt-4o-mini", 0),
        (95, "wait", "degrade", "gpt-4o-mini", 2),
        (96, "wait", "degrade", "gpt-4o-mini", 2),
        (100.01, "refuse", "block", None, 0),
    ],
)
def test_the_ladder_of_the_readme(
    spent: float, kind: str, action: str, to_model: str | None, delay_s: float
) -> None:
    verdict = Desk(README).set(KEY, spent=spent).ask()
    assert (verdict.kind, verdict.action, verdict.to_model, verdict.delay_s) == (
        kind,
        action,
        to_model,
        delay_s,
    )


def test_at_96_percent_a_call_is_delayed_and_degraded_and_after_its_wait_sent() -> None:
    desk = Desk(README).set(KEY, spent=96)
    first = desk.ask()
    assert (first.kind, first.delay_s, first.to_model) == ("wait", 2.0, "gpt-4o-mini")
    assert [why.action for why in first.because] == ["degrade", "throttle"]
    second = desk.ask(waited=True)
    assert (second.kind, second.action, second.to_model, second.delay_s) == (
        "send",
        "degrade",
        "gpt-4o-mini",
        2.0,
    )


def test_a_call_waits_at_most_once() -> None:
    desk = Desk({**README, "thresholds": [{"percent": 10, "action": "throttle"}]}).set(KEY, spent=50)
    verdict = desk.ask(waited=True)
    assert (verdict.kind, verdict.action) == ("send", "throttle")
    assert all(line.throttle_at == NEVER for line in desk.plan.lines(waited=True)[0])


def test_a_call_that_already_uses_the_target_is_not_degraded() -> None:
    verdict = Desk(README).set(KEY, spent=85).ask("gpt-4o-mini")
    assert (verdict.action, verdict.to_model) == ("alert", None)


def test_the_latest_degrade_counts() -> None:
    steps = [
        {"percent": 80, "action": "degrade", "degradeTo": "mini"},
        {"percent": 90, "action": "degrade", "degradeTo": "nano"},
    ]
    desk = Desk({"limit": 100, "thresholds": steps})
    assert desk.set(KEY, spent=85).ask("big").to_model == "mini"
    assert desk.set(KEY, spent=92).ask("big").to_model == "nano"
    assert desk.set(KEY, spent=85).ask("mini").to_model is None
    assert desk.set(KEY, spent=92).ask("mini").to_model == "nano"
    assert desk.set(KEY, spent=92).ask("nano").to_model is None


def test_the_latest_throttle_of_a_budget_counts_and_the_longest_across_budgets() -> None:
    document = {
        "budgets": [
            {
                "limit": 100,
                "thresholds": [
                    {"percent": 10, "action": "throttle", "delayMs": 9000},
                    {"percent": 20, "action": "throttle", "delayMs": 1000},
                ],
            },
            {
                "type": "agent",
                "name": "a",
                "limit": 100,
                "thresholds": [{"percent": 10, "action": "throttle", "delayMs": 3000}],
            },
        ]
    }
    desk = Desk(document).set(KEY, spent=30).set("-|agent:a", spent=30)
    assert desk.ask().delay_s == 1.0
    assert desk.ask(agent="a").delay_s == 3.0
    assert desk.set(KEY, spent=15).ask(agent="a").delay_s == 9.0


@pytest.mark.parametrize(("cap", "delay"), [({}, 30.0), ({"maxDelayMs": 500}, 0.5)])
def test_delays_are_capped(cap: dict[str, int], delay: float) -> None:
    steps = [{"percent": 0, "action": "throttle", "delayMs": 600_000}]
    assert Desk({"limit": 100, "thresholds": steps, **cap}).ask().delay_s == delay


def test_alerts_look_at_what_is_spent() -> None:
    desk = Desk(README).set(KEY, spent=49, expected=20, held=40)
    assert desk.ask(cost=5).alerts == ()
    assert (
        desk.set(KEY, spent=50).ask().alerts[0].message
        == "budget global has spent $50.00 of $100.00, 50 % or more"
    )


def test_degrade_and_throttle_look_at_what_is_expected_with_this_call() -> None:
    desk = Desk(README).set(KEY, spent=40, expected=30)
    assert desk.ask(cost=9.9).action == "allow"
    assert desk.ask(cost=10).action == "degrade"
    assert desk.set(KEY, spent=40, expected=50).ask(cost=5).kind == "wait"


def test_a_hard_limit_looks_at_what_is_held_and_an_expected_one_at_what_is_expected() -> None:
    hard = Desk({"limit": 10}).set(KEY, spent=5, held=4.5, expected=1)
    assert hard.ask(cost=0.5, expected=0.1).kind == "send"
    assert hard.ask(cost=0.6, expected=0.1).kind == "refuse"
    expected = Desk({"limit": 10, "mode": "expected"}).set(KEY, spent=5, held=4.5, expected=1)
    assert expected.ask(cost=50, expected=4).kind == "send"
    assert expected.ask(cost=50, expected=4.1).kind == "refuse"


def test_mode_is_hard_where_the_limit_blocks() -> None:
    modes = {
        action: load({"limit": 1, "limitAction": action, **more}).budgets[0].terms.mode
        for action, more in (
            ("block", {}),
            ("kill", {}),
            ("alert", {}),
            ("throttle", {}),
            ("degrade", {"degradeToModel": "m", "degradeToProvider": "openai"}),
        )
    }
    assert modes == {
        "block": "hard",
        "kill": "hard",
        "alert": "expected",
        "throttle": "expected",
        "degrade": "expected",
    }


def test_a_call_that_only_holds_keep_out_waits_for_them() -> None:
    desk = Desk({"limit": 10, "wait_ms": 1500}).set(KEY, spent=5, held=4.9, expected=1)
    verdict = desk.ask(cost=1, expected=0.5)
    assert (verdict.kind, verdict.wait_s) == ("refuse", 1.5)
    assert desk.set(KEY, spent=9.9).ask(cost=1, expected=0.5).wait_s == 0


@pytest.mark.parametrize(
    ("action", "more", "expected"),
    [
        ("throttle", {"delayMs": 700}, ("wait", "throttle", None, 0.7)),
        ("alert", {}, ("send", "alert", None, 0)),
        ("degrade", {"degradeToModel": "mini"}, ("send", "degrade", "mini", 0)),
        ("degrade", {"degradeToModel": "mini", "mode": "hard"}, ("send", "degrade", "mini", 0)),
        ("kill", {}, ("refuse", "block", None, 0)),
    ],
)
def test_what_happens_at_the_limit(
    action: str, more: dict[str, object], expected: tuple[str, str, str | None, float]
) -> None:
    verdict = Desk({"limit": 10, "limitAction": action, **more}).set(KEY, spent=12).ask(cost=0.1)
    assert (verdict.kind, verdict.action, verdict.to_model, verdict.delay_s) == expected


def test_a_limit_that_degrades_never_blocks() -> None:
    document = {"limit": 10, "limitAction": "degrade", "degradeToModel": "mini", "mode": "hard"}
    desk = Desk(document).set(KEY, spent=500)
    assert desk.ask("mini").kind == "send"
    hindered = desk.ask(options={"hindered": lambda model: "the request is signed"})
    assert (hindered.kind, hindered.action, hindered.hindered) == ("send", "alert", "the request is signed")


def test_a_threshold_may_block_before_the_limit() -> None:
    steps = [{"percent": 90, "action": "block"}]
    desk = Desk({"limit": 10, "limitAction": "alert", "thresholds": steps})
    assert desk.set(KEY, spent=8.9).ask(cost=0.1).kind == "send"
    assert desk.set(KEY, spent=8.9).ask(cost=0.2).kind == "refuse"


def test_the_dearer_call_may_be_refused_where_the_degraded_one_fits() -> None:
    verdict = Desk(README).set(KEY, spent=70).ask(costs={"gpt-4o": 35.0, "gpt-4o-mini": 0.5}, expected=0.1)
    assert (verdict.action, verdict.to_model, verdict.because[0].cause) == ("degrade", "gpt-4o-mini", "limit")


def test_limit_0_blocks_without_asking_the_ledger() -> None:
    desk = Desk({"limit": 0})
    verdict = desk.ask(cost=0)
    assert (verdict.kind, verdict.action, desk.outcome) == ("refuse", "block", None)
    assert verdict.reason is not None
    assert "a limit of 0 blocks all calls" in verdict.reason


def test_limit_0_that_degrades_degrades_all_calls() -> None:
    assert Desk({"limit": 0, "limitAction": "degrade", "degradeToModel": "mini"}).ask().to_model == "mini"


def test_the_most_restrictive_budget_wins() -> None:
    names = ("alert", "throttle", "degrade", "block")
    budgets = [
        {
            "type": "agent",
            "name": name,
            "limit": 10,
            "limitAction": name,
            **({"degradeToModel": "mini"} if name == "degrade" else {}),
        }
        for name in names
    ]
    for first, second in itertools.combinations(range(4), 2):
        chosen = [budgets[first], {**budgets[second], "type": "tenant"}]
        desk = Desk({"budgets": chosen})
        for index, kind in ((first, "agent"), (second, "tenant")):
            desk.set(f"-|{kind}:{names[index]}", spent=11)
        verdict = desk.ask(agent=names[first], tenant=names[second], cost=0.1)
        assert verdict.action == names[second]
    assert strictest([]) == "allow"
    assert strictest(["alert", "block", "allow"]) == "block"


def test_a_throttle_rides_along_with_another_budgets_degrade() -> None:
    document = {
        "budgets": [
            {"limit": 10, "limitAction": "throttle", "delayMs": 400},
            {"type": "agent", "name": "a", "limit": 10, "limitAction": "degrade", "degradeToModel": "mini"},
        ]
    }
    verdict = Desk(document).set(KEY, spent=10).set("-|agent:a", spent=10).ask(agent="a")
    assert (verdict.action, verdict.to_model, verdict.delay_s) == ("degrade", "mini", 0.4)


def test_each_crossed_alert_names_its_mark_and_window() -> None:
    steps = [{"percent": 50, "action": "alert"}, {"percent": 90, "action": "alert", "level": "critical"}]
    desk = Desk({"limit": 10, "period": "daily", "thresholds": steps}).set("2025-11-22|global", spent=9.5)
    alerts = desk.ask().alerts
    assert [(alert.key, alert.mark, alert.level) for alert in alerts] == [
        ("2025-11-22|global", "alert:50", "warning"),
        ("2025-11-22|global", "alert:90", "critical"),
    ]
    assert desk.outcome is not None
    assert crossed_alerts(desk.plan, desk.outcome.totals) == alerts


def test_alerts_of_a_server_budget_are_thresholds() -> None:
    alerts = [{"threshold": 50, "enabled": True}, {"threshold": 60, "enabled": False}]
    desk = Desk({"limit": 10, "alerts": alerts}).set(KEY, spent=7)
    assert [alert.mark for alert in desk.ask().alerts] == ["alert:50"]


def test_a_hindered_degrade_becomes_an_alert_with_the_reason() -> None:
    document = {**README, "thresholds": [{**README["thresholds"][1], "degradeToProvider": "anthropic"}]}
    desk = Desk(document).set(KEY, spent=85)
    verdict = desk.ask()
    assert (verdict.action, verdict.to_model) == ("alert", None)
    assert verdict.hindered == "it is of anthropic, the call goes to openai"
    assert verdict.alerts[0].mark == "hindered:80"
    assert desk.ask(provider="anthropic").to_model == "gpt-4o-mini"
    assert desk.set(KEY, spent=10).ask().action == "allow"


def test_a_refusal_explains_itself() -> None:
    budget = {"id": "b1", "type": "customer", "name": "acme", "limit": 10, "period": "daily"}
    desk = Desk(budget).set("2025-11-22|b1", spent=9.4, held=0.35)
    verdict = desk.ask(cost=0.35, customer="acme")
    why = verdict.because[0]
    assert (why.budget_id, why.name, why.type) == ("b1", "acme", "customer")
    assert (why.spent, why.reserved, why.limit, why.estimate) == (
        9_400_000_000,
        350_000_000,
        10_000_000_000,
        350_000_000,
    )
    assert (why.window, why.period, why.resets_at) == ("2025-11-22", "daily", 1_763_856_000.0)
    assert why.text == (
        'blocked by budget b1 (customer "acme"); it has spent $9.40 of $10.00, open calls hold $0.35, '
        "this call may cost $0.35, it resets at 2025-11-23T00:00:00Z; raise the limit of b1 to $10.10, "
        "lower the call's maximum output or wait until 2025-11-23T00:00:00Z."
    )
