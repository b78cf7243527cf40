"""The paces of one process: states under one lock."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from .pace import Move, State, Turn, moved

__all__ = ["MOST_KEYS", "Paces"]

MOST_KEYS = 4096
"""The key that was used longest ago is forgotten for the next; it is learned anew, if it is ever needed."""


class Paces:
    """States by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: OrderedDict[str, State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def move(self, key: str, move: Move, now: float | None) -> Turn:
        states = self._states
        with self._lock:
            state = states.get(key)
            # Only this process sees these times, so nobody can set its clock.
            after, turn = moved(state, move, time.monotonic() if now is None else now)
            if after is not state:
                states[key] = after
                if len(states) > MOST_KEYS:
                    states.popitem(last=False)
            states.move_to_end(key)
            return turn

    def renew_in_child(self) -> None:
        """The lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
