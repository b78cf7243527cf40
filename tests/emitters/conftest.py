"""Events to emit, and a clean slate of fault counts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

import pytest

from aden_transport import _guard
from aden_transport.events import MetricEvent, NormalizedUsage


class MakeEvent(Protocol):
    def __call__(self, **changes: Any) -> MetricEvent: ...


@pytest.fixture(autouse=True)
def clean_faults() -> Iterator[None]:
    _guard.reset_faults()
    yield
    _guard.reset_faults()


@pytest.fixture
def make_event() -> MakeEvent:
    numbers = count()

    def make(**changes: Any) -> MetricEvent:
        given: dict[str, Any] = {
            "event_id": f"event-{next(numbers)}",
            "trace_id": "a1b2c3d4" * 4,
            "span_id": "b" * 16,
            "provider": "openai",
            "operation": "chat",
            "request_model": "gpt-4o",
            "stream": False,
            "timestamp_s": 1705276800.0,  # 2024-01-15T00:00:00Z
            "latency_ms": 1234.4,
            "status_code": 200,
            "usage": NormalizedUsage(input_tokens=12, output_tokens=247),
            "usage_source": "reported",
        }
        return MetricEvent(**given | changes)

    return make


@pytest.fixture
def event(make_event: MakeEvent) -> MetricEvent:
    return make_event()
