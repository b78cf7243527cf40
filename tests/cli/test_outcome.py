"""What each expectation objects to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aden_transport import AlertEvent, Decision, MetricEvent, NormalizedUsage, RequestCancelledError
from aden_transport.cli.demo import outcome
from aden_transport.cli.demo.outcome import Expectation, Outcome


def event(**fields: Any) -> MetricEvent:
    """A good call: 3 in, 2 out, 5 nano-dollars; with `fields`."""
    given: dict[str, Any] = {
        "event_id": "e",
        "trace_id": "t",
        "span_id": "s",
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o",
        "stream": False,
        "timestamp_s": 0.0,
        "call_id": "c",
        "status_code": 200,
        "usage": NormalizedUsage(input_tokens=3, output_tokens=2),
        "usage_source": "reported",
        "cost_nano_usd": 5,
    }
    return MetricEvent(**{**given, **fields})


def came(*events: MetricEvent, **fields: Any) -> Outcome:
    return replace(Outcome(events=events, alerts=(), bytes_sent=0), **fields)


GOOD = event()
ALERT = AlertEvent("warning", "m", "r", "openai", "gpt-4o", "now")
WRITTEN = event(usage=NormalizedUsage(3, 2, cache_write_tokens=2), cost_nano_usd=9)
READ = event(usage=NormalizedUsage(3, 2, cached_tokens=2), cost_nano_usd=4)
LIMITED = event(status_code=429, error_type="rate_limit_error", usage=None, cost_nano_usd=None)
LEFT = event(usage_source="estimated", faults=("stream.abandoned",))
BLOCKED = event(decision=Decision("block", "spent", "hook"), status_code=None)
CANCELLED = RequestCancelledError("spent")

CASES: tuple[tuple[Expectation, Outcome, str | None], ...] = (
    (outcome.events(1), came(GOOD), None),
    (outcome.events(2), came(GOOD), "1 events instead of 2"),
    (outcome.without_trouble, came(GOOD), None),
    (outcome.without_trouble, came(error=ValueError("no")), "the application got ValueError: no"),
    (outcome.without_trouble, came(event(faults=("b", "a")), event(faults=("a",))), "faults: a, b"),
    (outcome.metered, came(GOOD), None),
    (outcome.metered, came(), "no event"),
    (outcome.metered, came(event(usage=None, usage_source=None)), "usage is unknown instead of reported"),
    (outcome.metered, came(LEFT), "usage is estimated instead of reported"),
    (outcome.metered, came(event(usage=NormalizedUsage())), "no tokens"),
    (outcome.metered, came(event(cost_nano_usd=None)), "cost unknown"),
    (outcome.metered, came(event(cost_nano_usd=0)), "cost 0"),
    (outcome.as_said(3, 2), came(GOOD), None),
    (outcome.as_said(3, 1), came(GOOD), "tokens (3, 2) instead of (3, 1)"),
    (outcome.answered("a"), came(result="a"), None),
    (outcome.answered("a"), came(result=None), "the application got None, not 'a'"),
    (outcome.tools("f"), came(GOOD), "tool calls [] instead of ['f']"),
    (outcome.told_at_the_end, came(event(usage=None), GOOD), None),
    (outcome.told_at_the_end, came(GOOD, GOOD), "the run was counted before it ended"),
    (
        outcome.told_at_the_end,
        came(event(usage=None, response_id="a"), GOOD),
        "begin and end are not of one run",
    ),
    (outcome.cached, came(WRITTEN, READ), None),
    (outcome.cached, came(GOOD, READ), "nothing was written to the cache, or nothing read"),
    (
        outcome.cached,
        came(event(usage=WRITTEN.usage, cost_nano_usd=4), READ),
        "the cached call is not cheaper: [4, 4]",
    ),
    (outcome.linked, came(LIMITED, event(attempt=1)), None),
    (outcome.linked, came(GOOD, event(attempt=1)), "the first attempt ended with 200 None"),
    (outcome.linked, came(LIMITED, GOOD), "attempts are counted 0, 0"),
    (outcome.linked, came(LIMITED, event(attempt=1, call_id="d")), "the attempts are not linked"),
    (outcome.failed(429, "rate_limit_error"), came(LIMITED, error=ValueError()), None),
    (outcome.failed(429, "rate_limit_error"), came(LIMITED), "the application got no error"),
    (
        outcome.failed(500, "server_error"),
        came(LIMITED, error=ValueError()),
        "(429, 'rate_limit_error') instead of 500 server_error",
    ),
    (outcome.estimated, came(LEFT), None),
    (outcome.estimated, came(GOOD), "the abandoned stream is not estimated"),
    (
        outcome.estimated,
        came(event(usage_source="estimated")),
        "the stream does not count as abandoned",
    ),
    (outcome.blocked, came(BLOCKED, error=CANCELLED), None),
    (outcome.blocked, came(BLOCKED), "the application got None instead of RequestCancelledError"),
    (outcome.blocked, came(BLOCKED, error=CANCELLED, bytes_sent=9), "9 bytes were sent"),
    (outcome.blocked, came(GOOD, error=CANCELLED), "the decision is allow instead of block"),
    (
        outcome.decided("throttle"),
        came(event(decision=Decision("throttle", None, "hook"))),
        "the call did not wait",
    ),
    (outcome.degraded("a", "b"), came(event(degraded_from="a", request_model="b")), None),
    (outcome.degraded("a", "b"), came(GOOD), "(None, 'gpt-4o') instead of a sent as b"),
    (outcome.alerted, came(alerts=(ALERT,)), None),
    (outcome.alerted, came(), "0 alerts instead of 1"),
)


@pytest.mark.parametrize(("expectation", "found", "complaint"), CASES)
def test_an_expectation_says_what_is_wrong(
    expectation: Expectation, found: Outcome, complaint: str | None
) -> None:
    assert expectation(found) == complaint
