"""What came of a scenario, and what is expected of it: functions that return a complaint, or None."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...errors import RequestCancelledError
from ...events import Action, AlertEvent, MetricEvent

__all__ = [
    "Expectation",
    "Outcome",
    "alerted",
    "answered",
    "as_said",
    "blocked",
    "cached",
    "climbed",
    "decided",
    "degraded",
    "estimated",
    "events",
    "failed",
    "linked",
    "metered",
    "told_at_the_end",
    "tools",
    "without_trouble",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario's calls, as the application and as the meter saw them."""

    events: Sequence[MetricEvent]
    alerts: Sequence[AlertEvent]
    bytes_sent: int
    """That arrived at the providers."""
    result: object = None
    """What the application got."""
    error: Exception | None = None
    """What the application was raised."""

    @property
    def last(self) -> MetricEvent | None:
        return self.events[-1] if self.events else None


Expectation = Callable[[Outcome], str | None]


def events(count: int) -> Expectation:
    """So many events were emitted."""

    def check(outcome: Outcome) -> str | None:
        found = len(outcome.events)
        return None if found == count else f"{found} events instead of {count}"

    return check


def without_trouble(outcome: Outcome) -> str | None:
    """The application was raised nothing, and nothing was odd to the meter."""
    if outcome.error is not None:
        return f"the application got {type(outcome.error).__name__}: {outcome.error}"
    odd = sorted({fault for event in outcome.events for fault in event.faults})
    return f"faults: {', '.join(odd)}" if odd else None


def metered(outcome: Outcome) -> str | None:
    """The last event has tokens as the vendor told them, and their cost."""
    event = outcome.last
    if event is None:
        return "no event"
    if event.usage is None or event.usage_source != "reported":
        return f"usage is {event.usage_source or 'unknown'} instead of reported"
    if event.usage.total_tokens <= 0:
        return "no tokens"
    return _priced(event)


def _priced(event: MetricEvent) -> str | None:
    if event.cost_nano_usd is None:
        return "cost unknown"
    return None if event.cost_nano_usd > 0 else "cost 0"


def as_said(input_tokens: int, output_tokens: int, *, at: int = -1) -> Expectation:
    """The tokens of an event are those that the vendor told."""

    def check(outcome: Outcome) -> str | None:
        found = (outcome.events[at].input_tokens, outcome.events[at].output_tokens)
        said = (input_tokens, output_tokens)
        return None if found == said else f"tokens {found} instead of {said}"

    return check


def answered(result: object) -> Expectation:
    """The application got just this, metered or not."""

    def check(outcome: Outcome) -> str | None:
        return None if outcome.result == result else f"the application got {outcome.result!r}, not {result!r}"

    return check


def tools(*names: str) -> Expectation:
    """The last event names the tools that the model called."""

    def check(outcome: Outcome) -> str | None:
        found = [call.name for call in (outcome.last and outcome.last.tool_calls) or ()]
        return None if found == list(names) else f"tool calls {found} instead of {list(names)}"

    return check


def told_at_the_end(outcome: Outcome) -> str | None:
    """A background run: its begin cost nothing yet, its end is the same answer."""
    first, last = outcome.events[0], outcome.events[-1]
    if first.usage is not None:
        return "the run was counted before it ended"
    return None if first.response_id == last.response_id else "begin and end are not of one run"


def cached(outcome: Outcome) -> str | None:
    """The first call writes to the cache what the second reads, for less."""
    first, second = (event.usage for event in outcome.events)
    if not (first and second and first.cache_write_tokens and second.cached_tokens):
        return "nothing was written to the cache, or nothing read"
    costs = [event.cost_nano_usd or 0 for event in outcome.events]
    return None if 0 < costs[1] < costs[0] else f"the cached call is not cheaper: {costs}"


def linked(outcome: Outcome) -> str | None:
    """Two attempts, the first refused by the vendor, share a call and a trace."""
    first, second = outcome.events
    if (first.status_code, first.error_type) != (429, "rate_limit_error"):
        return f"the first attempt ended with {first.status_code} {first.error_type}"
    if (first.attempt, second.attempt) != (0, 1):
        return f"attempts are counted {first.attempt}, {second.attempt}"
    same = first.call_id == second.call_id and first.trace_id == second.trace_id
    return None if same else "the attempts are not linked"


def failed(status: int, error_type: str) -> Expectation:
    """The application got the vendor's error, and the event says which."""

    def check(outcome: Outcome) -> str | None:
        if outcome.error is None:
            return "the application got no error"
        event = outcome.last
        found = None if event is None else (event.status_code, event.error_type)
        return None if found == (status, error_type) else f"{found} instead of {status} {error_type}"

    return check


def estimated(outcome: Outcome) -> str | None:
    """What was seen of a stream is counted, and marked as estimated."""
    event = outcome.last
    if event is None or event.usage is None or event.usage_source != "estimated":
        return "the abandoned stream is not estimated"
    if "stream.abandoned" not in event.faults:
        return "the stream does not count as abandoned"
    if not (event.usage.input_tokens and event.usage.output_tokens):
        return "nothing was estimated"
    return _priced(event)


def blocked(outcome: Outcome) -> str | None:
    """The application got RequestCancelledError, and the providers not a byte."""
    if not isinstance(outcome.error, RequestCancelledError):
        return f"the application got {outcome.error!r} instead of RequestCancelledError"
    if outcome.bytes_sent:
        return f"{outcome.bytes_sent} bytes were sent"
    return decided("block")(outcome)


def decided(action: Action) -> Expectation:
    """The last event carries this decision of the hook."""

    def check(outcome: Outcome) -> str | None:
        event = outcome.last
        if event is None or event.decision.source != "hook" or event.decision.action != action:
            return f"the decision is {event and event.decision.action} instead of {action}"
        if action == "throttle" and event.throttle_ms <= 0:
            return "the call did not wait"
        return None

    return check


def climbed(outcome: Outcome) -> str | None:
    """Each rung of the ladder was reached, in its order, and the refused call sent nothing."""
    taken = [
        "throttle" if event.throttle_ms else event.decision.action
        for event in outcome.events
        if event.decision.source == "policy" or event.decision.action == "allow"
    ]
    found = list(dict.fromkeys(taken))
    if found != ["allow", "alert", "degrade", "throttle", "block"]:
        return f"the budget went through {', '.join(found)}"
    last = outcome.events[-1]
    return None if last.status_code is None and last.usage is None else "the refused call was sent"


def degraded(asked: str, sent: str) -> Expectation:
    """The call was sent to the cheaper model, and the event says so."""

    def check(outcome: Outcome) -> str | None:
        event = outcome.last
        found = None if event is None else (event.degraded_from, event.request_model)
        return None if found == (asked, sent) else f"{found} instead of {asked} sent as {sent}"

    return check


def alerted(outcome: Outcome) -> str | None:
    """`on_alert` was told once."""
    found = len(outcome.alerts)
    return None if found == 1 else f"{found} alerts instead of 1"
