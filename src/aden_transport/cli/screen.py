"""Lines on stdout: coloured by rich on a terminal, plain everywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

__all__ = ["Column", "Line", "Screen", "flow", "table"]

NARROWEST, WIDEST = 40, 100
LONGEST = 256
"""Of a name in a table, in characters."""


class Line(NamedTuple):
    """One line of text, and how it looks where there is colour (a style of rich)."""

    text: str
    style: str = ""


class Screen:
    """Where a command shows its lines. Everything a command prints for people goes through here."""

    def __init__(self) -> None:
        # One column stays free: some terminals wrap after a line that fills them.
        columns = shutil.get_terminal_size().columns - 1
        self.width = max(NARROWEST, min(WIDEST, columns))
        self._print = _coloured() if _wants_colour() else _plain

    def show(self, *lines: Line | str) -> None:
        """Print lines, at once."""
        for line in lines:
            self._print(Line(line) if isinstance(line, str) else line)

    def paragraph(self, text: str, style: str = "") -> None:
        """Print text, wrapped at words."""
        self.show(*(Line(line, style) for line in _wrap(text, self.width)))


def _wants_colour() -> bool:
    # https://no-color.org: any value but the empty one.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def _coloured() -> Callable[[Line], None]:
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        return _plain
    console = Console(highlight=False, soft_wrap=True)
    return lambda line: console.print(Text(line.text, style=line.style))


def _plain(line: Line) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(line.text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def flow(parts: Iterable[str], width: int, *, indent: str = "  ", gap: str = "  ") -> list[str]:
    """`parts` beside each other, as many as fit in `width`; what is longer than a line is wrapped."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(gap) + len(part) <= width:
            lines[-1] += gap + part
        else:
            lines += _wrap(part, width, indent, indent * 2)
    return lines


def _wrap(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=later,
        # What can be copied (names, commands) stays in one piece.
        break_long_words=False,
        break_on_hyphens=False,
    )


class Column(NamedTuple):
    """A column of a table; the first one is names and gives way, the others are figures."""

    title: str
    width: int


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> list[str]:
    """A table's lines, its titles first, within `width` where the figures leave room.

    A name that does not fit stands whole on a line before its figures: cut, it would be like others.
    """
    gap = 2
    figures = columns[1:]
    room = width - sum(column.width + gap for column in figures)
    first = max(12, min(columns[0].width, room))
    lines: list[str] = []
    for name, *values in [[column.title for column in columns], *rows]:
        if len(name) > first:
            lines.append(_cut(name, LONGEST))
        shown = "" if len(name) > first else name
        aligned = (value.rjust(column.width) for column, value in zip(figures, values, strict=True))
        lines.append((" " * gap).join([shown.ljust(first), *aligned]).rstrip())
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."
