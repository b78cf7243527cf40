"""What `run` says on stderr: one line per call, and the sums at the end."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

from ...emitters._text import clean
from ...emitters.console import console_lines
from ...events import MetricEvent
from ..screen import Column, table
from .settings import Settings
from .totals import Sums, Totals

__all__ = ["CallLines", "say", "summary_lines"]

_COLOURS = {"+": "\x1b[32m", "!": "\x1b[31m", "x": "\x1b[33m"}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_COLUMNS = (
    Column("by model", 40),
    Column("calls", 5),
    Column("input", 7),
    Column("output", 7),
    Column("cached", 7),
    Column("cost", 10),
)


class CallLines:
    """An emitter that writes each event to the process's own stderr, whatever `sys.stderr` is made to be:
    what the program captures or redirects stays its own."""

    def __init__(self, *, pretty: bool) -> None:
        self._pretty = pretty

    def __call__(self, event: MetricEvent) -> None:
        lines = console_lines(event, pretty=self._pretty)
        if not self._pretty:
            if event.cost_nano_usd is not None:
                lines.append(_dollars(event.cost_nano_usd))
            lines = [", ".join(line.strip() for line in lines)]
        elif _wants_colour():
            lines = [
                f"{_COLOURS[lines[0][0]]}{lines[0]}{_RESET}",
                *(f"{_DIM}{line}{_RESET}" for line in lines[1:]),
            ]
        say(*lines)


def say(*lines: str) -> None:
    """Write lines to the process's own stderr in one write, so that those of two processes do not mix."""
    stream = sys.__stderr__
    if stream is None or stream.closed:
        return
    text = "".join(line + "\n" for line in lines)
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        pass  # nobody is looking


def _wants_colour() -> bool:
    # https://no-color.org: any value but the empty one.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.__stderr__ is not None and sys.__stderr__.isatty()


def _dollars(nano: int) -> str:
    return f"${nano / 1e9:.6f}"


def summary_lines(totals: Totals, settings: Settings) -> Iterator[str]:
    """The sums by model, and what is to know about them."""
    total = totals.total
    where = "" if totals.processes == 1 else f" in {totals.processes} processes"
    yield f"aden-transport: {_count(total.calls, 'call')}{where}, {_cost(total)}"
    width = max(60, min(100, shutil.get_terminal_size().columns - 1)) - 2
    rows = [
        [f"{clean(provider)} {clean(model)}", *_figures(sums)]
        for (provider, model), sums in sorted(totals.models.items(), key=lambda row: -row[1].cost_nano_usd)
    ]
    yield from (f"  {line}" for line in table(_COLUMNS, rows, width))
    notes = [
        (total.blocked, f"{_count(total.blocked, 'call')} blocked before anything was sent"),
        (total.failed, f"{_count(total.failed, 'attempt')} failed"),
        (total.estimated, f"{total.estimated} estimated"),
        (total.unpriced, f"{total.unpriced} of unknown cost, which the sum leaves out"),
    ]
    said = [text for count, text in notes if count]
    if said:
        yield f"  {'; '.join(said)}"
    if settings.log is not None:
        yield f"  each call: {settings.log}"
    if totals.unwritten:
        yield (
            f"  {_count(totals.unwritten, 'event')} could not be written: "
            f"aden-transport doctor --log {settings.log}"
        )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _cost(sums: Sums) -> str:
    if sums.unpriced and not sums.cost_nano_usd:
        return "cost unknown"
    return ("at least " if sums.unpriced else "") + _dollars(sums.cost_nano_usd)


def _figures(sums: Sums) -> list[str]:
    cost = "unknown" if sums.unpriced and not sums.cost_nano_usd else _dollars(sums.cost_nano_usd)
    return [str(sums.calls), str(sums.input_tokens), str(sums.output_tokens), str(sums.cached_tokens), cost]
