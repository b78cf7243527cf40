"""A meter's events on their way to a server: where they wait, and who writes them there."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from . import _json
from ._fork import on_fork_in_child
from ._guard import internal_fault
from .core.spooled import spooled
from .errors import LedgerUnavailable
from .ledger.base import Intent, Sending, Spooled
from .ledger.outbox_memory import MemoryOutbox, OutboxWithReserve
from .ledger.private import host_file
from .ledger.sqlite import SqliteLedger
from .ledger.store_thread import StoreThread

if TYPE_CHECKING:
    from .events import MetricEvent
    from .ledger.base import Ledger
    from .ledger.outbox import Outbox, Row

__all__ = ["Outgoing", "file_under", "open_outgoing"]

_log = logging.getLogger("aden.delivery")
MOST = 10_000
"""Events that wait to be written; one more, and the oldest is given up."""
AT_ONCE = 200
"""Events that one transaction writes."""
MOST_TAKEN = 1 << 20
"""Characters of events that one transaction takes over."""
TRIES = 3
"""Of a file that does not answer, before events are kept in memory."""


def open_outgoing(
    ledger: Ledger | None,
    to: str,
    instance: Callable[[], str],
    *,
    thread: StoreThread | None = None,
    lasts: bool = True,
    folder: Path | None = None,
    warned: bool = False,
) -> Outgoing:
    """Events wait for the server `to` beside the sums where these are in a file, whose `thread` it is; else
    in a file of `folder`, or of the user's folder of states; in memory where none can be written.

    `lasts`: whether the file of the sums outlasts the run. `warned`: whether it was told that none can.
    """
    sending = Sending(to, instance())
    file = file_under(ledger) if lasts else None
    if file is not None:
        outbox = OutboxWithReserve(file.outbox(sending), MemoryOutbox(sending))
        return Outgoing(outbox, instance, file=file, thread=thread)
    try:
        file = SqliteLedger(host_file("outbox", folder))
        file.events_dropped()
    except (LedgerUnavailable, OSError) as exc:
        if not warned:
            _tell_of(str(exc))
        return Outgoing(MemoryOutbox(sending), instance)
    return Outgoing(OutboxWithReserve(file.outbox(sending), MemoryOutbox(sending)), instance, file=file)


_told: set[str] = set()


def _tell_of(why: str) -> None:
    if why not in _told:
        _told.add(why)
        _log.warning(
            "%s: events wait for the server in memory, and are lost if this process is killed; "
            "MeterOptions(spool_dir=…) names another folder",
            why,
        )


def file_under(ledger: Any) -> SqliteLedger | None:
    """The file in which the sums are, whatever stands before it."""
    while ledger is not None and not isinstance(ledger, SqliteLedger):
        ledger = getattr(ledger, "local", None) or getattr(ledger, "inner", None)
    return ledger


class Outgoing:
    """The events of one meter that a server is to have, until they are in the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        instance: Callable[[], str],
        *,
        file: SqliteLedger | None = None,
        thread: StoreThread | None = None,
    ) -> None:
        """`instance`: names this process. `file`: in which the outbox is. `thread`: that writes to it."""
        self.outbox = outbox
        self.file = file
        self._instance = instance
        self.thread = StoreThread() if thread is None else thread
        self.on_kept: Callable[[int], object] = bool
        """Told how many events have come into the outbox; on any thread."""
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        self._events: deque[Callable[[], Spooled | None]] = deque()
        self._is_put = False
        self._tries = 0

    def address(self, intent: Intent, *, emitted: bool, settled: bool) -> Intent:
        """`intent`, for what becomes of it if nobody ends its call."""
        return {**intent, "sending": list(self._sending(settled)), "emitted": emitted}

    def spooled(self, event: MetricEvent, *, emitted: bool, settled: bool) -> Spooled:
        """`event` as it is kept."""
        return spooled(event, emitted=emitted, sending=self._sending(settled))

    def _sending(self, settled: bool) -> Sending:
        return Sending(self.outbox.sending.to, self._instance(), settled)

    @property
    def is_written(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._events

    def keep(self, event: MetricEvent, *, settled: bool) -> None:
        """Have `event`, which comes with no end of a hold, written into the outbox. Does not wait."""
        self._later(partial(self.spooled, event, emitted=False, settled=settled))

    def keep_told(self, tell: Callable[[], dict[str, Any] | None]) -> None:
        """The same with an event of the server's protocol, which has an `"event_id"`; None: there is none.
        It is told on the store's thread."""
        self._later(partial(self._told, tell))

    def _told(self, tell: Callable[[], dict[str, Any] | None]) -> Spooled | None:
        told = tell()
        if told is None:
            return None
        text = str(_json.dumps(told), "utf-8")
        return Spooled(told["event_id"], text, emitted=False, sending=self._sending(settled=False))

    def _later(self, event: Callable[[], Spooled | None]) -> None:
        if len(self._events) >= MOST:
            self._events.popleft()
            self.thread.put(partial(self.outbox.lose, 1))
        self._events.append(event)
        if not self._is_put:
            self._is_put = True
            self.thread.put(self._write)

    def _write(self) -> None:
        """On the store's thread.

        Raises: LedgerUnavailable, to be called again.
        """
        self._is_put = False
        while self._events:
            some = list(islice(self._events, AT_ONCE))
            events = [event for each in some if (event := _made(each)) is not None]
            try:
                self._add(events)
            except LedgerUnavailable:
                self._is_put = True
                raise
            for _ in some:
                self._events.popleft()
            self.on_kept(len(events))

    def _add(self, events: list[Spooled]) -> None:
        if not events:
            return
        try:
            self.outbox.add(events)
        except LedgerUnavailable as exc:
            self._tries += 1
            if self._tries < TRIES or not isinstance(self.outbox, OutboxWithReserve):
                raise
            internal_fault("outbox", exc)
            self.outbox.reserve.add(events)
        else:
            self._tries = 0

    def take_over(self, ledger: SqliteLedger, to: str | None = None) -> None:
        """Have what waits in another file, whose processes are gone, sent from here. `to`: what waits there,
        or in the very same file, under another name of the server.

        Raises: LedgerUnavailable.
        """
        own = self.outbox.sending
        other = ledger.outbox(own if to is None else own._replace(to=to))
        while (batch := other.claim(time.time(), most=AT_ONCE, most_size=MOST_TAKEN)) is not None:
            self.outbox.add([_again(row, self.outbox.sending) for row in batch.rows])
            other.forget(batch, [row.number for row in batch.rows])
            other.leave(batch)
            self.on_kept(len(batch.rows))


def _made(make: Callable[[], Spooled | None]) -> Spooled | None:
    try:
        return make()
    except Exception as exc:  # noqa: BLE001 - one event that cannot be written does not keep others back
        internal_fault("outbox", exc)
        return None


def _again(row: Row, sending: Sending) -> Spooled:
    again = row.sending._replace(to=sending.to)
    return Spooled(row.event_id, str(_json.dumps(row.told), "utf-8"), emitted=False, sending=again)


_all: WeakSet[Outgoing] = WeakSet()


def _renew_all() -> None:
    for outgoing in list(_all):
        outgoing._renew()


on_fork_in_child(_renew_all)
