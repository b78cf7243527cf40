"""Events through JSON and back, and events of calls that nobody ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport.core.spooled import event_of, event_of_told, spooled
from aden_transport.events import (
    Decision,
    MetricEvent,
    NormalizedUsage,
    RateLimit,
    ShadowDecision,
    ToolCallMetric,
)

FULL = MetricEvent(
    event_id="01a2",
    trace_id="b" * 32,
    span_id="c" * 16,
    provider="openai",
    operation="chat",
    request_model="gpt-4o",
    stream=True,
    timestamp_s=1_790_000_000.25,
    usage=NormalizedUsage(8, 1, audio_seconds=0.5),
    rate_limit=RateLimit(remaining_tokens=7, retry_after_s=1.5),
    tool_calls=[ToolCallMetric("1", "look", 0, 17)],
    decision=Decision("degrade", "80 %", "policy", to_model="gpt-4o-mini", budget_id="global"),
    finish_reasons=("stop",),
    faults=("usage.negative",),
    headers={"x-request-id": "r"},
    metadata={"customer": "Zoë"},
    cost_nano_usd=520_000,
    usage_source="reported",
)
TOLD = MetricEvent(
    *("e", "t", "s", "openai", "chat", None, False, 1.0),
    decision=Decision("alert", shadow=ShadowDecision("block", "100 %", budget_id="global", saved_nano_usd=5)),
    hold_nano_usd=7,
    hold_basis="bytes, max_tokens",
)
PLAIN = MetricEvent("e", "t", "s", "openai", "chat", None, False, 1.0)


@pytest.mark.parametrize("event", [FULL, TOLD, PLAIN], ids=["full", "told", "plain"])
def test_an_event_comes_back_as_it_was(event: MetricEvent) -> None:
    event_id, text, *_ = spooled(event)
    assert event_id == event.event_id
    assert event_of(json.loads(text)) == event
    assert event_of_told(json.loads(text)).to_dict() == event.to_dict()


def test_what_is_as_it_would_be_anyway_is_not_written() -> None:
    told = json.loads(spooled(PLAIN)[1])
    always = {"event_id", "trace_id", "span_id", "provider", "operation", "request_model", "stream"}
    assert set(told) == always | {"timestamp_s"}


def test_what_a_newer_release_knows_beside_is_left_out() -> None:
    told: dict[str, Any] = json.loads(spooled(FULL)[1])
    told["mood"] = told["usage"]["vibes"] = told["decision"]["whim"] = 1
    assert event_of(told) == FULL


def test_an_event_of_an_intent_has_no_usage_and_was_charged_its_hold() -> None:
    event = {"event_id": "e", "trace_id": "t", "span_id": "s", "provider": "openai", "operation": "chat"}
    event |= {"stream": False, "timestamp_s": 1.0, "metadata": {"customer": "acme"}}  # type: ignore[dict-item]
    told = {"event": event, "models": ["gpt-4o", "gpt-4o-mini"], "hold": 10, "candidate": 1}
    found = event_of_told(told)
    assert (found.usage, found.usage_source, found.cost_nano_usd) == (None, None, None)
    assert (found.charged_nano_usd, found.hold_nano_usd, found.billing) == (10, 10, "unknown")
    assert (found.request_model, found.degraded_from) == ("gpt-4o-mini", "gpt-4o")
    assert found.metadata == {"customer": "acme"}
    assert event_of_told({**told, "candidate": 0}).degraded_from is None


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"event_id": "e", "usage": "none"},
        {"models": []},
        {"models": ["a"], "hold": 1, "candidate": 3, "event": {}},
    ],
)
def test_what_is_no_event_says_so(told: dict[str, Any]) -> None:
    with pytest.raises((TypeError, LookupError)):
        event_of_told(told)
