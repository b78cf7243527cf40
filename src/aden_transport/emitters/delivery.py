"""From the meter to the emitters: where each runs, and what happens when it fails.

===================================  ==============================================================
memory, noop, batch, compositions    in the call: the event is there when the call returns
of them
any other plain callable             on one daemon thread, behind a queue of 10 000 events; in the
                                     call with `async_emit=False`
async callable                       a task of the asyncio or trio loop that makes the call, else of
                                     an asyncio loop on a thread of ours
composition of different kinds       each member at its own place; filters and transforms in the call
===================================  ==============================================================

Nothing that an emitter raises reaches the application: `on_error(event, exc)` is called, the fault is
counted and the first of its kind logged. KeyboardInterrupt, SystemExit and GeneratorExit pass where an
emitter runs in the application's own thread or asyncio task, because there they are the application's
(Ctrl-C, a signal handler that exits). On our threads and in trio system tasks, where letting them
through would end no more than the emitting, or the whole run, they are faults. An emitter that raises
CancelledError is at fault unless its task was cancelled; see `_lanes` for what then happens to the
event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from .._guard import internal_fault
from ..errors import ConfigurationError
from ..events import MetricEvent
from ._dispatch import flagged, flush_all, native_leaves, tree
from ._lanes import Lanes
from ._reentry import emitting, in_emitter
from ._thread import EmitterThread
from .base import Composite, Emitter, Placement, Sink, check_emitter, check_function, placement

__all__ = ["Delivery", "in_emitter"]


class Delivery:
    """Delivers events to one emitter, which may be a composition of many.

    `on_error(event, exc)` is a plain function. `async_emit=False` runs plain callables in the call.
    `sample_rate` is the share of traces that are emitted, chosen by `trace_id`, so that the attempts
    of one call go together. `queue_size` bounds the emitter thread's queue and, apart from it, the
    async emitters under way, in events.

    Raises: ConfigurationError for an argument that cannot be used.
    """

    def __init__(
        self,
        emit: Emitter,
        on_error: Callable[[MetricEvent, BaseException], object] | None = None,
        *,
        async_emit: bool = True,
        sample_rate: float = 1.0,
        queue_size: int = 10_000,
    ) -> None:
        check_emitter(emit, "emit_metric")
        if on_error is not None:
            check_function(on_error, "on_emit_error")
        self._threshold = _threshold(sample_rate)
        self._on_error = on_error
        self._async_emit = async_emit
        self._lanes = Lanes(self._fault, queue_size)
        self._thread = EmitterThread(self._fault, queue_size)
        self._leaves = tuple(native_leaves(emit))
        for leaf in self._leaves:
            leaf.report = self._fault
        self._sink = self._compile(emit, outermost=True)

    def _compile(self, emit: Emitter, *, outermost: bool = False) -> Sink:
        where = placement(emit)
        if where is Placement.THREAD and self._async_emit:
            sink = tree(emit, self._fault, self._lanes)
            put = self._thread.put
            return lambda event: put(sink, event)
        if isinstance(emit, Composite):
            sink = emit.bind(self._compile, self._fault)
        elif where is Placement.INLINE:
            return emit  # type: ignore[return-value]  # ours, and calls nothing of anybody's
        else:
            sink = tree(emit, self._fault, self._lanes)
        return flagged(sink) if outermost else sink

    @property
    def dropped(self) -> int:
        """Events that reached no emitter, because it was too slow or its loop ended. Per member of a
        composition; emitters that hold events themselves count their own."""
        return self._thread.dropped + self._lanes.dropped

    def deliver(self, event: MetricEvent) -> None:
        """Emit `event`. Any thread or task may call this; it does not wait and does not raise.

        An event of a call made by an emitter is ignored.
        """
        if emitting.get():
            return
        if self._threshold is not None and _share(event.trace_id) >= self._threshold:
            return
        try:
            self._sink(event)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as exc:  # noqa: BLE001 - the fence between emitters and the application
            self._fault(event, exc)

    def after(self, event: MetricEvent, then: Callable[[], object]) -> None:
        """Have `then()` called once the emitters have taken `event`, which was delivered before; on any
        thread, and it must not raise. What they keep to themselves, as a batch, is taken."""
        self._thread.after(lambda: self._lanes.after(event, then))

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until the events so far are emitted; whether they are.

        False at once inside an emitter. Blocks the calling thread: in async code use `flush_async`,
        as async emitters of a blocked loop cannot go on.
        """
        if emitting.get():
            return False
        deadline = time.monotonic() + timeout
        # In this order: the thread may start async jobs, and both may fill a batch.
        through = self._thread.flush(timeout)
        awaited = self._lanes.flush(deadline - time.monotonic())
        return flush_all(self._leaves, deadline) and through and awaited

    async def flush_async(self, timeout: float) -> bool:
        """`flush`, while the caller's asyncio or trio loop goes on."""
        from anyio import CapacityLimiter
        from anyio.to_thread import run_sync

        # Its own limiter: the application may be using all threads of the default one.
        return await run_sync(self.flush, timeout, limiter=CapacityLimiter(1), abandon_on_cancel=True)

    def close(self, timeout: float) -> bool:
        """Flush for at most `timeout` seconds and end our threads; whether everything was emitted.

        An event that comes later is emitted still: it starts a thread anew.
        """
        if emitting.get():
            return False
        deadline = time.monotonic() + timeout
        through = self._thread.close(timeout)
        awaited = self._lanes.close(deadline - time.monotonic())
        closed = [leaf.close(max(0.0, deadline - time.monotonic())) for leaf in self._leaves]
        return all(closed) and through and awaited

    def _fault(self, event: MetricEvent, exc: BaseException) -> None:
        with suppress(Exception):  # a logging filter of the application may raise
            internal_fault("emit", exc)
        if self._on_error is None:
            return
        token = emitting.set(True)
        try:
            self._on_error(event, exc)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as second:  # noqa: BLE001 - a callback must not reach the application either
            with suppress(Exception):
                internal_fault("on_emit_error", second)
        finally:
            emitting.reset(token)


def _threshold(sample_rate: Any) -> float | None:
    if (
        isinstance(sample_rate, bool)
        or not isinstance(sample_rate, (int, float))
        or not 0 <= sample_rate <= 1
    ):
        raise ConfigurationError(
            f"sample_rate={str(sample_rate)[:64]!r}: give the share of traces to emit, from 0.0 to 1.0"
        )
    return None if sample_rate == 1 else float(sample_rate)


def _share(trace_id: str) -> float:
    """A number in [0, 1), the same for the same trace in every process."""
    digest = blake2b(trace_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2.0**64
