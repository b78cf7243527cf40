"""Calls of one process that wait for a lease, and what they want to hold."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from .base import Line

__all__ = ["Waiting"]

WAITS_S = 1.0
"""After so long a call that has not asked again does not wait any more."""


class Waiting:
    """For any thread."""

    def __init__(self) -> None:
        self._calls: dict[str, dict[str, tuple[int, float]]] = {}
        """By key and call: what it wants to hold, and when it last said so."""
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __contains__(self, op_id: str) -> bool:
        with self._lock:
            return any(op_id in calls for calls in self._calls.values())

    def add(self, op_id: str, lines: Sequence[Line], now: float) -> bool:
        """Whether the call has not waited for any of the keys so far."""
        with self._lock:
            is_new = not any(op_id in self._calls.get(line.key, ()) for line in lines)
            for line in lines:
                self._calls.setdefault(line.key, {})[op_id] = (line.hold, now)
            return is_new

    def drop(self, op_id: str) -> None:
        """The call has been told what becomes of it."""
        with self._lock:
            for key in [key for key, calls in self._calls.items() if op_id in calls]:
                del self._calls[key][op_id]
                if not self._calls[key]:
                    del self._calls[key]

    def wanted(self, now: float) -> dict[str, list[int]]:
        """By key, the holds of those who still wait."""
        with self._lock:
            for key, calls in list(self._calls.items()):
                still = {op_id: each for op_id, each in calls.items() if now - each[1] < WAITS_S}
                if still:
                    self._calls[key] = still
                else:
                    del self._calls[key]
            return {key: [hold for hold, _ in calls.values()] for key, calls in self._calls.items()}
