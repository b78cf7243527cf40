"""`aden-transport report FILE…`: what logged events add up to, and what policies did or would have done.

Exit code 1 where a line is no event (it is counted and left out), 2 where a file cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import _json
from ..emitters._text import clean
from ..errors import ConfigurationError
from .screen import Column, Screen, table

if TYPE_CHECKING:
    from ..reports import Deeds, Report, Sums

__all__ = ["add_arguments", "run"]

UNREADABLE = 1
MAX_LINE = 4 * 1024 * 1024
"""No event is longer."""
GZIP = b"\x1f\x8b"
ROWS = 20
"""Of a table that are shown; `--json` has all."""
FIGURES = (
    Column("calls", 7),
    Column("input", 10),
    Column("output", 9),
    Column("cost", 12),
)
UNCONFIRMED = Column("unconfirmed", 12)
"""Shown where there is any."""
DEEDS = (Column("calls", 7), Column("saved", 12), Column("waited", 9))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="lines of JSON as file emitters write them; a directory: its metrics-*.jsonl; -: the input",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Read the files and show what they add up to; returns the exit code."""
    from ..reports import summarize

    report = summarize(_events(_paths(arguments.files)))
    if arguments.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        screen = Screen()
        screen.show(*_lines(report, screen.width))
    return UNREADABLE if report.unreadable else 0


def _paths(names: Iterable[str]) -> Iterator[Path | None]:
    """None is the standard input."""
    for name in names:
        path = Path(name)
        if name == "-":
            yield None
        elif path.is_dir():
            found = sorted(path.glob("metrics-*.jsonl"))
            if not found:
                print(f"aden-transport: {path} has no metrics-*.jsonl; name the file", file=sys.stderr)
            yield from found
        else:
            yield path


def _events(paths: Iterable[Path | None]) -> Iterator[Any]:
    for path in paths:
        if path is None:
            yield from _read(sys.stdin.buffer)
            continue
        try:
            with path.open("rb") as file:
                if file.peek(2)[:2] == GZIP:
                    raise ConfigurationError(f"{path} is compressed: zcat {path} | aden-transport report -")
                yield from _read(file)
        except OSError as exc:
            raise ConfigurationError(f"{path}: {exc.strerror or exc}") from exc


def _read(file: BinaryIO) -> Iterator[Any]:
    """Each line as JSON, one at a time; None for what is none."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield None
        elif line.strip():
            try:
                yield _json.loads(line)
            except ValueError:
                yield None


def _lines(report: Report, width: int) -> Iterator[str]:
    total = report.total
    unconfirmed = total.unconfirmed_nano_usd
    more = f"; budgets took {_dollars(unconfirmed)} more, unconfirmed" if unconfirmed else ""
    yield f"{total.calls:,} calls in {total.attempts:,} attempts, {_dollars(total.cost_nano_usd)}{more}"
    if report.first is not None:
        yield f"{clean(report.first)} to {clean(report.last)}"
    models = {f"{provider} {model}": sums for (provider, model), sums in report.models.items()}
    yield from _sums("by model", models, width)
    for kind in dict.fromkeys(kind for kind, _ in report.attribution):
        names = {name: sums for (of, name), sums in report.attribution.items() if of == kind}
        yield from _sums(f"by {kind}", names, width)
    yield from _deeds("done", report.done, width)
    yield from _deeds("would have been done", report.would, width)
    notes = [
        (total.failed, "attempts failed"),
        (total.unpriced, "attempts of unknown cost, which the sums leave out"),
        (report.unreadable, "lines were no events, and are left out"),
    ]
    if said := [f"{count:,} {text}" for count, text in notes if count]:
        yield ""
        yield "; ".join(said)


def _sums(title: str, rows: Mapping[str, Sums], width: int) -> Iterator[str]:
    ordered = sorted(rows.items(), key=lambda row: (-row[1].cost_nano_usd, -row[1].calls, row[0]))
    unconfirmed = any(sums.unconfirmed_nano_usd for sums in rows.values())
    shown = [
        [
            clean(name),
            f"{sums.calls:,}",
            f"{sums.input_tokens:,}",
            f"{sums.output_tokens:,}",
            _dollars(sums.cost_nano_usd),
            *([_dollars(sums.unconfirmed_nano_usd)] if unconfirmed else []),
        ]
        for name, sums in ordered
    ]
    yield from _table(title, (*FIGURES, UNCONFIRMED) if unconfirmed else FIGURES, shown, width)


def _deeds(title: str, rows: Mapping[tuple[str, str], Deeds], width: int) -> Iterator[str]:
    ordered = sorted(rows.items(), key=lambda row: (-row[1].saved_nano_usd, -row[1].calls, row[0]))
    shown = [
        [f"{clean(by)}: {action}", f"{deeds.calls:,}", _saved(action, deeds), _waited(deeds)]
        for (by, action), deeds in ordered
    ]
    yield from _table(title, DEEDS, shown, width)


def _table(title: str, columns: Sequence[Column], rows: list[list[str]], width: int) -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield from table((Column(title, 60), *columns), rows[:ROWS], width)
    if len(rows) > ROWS:
        yield f"{len(rows) - ROWS:,} more, with --json"


def _saved(action: str, deeds: Deeds) -> str:
    if action not in ("degrade", "block"):
        return "-"
    if deeds.unknown and not deeds.saved_nano_usd:
        return "unknown"
    return ("> " if deeds.unknown else "") + _dollars(deeds.saved_nano_usd)


def _waited(deeds: Deeds) -> str:
    return f"{deeds.delay_ms / 1000:,.1f} s" if deeds.delay_ms else "-"


def _dollars(nano: int) -> str:
    return f"${nano / 1e9:,.6f}"
