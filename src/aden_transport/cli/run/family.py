"""The end of a family of processes: what its root says."""

from __future__ import annotations

import os
import sys

from .settings import Settings, read_settings

__all__ = ["end_family"]


def end_family(directory: str) -> None:
    """Show the sums of all processes, and take their directory away."""
    from .totals import read_directory, remove_directory

    settings = read_settings() or Settings()
    totals = read_directory(directory)
    remove_directory(directory)
    if settings.quiet:
        return
    from .report import say, summary_lines

    if totals.models:
        say(*summary_lines(totals, settings))
    elif settings.program == os.getpid():
        say(_nothing_seen())


def _nothing_seen() -> str:
    process = sys.modules.get(f"{__package__}.process")
    if process is not None and not process.is_metering():
        return "aden-transport: the program calls instrument() itself, and its own options count"
    return "aden-transport: no LLM call was seen; `aden-transport doctor` says which would be"
