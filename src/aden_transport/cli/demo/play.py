"""The demo from its first scenario to its last line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from types import FrameType

from .. import EXIT_FAILED, EXIT_INTERRUPTED
from .isolation import isolated
from .outcome import Outcome
from .scenarios import SCENARIOS, Scenario
from .stage import Stage
from .summary import summarise
from .view import View

__all__ = ["play"]


def play(view: View) -> int:
    """Perform all scenarios and show them; returns the exit code."""
    complaints: dict[str, str | None] = {}
    try:
        with stopping() as stop, isolated(), Stage(view.event) as stage:
            view.begin()
            for group, scenarios in groupby(SCENARIOS, key=lambda scenario: scenario.group):
                view.group(group)
                for scenario in scenarios:
                    complaints[scenario.name] = _perform(scenario, stage, view)
                    if stop.is_set():
                        raise KeyboardInterrupt
            view.end(summarise(stage.events), complaints)
    except KeyboardInterrupt:
        view.interrupted()
        return EXIT_INTERRUPTED
    return EXIT_FAILED if any(complaints.values()) else 0


def _perform(scenario: Scenario, stage: Stage, view: View) -> str | None:
    """Perform a scenario; returns what was not as promised, None where all was."""
    if not stage.is_open(scenario.vendor):
        view.driver(stage.driver(scenario.vendor))
    view.scenario(scenario)
    outcome = stage.perform(scenario)
    complaint = _complaint(scenario, outcome)
    if complaint is not None:
        view.complaint(complaint)
    elif scenario.say is not None:
        view.said(scenario.say(outcome))
    return complaint


def _complaint(scenario: Scenario, outcome: Outcome) -> str | None:
    for expectation in scenario.expect:
        complaint = expectation(outcome)
        if complaint is not None:
            return complaint
    return None


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C, so that the scenario at hand ends in order; the second one stops at once."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop.set()

    ours = (
        threading.current_thread() is threading.main_thread()
        # Elsewhere somebody handles it, or nobody shall (`nohup`, background jobs of shells).
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
