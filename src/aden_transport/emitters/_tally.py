"""Counting what was dropped, exactly, and saying so once."""

from __future__ import annotations

import logging
import threading

from ._renew import renew_in_child

__all__ = ["Tally"]

_log = logging.getLogger("aden.emitters")


class Tally:
    """How many events were dropped; the first is logged with `what` and `remedy`."""

    def __init__(self, what: str, remedy: str) -> None:
        self._what = what
        self._remedy = remedy
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        # Reentrant, because a signal handler may emit while its thread is in here.
        self._lock = threading.RLock()
        self.value = 0

    def add(self, count: int = 1) -> None:
        with self._lock:
            first = self.value == 0
            self.value += count
        if first:
            _log.warning("%s: events are dropped and from now on only counted; %s", self._what, self._remedy)
