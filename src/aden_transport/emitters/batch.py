"""Events in batches: many calls, one delivery."""

from __future__ import annotations

import inspect
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from .._guard import internal_fault
from ..errors import ConfigurationError
from ..events import MetricEvent
from ._reentry import emitting
from ._renew import renew_in_child
from ._tally import Tally
from .base import BaseEmitter, Placement

if TYPE_CHECKING:
    import asyncio

__all__ = ["BatchEmitter", "Handler", "create_batch_emitter"]

Handler: TypeAlias = Callable[[list[MetricEvent]], object]
"""Takes one batch; sync, or async and run on an asyncio loop of the flusher thread."""


class BatchEmitter(BaseEmitter):
    """Collects events in the call and hands them to `handler` on a thread of its own, in order."""

    placement = Placement.INLINE

    def __init__(self, handler: Handler, batch_size: int, flush_interval: float, max_events: int) -> None:
        self._handler = handler
        self._size = batch_size
        self._interval = flush_interval
        self._max = max_events
        self._drops = Tally("batch emitter is full", "make its handler faster, or batch_size larger")
        self._failures = Tally("a batch handler failed", "see on_emit_error")
        self.renew()
        renew_in_child(self)

    def renew(self) -> None:
        # Reentrant, because a signal handler may emit while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._buffer: deque[MetricEvent] = deque()
        self._since = 0.0
        """When the oldest event in the buffer came, on the monotonic clock."""
        self._accepted = 0
        self._taken = 0
        self._handled = 0
        self._flush_to = 0
        """The number of the last event that somebody waits for; no batch up to it waits to be full."""
        self._worker: _Worker | None = None

    @property
    def dropped(self) -> int:
        """Events that came while `max_events` were waiting."""
        return self._drops.value

    @property
    def failed(self) -> int:
        """Events in batches that the handler raised on; it is not called again with them."""
        return self._failures.value

    def __call__(self, event: MetricEvent) -> None:
        with self._changed:
            waiting = len(self._buffer)
            room = waiting < self._max
            if room:
                if waiting == 0:
                    self._since = time.monotonic()
                self._buffer.append(event)
                self._accepted += 1
                if self._worker is None:
                    self._start()
                elif waiting == 0 or waiting + 1 == self._size:
                    self._changed.notify_all()
        if not room:
            self._drops.add()

    def flush(self, timeout: float = 2.0) -> bool:
        """Hand over all events so far; whether the handler was through within `timeout` seconds.

        False at once where the handler itself asks.
        """
        if self._is_handler():
            return False
        with self._changed:
            if self._worker is None and (self._handled == self._accepted or not self._start()):
                return self._handled == self._accepted
            return self._await_all(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, then end the thread. A later event starts it again."""
        if self._is_handler():
            return False
        deadline = time.monotonic() + timeout
        with self._changed:
            worker, self._worker = self._worker, None
            if worker is None:
                return self._handled == self._accepted
            worker.stop = True
            done = self._await_all(timeout)
        if done:
            worker.join(max(0.0, deadline - time.monotonic()))
        return done

    def _is_handler(self) -> bool:
        thread = threading.current_thread()
        return isinstance(thread, _Worker) and thread.batches is self

    def _await_all(self, timeout: float) -> bool:
        number = self._flush_to = self._accepted
        self._changed.notify_all()
        return self._changed.wait_for(lambda: self._handled >= number, max(0.0, timeout))

    def _start(self) -> bool:
        worker = _Worker(self)
        try:
            worker.start()
        except RuntimeError as exc:
            # No more threads, or the interpreter is ending. The events stay; the next one tries again.
            internal_fault("emit thread", exc)
            return False
        self._worker = worker
        return True

    def next_batch(self, worker: _Worker) -> list[MetricEvent]:
        """Wait for a batch that is full, old enough or asked for; empty where `worker` is to end."""
        with self._changed:
            while True:
                urgent = self._taken < self._flush_to
                if worker.stop and not urgent:
                    return []
                if not self._buffer:
                    self._changed.wait()
                    continue
                patience = self._since + self._interval - time.monotonic()
                if urgent or len(self._buffer) >= self._size or patience <= 0:
                    break
                self._changed.wait(patience)
            batch = [self._buffer.popleft() for _ in range(min(self._size, len(self._buffer)))]
            self._taken += len(batch)
            self._since = time.monotonic()
            return batch

    def handled(self, batch: list[MetricEvent], exc: BaseException | None) -> None:
        """The handler is through with `batch`, or failed on it."""
        if exc is not None:
            self._failures.add(len(batch))
            for event in batch:
                self.tell(event, exc)
        with self._changed:
            self._handled += len(batch)
            self._changed.notify_all()

    def hand_over(self, batch: list[MetricEvent]) -> object:
        return self._handler(batch)


class _Worker(threading.Thread):
    """The flusher thread and, for async handlers, its asyncio loop."""

    def __init__(self, batches: BatchEmitter) -> None:
        super().__init__(name="aden-batch", daemon=True)
        self.stop = False
        self.batches = batches
        self._runner: asyncio.Runner | None = None

    def run(self) -> None:
        emitting.set(True)
        try:
            while batch := self.batches.next_batch(self):
                self.batches.handled(batch, self._hand_over(batch))
        finally:
            if self._runner is not None:
                self._runner.close()

    def _hand_over(self, batch: list[MetricEvent]) -> BaseException | None:
        # This thread is ours: a handler that asks the interpreter to exit does not end it.
        try:
            result = self.batches.hand_over(batch)
            if inspect.isawaitable(result):
                self._await(result)
        except BaseException as exc:  # noqa: BLE001 - see above
            return exc
        return None

    def _await(self, result: Awaitable[object]) -> None:
        import asyncio

        async def wait() -> None:
            await result

        if self._runner is None:
            self._runner = asyncio.Runner()
        # The runner's own context is copied at its first use, here, where `in_emitter()` is true.
        self._runner.run(wait())


def create_batch_emitter(
    handler: Handler,
    batch_size: int = 100,
    flush_interval: float = 5.0,
    *,
    max_events: int = 10_000,
) -> BatchEmitter:
    """Hand events to `handler(events)` in lists of at most `batch_size`, in the order they came.

    A batch goes out when it is full, when its oldest event is `flush_interval` seconds old, and at
    `.flush()` and `.close()`. `handler` is a plain or an async function; it runs on one thread of its
    own, never twice at a time. What it raises goes to `on_emit_error`, once per event of the batch.
    While `max_events` wait, further events are dropped and counted in `.dropped`.

    Raises: ConfigurationError for an argument that cannot be used.
    """
    what = "create_batch_emitter"
    if not callable(handler):
        raise ConfigurationError(
            f"{what}: handler is a {type(handler).__name__}: give a function that takes a list of events"
        )
    for name, count in (("batch_size", batch_size), ("max_events", max_events)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ConfigurationError(f"{what}: {name}={count!r}: give a whole number of events above 0")
    if max_events < batch_size:
        raise ConfigurationError(
            f"{what}: max_events={max_events} is below batch_size={batch_size}: raise it"
        )
    seconds: Any = flush_interval
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigurationError(f"{what}: flush_interval={seconds!r}: give a number of seconds above 0")
    # A lock cannot be waited for longer than some 292 years; a day is as good as never.
    return BatchEmitter(handler, batch_size, min(float(seconds), 86_400.0), max_events)
