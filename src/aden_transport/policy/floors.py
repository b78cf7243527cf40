"""What a policy says has been spent: a floor under the sum of a budget in its window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .index import match_of
from .values import Budget

__all__ = ["Floor", "floors"]


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
