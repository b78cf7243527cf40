"""The one thread on which plain emitters run, so that nothing slow happens in a call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeAlias

from .._guard import internal_fault
from ..events import MetricEvent
from ._reentry import emitting
from ._renew import renew_in_child
from ._tally import Tally
from .base import Fault, Sink

__all__ = ["EmitterThread"]

_Item: TypeAlias = tuple[Sink, MetricEvent] | threading.Event | Callable[[], object] | None
"""An event for a sink, a flush that waits to be told, what follows on events, or None: the end."""


class EmitterThread:
    """A daemon thread with a queue of at most `limit` events, started by the first one.

    What comes while the queue is full is dropped and counted. The queue is first in, first out.
    """

    def __init__(self, fault: Fault, limit: int = 10_000) -> None:
        self._fault = fault
        self._limit = limit
        self._drops = Tally("emitter queue is full", "make the emitter faster, or batch")
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        # Reentrant, because a signal handler may emit while its thread is in here.
        self._lock = threading.RLock()
        self._queue: SimpleQueue[_Item] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        return self._drops.value

    def put(self, sink: Sink, event: MetricEvent) -> None:
        """Have `sink(event)` called on the thread."""
        with self._lock:
            room = self._queue.qsize() < self._limit
            if room:
                self._queue.put((sink, event))
                if self._thread is None:
                    self._start()
        if not room:
            self._drops.add()

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, args=(self._queue,), name="aden-emit", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            # No more threads, or the interpreter is ending. The queue keeps the event; the next try
            # is the next event's or flush's.
            internal_fault("emit thread", exc)
            return False
        self._thread = thread
        return True

    def after(self, then: Callable[[], object]) -> None:
        """Have `then()` called once the events so far are through."""
        with self._lock:
            waits = self._thread is not None or not self._queue.empty()
            if waits:
                self._queue.put(then)
        if not waits:
            then()

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until the events so far are through; whether they are."""
        reached = threading.Event()
        with self._lock:
            if self._thread is None and (self._queue.empty() or not self._start()):
                return self._queue.empty()
            self._queue.put(reached)
        return reached.wait(max(0.0, timeout))

    def close(self, timeout: float) -> bool:
        """Let the thread work off its queue and end; whether it did so in `timeout` seconds.

        Where it did not, the daemon thread goes on for as long as the process lives.
        """
        with self._lock:
            if self._thread is None and (self._queue.empty() or not self._start()):
                lost, self._queue = self._queue.qsize(), SimpleQueue()
                if lost:
                    self._drops.add(lost)
                return not lost
            thread, self._thread = self._thread, None
            queue, self._queue = self._queue, SimpleQueue()
            queue.put(None)
        assert thread is not None
        thread.join(max(0.0, timeout))
        return not thread.is_alive()

    def _run(self, queue: SimpleQueue[_Item]) -> None:
        emitting.set(True)
        while (item := queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
            elif callable(item):
                item()
            else:
                self._emit(*item)
            del item  # a quiet program must not keep its last event alive

    def _emit(self, sink: Sink, event: MetricEvent) -> None:
        # This thread is ours: an emitter that asks the interpreter to exit does not end it.
        try:
            sink(event)
        except BaseException as exc:  # noqa: BLE001 - see above
            try:
                self._fault(event, exc)
            except BaseException as second:  # noqa: BLE001 - see above
                internal_fault("on_emit_error", second)
