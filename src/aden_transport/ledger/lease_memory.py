"""The leases of one process, which end with it."""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence

from .._fork import on_fork_in_child
from ..control.messages import Ask, Grant
from .base import SEAL, Line
from .leases import Account, Book, given_by
from .memory import MemoryLedger

__all__ = ["MemoryLeases", "lease_clock"]


def lease_clock() -> float:
    """Seconds since the machine was started, those in which it slept included, where the system counts them:
    a lease ends while its owner sleeps."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class MemoryLeases:
    """See `Leases`. A forked child is another owner, and begins with none."""

    is_shared = False

    def __init__(self, local: MemoryLedger) -> None:
        self._local = local
        self._begin()
        self._lock = threading.Lock()
        _all.add(self)

    def find(self, key: str) -> Account | None:
        return self._book.open.get(key)

    def remembered(self, key: str) -> int:
        return self._book.remembered.get(key, (0, 0))[0]

    def prepare(self, lines: Iterable[Line], now: float, *, anew: bool = False) -> bool:
        missing = [line for line in lines if anew or line.key not in self._book.open]
        if not missing:
            return False
        with self._lock:
            before = self._book.generation
            for line in missing:
                self._book.opened(line.key, now, **given_by(line))
            return self._book.generation > before

    def siblings(self, account: Account, also: Sequence[str]) -> Sequence[Account]:
        if not also and account.key not in self._book.leaving:
            return ()
        with self._lock:
            return self._book.siblings(account, also)

    def add(self, key: str, spent: int) -> None:
        with self._lock:
            self._book.add(key, spent)

    def due(self, now: float, waiting: Mapping[str, Collection[int]], *, end: bool = False) -> list[Ask]:
        with self._lock:
            return self._book.due(now, self, waiting, end=end)

    def take(self, grants: Iterable[Grant], asked_at: float, now: float) -> None:
        with self._lock:
            for account in self._book.take(grants, asked_at, now):
                self._local.forget(account.local_key)

    @property
    def is_empty(self) -> bool:
        return not self._book.open and not self._book.leaving

    # -- for the book -------------------------------------------------------------------------------

    def look(self, account: Account) -> tuple[int, int]:
        (sums,) = self._local.totals([Line(account.local_key, 0, 0)])
        return sums.spent, sums.held % SEAL

    def seal(self, account: Account) -> None:
        self._local.seal(account.local_key)

    def _renew_in_child(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self.owner = uuid.uuid4().hex
        # The parent's sums are there in a child, and those of an owner before this one.
        self._book = Book(tag=f"{self.owner[:8]}.")


_all: weakref.WeakSet[MemoryLeases] = weakref.WeakSet()


def _renew_all() -> None:
    for leases in list(_all):
        leases._renew_in_child()


on_fork_in_child(_renew_all)
