"""What a policy says, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from ..ledger.base import Unit
from .globs import Glob
from .ladder import Ladder, Level, LimitAction, Target, Threshold, build_ladder
from .window import NO_PERIOD, Period

__all__ = [
    "ANY",
    "ATTRIBUTES",
    "NOT_SAID",
    "TEMPLATE",
    "AlertRule",
    "BlockRule",
    "Budget",
    "BudgetType",
    "DegradeRule",
    "Mode",
    "OnUnknown",
    "Policy",
    "Scope",
    "Terms",
    "ThrottleRule",
    "Unknown",
]

BudgetType = Literal["global", "agent", "tenant", "customer", "feature", "tag", "context"]
Mode = Literal["hard", "expected"]
Unknown: TypeAlias = Literal["allow", "block"] | int
"""What is done about what cannot be known: an integer is a sum in nano-dollars to take for it."""

ATTRIBUTES: Mapping[BudgetType, str] = {
    "agent": "agent",
    "tenant": "tenant",
    "customer": "customer",
    "feature": "feature",
    "tag": "tags",
    "context": "context_id",
}
"""The attribute of a call that a type of budget is matched on. `"context"` is the older form of Aden's
budgets, which name a `context_id` and no type."""

TEMPLATE = "*"
"""The name of a budget that is a budget for each name."""


@dataclass(frozen=True, slots=True)
class OnUnknown:
    """What is done where a figure cannot be known; None where nothing is said."""

    price: Unknown | None = None
    """The model has no price."""
    size: Unknown | None = None
    """The call has no upper bound."""
    store: Unknown | None = None
    """The ledger does not answer in time."""
    server: Unknown | None = None
    """The control server does not answer in time."""

    def over(self, other: OnUnknown) -> OnUnknown:
        """What self says, and where it says nothing, what `other` does."""
        return OnUnknown(
            other.price if self.price is None else self.price,
            other.size if self.size is None else self.size,
            other.store if self.store is None else self.store,
            other.server if self.server is None else self.server,
        )


NOT_SAID = OnUnknown()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a budget allows. Budgets of the same terms share them."""

    limit: int
    """In the budget's unit; dollars in nano-dollars."""
    limit_action: LimitAction = "block"
    mode: Mode = "hard"
    thresholds: tuple[Threshold, ...] = ()
    target: Target | None = None
    """What `limit_action="degrade"` degrades to."""
    period: Period = NO_PERIOD
    timezone: str = "UTC"
    delay_s: float = 1.0
    """Of `limit_action="throttle"`."""
    max_delay_s: float = 30.0
    wait_s: float = 0.0
    """How long a call that only holds of open calls keep out waits for them."""
    max_output_tokens: int | None = None
    """A cap for calls that name none."""
    on_unknown: OnUnknown = NOT_SAID
    unit: Unit = "usd"
    ladder: Ladder = field(init=False, repr=False, compare=False)
    looks_ahead: bool = field(init=False, repr=False, compare=False)
    """Whether anything depends on what open calls are expected to cost."""

    def __post_init__(self) -> None:
        ladder = build_ladder(
            self.limit,
            self.thresholds,
            limit_action=self.limit_action,
            hard=self.mode == "hard",
            target=self.target,
            delay_s=self.delay_s,
            max_delay_s=self.max_delay_s,
        )
        object.__setattr__(self, "ladder", ladder)
        steps = ladder.degrades or ladder.throttles
        object.__setattr__(self, "looks_ahead", bool(steps) or self.mode != "hard" or self.wait_s > 0)


@dataclass(frozen=True, slots=True)
class Budget:
    """Whose money, and on what terms."""

    key: str
    """Its identity: `id`, else `type:name`. Sums are kept by it, so that changed terms keep them."""
    type: BudgetType
    name: str
    """`"*"`: a template, one budget for each name that calls bring. `""`: matched by `id` or `tags`."""
    terms: Terms
    id: str | None = None
    tags: tuple[str, ...] = ()
    """Of a tag budget: any of them matches, beside the name."""
    spent: int = 0
    """What has been spent at least, in the window in which this is first read."""
    generation: int = 0
    """Raised by a reset: sums begin anew."""

    @property
    def is_template(self) -> bool:
        return self.name == TEMPLATE

    @property
    def names(self) -> tuple[str, ...]:
        """What a call may say to be matched."""
        return tuple(dict.fromkeys(name for name in (self.name, self.id, *self.tags) if name))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which calls a rule is about; what is None is not asked."""

    provider: Glob | None = None
    model: Glob | None = None
    where: tuple[tuple[str, Glob], ...] = ()
    """Attributes of the call, each with what it has to match."""

    def covers(self, provider: str, model: str | None) -> bool:
        """Whether provider and model match; a call without a model matches no pattern but `*`."""
        return (self.provider is None or self.provider.matches(provider)) and (
            self.model is None or self.model.matches(model or "")
        )

    def holds(self, attributes: Mapping[str, Any]) -> bool:
        """Whether the attributes match; of several values (tags) one has to."""
        return all(_matches(glob, attributes.get(key)) for key, glob in self.where)


ANY = Scope()


def _matches(glob: Glob, value: Any) -> bool:
    values = value if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    return any(glob.matches(str(item)) for item in values if item is not None)


@dataclass(frozen=True, slots=True)
class BlockRule:
    """Calls that are refused, whatever they cost."""

    reason: str
    scope: Scope = ANY


@dataclass(frozen=True, slots=True)
class ThrottleRule:
    """Calls that are delayed."""

    key: str
    requests_per_minute: int | None = None
    """Calls of a minute that are not delayed; None: all are."""
    delay_s: float = 1.0
    scope: Scope = ANY


@dataclass(frozen=True, slots=True)
class DegradeRule:
    """Calls that use another model."""

    target: Target
    trigger: Literal["always", "budget_threshold", "rate_limit"] = "always"
    threshold_percent: float | Decimal = 100
    scope: Scope = ANY
    """`scope.model` is the rule's `from_model`."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Calls that people hear of."""

    message: str
    trigger: Literal["always", "model_usage", "budget_threshold"] = "always"
    level: Level = "warning"
    threshold_percent: float | Decimal = 100
    scope: Scope = ANY


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole document. `Policy()` allows everything."""

    budgets: tuple[Budget, ...] = ()
    throttles: tuple[ThrottleRule, ...] = ()
    blocks: tuple[BlockRule, ...] = ()
    degradations: tuple[DegradeRule, ...] = ()
    alerts: tuple[AlertRule, ...] = ()
    on_unknown: OnUnknown = NOT_SAID
    id: str | None = None
    name: str | None = None
    version: str | None = None

    @property
    def lasts(self) -> bool:
        """Whether a budget begins anew by the clock, so that its sum should outlast the process."""
        return any(budget.terms.period != NO_PERIOD for budget in self.budgets)
