"""The rules of a policy document beside its budgets: block, throttle, degrade, alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .budgets import LEVELS, MAX_PERCENT, MAX_WAIT_MS
from .fields import Faults, Fields
from .globs import Glob
from .ladder import Target
from .values import AlertRule, BlockRule, DegradeRule, Scope, ThrottleRule

__all__ = ["alert_from", "block_from", "degrade_from", "throttle_from"]

SCOPE = {
    "id": "id",
    "provider": "provider",
    "context_id": "context_id",
    "agent": "agent",
    "tenant": "tenant",
    "tenant_id": "tenant",
    "customer": "customer",
    "customer_id": "customer",
    "feature": "feature",
    "tag": "tags",
    "tags": "tags",
}
MODEL = {"model_pattern": "model", "model": "model"}
UNUSED = frozenset({"name", "description", "created_at", "updated_at", "_id", "__v"})
"""Members that Aden's server sends and nothing here depends on."""

ATTRIBUTES = ("agent", "tenant", "customer", "feature", "tags")
DEGRADE_TRIGGERS = {word: word for word in ("always", "budget_threshold", "rate_limit")}
ALERT_TRIGGERS = {word: word for word in ("always", "model_usage", "budget_threshold")}


def block_from(value: Mapping[Any, Any], path: str, faults: Faults) -> BlockRule:
    fields = Fields(value, path, faults, known={**SCOPE, **MODEL, "reason": "reason"}, unused=UNUSED)
    return BlockRule(fields.text("reason") or "blocked by a rule of the policy", _scope(fields))


def throttle_from(value: Mapping[Any, Any], path: str, faults: Faults) -> ThrottleRule:
    known = {**SCOPE, **MODEL, "requests_per_minute": "rpm", "delay_ms": "delay_ms"}
    fields = Fields(value, path, faults, known=known, unused=UNUSED)
    if "rpm" not in fields and "delay_ms" not in fields:
        fields.fault("", "give requests_per_minute, delay_ms or both")
    scope = _scope(fields)
    return ThrottleRule(
        # The same rule is the same in every process and after every reload.
        f"throttle:{fields.text('id') or _named(scope)}",
        fields.whole("rpm", None, high=1_000_000_000),
        min(fields.seconds("delay_ms", 1000, high_ms=MAX_WAIT_MS), 30.0),
        scope,
    )


def degrade_from(value: Mapping[Any, Any], path: str, faults: Faults) -> DegradeRule:
    known = {
        **SCOPE,
        "from_model": "model",
        "to_model": "to_model",
        "to_provider": "to_provider",
        "trigger": "trigger",
        "threshold_percent": "percent",
    }
    fields = Fields(value, path, faults, known=known, unused=UNUSED)
    for name in ("model", "to_model"):
        if name not in fields:
            fields.fault(name, "give from_model and to_model")
    trigger = fields.one_of("trigger", DEGRADE_TRIGGERS, "always")
    return DegradeRule(
        Target(fields.text("to_model") or "", fields.text("to_provider")),
        trigger,
        _percent(fields, trigger),
        _scope(fields),
    )


def alert_from(value: Mapping[Any, Any], path: str, faults: Faults) -> AlertRule:
    known = {
        **SCOPE,
        **MODEL,
        "trigger": "trigger",
        "level": "level",
        "message": "message",
        "threshold_percent": "percent",
    }
    fields = Fields(value, path, faults, known=known, unused=UNUSED)
    trigger = fields.one_of("trigger", ALERT_TRIGGERS, "always")
    if trigger == "model_usage" and "model" not in fields:
        fields.fault("model_pattern", "give the models whose usage is told of")
    return AlertRule(
        fields.text("message") or "an alert rule of the policy matched",
        trigger,
        fields.one_of("level", LEVELS, "warning"),
        _percent(fields, trigger),
        _scope(fields),
    )


def _percent(fields: Fields, trigger: str) -> Any:
    if trigger == "budget_threshold" and "percent" not in fields:
        fields.fault("threshold_percent", f"give a number from 0 to {MAX_PERCENT}")
    return fields.number("percent", 100, high=MAX_PERCENT)


def _scope(fields: Fields) -> Scope:
    where = [(name, Glob(text)) for name in ATTRIBUTES for text in fields.texts(name, 1)]
    context_id = fields.text("context_id")
    if context_id is not None:
        where.append(("context_id", Glob(context_id)))
    return Scope(_glob(fields, "provider"), _glob(fields, "model"), tuple(where))


def _glob(fields: Fields, name: str) -> Glob | None:
    pattern = fields.text(name)
    return None if pattern is None else Glob(pattern, fold=True)


def _named(scope: Scope) -> str:
    parts = [("provider", scope.provider), ("model", scope.model), *scope.where]
    return ",".join(f"{name}={glob.pattern}" for name, glob in parts if glob is not None) or "all"
