"""The demo's events and sums as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from ...emitters.console import console_lines
from ...events import BudgetStatus, MetricEvent, RateLimit
from ..screen import Column, Line, flow, table
from .summary import Summary, Sums, dollars

__all__ = ["budget_line", "event_lines", "next_lines", "summary_lines"]

_STYLES = {"+": "green", "!": "red", "x": "yellow"}
_FIGURES = (
    Column("calls", 5),
    Column("input", 7),
    Column("output", 7),
    Column("cached", 7),
    Column("cost", 10),
)


def event_lines(event: MetricEvent, width: int) -> list[Line]:
    """The console emitter's lines, and behind them cost, decision and what the rate limits leave."""
    head, *rest = console_lines(event)
    parts = [*(line.strip() for line in rest), *_additions(event)]
    return [Line(head, _STYLES[head[0]]), *(Line(line, "dim") for line in flow(parts, width))]


def budget_line(event: MetricEvent, budget: BudgetStatus) -> Line:
    """A call as its budget sees it: what was decided, the model, what is spent, and the delay."""
    action = event.decision.action
    sign = "x" if action == "block" else "+"
    share = 100 * budget.spent / budget.limit
    delay = f"  after {event.throttle_ms:.0f}ms" if event.throttle_ms else ""
    spent = f"{dollars(budget.spent)} of ${budget.limit / 1e9:.2f}"
    return Line(f"{sign} {action:<7} {event.request_model:<12} {spent} {share:3.0f} %{delay}", _STYLES[sign])


def _additions(event: MetricEvent) -> Iterator[str]:
    usage = event.usage
    if usage is not None:
        yield "cost unknown" if event.cost_nano_usd is None else dollars(event.cost_nano_usd)
        for count, word in (
            (usage.cached_tokens, "cached"),
            (usage.cache_write_tokens, "written to cache"),
            (usage.reasoning_tokens, "reasoning"),
        ):
            if count:
                yield f"{count} {word}"
        if event.usage_source == "estimated":
            yield "estimated"
    for call in event.tool_calls or ():
        yield f"calls {call.name}"
    if event.attempt:
        yield f"attempt {event.attempt + 1}"
    if event.degraded_from:
        yield f"degraded from {event.degraded_from}{_reason(event)}"
    if event.throttle_ms:
        yield f"throttled {event.throttle_ms:.0f}ms{_reason(event)}"
    if event.decision.action == "alert":
        yield f"alert{_reason(event)}"
    yield from _left(event.rate_limit)


def _reason(event: MetricEvent) -> str:
    return f": {event.decision.reason}" if event.decision.reason else ""


def _left(limit: RateLimit | None) -> Iterator[str]:
    """The headroom that the vendor's headers tell."""
    if limit is None or limit.remaining_requests is None:
        return
    tokens = limit.remaining_tokens if limit.remaining_input_tokens is None else limit.remaining_input_tokens
    yield f"left: {limit.remaining_requests} requests" + (f", {tokens} tokens" if tokens is not None else "")


def summary_lines(summary: Summary, width: int) -> list[Line]:
    """The sums by model and by agent, and what decisions did."""
    total = ["total", *_figures(summary.total)]
    providers = list(dict.fromkeys(provider for provider, _ in summary.by_model))
    models = [
        [f"{provider} {model}", *_figures(sums)]
        for (provider, model), sums in sorted(
            summary.by_model.items(), key=lambda row: providers.index(row[0][0])
        )
    ]
    agents = [[f"{agent} ({tenant})", *_figures(sums)] for (agent, tenant), sums in summary.by_agent.items()]
    lines = [
        *_titled(table((Column("by model", 34), *_FIGURES), [*models, total], width)),
        Line(""),
        *_titled(table((Column("by agent (tenant)", 34), *_FIGURES), [*agents, total], width)),
        Line(""),
    ]
    return [*lines, *(Line(line) for fact in _facts(summary) for line in flow([fact], width, indent=""))]


def _facts(summary: Summary) -> Iterator[str]:
    yield f"{summary.blocked} blocked before anything was sent"
    yield f"{summary.degraded} degraded, {dollars(summary.saved_nano_usd)} saved"
    yield (
        f"{summary.throttled} throttled, {summary.alerts} with an alert, "
        f"{summary.retried} tried again, {summary.estimated} estimated"
    )


def _titled(lines: list[str]) -> list[Line]:
    """A table whose titles and totals stand out."""
    title, *rows, total = lines
    return [Line(title, "bold"), *(Line(row) for row in rows), Line(total, "bold")]


def _figures(sums: Sums) -> list[str]:
    return [
        str(sums.calls),
        str(sums.input_tokens),
        str(sums.output_tokens),
        str(sums.cached_tokens),
        dollars(sums.cost_nano_usd),
    ]


def next_lines() -> list[Line]:
    """What to type next."""
    return [
        Line("Now in your program, before its first call:"),
        Line(""),
        Line("  from aden_transport import MeterOptions, create_console_emitter, instrument", "bold"),
        Line("  instrument(MeterOptions(emit_metric=create_console_emitter(pretty=True)))", "bold"),
    ]
