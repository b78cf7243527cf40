"""The table, as text, JSON and markdown."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["Row", "as_json", "as_markdown", "as_text", "note", "write_markdown"]

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
RESOLVED = 2_000
"""Instructions a call that two counts of the same code may differ by."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, beside its bar."""

    name: str
    title: str
    unit: str
    bare: float
    added: float
    noise: float
    bar: float | None = None
    bare_instructions: float | None = None
    added_instructions: float | None = None
    instructions_bar: float | None = None

    @property
    def verdict(self) -> str:
        """`noisy`: the noise floor is larger than the distance from the bar."""
        if self.bar is None:
            return ""
        if abs(self.added - self.bar) < self.noise:
            return "noisy"
        return "ok" if self.added <= self.bar else "over"

    @property
    def instructions_verdict(self) -> str:
        if self.instructions_bar is None or self.added_instructions is None:
            return ""
        return "ok" if self.added_instructions <= self.instructions_bar else "over"


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("", lambda row: f"{row.title}{', once' if row.name.endswith(', once') else ''}"),
    ("unit", lambda row: row.unit),
    ("bare", lambda row: number(row.bare)),
    ("added", lambda row: number(row.added)),
    ("noise", lambda row: number(row.noise)),
    ("bar", lambda row: "" if row.bar is None else f"{row.bar:g}"),
    ("", lambda row: row.verdict),
    ("instructions, bare", lambda row: whole(row.bare_instructions)),
    ("added", lambda row: whole(row.added_instructions)),
    ("bar", lambda row: whole(row.instructions_bar)),
    ("", lambda row: row.instructions_verdict),
)


def number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}".replace(",", " ")


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _cells(rows: Iterable[Row]) -> list[list[str]]:
    return [[title for title, _ in COLUMNS], *([cell(row) for _, cell in COLUMNS] for row in rows)]


def as_text(rows: Iterable[Row]) -> str:
    cells = _cells(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if n < 2 else text.rjust(width)
            for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def as_json(rows: Iterable[Row]) -> str:
    found = [
        asdict(row) | {"verdict": row.verdict, "instructions_verdict": row.instructions_verdict}
        for row in rows
    ]
    return json.dumps(found, indent=2)


def as_markdown(rows: Iterable[Row]) -> str:
    head, *body = _cells(rows)
    lines = [head, ["---", "---", *["---:"] * (len(COLUMNS) - 2)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def circumstances() -> str:
    names = ("aden-transport", "httpx2", "httpx", "openai")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    day = datetime.now(UTC).date().isoformat()
    return f"{day}, {platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}."


def write_markdown(rows: Iterable[Row]) -> None:
    """Put the table between the two markers of docs/benchmarks.md."""
    text = DOCUMENT.read_text("utf-8")
    table = f"{BEGIN}\n{circumstances()}\n\n{as_markdown(rows)}\n{END}"
    made, count = re.subn(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: table, text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{DOCUMENT.name} has not the markers {BEGIN} and {END}")
    DOCUMENT.write_text(made, "utf-8")
