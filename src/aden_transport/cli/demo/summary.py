"""What all calls of a run come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...events import MetricEvent

__all__ = ["Sums", "Summary", "dollars", "saved_nano_usd", "summarise"]


def dollars(nano: int) -> str:
    """To a millionth of a dollar."""
    return f"${nano / 1e9:.6f}"


@dataclass(slots=True)
class Sums:
    """Figures of some calls, added up."""

    calls: int = 0
    """As the application made them: attempts of one call, and the polls of one answer, count once."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_nano_usd: int = 0

    def add(self, event: MetricEvent, *, new_call: bool) -> None:
        self.calls += new_call
        self.input_tokens += event.input_tokens or 0
        self.output_tokens += event.output_tokens or 0
        self.cached_tokens += event.cached_tokens or 0
        self.cost_nano_usd += event.cost_nano_usd or 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "cost_nano_usd": self.cost_nano_usd,
            "cost_usd": self.cost_nano_usd / 1e9,
        }


@dataclass(slots=True)
class Summary:
    """The totals, and the same by model and by agent, in the order of their first call."""

    total: Sums = field(default_factory=Sums)
    by_model: dict[tuple[str, str], Sums] = field(default_factory=dict[tuple[str, str], Sums])
    """By provider and the model that was asked of it."""
    by_agent: dict[tuple[str, str], Sums] = field(default_factory=dict[tuple[str, str], Sums])
    """By agent and tenant."""
    events: int = 0
    blocked: int = 0
    degraded: int = 0
    saved_nano_usd: int = 0
    throttled: int = 0
    alerts: int = 0
    failed: int = 0
    """Attempts that ended with an error of the vendor's."""
    retried: int = 0
    estimated: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "events": self.events,
            **self.total.to_dict(),
            "by_model": [
                {"provider": provider, "model": model, **sums.to_dict()}
                for (provider, model), sums in self.by_model.items()
            ],
            "by_agent": [
                {"agent": agent, "tenant": tenant, **sums.to_dict()}
                for (agent, tenant), sums in self.by_agent.items()
            ],
            "blocked": self.blocked,
            "degraded": self.degraded,
            "saved_nano_usd": self.saved_nano_usd,
            "saved_usd": self.saved_nano_usd / 1e9,
            "throttled": self.throttled,
            "alerts": self.alerts,
            "failed": self.failed,
            "retried": self.retried,
            "estimated": self.estimated,
        }


def summarise(events: Sequence[MetricEvent]) -> Summary:
    """The sums of `events`, which are in the order of their calls."""
    summary = Summary(events=len(events), saved_nano_usd=saved_nano_usd(events))
    seen: set[str] = set()
    asked: dict[str, str] = {}
    """Which model an answer was asked of: a poll names the answer alone."""
    for event in events:
        names = {event.call_id, event.response_id or event.call_id}
        new_call = seen.isdisjoint(names)
        seen |= names
        model = asked.setdefault(
            event.response_id or event.call_id, event.request_model or event.model or "-"
        )
        metadata: Mapping[str, Any] = event.metadata or {}
        agent = (str(metadata.get("agent", "-")), str(metadata.get("tenant", "-")))
        for sums in (
            summary.total,
            summary.by_model.setdefault((event.provider, model), Sums()),
            summary.by_agent.setdefault(agent, Sums()),
        ):
            sums.add(event, new_call=new_call)
        summary.blocked += event.decision.action == "block"
        summary.degraded += event.degraded_from is not None
        summary.throttled += event.throttle_ms > 0
        summary.alerts += event.decision.action == "alert"
        summary.failed += event.status_code is not None and event.status_code >= 400
        summary.retried += event.attempt > 0
        summary.estimated += event.usage_source == "estimated"
    return summary


def saved_nano_usd(events: Iterable[MetricEvent]) -> int:
    """What degraded calls would have cost more at the model that was asked for, with the same tokens."""
    return sum(event.saved_nano_usd or 0 for event in events)
