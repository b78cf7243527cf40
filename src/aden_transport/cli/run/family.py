"""The end of a family of processes: what its root says."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .settings import Settings, read_settings

if TYPE_CHECKING:
    from .totals import Totals

__all__ = ["end_family"]


def end_family(directory: str) -> None:
    """Show the sums of all processes, and take their directory away."""
    from .totals import read_directory, remove_directory

    settings = read_settings() or Settings()
    totals = read_directory(directory)
    remove_directory(directory)
    is_program = settings.program == os.getpid()
    if not settings.quiet:
        _say(totals, settings, is_program=is_program)
    if is_program and settings.is_bounded:
        from .bounds import leave

        leave(settings)


def _say(totals: Totals, settings: Settings, *, is_program: bool) -> None:
    from .report import say, summary_lines

    if totals.models:
        say(*summary_lines(totals, settings))
    elif is_program:
        say(_nothing_seen())
    if settings.budgets and (totals.models or is_program):
        from .bounds import budget_lines

        say(*(f"  {line}" for line in budget_lines(settings)))


def _nothing_seen() -> str:
    process = sys.modules.get(f"{__package__}.process")
    if process is not None and not process.is_metering():
        return "aden-transport: the program calls instrument() itself, and its own options count"
    return "aden-transport: no LLM call was seen; `aden-transport doctor` says which would be"
