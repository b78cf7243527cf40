"""Events as they are read and written."""

from __future__ import annotations

import decimal
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import pytest

from aden_transport import (
    BeforeRequestResult,
    Decision,
    MetricEvent,
    NormalizedUsage,
    RateLimit,
    ToolCallMetric,
)
from aden_transport.events import usd

PLAIN: dict[str, Any] = {
    "event_id": "e",
    "trace_id": "t",
    "span_id": "s",
    "provider": "openai",
    "operation": "chat",
    "request_model": "gpt-4o",
    "stream": False,
    "timestamp_s": 1_790_000_000.25,
}


@pytest.mark.parametrize(
    ("nano", "dollars"),
    [
        (None, None),
        (0, "0"),
        (1, "0.000000001"),
        (1_500_000_000, "1.5"),
        (-1, "-0.000000001"),
        (-2_500_000_000, "-2.5"),
        (10**30 + 1, "1000000000000000000000.000000001"),
    ],
)
def test_dollars_are_exact_whatever_the_decimal_context(nano: int | None, dollars: str | None) -> None:
    with decimal.localcontext() as context:
        context.prec = 2
        assert str(usd(nano)) == str(None) if dollars is None else usd(nano) == Decimal(dollars)


def test_the_flat_reads_are_those_of_the_usage() -> None:
    event = MetricEvent(**PLAIN)
    for name in ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"):
        assert getattr(event, name) is None
    assert (event.cost, event.cost_usd, event.charged_usd, event.hold_usd) == (None, None, None, None)
    event.usage = NormalizedUsage(9, 2, 1, 4)
    event.cost_nano_usd, event.charged_nano_usd, event.hold_nano_usd = 1_500_000_000, 1, 2
    read = (
        event.input_tokens,
        event.output_tokens,
        event.total_tokens,
        event.cached_tokens,
        event.reasoning_tokens,
    )
    assert read == (9, 2, 11, 4, 1)
    assert (event.cost, event.cost_usd) == (1.5, Decimal("1.5"))
    assert (event.charged_usd, event.hold_usd) == (Decimal("1e-9"), Decimal("2e-9"))


def test_the_model_is_the_one_that_answered() -> None:
    event = MetricEvent(**PLAIN)
    assert (event.model, event.timestamp) == ("gpt-4o", "2026-09-21T14:13:20.250000+00:00")
    event.response_model = "gpt-4o-2024-08-06"
    assert event.model == "gpt-4o-2024-08-06"


def test_a_dictionary_leaves_out_what_is_not_known() -> None:
    assert MetricEvent(**PLAIN).to_dict() == {
        "timestamp": "2026-09-21T14:13:20.250000+00:00",
        "model": "gpt-4o",
        "event_id": "e",
        "trace_id": "t",
        "span_id": "s",
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o",
        "stream": False,
        "attempt": 0,
        "latency_ms": 0.0,
        "throttle_ms": 0.0,
        "decision": {"action": "allow", "source": "none"},
    }


def test_a_dictionary_has_everything_that_is_known() -> None:
    event = MetricEvent(
        **PLAIN,
        usage=NormalizedUsage(1, 2, images=3),
        cost_nano_usd=5,
        rate_limit=RateLimit(limit_requests=0, retry_after_s=1.0),
        tool_calls=[ToolCallMetric("a", "look", 0, 2)],
        headers={"date": "now"},
        operation_details={"n": 2},
        metadata={"tenant": "acme"},
        content={"text": "x"},
        finish_reasons=("stop",),
        decision=Decision("alert", "r", "hook", "m", 0.5, hindered="signed"),
    )
    found = event.to_dict()
    assert found["usage"] == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
        "reasoning_tokens": 0,
        "cached_tokens": 0,
        "images": 3,
    }
    assert found["rate_limit"] == {"limit_requests": 0, "retry_after_s": 1.0}
    assert found["tool_calls"] == [{"id": "a", "name": "look", "index": 0, "arguments_bytes": 2}]
    assert (found["headers"], found["operation_details"]) == ({"date": "now"}, {"n": 2})
    assert (found["metadata"], found["content"]) == ({"tenant": "acme"}, {"text": "x"})
    assert (found["cost_usd"], found["finish_reasons"]) == (5e-9, ("stop",))
    assert found["decision"] == {
        "action": "alert",
        "source": "hook",
        "reason": "r",
        "to_model": "m",
        "delay_ms": 500.0,
        "hindered": "signed",
    }


class Record:
    """What a call leaves behind."""

    def __init__(self) -> None:
        self.asked = 0

    def fields(self) -> dict[str, Any]:
        self.asked += 1
        return dict(PLAIN)


def test_an_event_is_written_down_when_it_is_first_read() -> None:
    record = Record()
    event = MetricEvent.unread(record)
    assert record.asked == 0
    assert event.provider == "openai"
    event.read()
    assert record.asked == 1
    assert event == MetricEvent(**PLAIN)
    assert replace(event, provider="azure").provider == "azure"
    assert asdict(event)["operation"] == "chat"


@pytest.mark.parametrize("name", ["nonsense", "_nonsense"])
def test_an_event_has_no_other_attributes(name: str) -> None:
    for event in (MetricEvent.unread(Record()), MetricEvent(**PLAIN)):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(event, name)


def test_an_event_that_is_none_yet_has_no_record() -> None:
    with pytest.raises(AttributeError, match="_record"):
        _ = MetricEvent.__new__(MetricEvent)._record


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (BeforeRequestResult.proceed(), BeforeRequestResult("proceed")),
        (BeforeRequestResult.cancel("r"), BeforeRequestResult("cancel", "r")),
        (BeforeRequestResult.throttle(5, "r"), BeforeRequestResult("throttle", "r", delay_ms=5)),
        (BeforeRequestResult.degrade("m", "r", 5), BeforeRequestResult("degrade", "r", 5, "m")),
        (BeforeRequestResult.alert("r", "info", 5), BeforeRequestResult("alert", "r", 5, level="info")),
    ],
)
def test_the_five_results(result: BeforeRequestResult, wanted: BeforeRequestResult) -> None:
    assert result == wanted
