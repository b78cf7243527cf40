"""Sums of keys that nobody uses at the moment, at 19 bytes a key.

A key is kept as the 64 bits of its hash, which is keyed anew in every process: among a million keys, two
share a sum with a probability of 3e-8.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

__all__ = ["IdleSums"]

SHARDS = 1024
"""At a million keys, adding one moves 8 KiB, and forgetting looks at a thousand."""
HASH = 2**64 - 1
MOST = 2**63 - 1
HOUR = 3600.0
YEAR = 8760
NEVER, FIRST, LAST = 0, 1, 2**16 - 1
"""Stamps: hours, so that a key is forgotten up to an hour late."""
ADDED = 64
"""Keys that are added for each shard that is looked through for expired ones."""


class IdleSums:
    """Sums by key. Not for several threads at once."""

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(SHARDS)]
        self._origin: int | None = None
        self._added = 0
        self._next = 0

    def __len__(self) -> int:
        return sum(len(shard.hashes) for shard in self._shards)

    def get(self, key: str) -> int:
        """0 where there is none."""
        code = hash(key) & HASH
        shard = self._shards[code % SHARDS]
        index = bisect_left(shard.hashes, code)
        if index == len(shard.hashes) or shard.hashes[index] != code:
            return 0
        return shard.sums[index]

    def put(self, key: str, amount: int, expires_at: float) -> bool:
        """Set the sum of a key. False where it is too large to be kept here."""
        if amount > MOST:
            return False
        code = hash(key) & HASH
        shard = self._shards[code % SHARDS]
        index = bisect_left(shard.hashes, code)
        if index < len(shard.hashes) and shard.hashes[index] == code:
            shard.sums[index] = amount
            return True
        shard.sums.insert(index, amount)
        shard.stamps.insert(index, self._stamp(expires_at))
        shard.hashes.insert(index, code)
        self._added += 1
        return True

    def drop(self, key: str) -> None:
        code = hash(key) & HASH
        shard = self._shards[code % SHARDS]
        index = bisect_left(shard.hashes, code)
        if index < len(shard.hashes) and shard.hashes[index] == code:
            del shard.hashes[index], shard.sums[index], shard.stamps[index]

    def forget(self, now: float, *, at_least: int = 0) -> None:
        """Look through as many shards for expired keys as the keys that were added since demand."""
        count = min(SHARDS, max(self._added // ADDED, at_least))
        if count == 0 or self._origin is None:
            return
        self._added = 0
        due = int(now / HOUR) - self._origin
        for _ in range(count):
            shard = self._shards[self._next]
            self._next = (self._next + 1) % SHARDS
            kept = [i for i, stamp in enumerate(shard.stamps) if stamp == NEVER or stamp > due]
            if len(kept) < len(shard.stamps):
                shard.keep(kept)

    def _stamp(self, expires_at: float) -> int:
        if expires_at <= 0:
            return NEVER
        hours = -int(-expires_at // HOUR)
        if self._origin is None:
            self._origin = hours - YEAR
        stamp = max(FIRST, hours - self._origin)
        return stamp if stamp <= LAST else NEVER


class _Shard:
    __slots__ = ("hashes", "stamps", "sums")

    def __init__(self) -> None:
        self.hashes = array("Q")
        """Sorted."""
        self.sums = array("q")
        self.stamps = array("H")

    def keep(self, indices: list[int]) -> None:
        self.hashes = array("Q", [self.hashes[i] for i in indices])
        self.sums = array("q", [self.sums[i] for i in indices])
        self.stamps = array("H", [self.stamps[i] for i in indices])
