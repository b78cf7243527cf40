"""From a plan and what the ledger answered: what is done about a call, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ..ledger.base import NEVER, Line, Outcome, Totals
from .index import Match
from .ladder import (
    Action,
    AlertStep,
    Level,
    alerts_in_force,
    degrade_in_force,
    strictest,
    throttle_in_force,
)
from .money import amount, share
from .plan import Plan
from .values import ATTRIBUTES

__all__ = ["ALLOWED", "Alert", "Explanation", "Verdict", "alert_of", "crossed_alerts", "decide", "iso"]


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for people, raised by the first whom the ledger's `mark_once(key, mark)` tells so."""

    level: Level
    message: str
    budget_id: str | None = None
    """The key of the budget; None of a rule."""
    key: str = ""
    """`""`: raised for every call."""
    mark: str = ""
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something was done, as figures. Amounts are in `unit`, dollars in nano-dollars."""

    action: Action
    cause: Literal["limit", "threshold", "rule", "price", "size", "server", "store"]
    budget_id: str | None = None
    """The key of the budget; None of a rule."""
    name: str | None = None
    type: str | None = None
    unit: str = "usd"
    spent: int | None = None
    """None where the ledger was not asked."""
    reserved: int | None = None
    """Held by open calls."""
    limit: int | None = None
    estimate: int | None = None
    """The hold of this call."""
    percent: float | None = None
    """Of the threshold."""
    window: str | None = None
    """The name of the window; None: the budget has no period."""
    period: str | None = None
    resets_at: float | None = None
    """Seconds since the epoch; None: never."""
    detail: str = ""
    """The reason of a rule; the model of a degrade; the delay of a throttle."""
    remedy: str = ""
    """What to change."""

    @property
    def text(self) -> str:
        """One line for people."""
        what = " ".join(part for part in (_head(self), self.detail) if part)
        figures = _figures(self) if self.budget_id is not None else ""
        return "; ".join(part for part in (what, figures, self.remedy) if part) + "."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a call."""

    kind: Literal["send", "wait", "refuse"]
    """`"wait"`: sleep `delay_s`, holding nothing; then reserve `plan.lines(waited=True)` and decide again."""
    action: Action
    to_model: str | None = None
    """The model to rewrite the call to."""
    delay_s: float = 0.0
    alerts: tuple[Alert, ...] = ()
    because: tuple[Explanation, ...] = ()
    """The first is the one that decided."""
    hindered: str | None = None
    """Why a degrade that is in force is not carried out."""
    wait_s: float = 0.0
    """Of a refusal: how long to wait for holds of open calls to settle, asking again, before it stands."""
    again_s: float = 0.0
    """Of a refusal that does not stand yet: in how many seconds to ask again."""

    @property
    def reason(self) -> str | None:
        return self.because[0].text if self.because else None


ALLOWED = Verdict("send", "allow")


def decide(plan: Plan, outcome: Outcome | None = None, *, waited_s: float = 0.0) -> Verdict:
    """What to do, now that the ledger has answered.

    `outcome`: of `reserve(plan.lines(…))`; None where nothing was asked because `plan.stop` is set or
    `plan.is_free`. `waited_s`: how long this call has been delayed by an earlier verdict.
    """
    if plan.stop is not None:
        return _stopped(plan)
    if outcome is None:
        totals: Sequence[Totals] = [Totals(0, 0, 0)] * len(plan.candidates[0].lines)
        outcome = Outcome("held", 0, tuple(totals))
    if outcome.kind == "refused":
        return _refused(plan, outcome)
    if _is_quiet(plan, outcome):
        return ALLOWED
    return _passed(plan, outcome, waited_s)


def crossed_alerts(plan: Plan, totals: Sequence[Totals]) -> tuple[Alert, ...]:
    """The alerts of a call's budgets that are in force at `totals`; for asking again after a settlement."""
    return tuple(_budget_alerts(plan, totals))


