"""What `run` does within a process of the program that uses HTTP: meter it."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any

from ...emitters import create_file_emitter, create_multi_emitter
from ...events import MetricEvent
from ...installation import get_options, instrument
from ...meter import meters, state
from ...options import MeterOptions
from .report import CallLines, say, summary_lines
from .settings import TOTALS, Settings, read_settings
from .totals import Tally

__all__ = ["is_metering", "meter"]

_options: MeterOptions | None = None


def meter() -> None:
    """Meter this process as `run` was told, unless the program has options of its own.

    Raises: ConfigurationError where a setting of the environment cannot be used.
    """
    global _options
    settings = read_settings()
    if settings is None:
        return
    if settings.is_bounded:
        _bound(settings)
    if get_options() is not None:
        return
    tally = Tally(os.environ.get(TOTALS))
    atexit.register(_end_alone, tally, settings)
    _options = _made(settings, tally)
    instrument(_options)


def _bound(settings: Settings) -> None:
    """Hold every meter of this process to the run's budgets, those that the program makes as well.

    Raises: ConfigurationError.
    """
    from .bounds import fault_of, join, options_of

    join(settings)
    state.bounds = bounds = options_of(settings)
    fault = fault_of(settings)
    if fault is not None:
        say(f"aden-transport: {fault}", "  it is looked at again every second; --budget is in force")
    for meter in meters.each():
        meter.hold_to(bounds)


def is_metering() -> bool:
    """Whether the options of `run` are in force."""
    return _options is not None and get_options() is _options


def _made(settings: Settings, tally: Tally) -> MeterOptions:
    emitters: list[Callable[[MetricEvent], Any]] = [tally]
    if settings.log is not None:
        emitters.append(create_file_emitter(settings.log))
    if settings.console or settings.pretty:
        emitters.append(CallLines(pretty=settings.pretty))
    # In the call: a worker that ends with `os._exit`, as those of multiprocessing do, loses no event.
    return MeterOptions(
        emit_metric=create_multi_emitter(emitters), on_emit_error=tally.unwritten, async_emit=False
    )


def _end_alone(tally: Tally, settings: Settings) -> None:
    """At the exit of a process that outlives the root of its family."""
    if tally.directory is None and tally.totals.models and not settings.quiet:
        say(*summary_lines(tally.totals, settings))
