"""Where the demo plays: a fake provider per vendor, all calls metered, and what was seen of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from ... import (
    MeterOptions,
    context,
    flush,
    get_budget_status,
    instrument,
    register_vendor,
    uninstrument,
)
from ...events import AlertEvent, BudgetStatus, MetricEvent
from ...meter import classifier
from ...testing import FakeProvider
from .calls import AnthropicCalls, Driver, GeminiCalls, OpenAICalls, open_driver
from .outcome import Outcome
from .scenarios import CLIMBER, POLICY, Scenario, decide

__all__ = ["Stage"]

VENDORS = ("openai", "anthropic", "gemini")
REQUESTS, TOKENS = 500, 60_000
"""A minute's allowance at each provider."""
FLUSH_S = 5.0


class Stage:
    """`with Stage(show) as stage: stage.perform(scenario)`; `show` is called with each event, at once,
    and with the budget that it met."""

    def __init__(self, show: Callable[[MetricEvent, BudgetStatus | None], None]) -> None:
        self.events: list[MetricEvent] = []
        self.alerts: list[AlertEvent] = []
        self._show = show
        # Events of an event loop or of a stream's finaliser may come from other threads.
        self._lock = threading.Lock()
        self._providers: dict[str, FakeProvider] = {}
        self._drivers: dict[str, Driver] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            for name in VENDORS:
                provider = FakeProvider(limit_requests=REQUESTS, limit_tokens=TOKENS)
                self._providers[name] = stack.enter_context(provider)
                hosts = [f"127.0.0.1:{provider.port}"]
                vendor = register_vendor(
                    name, hosts=hosts, like=name, accepts_stream_options=name == "openai"
                )
                stack.callback(classifier.unregister, vendor)
            # What your program would do; `async_emit=False` shows each event before the call returns.
            options = MeterOptions(
                emit_metric=self._receive,
                before_request=decide,
                on_alert=self.alerts.append,
                policy=POLICY,
                ledger="memory",
                async_emit=False,
            )
            instrument(options)
            stack.callback(uninstrument)
            stack.callback(self._close_drivers)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _receive(self, event: MetricEvent) -> None:
        with self._lock:
            self.events.append(event)
            self._show(event, _budget_of(event))

    def _close_drivers(self) -> None:
        for driver in self._drivers.values():
            driver.calls.close()

    # Who makes the calls

    def is_open(self, vendor: str) -> bool:
        """Whether `driver` was asked for it already."""
        return vendor in self._drivers

    def driver(self, vendor: str) -> Driver:
        """The vendor's SDK, imported when first asked for, or what stands in for it."""
        if vendor not in self._drivers:
            self._drivers[vendor] = open_driver(vendor, self._providers[vendor].url)
        return self._drivers[vendor]

    @property
    def openai(self) -> OpenAICalls:
        calls: OpenAICalls = self.driver("openai").calls
        return calls

    @property
    def anthropic(self) -> AnthropicCalls:
        calls: AnthropicCalls = self.driver("anthropic").calls
        return calls

    @property
    def gemini(self) -> GeminiCalls:
        calls: GeminiCalls = self.driver("gemini").calls
        return calls

    # What comes of it

    def perform(self, scenario: Scenario) -> Outcome:
        """Make a scenario's calls; what the application is raised is part of the outcome."""
        provider = self._providers[scenario.vendor]
        provider.push(*scenario.replies)
        sent, first_event, first_alert = self._bytes_sent(), len(self.events), len(self.alerts)
        seen: dict[str, Any] = {}
        try:
            with context(agent=scenario.agent, tenant=scenario.tenant):
                seen["result"] = scenario.run(self)
        except Exception as exc:  # noqa: BLE001 - the table says which errors are expected
            seen["error"] = exc
        flush(FLUSH_S)
        provider.reset()
        return Outcome(
            events=self.events[first_event:],
            alerts=self.alerts[first_alert:],
            bytes_sent=self._bytes_sent() - sent,
            **seen,
        )

    def _bytes_sent(self) -> int:
        return sum(provider.bytes_received for provider in self._providers.values())


def _budget_of(event: MetricEvent) -> BudgetStatus | None:
    agent = (event.metadata or {}).get("agent")
    return get_budget_status(agent=agent)[0] if agent == CLIMBER else None