def iso(at: float) -> str:
    """`2026-11-23T00:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_quiet(plan: Plan, outcome: Outcome) -> bool:
    """Whether nothing is in force: the common case."""
    if outcome.kind != "held" or outcome.candidate or plan.alerts or plan.forced or plan.throttles:
        return False
    if plan.hindered and _rule_was_hindered(plan):
        return False
    for match, line, sums, steps in zip(
        plan.matches, plan.candidates[0].lines, outcome.totals, plan.steps, strict=False
    ):
        ladder = match.terms.ladder
        likely = sums.spent + sums.expected + line.expected
        if ladder.first_at != NEVER and likely >= ladder.first_at:
            return False
        # Rules add steps to those of the ladder.
        if steps is not ladder.degrades and steps and likely >= steps[0].at:
            return False
    return True


def _passed(plan: Plan, outcome: Outcome, waited_s: float) -> Verdict:
    chosen = plan.candidates[outcome.candidate]
    because: list[Explanation] = []
    to_model = chosen.model if chosen.model != plan.call.model else None
    if to_model is not None:
        because += _degraded(plan, outcome, to_model)
    hindered, missed = _missed(plan, outcome, chosen.model)
    waits = outcome.kind == "throttled"
    delay, throttled = _delay(plan, outcome) if waits or waited_s else (0.0, [])
    alerts = [*missed, *_budget_alerts(plan, outcome.totals), *_rule_alerts(plan)]
    actions: list[Action] = ["allow"]
    if to_model is not None:
        actions.append("degrade")
    if waits or waited_s:
        actions.append("throttle")
        because += throttled
    if alerts or hindered:
        actions.append("alert")
    return Verdict(
        "wait" if waits else "send",
        strictest(actions),
        to_model,
        delay if waits else waited_s,
        # Told when the call is sent: a rule's would be told twice.
        () if waits else tuple(alerts),
        tuple(because) or _alerted(plan, outcome),
        hindered,
    )


def _degraded(plan: Plan, outcome: Outcome, to_model: str) -> Iterator[Explanation]:
    """Why the asked model is passed over."""
    detail = f"from {plan.call.model} to {to_model}"
    if plan.forced is not None and not plan.demanded:
        yield Explanation("degrade", "rule", detail=detail, remedy="change the degrade rule of the policy")
    by_limit: list[Explanation] = []
    for index, match, line, sums in _budget_lines(plan, outcome, 0):
        step = degrade_in_force(plan.steps[index], sums.spent + sums.expected + line.expected)
        if step is not None and step.target.model != plan.call.model:
            yield _explain("degrade", "threshold", match, line, sums, percent=step.percent, detail=detail)
        elif not _fits(line, sums):
            by_limit.append(_explain("degrade", "limit", match, line, sums, detail=detail))
    yield from by_limit


def _fits(line: Line, sums: Totals) -> bool:
    if line.limit_held != NEVER and sums.spent + sums.held + line.hold > line.limit_held:
        return False
    return line.limit_expected == NEVER or sums.spent + sums.expected + line.expected <= line.limit_expected


def _missed(plan: Plan, outcome: Outcome, model: str | None) -> tuple[str | None, list[Alert]]:
    """A degrade that is in force and cannot be carried out becomes an alert."""
    if not plan.hindered:
        return None, []
    why: str | None = None
    alerts: list[Alert] = []
    for index, match, line, sums in _budget_lines(plan, outcome, outcome.candidate):
        step = degrade_in_force(plan.steps[index], sums.spent + sums.expected + line.expected)
        if step is None or step.target.model == model or step.target.model not in plan.hindered:
            continue
        why = why or plan.hindered[step.target.model]
        message = (
            f"{_who(match)} is at {step.percent:g} %, but the call cannot use {step.target.model}: "
            f"{plan.hindered[step.target.model]}"
        )
        alerts.append(alert_of(match, "warning", message, f"hindered:{step.percent:g}"))
    if why is None and plan.forced is None and _rule_was_hindered(plan):
        why = next(iter(plan.hindered.values()))
    return why, alerts


def _rule_was_hindered(plan: Plan) -> bool:
    wanted = {step.target.model for steps in plan.steps for step in steps}
    return any(model not in wanted for model in plan.hindered)


def _delay(plan: Plan, outcome: Outcome) -> tuple[float, list[Explanation]]:
    """The longest delay that is in force, and whose it is, longest first."""
    found: list[tuple[float, Explanation]] = []
    for _, match, line, sums in _budget_lines(plan, outcome, outcome.candidate):
        step = throttle_in_force(match.terms.ladder, sums.spent + sums.expected + line.expected)
        if step is not None:
            detail = f"by {step.delay_s:g} s"
            why = _explain("throttle", "threshold", match, line, sums, percent=step.percent, detail=detail)
            found.append((step.delay_s, why))
    rules = zip(
        plan.throttles,
        plan.candidates[outcome.candidate].lines[len(plan.matches) :],
        outcome.totals[len(plan.matches) :],
        strict=True,
    )
    for rule, line, sums in rules:
        if rule.requests_per_minute is None or sums.spent + sums.expected + 1 > rule.requests_per_minute:
            rate = f" ({rule.requests_per_minute} a minute)" if rule.requests_per_minute else ""
            why = Explanation("throttle", "rule", detail=f"by {rule.delay_s:g} s{rate}", unit=line.unit)
            found.append((rule.delay_s, why))
    found.sort(key=lambda pair: -pair[0])
    return (found[0][0] if found else 0.0), [why for _, why in found]


def _budget_alerts(plan: Plan, totals: Sequence[Totals]) -> Iterator[Alert]:
    for match, sums in zip(plan.matches, totals, strict=False):
        for step in alerts_in_force(match.terms.ladder.alerts, sums.spent):
            yield _step_alert(match, step, sums)
        for rule in plan.alerts:
            if rule.trigger == "budget_threshold":
                terms = match.terms
                percent = float(rule.threshold_percent)
                at = share(terms.limit, rule.threshold_percent)
                if sums.spent >= at:
                    yield _step_alert(match, AlertStep(at, percent, rule.level, rule.message), sums)


def _step_alert(match: Match, step: AlertStep, sums: Totals) -> Alert:
    terms = match.terms
    spent, limit = amount(sums.spent, terms.unit), amount(terms.limit, terms.unit)
    message = step.message or f"{_who(match)} has spent {spent} of {limit}, {step.percent:g} % or more"
    return alert_of(match, step.level, message, f"alert:{step.percent:g}")


def alert_of(match: Match, level: Level, message: str, mark: str) -> Alert:
    """An alert of a budget, told of once in its window per `mark`."""
    window = match.window
    rest = match.ledger_key[len(window.name) :]
    return Alert(level, message, match.key, window.mark + rest, mark, window.expires_at)


def _rule_alerts(plan: Plan) -> list[Alert]:
    return [Alert(rule.level, rule.message) for rule in plan.alerts if rule.trigger != "budget_threshold"]


def _alerted(plan: Plan, outcome: Outcome) -> tuple[Explanation, ...]:
    return tuple(
        [
            _explain("alert", "threshold", match, line, sums, percent=crossed[-1].percent)
            for _, match, line, sums in _budget_lines(plan, outcome, outcome.candidate)
            if (crossed := alerts_in_force(match.terms.ladder.alerts, sums.spent))
        ]
    )


def _refused(plan: Plan, outcome: Outcome) -> Verdict:
    because: list[Explanation] = []
    waits: list[float] = []
    for index, match, line, sums in _budget_lines(plan, outcome, outcome.candidate):
        if index == outcome.line or not _fits(line, sums):
            because.append(_explain("block", "limit", match, line, sums))
            waits.append(match.terms.wait_s)
    because.sort(key=lambda why: why.budget_id != plan.matches[outcome.line].key)
    alerts = tuple(_budget_alerts(plan, outcome.totals))
    # All of them have to come to fit, so the least patient one says how long.
    wait_s = min(waits, default=0.0) if outcome.fits_expected else 0.0
    return Verdict("refuse", "block", alerts=alerts, because=tuple(because), wait_s=wait_s)


def _stopped(plan: Plan) -> Verdict:
    stop = plan.stop
    assert stop is not None
    if stop.reason == "rule":
        why = Explanation("block", "rule", detail=stop.text, remedy="change the block rule of the policy")
        return Verdict("refuse", "block", because=(why,))
    match = plan.matches[stop.match]
    cause: Literal["limit", "price", "size"] = stop.reason
    model = plan.call.model or "the model"
    detail = {
        "limit": "",
        "price": f"the price of {model} is not known",
        "size": "the size of the call has no upper bound",
    }[cause]
    why = _explain("block", cause, match, None, None, detail=detail)
    return Verdict("refuse", "block", because=(why,))


def _budget_lines(plan: Plan, outcome: Outcome, candidate: int) -> Iterator[tuple[int, Match, Line, Totals]]:
    """The lines of the budgets; all candidates touch the same ones."""
    lines = plan.candidates[candidate].lines
    for index, match in enumerate(plan.matches):
        yield index, match, lines[index], outcome.totals[index]


def _explain(
    action: Action,
    cause: Literal["limit", "threshold", "price", "size"],
    match: Match,
    line: Line | None,
    sums: Totals | None,
    *,
    percent: float | None = None,
    detail: str = "",
) -> Explanation:
    budget, terms, window = match.budget, match.terms, match.window
    why = Explanation(
        action,
        cause,
        match.key,
        match.name or budget.name or budget.id or budget.type,
        budget.type,
        terms.unit,
        sums.spent if sums else None,
        sums.held if sums else None,
        terms.limit,
        line.hold if line else None,
        percent,
        None if window.resets_at is None else window.name,
        None if window.resets_at is None else str(terms.period),
        window.resets_at,
        detail,
        _remedy(action, cause, match, line, sums),
    )
    return why


def _remedy(action: Action, cause: str, match: Match, line: Line | None, sums: Totals | None) -> str:
    if cause == "price":
        return 'give its price in MeterOptions(prices=…), or set on_unknown={"price": …}'
    if cause == "size":
        return 'set a limit on its output, or on_unknown={"size": …}'
    if action == "alert":
        return ""
    reset = match.window.resets_at
    until = f" or wait until {iso(reset)}" if reset is not None else ""
    if action != "block":
        return f"raise the limit of {match.key}{until}"
    if match.terms.limit == 0 or line is None or sums is None:
        return f"a limit of 0 blocks all calls: raise the limit of {match.key}"
    reserved = sums.held + line.hold if line.limit_held != NEVER else sums.expected + line.expected
    needed = amount(sums.spent + reserved, line.unit)
    return f"raise the limit of {match.key} to {needed}, lower the call's maximum output{until}"


def _who(match: Match) -> str:
    kind = match.budget.type
    name = match.name or match.budget.name
    return f'budget {match.key} ({kind} "{name}")' if kind in ATTRIBUTES and name else f"budget {match.key}"


_VERBS = {"alert": "alert", "throttle": "delayed", "degrade": "degraded", "block": "blocked"}


def _head(why: Explanation) -> str:
    verb = _VERBS.get(why.action, why.action)
    if why.budget_id is None and why.cause in ("server", "store"):
        return ""
    if why.budget_id is None:
        return f"{verb} by a rule:" if why.action == "block" else f"{verb} by a rule,"
    name = f' ({why.type} "{why.name}")' if why.type in ATTRIBUTES else ""
    at = f" at {why.percent:g} %" if why.percent is not None else ""
    return f"{verb}{at} by budget {why.budget_id}{name}" + (":" if why.detail else "")


def _figures(why: Explanation) -> str:
    if why.spent is None or why.limit is None:
        return f"its limit is {amount(why.limit or 0, why.unit)}"
    parts = [f"it has spent {amount(why.spent, why.unit)} of {amount(why.limit, why.unit)}"]
    if why.reserved:
        parts.append(f"open calls hold {amount(why.reserved, why.unit)}")
    if why.estimate is not None:
        parts.append(f"this call may cost {amount(why.estimate, why.unit)}")
    if why.resets_at is not None:
        parts.append(f"it resets at {iso(why.resets_at)}")
    return ", ".join(parts)
