"""A budget of a policy document, in Aden's spellings and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from .fields import Faults, Fields, Repeated, shown
from .ladder import Action, Target, Threshold
from .money import MAX_USD, to_nano
from .values import NOT_SAID, TEMPLATE, Budget, BudgetType, OnUnknown, Terms, Unknown
from .window import NO_PERIOD, Kind, Period

__all__ = ["BUDGET", "budget_from", "unknown_from"]

MAX_PERCENT = 1_000
MAX_STEPS = 100
MAX_TAGS = 1_000
MAX_WAIT_MS = 600_000

BUDGET = {
    "id": "id",
    "context_id": "context_id",
    "type": "type",
    "name": "name",
    "limit": "limit",
    "limit_usd": "limit",
    "spent": "spent",
    "current_spend_usd": "spent",
    "limit_action": "limit_action",
    "action_on_exceed": "limit_action",
    "degrade_to_model": "degrade_to",
    "degrade_to": "degrade_to",
    "degrade_to_provider": "degrade_to_provider",
    "delay_ms": "delay_ms",
    "tags": "tags",
    "thresholds": "thresholds",
    "alerts": "alerts",
    "mode": "mode",
    "period": "period",
    "timezone": "timezone",
    "on_unknown": "on_unknown",
    "max_output_tokens": "max_output_tokens",
    "max_delay_ms": "max_delay_ms",
    "wait_ms": "wait_ms",
    "generation": "generation",
    "resets": "generation",
}
BUDGET_UNUSED = frozenset(
    {"notifications", "created_at", "updated_at", "team_id", "description", "tag_category", "_id", "__v"}
)
"""Members that Aden's server sends and nothing here depends on."""

THRESHOLD = {
    "percent": "percent",
    "threshold": "percent",
    "action": "action",
    "degrade_to": "degrade_to",
    "degrade_to_model": "degrade_to",
    "degrade_to_provider": "degrade_to_provider",
    "delay_ms": "delay_ms",
    "level": "level",
    "message": "message",
    "enabled": "enabled",
}
BELONGS = {
    "degrade_to": "degrade",
    "degrade_to_provider": "degrade",
    "delay_ms": "throttle",
    "level": "alert",
    "message": "alert",
}
"""Members of a threshold that say something about one action only."""

TYPES: Mapping[str, BudgetType] = {
    "global": "global",
    "agent": "agent",
    "tenant": "tenant",
    "customer": "customer",
    "feature": "feature",
    "tag": "tag",
}
ACTIONS: Mapping[str, Action] = {
    "kill": "block",
    "block": "block",
    "degrade": "degrade",
    "throttle": "throttle",
    "alert": "alert",
}
LEVELS = {"info": "info", "warning": "warning", "critical": "critical"}
PERIODS: Mapping[str, Kind] = {
    "none": "none",
    "hourly": "hourly",
    "daily": "daily",
    "weekly": "weekly",
    "monthly": "monthly",
}
SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
MAX_ROLLING_S = 366 * 86_400
_LENGTH = re.compile(r"([1-9][0-9]{0,5})([mhdw])", re.ASCII)

UNKNOWN = {"price": "price", "size": "size", "store": "store", "server": "server"}


def budget_from(
    value: Mapping[Any, Any], path: str, faults: Faults, shared: dict[Terms, Terms]
) -> Budget | None:
    """The budget that an object describes; None where it names none.

    `shared`: terms of the document so far, so that a million budgets of the same terms keep them once.
    """
    fields = Fields(value, path, faults, known=BUDGET, unused=BUDGET_UNUSED)
    terms = _terms(fields)
    kind, name, id_, tags = _identity(fields)
    if not (name or id_ or tags or kind == "global"):
        fields.fault("name", f'give the {kind} that it is for, or "*" for each')
        return None
    spent = fields.number("spent", 0, high=MAX_USD, what="dollars")
    if name == TEMPLATE and spent:
        fields.fault("spent", "each budget of a template has its own sum; leave it out")
    return Budget(
        key=id_ or (f"{kind}:{name or ','.join(tags)}" if name or tags else kind),
        type=kind,
        name=name,
        terms=shared.setdefault(terms, terms),
        id=id_,
        tags=tags,
        spent=to_nano(spent or 0),
        generation=fields.whole("generation", 0, high=1_000_000_000) or 0,
    )


def _identity(fields: Fields) -> tuple[BudgetType, str, str | None, tuple[str, ...]]:
    kind: BudgetType = fields.one_of("type", TYPES, "global")
    id_, context_id = fields.text("id"), fields.text("context_id")
    name = fields.text("name", "") or ""
    tags = fields.texts("tags", MAX_TAGS)
    if context_id is not None and "type" not in fields:
        # Aden's legacy form: for the calls of one context.
        kind, name = "context", context_id
    if tags and kind != "tag":
        fields.fault("tags", f"only budgets of type tag have tags, not {kind}")
    if "*" in name and name != TEMPLATE:
        fields.fault("name", f'give a whole name, or "*" alone for a budget each, not {shown(name)}')
    if name == TEMPLATE and kind == "global":
        fields.fault("name", 'a global budget is one for all; for a budget each, give "type", too')
    return kind, name, id_ or (context_id if kind != "context" else None), tags


