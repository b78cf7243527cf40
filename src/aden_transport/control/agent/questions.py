"""What calls want to hear from the server about budgets, asked once for all who wait for the same.

A call is answered by an answer to a question that was sent after it came. Whoever comes while one is under
way joins the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...policy import Match
from .hybrid import Validation

__all__ = ["Heard", "Inquiry", "Question", "Questions"]


@dataclass(slots=True, eq=False)
class Question:
    """About one budget, for everybody who waits for it."""

    budget_key: str
    """As the policy names it."""
    ledger_key: str
    estimate: int
    """Nano-dollars: what the dearest of the calls probably costs."""
    spent: int
    """As this host knows it."""
    answer: Validation | None = None
    is_over: bool = False
    """Whether there is an answer, or will be none."""


class Heard(NamedTuple):
    """What came back about a budget of a call."""

    match: Match
    answer: Validation | None
    """None: nothing in time."""


class Inquiry:
    """What one call asks."""

    def __init__(self, asked: Sequence[tuple[Match, Question]]) -> None:
        self._asked = asked
        self._heard: Sequence[Heard] | None = None

    @property
    def is_open(self) -> bool:
        """Whether an answer may come yet."""
        return self._heard is None and not all(question.is_over for _, question in self._asked)

    @property
    def heard(self) -> Sequence[Heard]:
        """What has come by the time that this is asked first: what comes later changes nothing, so that the
        call is planned and judged on the same."""
        if self._heard is None:
            self._heard = [Heard(match, question.answer) for match, question in self._asked]
        return self._heard


class Questions:
    """Any thread may ask."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._next: dict[str, Question] = {}

    def ask(self, budget_key: str, ledger_key: str, *, estimate: int, spent: int) -> Question:
        """The question that will be sent next about a budget."""
        with self._lock:
            question = self._next.get(ledger_key)
            if question is None:
                question = self._next[ledger_key] = Question(budget_key, ledger_key, estimate, spent)
            else:
                question.estimate, question.spent = (
                    max(question.estimate, estimate),
                    max(question.spent, spent),
                )
        self._wake()
        return question

    def take(self) -> list[Question]:
        """Those that are to be sent now. Whoever asks from here on asks anew."""
        with self._lock:
            taken, self._next = list(self._next.values()), {}
        return taken

    def after_fork_in_child(self) -> None:
        """Those who asked are in the parent."""
        self._lock = threading.Lock()
        self._next = {}
