"""The findings as text for people, or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from ... import __version__
from ..screen import Line, Screen, flow
from .findings import Finding

__all__ = ["show_json", "show_text"]

_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "fault": "bold red"}
_WORDS = {"ok": "ok", "note": "--", "warning": "look", "fault": "FAULT"}


def show_text(findings: Sequence[Finding]) -> None:
    """A paragraph per section, and at the end what to type."""
    screen = Screen()
    for section, group in groupby(findings, key=lambda finding: finding.section):
        screen.show(Line(section, "bold"))
        for finding in group:
            screen.show(*_lines(finding, screen.width))
        screen.show("")
    faults = [finding for finding in findings if finding.level == "fault"]
    warnings = [finding for finding in findings if finding.level == "warning"]
    if faults:
        screen.paragraph(f"Not all is metered: {'; '.join(f.name for f in faults)}", "bold red")
    else:
        screen.paragraph(f"All is well{f', {len(warnings)} to look at' if warnings else ''}.", "bold green")
    steps = list(dict.fromkeys(finding.next for finding in [*faults, *warnings] if finding.next))
    if steps:
        screen.show("", "Next:", *(Line(f"  {step}", "bold") for step in steps))


def _lines(finding: Finding, width: int) -> list[Line]:
    text = f"{_WORDS[finding.level]:<5} {finding.name}: {finding.text}"
    return [Line(line, _STYLES[finding.level]) for line in flow([text], width)]


def show_json(findings: Sequence[Finding]) -> None:
    document = {
        "ok": all(finding.level != "fault" for finding in findings),
        "version": __version__,
        "findings": [
            {
                "section": finding.section,
                "name": finding.name,
                "level": finding.level,
                "text": finding.text,
                "next": finding.next,
                "facts": dict(finding.facts),
            }
            for finding in findings
        ],
    }
    print(json.dumps(document, ensure_ascii=False))
