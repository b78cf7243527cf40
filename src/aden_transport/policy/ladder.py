"""A budget's thresholds and what happens at its limit, as numbers to compare sums with.

Alerts look at what is spent; degrade and throttle at what is expected with this call; the limit at what is
held with it, or at what is expected. Everything crossed is in force; of each kind the latest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from ..ledger.base import NEVER
from .money import share

__all__ = [
    "Action",
    "AlertStep",
    "DegradeStep",
    "Ladder",
    "Level",
    "LimitAction",
    "MAX_DELAY_S",
    "Target",
    "Threshold",
    "ThrottleStep",
    "alerts_in_force",
    "build_ladder",
    "degrade_at",
    "degrade_in_force",
    "strictest",
    "throttle_in_force",
]

Action = Literal["allow", "alert", "throttle", "degrade", "block"]
LimitAction = Literal["block", "degrade", "throttle", "alert"]
Level = Literal["info", "warning", "critical"]

MAX_DELAY_S = 30.0
"""Longer delays are cut to this."""

_ORDER: tuple[Action, ...] = ("allow", "alert", "throttle", "degrade", "block")


class Target(NamedTuple):
    """The model that a degrade asks for."""

    model: str
    provider: str | None = None
    """None: that of the call."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What happens from a share of the limit on."""

    percent: float | Decimal
    action: Action
    target: Target | None = None
    delay_s: float = 1.0
    level: Level | None = None
    """Of an alert; None: warning, from 100 % on critical."""
    message: str | None = None


class AlertStep(NamedTuple):
    at: int
    percent: float
    level: Level
    message: str | None


class DegradeStep(NamedTuple):
    at: int
    percent: float
    target: Target


class ThrottleStep(NamedTuple):
    at: int
    percent: float
    delay_s: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """Steps by rising amounts; amounts are in the budget's unit."""

    alerts: tuple[AlertStep, ...] = ()
    degrades: tuple[DegradeStep, ...] = ()
    throttles: tuple[ThrottleStep, ...] = ()
    limit_held: int = NEVER
    """What may be held at most."""
    limit_expected: int = NEVER
    """What may be expected at most."""
    relief: Target | None = None
    """The model that a hard limit does not hold for: it is what the limit degrades to."""
    stops_all: bool = False
    """Whether nothing fits the limit, not even a call that costs nothing."""
    throttle_at: int = NEVER
    """Where the first throttle stands."""
    first_at: int = NEVER
    """Below this amount no step is in force; `NEVER`: there is none."""


def build_ladder(
    limit: int,
    thresholds: Sequence[Threshold],
    *,
    limit_action: LimitAction,
    hard: bool,
    target: Target | None,
    delay_s: float,
    max_delay_s: float,
) -> Ladder:
    """The steps of a budget.

    `target`: what `limit_action="degrade"` degrades to. `delay_s`: of `limit_action="throttle"`.
    """
    # A limit that blocks is no step: it stops calls. A step to block below 100 % lowers it.
    steps = [*thresholds, Threshold(100, limit_action, target, delay_s)]
    alerts: list[AlertStep] = []
    degrades: list[DegradeStep] = []
    throttles: list[ThrottleStep] = []
    blocks: list[int] = []
    for step in steps:
        at, percent = share(limit, step.percent), float(step.percent)
        match step.action:
            case "alert":
                level = step.level or ("critical" if percent >= 100 else "warning")
                alerts.append(AlertStep(at, percent, level, step.message))
            case "degrade" if step.target is not None:
                degrades.append(DegradeStep(at, percent, step.target))
            case "throttle":
                throttles.append(ThrottleStep(at, percent, min(step.delay_s, max_delay_s, MAX_DELAY_S)))
            case "block":
                blocks.append(at)
            case _:
                pass
    relief = target if limit_action == "degrade" and hard and not blocks else None
    stop = min(blocks, default=limit if relief else NEVER)
    firsts = [
        *[step.at for step in alerts],
        *[step.at for step in degrades],
        *[step.at for step in throttles],
    ]
    return Ladder(
        tuple(sorted(alerts, key=_place)),
        tuple(sorted(degrades, key=_place)),
        tuple(sorted(throttles, key=_place)),
        limit_held=stop if hard else NEVER,
        limit_expected=NEVER if hard else stop,
        relief=relief,
        stops_all=stop == 0 and relief is None,
        throttle_at=min([step.at for step in throttles], default=NEVER),
        first_at=min(firsts, default=NEVER),
    )


def _place(step: AlertStep | DegradeStep | ThrottleStep) -> tuple[int, float]:
    # All steps of a limit of 0 stand at 0.
    return step.at, step.percent


def degrade_at(steps: Sequence[DegradeStep], model: str | None) -> int:
    """The amount from which on `model` is one too dear: the first step, or the one after its own."""
    if len(steps) == 1:
        return NEVER if steps[0].target.model == model else steps[0].at
    found = NEVER
    for step in reversed(steps):
        if step.target.model == model:
            return found
        found = step.at
    return found


def degrade_in_force(steps: Sequence[DegradeStep], expected: int) -> DegradeStep | None:
    """The latest step at or below what is expected."""
    crossed = [step for step in steps if step.at <= expected]
    return crossed[-1] if crossed else None


def throttle_in_force(ladder: Ladder, expected: int) -> ThrottleStep | None:
    """The latest step at or below what is expected."""
    crossed = [step for step in ladder.throttles if step.at <= expected]
    return crossed[-1] if crossed else None


def alerts_in_force(steps: Iterable[AlertStep], spent: int) -> list[AlertStep]:
    """All steps at or below what is spent."""
    return [step for step in steps if step.at <= spent]


def strictest(actions: Iterable[Action]) -> Action:
    """block > degrade > throttle > alert > allow."""
    found = set(actions)
    for action in reversed(_ORDER):
        if action in found:
            return action
    return "allow"
