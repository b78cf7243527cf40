"""What `run --budget` and `run --policy` hold a program to: one limit over all of its processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, LedgerUnavailable
from ...ledger.base import Line
from ...ledger.opened import open_ledger
from ...ledger.sqlite import default_path
from ...options import MeterOptions
from ...policy import Policy, PolicyFile, load, match_of
from ...policy.money import amount
from .settings import Settings
from .totals import remove_directory

__all__ = ["bounded", "budget_lines", "fault_of", "join", "leave", "options_of"]

SQLITE = "sqlite:///"
FILE = "budgets.sqlite3"

_joined: list[int] = []
"""The descriptor that says to others that this process may use the run's ledger."""


def bounded(settings: Settings, around: Settings | None, *, usd: float | None) -> Settings:
    """`settings` with a budget of so many dollars, and with what the runs around this one are held to.

    Raises: ConfigurationError where the policy cannot be used, or the number is none.
    """
    outer = around or Settings()
    policy = load(settings.policy) if settings.policy is not None else Policy()
    budgets = outer.budgets
    if usd is not None:
        budgets = (*budgets, (f"run:{os.urandom(8).hex()}", usd))
        load(_document(budgets))
    settings = replace(settings, policy=settings.policy or outer.policy, budgets=budgets)
    if not settings.is_bounded or outer.is_bounded:
        return replace(settings, ledger=outer.ledger)
    if policy.lasts and default_path("budgets") is not None:
        return settings
    name = f"aden-run-{os.urandom(8).hex()}.ledger-{settings.program or 0}"
    return replace(settings, ledger=f"{SQLITE}{os.path.join(tempfile.gettempdir(), name, FILE)}")


def options_of(settings: Settings) -> MeterOptions:
    """Policy and ledger of a run."""
    document = _document(settings.budgets)
    policy: Any = document
    if settings.policy is not None:
        policy = PolicyFile(Path(settings.policy), load(document))
    return MeterOptions(policy=policy, ledger=settings.ledger)


def fault_of(settings: Settings) -> str | None:
    """Why the policy, which was in order when the run began, cannot be used by a process that starts now."""
    try:
        if settings.policy is not None:
            load(settings.policy)
    except ConfigurationError as exc:
        return str(exc)
    return None


def budget_lines(settings: Settings) -> Iterator[str]:
    """What the run's budgets have come to, for the summary."""
    if not settings.budgets:
        return
    try:
        ledger = open_ledger(settings.ledger, lasting=True)
        for budget in load(_document(settings.budgets)).budgets:
            (sums,) = ledger.totals([Line(match_of(budget, 0.0).ledger_key, 0, 0)])
            held = f", {amount(sums.held)} held by calls that have not ended" if sums.held else ""
            yield f"budget: {amount(sums.spent)} of {amount(budget.terms.limit)} spent{held}"
        ledger.close()
    except (ConfigurationError, LedgerUnavailable) as exc:
        yield f"budget: {exc}"


def _document(budgets: tuple[tuple[str, float], ...]) -> dict[str, Any]:
    return {
        "budgets": [
            {"id": name, "name": "run", "limit": usd, "limitAction": "block"} for name, usd in budgets
        ]
    }


# -- the ledger of the run ------------------------------------------------------------------------


def join(settings: Settings) -> None:
    """Keep the run's ledger there until this process and those it forks have ended."""
    directory = _directory(settings)
    if directory is None or _joined:
        return
    with suppress(ImportError, OSError):
        import fcntl

        os.makedirs(directory, 0o700, exist_ok=True)
        _joined.append(os.open(directory, os.O_RDONLY))
        fcntl.flock(_joined[0], fcntl.LOCK_SH)


def leave(settings: Settings) -> None:
    """Take the run's ledger away, unless a process of the run is still there: its spending has to count."""
    directory = _directory(settings)
    if directory is None:
        return
    with suppress(ImportError, OSError):
        import fcntl

        while _joined:
            os.close(_joined.pop())
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_directory(directory)
        finally:
            os.close(descriptor)


def _directory(settings: Settings) -> str | None:
    if settings.ledger is None or not settings.ledger.startswith(SQLITE):
        return None
    return os.path.dirname(settings.ledger[len(SQLITE) :])
