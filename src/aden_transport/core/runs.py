"""Budgets of one run: of a task, a test, an agent's turn, without any policy."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import replace
from decimal import Decimal
from typing import Any, ParamSpec, TypeVar

from .._fork import random_bits
from ..attributes import entering
from ..errors import BudgetExceededError, ConfigurationError
from ..events import usd as dollars
from ..ledger.base import Ledger, Line, Unit
from ..policy import Budget, Match, Terms
from ..policy.index import ledger_key
from ..policy.money import MAX_USD, to_nano
from ..policy.window import FOREVER

__all__ = ["active_runs", "budget"]

P = ParamSpec("P")
R = TypeVar("R")

_active: ContextVar[tuple[budget, ...]] = ContextVar("aden_runs", default=())
active_runs: Callable[[], tuple[budget, ...]] = _active.get
"""The budgets of runs that enclose this code, the outermost first."""
KEPT_S = 30 * 86_400.0
"""How long a ledger keeps the sums of a run."""


class budget:
    """Bound everything that is called inside the block, its tasks included.

    ``with budget(usd=2.0, calls=200, tokens=500_000, seconds=600, depth=5) as b: ...``

    A call that does not fit raises `BudgetExceededError` before it is sent. Blocks nest: the inner one lies
    within the outer. Also for `async with`, and a decorator of functions, coroutine functions and generator
    functions, each call of which is a run of its own. Threads do not inherit it by themselves: hand them
    `context.wrap(fn)`. Threads and tasks that enter one block at the same time share it; its sums are kept
    for 30 days.

    usd:     dollars that its calls may cost.
    calls:   how many may be sent.
    tokens:  input and output tokens that they may use.
    seconds: after so long nothing more is sent.
    depth:   how deep further `budget` blocks may nest inside.

    Raises: ConfigurationError where a bound is no number above 0, or none is given.
    """

    def __init__(
        self,
        *,
        usd: float | Decimal | None = None,
        calls: int | None = None,
        tokens: int | None = None,
        seconds: float | None = None,
        depth: int | None = None,
    ) -> None:
        given = {"usd": usd, "calls": calls, "tokens": tokens, "seconds": seconds, "depth": depth}
        if all(value is None for value in given.values()):
            raise ConfigurationError(f"budget(): give at least one of {', '.join(given)}.")
        for name, value in given.items():
            if value is not None:
                _check(name, value)
        self._given = given
        self._matches: dict[Unit, Match] = {}
        self._lock = threading.Lock()
        self._entered = 0
        self._ends_at = math.inf
        self.ledger: Ledger | None = None
        """Where its sums are; None until the first call."""

    # -- as a block --------------------------------------------------------------------------------

    def __enter__(self) -> budget:
        around = _active.get()
        for place, outer in enumerate(around):
            most = outer._given["depth"]
            if most is not None and len(around) - place > most:
                raise BudgetExceededError(f"budget blocks may nest {most} deep here, and no deeper")
        with self._lock:
            if not self._entered:
                self._begin()
            self._entered += 1
        _active.set((*around, self))
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
        around = _active.get()
        if self in around:  # or it was entered in another context, which has ended
            place = len(around) - 1 - around[::-1].index(self)
            _active.set((*around[:place], *around[place + 1 :]))

    async def __aenter__(self) -> budget:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        given: Any = self._given
        return entering(lambda: budget(**given), function)

    def _begin(self) -> None:
        # At random, as processes of all machines may share the ledger, today's and those of next week.
        name = f"run:{random_bits(128):032x}"
        window = replace(FOREVER, expires_at=time.time() + KEPT_S)
        limits: dict[Unit, Any] = {
            "usd": self._given["usd"],
            "calls": self._given["calls"],
            "tokens": self._given["tokens"],
        }
        self.ledger = None
        for unit, value in limits.items():
            if value is not None:
                limit = to_nano(value) if unit == "usd" else int(value)
                own = Budget(f"{name}:{unit}", "context", "run", Terms(limit, unit=unit))
                key = ledger_key(own.key, window)
                self._matches[unit] = Match(own, own.key, own.name, key, window, own.terms)
        seconds = self._given["seconds"]
        if seconds is not None:
            self._ends_at = time.monotonic() + float(seconds)

    # -- for calls ---------------------------------------------------------------------------------

    @property
    def matches(self) -> Collection[Match]:
        """Its budgets, as a plan takes them."""
        return self._matches.values()

    @property
    def counts_tokens(self) -> bool:
        return "tokens" in self._matches

    @property
    def is_over(self) -> bool:
        """Whether its time is."""
        return time.monotonic() >= self._ends_at

    @property
    def seconds(self) -> float | None:
        given = self._given["seconds"]
        return None if given is None else float(given)

    # -- for people --------------------------------------------------------------------------------

    @property
    def spent_usd(self) -> Decimal | None:
        """Settled so far; None without a bound of dollars."""
        return self._sum("usd", of_limit=False)

    @property
    def left_usd(self) -> Decimal | None:
        """What is neither spent nor held by calls under way; not below 0."""
        return self._sum("usd", of_limit=True)

    @property
    def calls_left(self) -> int | None:
        return self._left("calls")

    @property
    def tokens_left(self) -> int | None:
        return self._left("tokens")

    def _sum(self, unit: Unit, *, of_limit: bool) -> Decimal | None:
        if unit not in self._matches:
            return None
        return dollars(self._left(unit) if of_limit else self._sums(unit)[0])

    def _left(self, unit: Unit) -> int | None:
        if unit not in self._matches:
            return None
        return max(0, self._matches[unit].terms.limit - sum(self._sums(unit)))

    def _sums(self, unit: Unit) -> tuple[int, int]:
        if self.ledger is None:
            return 0, 0
        line = Line(self._matches[unit].ledger_key, 0, 0, unit=unit)
        (sums,) = self.ledger.totals([line])
        return sums.spent, sums.held


def _check(name: str, value: Any) -> None:
    number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    most = MAX_USD if name == "usd" else 1 << 50
    if not number or not math.isfinite(value) or not 0 <= value <= most:
        raise ConfigurationError(f"budget({name}={value!r}): give a number from 0 to {most}.")
