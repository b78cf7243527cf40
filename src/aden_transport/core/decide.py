"""What is done about a call before it is sent: the hook's answer and the policy's verdict as decisions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from ..errors import BudgetExceededError, RequestCancelledError
from ..events import ALLOW, BeforeRequestContext, BeforeRequestResult, Decision, ShadowDecision
from ..policy import Verdict
from ..policy.verdict import ALLOWED

__all__ = ["MAX_DELAY_S", "Shadowed", "decided", "decision_from_hook", "refusal"]

MAX_DELAY_S = 30.0
"""Longer waits are cut to this: a hook's or server's slip must not freeze calls."""


def decision_from_hook(result: Any) -> Decision:
    """The decision that a `before_request` result asks for. None is taken for proceed.

    Raises: TypeError where the hook returned something else; ValueError for a delay that is no duration.
    """
    if result is None:
        return ALLOW
    if not isinstance(result, BeforeRequestResult):
        raise TypeError(
            f"before_request returned {type(result).__name__}; "
            "return BeforeRequestResult.proceed() or another result."
        )
    delay = result.delay_ms / 1000
    if not math.isfinite(delay) or delay < 0:
        raise ValueError(f"before_request asked for a delay of {result.delay_ms} ms; use 0 or more.")
    delay = min(delay, MAX_DELAY_S)
    reason = result.reason or None
    match result.action:
        case "proceed":
            return ALLOW
        case "cancel":
            return Decision("block", reason or "cancelled by before_request", "hook")
        case "throttle":
            return Decision("throttle", reason, "hook", delay_s=delay)
        case "degrade":
            if not isinstance(result.to_model, str) or not result.to_model:
                raise TypeError(f"before_request asked to degrade to {result.to_model!r}; name a model.")
            return Decision("degrade", reason, "hook", to_model=result.to_model, delay_s=delay)
        case "alert":
            return Decision("alert", reason, "hook", delay_s=delay, level=result.level)
        case unknown:
            raise TypeError(
                f"before_request asked for {unknown!r}; use one of BeforeRequestResult's methods."
            )


@dataclass(frozen=True, slots=True)
class Shadowed(Verdict):
    """The verdict about a call that is sent as it is, because the policy is not enforced for it."""

    would: Verdict = ALLOWED
    """What would be done."""


def decided(verdict: Verdict, before: Decision = ALLOW) -> Decision:
    """A policy's verdict as the decision that an event tells of, over what was decided `before`."""
    if isinstance(verdict, Shadowed):
        if verdict.action != "allow" and before.action == "allow":
            message = verdict.would.alerts[0] if verdict.would.alerts else None
            before = Decision(
                verdict.action,
                None if message is None else message.message,
                "policy",
                budget_id=None if message is None else message.budget_id,
            )
        return replace(before, shadow=_shadow(verdict.would))
    if verdict.action == "allow":
        return before
    why = verdict.because[0] if verdict.because else None
    return Decision(
        verdict.action,
        verdict.reason,
        "policy",
        to_model=verdict.to_model,
        delay_s=verdict.delay_s,
        hindered=verdict.hindered,
        budget_id=None if why is None else why.budget_id,
    )


def _shadow(would: Verdict) -> ShadowDecision:
    why = would.because[0] if would.because else None
    return ShadowDecision(
        cast(Any, would.action),  # the three that change a call: others are carried out
        would.reason,
        would.to_model,
        would.delay_s,
        would.hindered,
        None if why is None else why.budget_id,
    )


def refusal(
    verdict: Verdict, reason: str, context: BeforeRequestContext, decision: Decision
) -> RequestCancelledError:
    """What the caller of a refused call gets."""
    why = verdict.because[0] if verdict.because else None
    if why is None or why.budget_id is None:
        return RequestCancelledError(reason, context, decision=decision)
    in_dollars = why.unit == "usd"
    return BudgetExceededError(
        reason,
        context,
        decision=decision,
        budget_id=why.budget_id,
        budget_name=why.name,
        spent_usd=why.spent / 1e9 if in_dollars and why.spent is not None else None,
        limit_usd=why.limit / 1e9 if in_dollars and why.limit is not None else None,
        resets_at=None if why.resets_at is None else datetime.fromtimestamp(why.resets_at, UTC),
    )
