"""Alerts that this host has seen, until the server has said whether another host of the fleet was first.

Told of is what the server says nobody has told of, and what it has said nothing about by the time that its
bound is over: an alert twice is better than none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..._guard import internal_fault

__all__ = ["Mark", "Marks"]

MOST = 1000
"""Alerts that wait for the server's word; one more is told of at once."""
AT_ONCE = 20
"""Questions that are under way together."""
LOOK_S = 0.005


@dataclass(slots=True, eq=False)
class Mark:
    """One alert."""

    key: str
    mark: str
    expires_at: float
    tell: Callable[[], object]
    until: float
    """On the monotonic clock: then it is told of without the server's word."""


class Marks:
    """Any thread may use it."""

    def __init__(self, wake: Callable[[], object], *, bound_s: float) -> None:
        self._wake = wake
        self._bound_s = bound_s
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Mark, bool] = {}
        """In their order; whether the server is being asked."""

    def ask(self, key: str, mark: str, *, expires_at: float, tell: Callable[[], object]) -> None:
        """Have `tell` called once unless another host has marked the same; on any thread. Does not wait."""
        now = time.monotonic()
        asked = Mark(key, mark, expires_at, tell, now + self._bound_s)
        with self._lock:
            overdue = [each for each in self._open if each.until <= now]
            is_kept = len(self._open) - len(overdue) < MOST
            self._open[asked] = False
        for each in overdue if is_kept else [*overdue, asked]:
            self.end(each, is_first=True)
        self._wake()

    def take(self) -> list[Mark]:
        """Those that the server is to be asked about now; `end` is to be called for each."""
        with self._lock:
            taken = [each for each, is_asked in self._open.items() if not is_asked][:AT_ONCE]
            self._open.update(dict.fromkeys(taken, True))
        return taken

    def end(self, asked: Mark, *, is_first: bool) -> None:
        """What the server has said, or that it has not; the first word counts."""
        with self._lock:
            was_open = self._open.pop(asked, None) is not None
        if was_open and is_first:
            try:
                asked.tell()
            except Exception as exc:  # noqa: BLE001 - a fault of ours must not keep others back
                internal_fault("alert", exc)

    @property
    def is_open(self) -> bool:
        """Whether some have not been told of, or dropped."""
        return bool(self._open)

    @property
    def waits(self) -> bool:
        """Whether some are still to be asked about."""
        with self._lock:
            return not all(self._open.values())

    def wait(self, timeout: float) -> None:
        """Wait for the server's words, for at most `timeout` seconds; then all have been told of."""
        deadline = time.monotonic() + timeout
        while self.is_open and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        self.give_up()

    def give_up(self) -> None:
        """Tell of all that wait: nobody asks the server any more."""
        for each in list(self._open):
            self.end(each, is_first=True)

    def after_fork_in_child(self) -> None:
        """What waits is the parent's to tell of."""
        self._renew()
