"""Which calls an original Aden server is asked about before they are sent, and what its answer means.

Its sums come to a host with its policy, and are as old as that. So calls of budgets that are far enough used
up are asked about: all of them where little is left, else a share that grows with what is used. Values in,
values out. The options are those of `ControlOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ...policy.ladder import MAX_DELAY_S, Action, Target
from ...policy.money import NANO
from ..options import ControlOptions

__all__ = [
    "Standing",
    "Validation",
    "draw_of",
    "is_asked_about",
    "may_be_overruled",
    "read_validation",
    "share_of",
]

MOST_NAME = 256
"""Characters of a model's name."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget as a call finds it, in nano-dollars."""

    spent: int
    """As far as this host knows, what open calls probably cost included."""
    limit: int

    @property
    def percent(self) -> float:
        return 100.0 * self.spent / self.limit if self.limit else 100.0

    @property
    def left_usd(self) -> float:
        return (self.limit - self.spent) / NANO


def share_of(standing: Standing, options: ControlOptions) -> float:
    """The share of calls that are asked about, 0.0 to 1.0."""
    if not options.enable_hybrid_enforcement:
        return 0.0
    percent, threshold = standing.percent, options.server_validation_threshold
    if percent < threshold:
        return 0.0
    if options.adaptive_threshold_enabled and standing.left_usd <= options.adaptive_min_remaining_usd:
        return 1.0
    full = options.sampling_full_validation_percent
    if not options.sampling_enabled or percent >= full:
        return 1.0
    base = options.sampling_base_rate
    return base + (1.0 - base) * (percent - threshold) / (full - threshold)


def is_asked_about(standing: Standing, options: ControlOptions, *, draw: float) -> bool:
    """Whether a call is. `draw`: a number in [0, 1), of the call."""
    return draw < share_of(standing, options)


def draw_of(trace_id: str) -> float:
    """A number in [0, 1), the same for all attempts of a call."""
    digest = blake2b(trace_id.encode("utf-8", "replace"), digest_size=8, person=b"aden.validate").digest()
    return int.from_bytes(digest, "big") / 2.0**64


def may_be_overruled(standing: Standing, options: ControlOptions) -> bool:
    """Whether a server that allows the call is believed although the sums at hand say that it does not fit.
    `standing`: with the call."""
    if not options.enable_hybrid_enforcement or not standing.limit:
        return False
    return standing.percent <= 100.0 + options.max_expected_overspend_percent


@dataclass(frozen=True, slots=True)
class Validation:
    """A server's word on a call, as far as one budget goes."""

    action: Action
    reason: str | None = None
    spent: int | None = None
    """What it has counted, in nano-dollars."""
    target: Target | None = None
    """What it degrades to; None: it does not say."""
    delay_s: float | None = None
    """How long it delays; None: it does not say."""


def read_validation(told: Mapping[str, Any]) -> Validation | None:
    """The answer of `/v1/control/budget/validate`; None where it says nothing that can be used."""
    allowed, said, spent = told.get("allowed"), told.get("action"), told.get("authoritative_spend")
    if not isinstance(allowed, bool):
        return None
    action: Action = "allow" if allowed else "block"
    if said in ("degrade", "throttle", "alert", "allow"):
        action = said
    if isinstance(spent, bool) or not isinstance(spent, (int, float)) or not 0 <= spent <= 9_000_000:
        spent = None
    reason = told.get("reason")
    return Validation(
        action,
        reason[:200] if isinstance(reason, str) else None,
        None if spent is None else round(spent * NANO),
        _target(told) if action == "degrade" else None,
        _delay_s(told) if action == "throttle" else None,
    )


def _target(told: Mapping[str, Any]) -> Target | None:
    model, provider = told.get("degrade_to_model"), told.get("degrade_to_provider")
    if not isinstance(model, str) or not 0 < len(model) <= MOST_NAME:
        return None
    return Target(model, provider if isinstance(provider, str) and provider else None)


def _delay_s(told: Mapping[str, Any]) -> float | None:
    delay_ms = told.get("throttle_delay_ms", told.get("delay_ms"))
    if isinstance(delay_ms, bool) or not isinstance(delay_ms, (int, float)) or not delay_ms >= 0:
        return None
    return min(delay_ms / 1000, MAX_DELAY_S)
