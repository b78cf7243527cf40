"""What others have spent, as far as the sums of a server without leases tell: values in, values out.

A server's sum is as old as the answer that told it, and holds what this host had reported by then. So before
the server is asked, this host notes what it has counted itself, provided that the server has been told of all
of it: the difference is what others have spent, and what this host counts from then on comes on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["OthersSums"]


class OthersSums:
    """By key of the ledger, in nano-dollars."""

    def __init__(self, told: Mapping[str, int], began_anew: Iterable[str] = ()) -> None:
        self.told = dict(told)
        """What the server said last."""
        self.began_anew = set(began_anew)
        """Keys that the server has begun to count anew, while this host's sum goes on."""
        self.offsets: Mapping[str, int] = {}
        """What is to be added to what this host has counted. Replaced whole."""
        self._noted: Mapping[str, int] = {}

    def note(self, own: Mapping[str, int]) -> None:
        """What this host has counted, all of which the server knows."""
        self._noted = own

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of which nothing is noted."""
        return [key for key in keys if key not in self._noted]

    def add(self, own: Mapping[str, int]) -> None:
        """What this host has counted of keys of which nothing is noted."""
        self._noted = {**own, **self._noted}

    def see(self, told: Mapping[str, int]) -> None:
        """The server's sums of all keys."""
        offsets: dict[str, int] = {}
        for key, spent in told.items():
            if spent < self.told.get(key, 0):
                self.began_anew.add(key)
            offset = spent - self._noted.get(key, 0)
            # The server may be behind; but where it began anew, what this host counted before is over.
            if offset > 0 or key in self.began_anew:
                offsets[key] = offset
        self.told = dict(told)
        self.began_anew &= told.keys()
        self.offsets = offsets

    def hear(self, key: str, spent: int) -> None:
        """The server's sum of one key, told by the way: it may raise what others have spent."""
        offset = spent - self._noted.get(key, 0)
        if offset > self.offsets.get(key, 0):
            self.offsets = {**self.offsets, key: offset}
