"""How the demo is shown: as text for people, or as JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ...events import BudgetStatus, MetricEvent
from ..screen import Line, Screen, flow
from .calls import Driver
from .report import budget_line, event_lines, next_lines, summary_lines
from .scenarios import Scenario
from .summary import Summary

__all__ = ["JsonView", "TextView", "View"]


class View(Protocol):
    """Told of everything in the order in which it happens."""

    def begin(self) -> None: ...
    def group(self, title: str) -> None: ...
    def driver(self, driver: Driver) -> None: ...
    def scenario(self, scenario: Scenario) -> None: ...
    def event(self, event: MetricEvent, budget: BudgetStatus | None) -> None: ...
    def said(self, text: str) -> None: ...
    def complaint(self, text: str) -> None: ...
    def end(self, summary: Summary, complaints: Mapping[str, str | None]) -> None: ...
    def interrupted(self) -> None: ...


class TextView:
    """Lines for people."""

    def __init__(self) -> None:
        self._screen = Screen()

    def begin(self) -> None:
        self._screen.paragraph(
            "LLM calls of the vendors' SDKs, metered at the HTTP transport. The providers are fakes on "
            "127.0.0.1: no key is used, and nothing leaves this machine."
        )

    def group(self, title: str) -> None:
        self._screen.show("", Line(f"== {title} ==", "bold"))

    def driver(self, driver: Driver) -> None:
        self._screen.paragraph(driver.note or driver.name, "yellow" if driver.note else "dim")

    def scenario(self, scenario: Scenario) -> None:
        self._screen.show("")
        self._screen.paragraph(f"{scenario.title} ({scenario.agent}, {scenario.tenant})", "bold")

    def event(self, event: MetricEvent, budget: BudgetStatus | None) -> None:
        if budget is not None:
            self._screen.show(budget_line(event, budget))
        else:
            self._screen.show(*event_lines(event, self._screen.width))

    def said(self, text: str) -> None:
        self._screen.show(*(Line(line, "dim") for line in flow([text], self._screen.width)))

    def complaint(self, text: str) -> None:
        lines = flow([f"NOT AS PROMISED: {text}"], self._screen.width)
        self._screen.show(*(Line(line, "bold red") for line in lines))

    def end(self, summary: Summary, complaints: Mapping[str, str | None]) -> None:
        self._screen.show("", Line("== Summary ==", "bold"), "")
        self._screen.show(*summary_lines(summary, self._screen.width))
        bad = [name for name, text in complaints.items() if text]
        kept = f"{len(complaints) - len(bad)} of {len(complaints)} scenarios went as promised"
        self._screen.paragraph(f"{kept}; not: {', '.join(bad)}" if bad else kept, "bold red" if bad else "")
        self._screen.show("", *next_lines())

    def interrupted(self) -> None:
        self._screen.show("", "Stopped.")


class JsonView:
    """One JSON document per line."""

    def __init__(self) -> None:
        self._scenario = ""
        self._drivers: list[Driver] = []

    def begin(self) -> None:
        """Nothing: only events and the summary are printed."""

    def group(self, title: str) -> None:
        """For people."""

    def driver(self, driver: Driver) -> None:
        self._drivers.append(driver)

    def scenario(self, scenario: Scenario) -> None:
        self._scenario = scenario.name

    def event(self, event: MetricEvent, budget: BudgetStatus | None) -> None:
        met = {} if budget is None else {"budget": _sums(budget)}
        _print({"type": "event", "scenario": self._scenario, **event.to_dict(), **met})

    def said(self, text: str) -> None:
        """In the events already."""

    def complaint(self, text: str) -> None:
        """In the summary."""

    def end(self, summary: Summary, complaints: Mapping[str, str | None]) -> None:
        scenarios: Sequence[dict[str, Any]] = [
            {"name": name, "ok": text is None, **({"complaint": text} if text else {})}
            for name, text in complaints.items()
        ]
        _print(
            {
                "type": "summary",
                "ok": not any(complaints.values()),
                **summary.to_dict(),
                "scenarios": scenarios,
                "drivers": [driver.name for driver in self._drivers],
                "notes": [driver.note for driver in self._drivers if driver.note],
            }
        )

    def interrupted(self) -> None:
        """No summary: the run is not whole."""


def _sums(budget: BudgetStatus) -> dict[str, Any]:
    return {
        "budget_id": budget.budget_id,
        "spent_usd": float(budget.spent_usd or 0),
        "limit_usd": float(budget.limit_usd or 0),
    }


def _print(document: Mapping[str, Any]) -> None:
    print(json.dumps(document), flush=True)
