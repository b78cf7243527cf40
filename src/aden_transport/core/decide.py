"""What is done about a call before it is sent: the hook's answer as a decision."""

from __future__ import annotations

import math
from typing import Any

from ..events import ALLOW, BeforeRequestResult, Decision

__all__ = ["MAX_DELAY_S", "decision_from_hook"]

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
