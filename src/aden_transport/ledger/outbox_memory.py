"""The outbox of a process that can write no file."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from weakref import WeakSet

from .. import _json
from .._fork import on_fork_in_child
from ..errors import LedgerUnavailable
from .base import Sending, Spooled
from .outbox import CLAIM_S, Batch, Bounds, Losses, Outbox, Row, report_of

__all__ = ["BOUNDS", "MemoryOutbox", "OutboxWithReserve"]

BOUNDS = Bounds(rows=10_000, size=16 * 2**20)


class _Kept(NamedTuple):
    event: Spooled
    at: float


class MemoryOutbox:
    """See `Outbox`. What it keeps goes with its process; a forked child starts with nothing."""

    def __init__(self, sending: Sending, bounds: Bounds = BOUNDS) -> None:
        self.sending = sending
        self._bounds = bounds
        self._renew()
        _outboxes.add(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._size = 0
        self._next = 0
        self._claims: dict[int, tuple[frozenset[int], float]] = {}
        self._losses = Losses()

    lasts = False

    @property
    def is_used(self) -> bool:
        """Whether it has anything to send."""
        return bool(self._kept) or self._losses.count > 0

    def is_same(self, other: Outbox) -> bool:
        return other is self

    def add(self, events: Sequence[Spooled]) -> None:
        with self._lock:
            now = time.time()
            self._add(events, now)
            self._trim(now)

    def lose(self, count: int) -> None:
        with self._lock:
            self._losses.crowded += count

    def _add(self, events: Sequence[Spooled], now: float) -> None:
        for event in events:
            self._next += 1
            self._kept[self._next] = _Kept(event, now)
            self._size += len(event.text)

    def _trim(self, now: float) -> None:
        """Give up what is too old, too many or too much. What somebody is sending stays."""
        bounds, sent = self._bounds, self._sent(now)
        for number, (_, at) in list(self._kept.items()):
            aged = at < now - bounds.age_s
            if not aged and len(self._kept) <= bounds.rows and self._size <= bounds.size:
                return
            if number in sent:
                continue
            self._drop(number)
            if aged:
                self._losses.aged += 1
            else:
                self._losses.crowded += 1

    def _sent(self, now: float) -> frozenset[int]:
        self._claims = {
            token: claim for token, claim in self._claims.items() if now < claim[1] <= now + CLAIM_S
        }
        return frozenset().union(*(numbers for numbers, _ in self._claims.values()))

    def _drop(self, number: int) -> bool:
        kept = self._kept.pop(number, None)
        if kept is not None:
            self._size -= len(kept.event.text)
        return kept is not None

    def claim(self, now: float, *, most: int, most_size: int) -> Batch | None:
        with self._lock:
            self._trim(now)
            if self._losses.count:
                losses, self._losses = self._losses, Losses()
                self._add([report_of(losses, self.sending)], now)
            rows, size, more, sent = list[Row](), 0, False, self._sent(now)
            for number, (event, _) in self._kept.items():
                if number in sent:
                    continue
                size += len(event.text)
                if rows and (size > most_size or len(rows) == most):
                    more = True
                    break
                sending = event.sending or self.sending
                rows.append(Row(number, event.event_id, sending, _json.loads(event.text)))
            if not rows:
                return None
            self._next += 1
            self._claims[self._next] = (frozenset(row.number for row in rows), now + CLAIM_S)
            return Batch(self._next, now + CLAIM_S, rows, more)

    def forget(self, batch: Batch, numbers: Iterable[int]) -> None:
        with self._lock:
            for number in numbers:
                self._drop(number)

    def refuse(self, batch: Batch, numbers: Iterable[int]) -> None:
        with self._lock:
            self._losses.refused += sum(self._drop(number) for number in numbers)

    def leave(self, batch: Batch) -> None:
        with self._lock:
            self._claims.pop(abs(batch.token), None)

    def waiting(self) -> int:
        return len(self._kept)


class OutboxWithReserve:
    """See `Outbox`. `file`, and in memory what it did not take."""

    def __init__(self, file: Outbox, reserve: MemoryOutbox) -> None:
        self.file = file
        self.reserve = reserve

    @property
    def sending(self) -> Sending:
        return self.file.sending

    @property
    def lasts(self) -> bool:
        return not self.reserve.is_used

    def is_same(self, other: Outbox) -> bool:
        return isinstance(other, OutboxWithReserve) and self.file.is_same(other.file)

    def add(self, events: Sequence[Spooled]) -> None:
        self.file.add(events)

    def lose(self, count: int) -> None:
        self.reserve.lose(count)

    def claim(self, now: float, *, most: int, most_size: int) -> Batch | None:
        try:
            batch = self.file.claim(now, most=most, most_size=most_size)
        except LedgerUnavailable:
            if not self.reserve.is_used:
                raise
            batch = None
        if batch is None and self.reserve.is_used:
            batch = self.reserve.claim(now, most=most, most_size=most_size)
            if batch is not None:
                batch.token = -batch.token
        elif batch is not None:
            batch.more = batch.more or self.reserve.is_used
        return batch

    def _of(self, batch: Batch) -> Outbox:
        """Where a batch is from."""
        return self.reserve if batch.token < 0 else self.file

    def forget(self, batch: Batch, numbers: Iterable[int]) -> None:
        self._of(batch).forget(batch, numbers)

    def refuse(self, batch: Batch, numbers: Iterable[int]) -> None:
        self._of(batch).refuse(batch, numbers)

    def leave(self, batch: Batch) -> None:
        self._of(batch).leave(batch)

    def waiting(self) -> int:
        return self.file.waiting() + self.reserve.waiting()


_outboxes: WeakSet[MemoryOutbox] = WeakSet()


def _renew_all() -> None:
    for outbox in list(_outboxes):
        outbox._renew()


on_fork_in_child(_renew_all)
