"""What `run` hands down to the processes of a program, in the environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["HOOK", "OPTIONS", "TOTALS", "Settings", "read_settings"]

OPTIONS, TOTALS = "ADEN_RUN", "ADEN_RUN_TOTALS"
"""Variables: the settings as JSON; the directory of the sums, see `hook/aden_run_hook.py`."""

HOOK = Path(__file__).parent / "hook"
"""The directory that stands first on PYTHONPATH."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of `run`, and which process it became."""

    log: str | None = None
    """An absolute path."""
    console: bool = False
    pretty: bool = False
    quiet: bool = False
    program: int | None = None
    """The program's process id, where it is known before it starts."""

    def to_environment(self) -> str:
        return json.dumps(asdict(self))


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings | None:
    """The settings that this process was started with, None outside of `run`."""
    text = environment.get(OPTIONS)
    if not text:
        return None
    try:
        given = json.loads(text)
        return Settings(**{name: given[name] for name in Settings.__slots__ if name in given})
    except (ValueError, TypeError):
        return Settings()
