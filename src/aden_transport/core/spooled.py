"""Events as JSON that loses nothing, for a spool; and what is known of a call before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .. import _json
from ..events import Decision, MetricEvent, NormalizedUsage, RateLimit, ShadowDecision, ToolCallMetric
from ..ledger.base import Intent, Sending, Spooled

if TYPE_CHECKING:
    from ..policy import Plan
    from .exchange import Exchange

__all__ = ["event_of", "event_of_told", "intent_of", "spooled"]

_DEFAULTS = {field.name: field.default for field in fields(MetricEvent) if field.init}
_NESTED: Mapping[str, type] = {"usage": NormalizedUsage, "rate_limit": RateLimit, "decision": Decision}
_MAPPINGS = ("headers", "operation_details", "metadata", "content")
_TUPLES = ("finish_reasons", "faults")


def spooled(event: MetricEvent, *, emitted: bool = True, sending: Sending | None = None) -> Spooled:
    """Its id, and all of its fields but those that are as they would be anyway."""
    told: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(event, name)
        if value is not default and value != default:
            # Dataclasses are written by their fields.
            told[name] = dict(value) if name in _MAPPINGS else value
    return Spooled(event.event_id, str(_json.dumps(told), "utf-8"), emitted, sending)


def event_of(told: Mapping[str, Any]) -> MetricEvent:
    """The event that `spooled` wrote down. What a newer release knows beside is left out.

    Raises: TypeError where it is none.
    """
    given: dict[str, Any] = {name: value for name, value in told.items() if name in _DEFAULTS}
    given.setdefault("request_model", None)
    for name, kind in _NESTED.items():
        if given.get(name) is not None:
            if not isinstance(given[name], Mapping):
                raise TypeError(f"{name} is no {kind.__name__}")
            given[name] = _made(kind, given[name])
    for name in _TUPLES:
        if name in given:
            given[name] = tuple(given[name])
    if given.get("tool_calls") is not None:
        given["tool_calls"] = [ToolCallMetric(**call) for call in given["tool_calls"]]
    return MetricEvent(**given)


def _made(kind: Any, told: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    given = {key: value for key, value in told.items() if key in known}
    if isinstance(given.get("shadow"), Mapping):
        given["shadow"] = _made(ShadowDecision, given["shadow"])
    return kind(**given)


def intent_of(exchange: Exchange, plan: Plan) -> Intent:
    """What the event of a call needs if its process dies before it ends: no prompt, no credential."""
    logical = exchange.logical
    event = {
        "event_id": f"{int(exchange.started_at * 1000):012x}{exchange.span_id}",
        "trace_id": logical.trace_id,
        "span_id": exchange.span_id,
        "provider": exchange.call.vendor.id,
        "operation": exchange.call.operation.name,
        "stream": exchange.stream,
        "timestamp_s": exchange.started_at,
        "call_id": logical.call_id,
        "attempt": exchange.attempt,
        "region": exchange.call.region,
        "source": exchange.source,
        "metadata": exchange.metadata,
        "agent_name": exchange.settings.agent_name,
    }
    return {
        "event": {name: value for name, value in event.items() if value is not None},
        "models": [candidate.model for candidate in plan.candidates],
    }


def event_of_told(told: Mapping[str, Any]) -> MetricEvent:
    """The event that a process left, as `Ledger.take_events` gives it.

    Raises: TypeError, LookupError where it is none.
    """
    return _event_of_intent(told) if "models" in told else event_of(told)


def _event_of_intent(told: Mapping[str, Any]) -> MetricEvent:
    """The event of a call whose process died: nothing is known of its answer, and the hold was charged."""
    models, hold = told["models"], told["hold"]
    model = models[told["candidate"]]
    return event_of(
        {
            **told["event"],
            "request_model": model,
            "degraded_from": models[0] if model != models[0] else None,
            "billing": "unknown",
            "charged_nano_usd": hold,
            "hold_nano_usd": hold,
            "error": "its process ended before the call did",
        }
    )