def _terms(fields: Fields) -> Terms:
    limit = fields.number("limit", None, high=MAX_USD, what="dollars")
    if limit is None and "limit" not in fields:
        fields.fault("limit", f"give dollars from 0 to {MAX_USD}; 0 blocks")
    action = fields.one_of("limit_action", ACTIONS, "block")
    target = _target(fields)
    if action == "degrade" and target is None:
        fields.fault("degrade_to", 'give degradeToModel, as limitAction is "degrade"')
    if action != "degrade" and target is not None:
        fields.fault(
            "degrade_to", f'limitAction is {shown(action)}; it has to be "degrade", or leave this out'
        )
    if "delay_ms" in fields and action != "throttle":
        fields.fault("delay_ms", 'this is the delay of limitAction "throttle"; thresholds have their own')
    stops = action in ("block", "degrade")
    mode = fields.one_of(
        "mode", {"hard": "hard", "expected": "expected"}, "hard" if action == "block" else "expected"
    )
    if mode == "hard" and not stops:
        fields.fault("mode", f'"hard" holds for limitAction block, kill and degrade, not {action}')
    unknown = fields.raw("on_unknown")
    return Terms(
        limit=to_nano(limit or 0),
        limit_action=action,
        mode=mode,
        thresholds=_thresholds(fields),
        target=target if action == "degrade" else None,
        period=_period(fields),
        timezone=_timezone(fields),
        delay_s=fields.seconds("delay_ms", 1000, high_ms=MAX_WAIT_MS),
        max_delay_s=fields.seconds("max_delay_ms", 30_000, high_ms=30_000),
        wait_s=fields.seconds("wait_ms", 0, high_ms=MAX_WAIT_MS),
        max_output_tokens=fields.whole("max_output_tokens", None, low=1, high=1_000_000_000),
        on_unknown=(
            NOT_SAID if unknown is None else unknown_from(unknown, fields.at("on_unknown"), fields.faults)
        ),
    )


def _target(fields: Fields) -> Target | None:
    model, provider = fields.text("degrade_to"), fields.text("degrade_to_provider")
    if model is None and provider is not None and "degrade_to" not in fields:
        fields.fault("degrade_to_provider", "give the model, too")
    return None if model is None else Target(model, provider)


def _thresholds(fields: Fields) -> tuple[Threshold, ...]:
    steps = [
        _threshold(item, path, fields.faults, None) for item, path in fields.objects("thresholds", MAX_STEPS)
    ]
    steps += [
        _threshold(item, path, fields.faults, "alert") for item, path in fields.objects("alerts", MAX_STEPS)
    ]
    return tuple([step for step in steps if step is not None])


def _threshold(
    value: Mapping[Any, Any], path: str, faults: Faults, action: Action | None
) -> Threshold | None:
    """`action`: of a list whose members do not say it."""
    fields = Fields(value, path, faults, known=THRESHOLD)
    percent = fields.number("percent", None, high=MAX_PERCENT)
    if percent is None and "percent" not in fields:
        fields.fault("percent", f"give a number from 0 to {MAX_PERCENT}")
    action = fields.one_of("action", ACTIONS, action)
    if action is None and "action" not in fields:
        fields.fault("action", f"give one of {', '.join(ACTIONS)}")
    for name, owner in BELONGS.items():
        if name in fields and action is not None and action != owner:
            fields.fault(name, f"only {owner} has this, not {action}")
    target = _target(fields)
    if action == "degrade" and target is None and "degrade_to" not in fields:
        fields.fault("degrade_to", "give the model to degrade to")
    step = Threshold(
        percent if percent is not None else 100,
        action or "alert",
        target,
        fields.seconds("delay_ms", 1000, high_ms=MAX_WAIT_MS),
        fields.one_of("level", LEVELS, None),
        fields.text("message"),
    )
    return step if fields.flag("enabled", True) else None


def _period(fields: Fields) -> Period:
    value = fields.raw("period")
    if not isinstance(value, Mapping):
        return Period(fields.one_of("period", PERIODS, NO_PERIOD.kind))
    length = value.get("rolling") if len(value) == 1 and not isinstance(value, Repeated) else None
    found = _LENGTH.fullmatch(length) if isinstance(length, str) else None
    seconds = int(found[1]) * SECONDS[found[2]] if found else 0
    if not 0 < seconds <= MAX_ROLLING_S:
        fields.fault("period", 'give {"rolling": "24h"}, with m, h, d or w, of at most 366 days')
        return NO_PERIOD
    return Period("rolling", seconds)


def _timezone(fields: Fields) -> str:
    name = fields.text("timezone", "UTC") or "UTC"
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        fields.fault(
            "timezone",
            f'give a name like "Europe/Berlin", not {shown(name)} (the package tzdata brings the names)',
        )
        return "UTC"
    return name


def unknown_from(value: Any, path: str, faults: Faults) -> OnUnknown:
    """What `on_unknown` says."""
    if not isinstance(value, Mapping):
        faults.add(path, f'give an object like {{"price": "allow", "size": "block"}}, not {shown(value)}')
        return NOT_SAID
    fields = Fields(value, path, faults, known=UNKNOWN)
    return OnUnknown(
        _unknown(fields, "price"),
        _unknown(fields, "size"),
        _unknown(fields, "store"),
        _unknown(fields, "server"),
    )


def _unknown(fields: Fields, name: str) -> Unknown | None:
    value = fields.raw(name)
    if value in ("allow", "block") and isinstance(value, str):
        return "allow" if value == "allow" else "block"
    if isinstance(value, str):
        fields.fault(name, f'give "allow", "block" or a sum in dollars, not {shown(value)}')
        return None
    dollars = fields.number(name, None, high=MAX_USD, what='"allow", "block" or dollars')
    return None if dollars is None else to_nano(dollars)
