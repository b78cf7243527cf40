"""The text of `policy check` and `policy explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ledger.base import Line, Totals
from .index import Match
from .money import amount
from .plan import Candidate, Plan
from .values import Budget, Policy
from .verdict import Explanation, Verdict, iso

__all__ = ["describe_policy", "explain_call", "explained"]

MOST = 50


def describe_policy(policy: Policy) -> str:
    """What a policy says, a line each; of many budgets the first fifty."""
    lines = [_count(policy)]
    lines += [f"  {line}" for budget in policy.budgets[:MOST] for line in _budget(budget)]
    if len(policy.budgets) > MOST:
        lines.append(f"  … and {len(policy.budgets) - MOST} more")
    return "\n".join(lines)


def explain_call(plan: Plan, verdict: Verdict, totals: Sequence[Totals] = ()) -> str:
    """What would be done about a call, which budgets it meets, and why."""
    call = plan.call
    lines = [f"{call.provider} {call.model or 'no model'}: {_decision(verdict)}"]
    lines += [f"  because {why.text}" for why in verdict.because]
    if verdict.hindered:
        lines.append(f"  not degraded: {verdict.hindered}")
    lines += [f"  alert [{alert.level}] {alert.message}" for alert in verdict.alerts]
    if not plan.matches:
        lines.append("  no budget matches")
    for index, match in enumerate(plan.matches):
        lines.append(f"  {_matched(match, totals[index] if index < len(totals) else None)}")
    for candidate in plan.candidates:
        lines.append(f"  candidate {candidate.model or 'no model'}: {_holds(plan, candidate)}")
    return "\n".join(lines)


def explained(plan: Plan, verdict: Verdict, totals: Sequence[Totals] = ()) -> dict[str, Any]:
    """The same for programs: amounts in dollars, times as ISO 8601, delays in milliseconds."""
    call = plan.call
    return {
        "provider": call.provider,
        "model": call.model,
        "action": verdict.action,
        "to_model": verdict.to_model,
        "delay_ms": verdict.delay_s * 1000,
        "wait_ms": verdict.wait_s * 1000,
        "because": [_reason(why) for why in verdict.because],
        "not_degraded": verdict.hindered,
        "alerts": [
            {"level": alert.level, "message": alert.message, "budget_id": alert.budget_id}
            for alert in verdict.alerts
        ],
        "budgets": [
            _sums(match, totals[index] if index < len(totals) else None)
            for index, match in enumerate(plan.matches)
        ],
        "candidates": [_candidate(plan, candidate) for candidate in plan.candidates],
    }


def _reason(why: Explanation) -> dict[str, Any]:
    return {
        "action": why.action,
        "cause": why.cause,
        "budget_id": why.budget_id,
        "unit": why.unit,
        "spent": _plain(why.spent, why.unit),
        "reserved": _plain(why.reserved, why.unit),
        "limit": _plain(why.limit, why.unit),
        "estimate": _plain(why.estimate, why.unit),
        "percent": why.percent,
        "resets_at": _time(why.resets_at),
        "remedy": why.remedy or None,
        "text": why.text,
    }


def _sums(match: Match, sums: Totals | None) -> dict[str, Any]:
    terms = match.terms
    return {
        "budget_id": match.key,
        "type": match.budget.type,
        "name": match.name or match.budget.name,
        "unit": terms.unit,
        "limit": _plain(terms.limit, terms.unit),
        "spent": _plain(None if sums is None else sums.spent, terms.unit),
        "reserved": _plain(None if sums is None else sums.held, terms.unit),
        "period": str(terms.period),
        "resets_at": _time(match.window.resets_at),
    }


def _candidate(plan: Plan, candidate: Candidate) -> dict[str, Any]:
    line = _dollars(plan, candidate)
    if line is not None and candidate.unknown and not line.hold:
        line = None
    return {
        "model": candidate.model,
        "most_usd": None if line is None else line.hold / 1e9,
        "expected_usd": None if line is None else line.expected / 1e9,
        "unknown": candidate.unknown,
    }


def _dollars(plan: Plan, candidate: Candidate) -> Line | None:
    """What it would hold on the first budget of dollars."""
    for match, line in zip(plan.matches, candidate.lines, strict=False):
        if match.terms.unit == "usd":
            return line
    return None


def _plain(value: int | None, unit: str) -> float | int | None:
    return value / 1e9 if value is not None and unit == "usd" else value


def _time(at: float | None) -> str | None:
    return None if at is None else iso(at)


def _decision(verdict: Verdict) -> str:
    parts: list[str] = [verdict.action]
    if verdict.to_model:
        parts.append(f"to {verdict.to_model}")
    if verdict.delay_s:
        parts.append(f"after {verdict.delay_s:g} s")
    if verdict.wait_s:
        parts.append(f"unless open calls settle within {verdict.wait_s:g} s")
    return " ".join(parts)


def _matched(match: Match, sums: Totals | None) -> str:
    terms = match.terms
    parts = [f"budget {match.key}: limit {amount(terms.limit, terms.unit)}"]
    if sums is not None:
        parts.append(f"spent {amount(sums.spent, terms.unit)}")
        parts.append(f"reserved {amount(sums.held, terms.unit)}")
    if match.window.resets_at is not None:
        parts.append(f"{terms.period}, resets at {iso(match.window.resets_at)}")
    return ", ".join(parts)


def _holds(plan: Plan, candidate: Candidate) -> str:
    line = _dollars(plan, candidate)
    if line is None:
        return "no budget of dollars"
    if candidate.unknown:
        taken = f"{amount(line.hold)} is" if line.hold else "nothing is"
        return f"its {candidate.unknown} is not known; {taken} held for it, as on_unknown says"
    return f"may cost {amount(line.hold)}, probably {amount(line.expected)}"


def _count(policy: Policy) -> str:
    parts = [
        (len(policy.budgets), "budget"),
        (len(policy.blocks), "block rule"),
        (len(policy.throttles), "throttle rule"),
        (len(policy.degradations), "degrade rule"),
        (len(policy.alerts), "alert rule"),
    ]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts if n) or "an empty policy"


def _budget(budget: Budget) -> list[str]:
    terms = budget.terms
    each = " each" if budget.is_template else ""
    when = "" if terms.period.kind == "none" else f", {terms.period} ({terms.timezone})"
    lines = [f"{budget.key}: {amount(terms.limit, terms.unit)}{each}{when}, {terms.mode}"]
    for step in terms.thresholds:
        detail = f" to {step.target.model}" if step.target else ""
        detail += f" by {step.delay_s:g} s" if step.action == "throttle" else ""
        lines.append(f"  {float(step.percent):g} %: {step.action}{detail}")
    target = f" to {terms.target.model}" if terms.target else ""
    lines.append(f"  limit: {terms.limit_action}{target}")
    return lines
