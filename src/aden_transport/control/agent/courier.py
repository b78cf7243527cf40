"""Between the outbox and the rule of delivery: rows in, requests out, answers back.

What is called here may read and write the host's file, and so wait for a moment: call it on a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..._guard import internal_fault
from ...errors import LedgerUnavailable
from ...ledger.outbox import Batch, Outbox, Row
from .delivery import Delivery, Event, Post, Reply
from .shapes import json_of, wire_event

__all__ = ["Courier"]

MARGIN_S = 10.0
"""Before a claim ends nothing is sent under it any more."""


class Refusal(Exception):
    """A server will not have an event."""


class Courier:
    """Takes the events of one outbox to one server, one request at a time.

    `due(now)` gives the next request or None, `take(reply, now)` is told what came of it, and `wake_at()`
    says when to ask again; times are on a monotonic clock. Any thread may call `added`; the others one at a
    time.
    """

    def __init__(
        self,
        outbox: Outbox,
        delivery: Delivery,
        *,
        wall: Callable[[], float] = time.time,
        shape: Callable[[Row], dict[str, Any]] = wire_event,
    ) -> None:
        self.outbox = outbox
        self.delivery = delivery
        self._wall = wall
        self._shape = shape
        self._batch: Batch | None = None
        self.on_change: Callable[[], object] = bool
        """Called by `added`, on any thread, where there is something to do earlier than was said."""

    def added(self, count: int, now: float) -> None:
        """This process has put events into the outbox."""
        if self.delivery.added(count, now):
            self.on_change()

    def end(self) -> None:
        """Send all that there is; see `is_done`."""
        self.delivery.end()

    @property
    def is_done(self) -> bool:
        """Whether the server has all that was in the outbox when it was last looked at."""
        return self.delivery.is_done

    def wake_at(self) -> float:
        return self.delivery.wake_at()

    @property
    def can_wait(self) -> bool:
        """Whether the server fails, and what it has not taken outlasts this process."""
        return self.outbox.lasts and self.delivery.is_failing

    def due(self, now: float) -> Post | None:
        """The request that is to be made now."""
        if self._batch is not None and self._wall() > self._batch.until - MARGIN_S:
            self.leave()
        try:
            if self.delivery.wants(now):
                self._load(now)
            return self.delivery.due(now)
        except LedgerUnavailable as exc:
            internal_fault("outbox", exc)
            self.delivery.load((), now, more=False)
            return None

    def take(self, reply: Reply, now: float) -> None:
        """What came of the request."""
        self.delivery.take(reply, now)
        taken, batch = self.delivery.taken_out(), self._batch
        if batch is None:
            return
        try:
            if taken.sent:
                self.outbox.forget(batch, taken.sent)
            if taken.refused:
                internal_fault("delivery", Refusal(f"{len(taken.refused)} with status {reply.status}"))
                self.outbox.refuse(batch, taken.refused)
        except LedgerUnavailable as exc:
            internal_fault("outbox", exc)
        if not self.delivery.is_loaded:
            self.leave()

    def renew(self) -> None:
        """In a forked child: what was claimed is the parent's."""
        self._batch = None
        self.delivery.renew()

    def leave(self) -> None:
        """Give back what is not sent, for others to send it."""
        batch, self._batch = self._batch, None
        if self.delivery.is_loaded:
            self.delivery.drop()
        if batch is not None:
            self.outbox.leave(batch)

    def _load(self, now: float) -> None:
        delivery = self.delivery
        delivery.loading()
        batch = self.outbox.claim(self._wall(), most=delivery.most, most_size=delivery.most_bytes // 2)
        if batch is None:
            delivery.load((), now, more=False)
            return
        self._batch = batch
        events: list[Event] = []
        spoiled: list[int] = []
        for row in batch.rows:
            try:
                events.append(Event(row.number, json_of(self._shape(row))))
            except (TypeError, LookupError, ValueError) as exc:
                internal_fault("outbox", exc)
                spoiled.append(row.number)
        if spoiled:
            self.outbox.refuse(batch, spoiled)
        delivery.load(events, now, more=batch.more)
