"""What a policy says has been spent: a floor under the sum of a budget, in the window that reads it first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..ledger.base import Ledger, Line
from .index import match_of
from .values import Budget

__all__ = ["Floor", "floors", "raise_floors"]

KEPT_S = 400 * 86_400.0
"""How long a ledger remembers that a floor was laid."""


class Floor(NamedTuple):
    """The arguments of `Ledger.raise_to`."""

    key: str
    spent: int
    mark: str
    """The same in every window, so that a file that is read again next month says nothing about that one."""
    expires_at: float


def floors(budgets: Iterable[Budget], at: float) -> Iterator[Floor]:
    """The floors of those budgets that have one, in the windows of `at`."""
    for budget in budgets:
        if budget.spent:
            match = match_of(budget, at)
            mark = f"floor|{budget.generation}|{budget.spent}|{budget.key}"
            yield Floor(match.ledger_key, budget.spent, mark, match.window.expires_at)


def raise_floors(ledger: Ledger, budgets: Iterable[Budget], at: float) -> None:
    """Lay the floors that no process has laid: each once, in whatever window it is read again.

    Raises: LedgerUnavailable.
    """
    for floor in floors(budgets, at):
        # The sum of a key that no call touches; written last, so that a floor is laid twice in one window,
        # where it is the same, rather than not at all.
        if ledger.totals([Line(floor.mark, 0, 0)])[0].spent == 0:
            ledger.raise_to(floor.key, floor.spent, mark=floor.mark, expires_at=floor.expires_at)
            ledger.raise_to(floor.mark, 1, mark="laid", expires_at=at + KEPT_S)
