"""How many different names have been seen, up to a cap, in little memory."""

from __future__ import annotations

import threading
from array import array

__all__ = ["Distinct"]


class Distinct:
    """A set that admits `most` names, by their 64-bit hashes: about 20 bytes a name.

    Two names of one hash count as one; that takes some 10**9 names to happen.
    """

    __slots__ = ("_count", "_lock", "_slots", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._count = 0
        self._slots = array("q", bytes(8 * 64))
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._count

    def admits(self, name: str) -> bool:
        """Whether `name` is one of the first `most`."""
        print_ = hash(name) or 1
        if _find(self._slots, print_)[1]:
            return True
        with self._lock:
            place, is_there = _find(self._slots, print_)
            if is_there:  # pragma: no cover  # another thread came first
                return True
            if self._count >= self.most:
                return False
            self._slots[place] = print_
            self._count += 1
            if self._count * 2 > len(self._slots):
                self._slots = _grown(self._slots)
            return True


def _find(slots: array[int], print_: int) -> tuple[int, bool]:
    """The place of a hash, or where it would stand. At least half of the places are empty."""
    mask = len(slots) - 1
    place = print_ & mask
    while slots[place]:
        if slots[place] == print_:
            return place, True
        place = (place + 1) & mask
    return place, False


def _grown(slots: array[int]) -> array[int]:
    out = array("q", bytes(16 * len(slots)))
    for print_ in slots:
        if print_:
            out[_find(out, print_)[0]] = print_
    return out
