"""Events as Aden's protocol has them: JSON objects of one level, what is not known as null."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from ...events import MetricEvent

__all__ = ["Health", "control_event", "error_event", "heartbeat"]

Health = Literal["healthy", "degraded", "reconnecting"]
MAX_TEXT = 2_000


def heartbeat(
    *,
    at: float,
    instance: str,
    agent_name: str | None,
    status: Health,
    requests: int,
    errors: int,
    policy_age_s: float | None,
    connected: bool,
    version: str,
) -> dict[str, Any]:
    """How this process is, since the last one. `policy_age_s`: None where there never was a policy."""
    return {
        "event_type": "heartbeat",
        "timestamp": iso(at),
        "sdk_instance_id": instance,
        "agent_name": agent_name,
        "status": status,
        "requests_since_last": requests,
        "errors_since_last": errors,
        "policy_cache_age_seconds": -1 if policy_age_s is None else round(policy_age_s, 3),
        "websocket_connected": connected,
        "sdk_version": version,
    }


def control_event(
    event: MetricEvent, *, instance: str, agent_name: str | None, policy_id: str | None
) -> dict[str, Any] | None:
    """What was done about the call of `event`; None where nothing was."""
    decision = event.decision
    if decision.action == "allow":
        return None
    context_id = (event.metadata or {}).get("context_id")
    delay_ms = decision.delay_s * 1000 or event.throttle_ms
    return {
        "event_type": "control",
        "event_id": f"{event.event_id}-control",
        "timestamp": event.timestamp,
        "sdk_instance_id": instance,
        "agent_name": agent_name,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "provider": event.provider,
        "original_model": event.degraded_from or event.request_model,
        "action": decision.action,
        "context_id": None if context_id is None else str(context_id),
        "reason": decision.reason,
        "degraded_to": event.request_model if event.degraded_from else None,
        "throttle_delay_ms": round(delay_ms, 3) if delay_ms else None,
        "estimated_cost": None if event.hold_nano_usd is None else event.hold_nano_usd / 1e9,
        "policy_id": policy_id or "default",
        "budget_id": decision.budget_id,
    }


def error_event(
    message: str,
    *,
    at: float,
    instance: str,
    agent_name: str | None,
    code: str | None = None,
    stack: str | None = None,
    trace_id: str | None = None,
) -> dict[str, Any]:
    """Something that went wrong, for people. The caller has taken out what must not be told."""
    return {
        "event_type": "error",
        "timestamp": iso(at),
        "sdk_instance_id": instance,
        "agent_name": agent_name,
        "message": message[:MAX_TEXT],
        "code": code,
        "stack": None if stack is None else stack[: 4 * MAX_TEXT],
        "trace_id": trace_id,
    }


def iso(at: float) -> str:
    """`2026-11-23T12:00:00.000000+00:00`, as the events of calls have it."""
    return datetime.fromtimestamp(at, UTC).isoformat()
