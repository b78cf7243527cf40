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
    """The options of `run`, and which process it became.

    Raises: TypeError, ValueError where `budgets` are none.
    """

    log: str | None = None
    """An absolute path."""
    console: bool = False
    pretty: bool = False
    quiet: bool = False
    program: int | None = None
    """The program's process id, where it is known before it starts."""
    policy: str | None = None
    """An absolute path."""
    budgets: tuple[tuple[str, float], ...] = ()
    """Of this run and of those around it: an id, and dollars."""
    ledger: str | None = None
    """The address of the ledger that all processes of the run share; None: the user's own."""

    def __post_init__(self) -> None:
        # From JSON they come as lists.
        object.__setattr__(self, "budgets", tuple((str(name), float(usd)) for name, usd in self.budgets))

    @property
    def is_bounded(self) -> bool:
        return self.policy is not None or bool(self.budgets)

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
