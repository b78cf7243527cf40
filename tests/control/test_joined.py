"""What a server answers about a call beside what the policy says: the stricter of the two, as values."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from aden_transport.control.agent.hybrid import Validation
from aden_transport.control.agent.joined import demanded, joined
from aden_transport.control.agent.questions import Heard, Inquiry, Questions
from aden_transport.policy import Call, Index, Plan, Verdict, load, plan_call
from aden_transport.policy.ladder import Target
from aden_transport.policy.verdict import ALLOWED

NANO = 1_000_000_000
SAYS: dict[str, Validation] = {
    "allow": Validation("allow"),
    "alert": Validation("alert", "look here"),
    "throttle": Validation("throttle", "slowly", delay_s=2.0),
    "degrade": Validation("degrade", "90 % used", 9 * NANO, Target("mini")),
    "block": Validation("block", "spent", 10 * NANO),
}


def planned(
    *answers: Validation | None, hindered: str | None = None, **terms: Any
) -> tuple[Plan, list[Heard]]:
    budgets = [
        {"id": f"b{number}", "type": "global", "limit": 10.0, "mode": "expected", **terms}
        for number, _ in enumerate(answers)
    ]
    index = Index(load({"budgets": budgets}))
    call = Call({}, "openai", "gpt-4o", 0.0)
    matches = index.match(call.attributes, call.at)
    heard = [Heard(match, answer) for match, answer in zip(matches, answers, strict=True)]
    plan = plan_call(
        index,
        call,
        lambda model: (NANO, NANO) if model == "gpt-4o" else (NANO // 10, NANO // 10),
        hindered=lambda _: hindered,
        demands=demanded(heard),
    )
    return plan, heard


Local = Literal["allow", "alert", "throttle", "degrade", "block"]
LOCAL: dict[str, Verdict] = {
    "allow": ALLOWED,
    "alert": Verdict("send", "alert"),
    "throttle": Verdict("wait", "throttle", delay_s=1.0),
    "degrade": Verdict("send", "degrade", "mini"),
    "block": Verdict("refuse", "block"),
}
ORDER = ("allow", "alert", "throttle", "degrade", "block")


@pytest.mark.parametrize("local", ORDER)
@pytest.mark.parametrize("said", ORDER)
def test_the_stricter_of_the_two_holds(local: str, said: str) -> None:
    plan, heard = planned(SAYS[said])
    verdict = joined(LOCAL[local], plan, heard)
    assert verdict.action == max(local, said, key=ORDER.index)
    waits = "throttle" in (local, said)
    assert verdict.kind == ("refuse" if "block" in (local, said) else "wait" if waits else "send")


def test_no_answer_and_an_allowing_one_change_nothing() -> None:
    plan, heard = planned(None, SAYS["allow"])
    assert joined(ALLOWED, plan, heard) is ALLOWED


def test_the_reason_says_that_the_server_asked() -> None:
    plan, heard = planned(SAYS["degrade"])
    verdict = joined(Verdict("send", "degrade", "mini"), plan, heard)
    assert verdict.reason == (
        "degraded by budget b0: from gpt-4o to mini, the control server says: 90 % used; "
        "it has spent $9.00 of $10.00."
    )
    plan, heard = planned(SAYS["throttle"])
    assert (joined(ALLOWED, plan, heard).reason or "").startswith(
        "delayed by budget b0: by 2 s, the control server says: slowly"
    )


def test_the_longer_delay_counts_and_comes_first() -> None:
    plan, heard = planned(SAYS["throttle"], Validation("throttle", delay_s=0.5))
    verdict = joined(LOCAL["throttle"], plan, heard)
    assert (verdict.kind, verdict.delay_s, verdict.because[0].budget_id) == ("wait", 2.0, "b0")
    longer = Verdict("wait", "throttle", delay_s=5.0)
    assert joined(longer, plan, heard).delay_s == 5.0


def test_a_call_is_delayed_once() -> None:
    plan, heard = planned(SAYS["throttle"])
    waited = joined(ALLOWED, plan, heard, waited_s=2.0)
    assert (waited.kind, waited.action, waited.delay_s) == ("send", "throttle", 2.0)
    assert joined(ALLOWED, plan, heard, delayed=True) is ALLOWED


@pytest.mark.parametrize(
    ("terms", "answer", "delay_s"),
    [
        ({}, Validation("throttle"), 1.0),
        ({"limitAction": "throttle", "delayMs": 300}, Validation("throttle"), 0.3),
        ({"maxDelayMs": 200}, Validation("throttle", delay_s=2.0), 0.2),
        ({}, Validation("throttle", delay_s=0.0), 0.0),
    ],
)
def test_how_long_a_call_is_delayed(terms: dict[str, Any], answer: Validation, delay_s: float) -> None:
    plan, heard = planned(answer, **terms)
    assert joined(ALLOWED, plan, heard).delay_s == delay_s


def test_alerts_are_told_once_in_a_window_and_when_the_call_is_sent() -> None:
    plan, heard = planned(SAYS["alert"])
    (alert,) = joined(ALLOWED, plan, heard).alerts
    assert (alert.message, alert.budget_id) == ("budget b0: the control server says: look here", "b0")
    assert alert.key
    plan, heard = planned(SAYS["alert"], SAYS["throttle"])
    assert joined(ALLOWED, plan, heard).alerts == ()
    assert len(joined(ALLOWED, plan, heard, waited_s=2.0).alerts) == 1


def test_a_model_that_cannot_be_used_is_told_of() -> None:
    plan, heard = planned(SAYS["degrade"], hindered="signed")
    verdict = joined(ALLOWED, plan, heard)
    assert (verdict.kind, verdict.action, verdict.hindered) == ("send", "alert", "signed")
    assert "asks for mini, but the call cannot use it: signed" in verdict.alerts[0].message


def test_without_a_model_the_policys_is_taken() -> None:
    nameless = Validation("degrade")
    plan, heard = planned(nameless)
    assert (demanded(heard), joined(ALLOWED, plan, heard).hindered) == ([], "it names none")
    named: list[dict[str, Any]] = [
        {"limitAction": "degrade", "degradeTo": "mini"},
        {"thresholds": [{"percent": 90, "action": "degrade", "degradeTo": "mini"}]},
    ]
    for terms in named:
        plan, heard = planned(nameless, **terms)
        assert [target.model for target in demanded(heard)] == ["mini"]


def test_a_call_of_the_very_model_goes_on() -> None:
    plan, heard = planned(Validation("degrade", target=Target("gpt-4o")))
    assert joined(ALLOWED, plan, heard) is ALLOWED


def test_what_comes_after_the_call_was_planned_changes_nothing() -> None:
    plan, heard = planned(SAYS["allow"])
    question = Questions(lambda: None).ask("b0", heard[0].match.ledger_key, estimate=1, spent=0)
    inquiry = Inquiry([(heard[0].match, question)])
    assert inquiry.is_open
    assert [each.answer for each in inquiry.heard] == [None]
    question.answer, question.is_over = SAYS["block"], True
    assert not inquiry.is_open
    assert joined(ALLOWED, plan, inquiry.heard) is ALLOWED
