"""What the policy says about a call, and what a server has answered about it: the stricter of the two.

Values in, values out. A model that the server asks for is in the plan already (`plan_call(demands=…)`), so
that it is held at its own price; here is said why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...policy import Alert, Explanation, Plan, Verdict
from ...policy.ladder import MAX_DELAY_S, Action, Target, strictest, throttle_in_force
from ...policy.verdict import alert_of
from .questions import Heard

__all__ = ["demanded", "joined", "refused", "refused_by"]

USUAL_DELAY_S = 1.0
"""Where neither the server nor the policy says how long. Source: aden-py."""


def demanded(heard: Sequence[Heard]) -> list[Target]:
    """The models that a server asks for."""
    asked = [each for each in heard if each.answer is not None and each.answer.action == "degrade"]
    return [target for each in asked if (target := _target(each)) is not None]


def joined(
    verdict: Verdict, plan: Plan, heard: Sequence[Heard], *, waited_s: float = 0.0, delayed: bool = False
) -> Verdict:
    """`verdict`, with what the server says. `waited_s`: how long a verdict has delayed the call. `delayed`:
    whether the hook has. A call is delayed once."""
    said = [each for each in heard if _action(each) != "allow"]
    for each in said:
        if _action(each) == "block":
            return refused_by(each)
    if verdict.kind == "refuse":
        return verdict
    for each in said:
        match _action(each):
            case "degrade":
                verdict = _degraded(verdict, plan, each)
            case "throttle":
                verdict = _throttled(verdict, each, waited_s=waited_s, delayed=delayed)
            case _:
                verdict = _alerted(verdict, each, _reason(each))
    # Told when the call is sent.
    return replace(verdict, alerts=()) if verdict.kind == "wait" else verdict


def refused(why: str) -> Verdict:
    """The refusal of a call because of what the server says, or does not."""
    return Verdict("refuse", "block", because=(Explanation("block", "server", detail=why),))


def refused_by(heard: Heard) -> Verdict:
    """The refusal of a call that the server does not allow."""
    return Verdict("refuse", "block", because=(_why("block", heard, _says(heard)),))


def _degraded(verdict: Verdict, plan: Plan, heard: Heard) -> Verdict:
    target, model = _target(heard), plan.call.model
    if target is not None and target.model == model:
        return verdict
    hindered = "it names none" if target is None else plan.hindered.get(target.model)
    if hindered is not None:
        asked = "another model" if target is None else target.model
        message = f"it asks for {asked}, but the call cannot use it: {hindered}"
        verdict = _alerted(verdict, heard, message, mark="hindered:server")
        return replace(verdict, hindered=verdict.hindered or hindered)
    why = _why("degrade", heard, f"from {model} to {target and target.model}, {_says(heard)}")
    return _with(verdict, why, first=plan.demanded and verdict.to_model == (target and target.model))


def _throttled(verdict: Verdict, heard: Heard, *, waited_s: float, delayed: bool) -> Verdict:
    delay_s = waited_s or _delay_s(heard)
    if (delayed and not waited_s) or not delay_s:
        return verdict
    why = _why("throttle", heard, f"by {delay_s:g} s, {_says(heard)}")
    longer = delay_s > verdict.delay_s
    if longer:
        verdict = replace(verdict, delay_s=delay_s)
    if not waited_s:
        verdict = replace(verdict, kind="wait")
    return _with(verdict, why, first=longer)


def _alerted(verdict: Verdict, heard: Heard, message: str, *, mark: str = "server") -> Verdict:
    text = f"budget {heard.match.key}: the control server says: {message}"
    alert: Alert = alert_of(heard.match, "warning", text, mark)
    why = _why("alert", heard, f"the control server says: {message}")
    return _with(replace(verdict, alerts=(*verdict.alerts, alert)), why)


def _with(verdict: Verdict, why: Explanation, *, first: bool = False) -> Verdict:
    """The stricter of a verdict and of what is done for a reason; `first`: that reason among those of its
    kind."""
    action = strictest([verdict.action, why.action])
    because = (why, *verdict.because) if first else (*verdict.because, why)
    ordered = sorted(because, key=lambda each: each.action != action)
    return replace(verdict, action=action, because=tuple(ordered))


def _action(heard: Heard) -> Action:
    return "allow" if heard.answer is None else heard.answer.action


def _reason(heard: Heard) -> str:
    reason = None if heard.answer is None else heard.answer.reason
    return reason or _action(heard)


def _says(heard: Heard) -> str:
    return f"the control server says: {_reason(heard)}"


def _target(heard: Heard) -> Target | None:
    """Of the answer; of the policy where that names none."""
    match, answer = heard
    if answer is not None and answer.target is not None:
        return answer.target
    steps = match.terms.ladder.degrades
    return match.terms.target or (steps[-1].target if steps else None)


def _delay_s(heard: Heard) -> float:
    match, answer = heard
    assert answer is not None
    ladder, delay_s = match.terms.ladder, answer.delay_s
    if delay_s is None:
        step = throttle_in_force(ladder, answer.spent or 0) or next(iter(ladder.throttles), None)
        delay_s = USUAL_DELAY_S if step is None else step.delay_s
    return min(delay_s, match.terms.max_delay_s, MAX_DELAY_S)


def _why(action: Action, heard: Heard, detail: str) -> Explanation:
    match, answer = heard
    return Explanation(
        action,
        "server",
        match.key,
        match.name or match.budget.name or match.key,
        match.budget.type,
        spent=None if answer is None else answer.spent,
        limit=match.terms.limit,
        detail=detail,
    )
