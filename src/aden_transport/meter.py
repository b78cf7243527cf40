"""A meter: options made into what exchanges need. It only wires."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import Any

from ._fork import on_fork_in_child, random_bits
from ._guard import internal_fault
from .core.classify import Classifier
from .core.exchange import Exchange
from .core.settings import Settings
from .emitters.delivery import Delivery
from .emitters.noop import create_noop_emitter
from .events import AlertEvent
from .options import MeterOptions
from .pricing import PriceBook

__all__ = ["Meter", "State", "classifier", "counted_ids", "meter_for", "meters", "orphans", "state"]

classifier = Classifier()
"""The process's knowledge of hosts; `register_vendor` adds to it."""
counted_ids: dict[tuple[str, str], object] = {}
"""Deferred work that this process has counted, whichever meter, client or thread did."""


class Meter:
    """What one set of options meters with."""

    def __init__(self, options: MeterOptions) -> None:
        self.options = options
        self.delivery = Delivery(
            options.emit_metric or create_noop_emitter(),
            options.on_emit_error,
            async_emit=options.async_emit,
            sample_rate=options.sample_rate,
        )
        self.alerts = None if options.on_alert is None else AlertDelivery(options)
        self.settings = Settings(
            owner=self,
            emit=self.delivery.deliver,
            alert=None if self.alerts is None else self.alerts.deliver,
            prices=PriceBook(options.prices),
            clock=time.perf_counter,
            wall=time.time,
            bits=random_bits,
            hook=options.before_request,
            hook_timeout_s=options.hook_timeout_s,
            metadata=options.request_metadata,
            context_id=options.get_context_id,
            stream_usage=options.stream_usage,
            forward_metadata=options.forward_metadata,
            fail_open=options.fail_open,
            agent_name=options.agent_name,
            counted_ids=counted_ids,
        )
        meters.add(self)

    def flush(self, timeout: float) -> bool:
        """Hand over all events so far, for at most `timeout` seconds; whether it was done."""
        orphans.settle(timeout)
        done = self.delivery.flush(timeout)
        return (self.alerts is None or self.alerts.flush(timeout)) and done

    async def flush_async(self, timeout: float) -> bool:
        """`flush`, without holding up the loop."""
        orphans.settle(0.0)
        done = await self.delivery.flush_async(timeout)
        if self.alerts is not None:
            done = await self.alerts.flush_async(timeout) and done
        return done

    def close(self, timeout: float) -> bool:
        """Flush and end the emitters' threads. Calls still open end under this meter and start them anew."""
        done = self.flush(timeout)
        if self.alerts is not None:
            done = self.alerts.close(timeout) and done
        return self.delivery.close(timeout) and done

    def end_open_calls(self) -> None:
        """At the interpreter's exit: what is still open gets its event, with what was seen."""
        for exchange in list(self.settings.open.values()):
            exchange.close()

    def after_fork_in_child(self) -> None:
        """The calls under way are the parent's."""
        self.settings.open.clear()


class Orphans:
    """Exchanges whose answer the garbage collector took before its end; one thread ends them.

    Finalisers only put into `queue`: they may run anywhere, under any lock.
    """

    def __init__(self) -> None:
        self.queue: SimpleQueue[Exchange | _Passed] = SimpleQueue()
        self.thread: threading.Thread | None = None
        """None until `watch` is called."""

    def watch(self) -> None:
        """Have the thread running. Called with the first answer that could be left."""
        self.thread = threading.Thread(target=self._end_each, name="aden-orphans", daemon=True)
        try:
            self.thread.start()
        except RuntimeError as exc:  # no thread to be had, or the interpreter is ending
            internal_fault("orphans", exc)

    def _end_each(self) -> None:
        get = self.queue.get
        while True:
            try:
                get().close()
            except BaseException as exc:  # noqa: BLE001 - an emitter's SystemExit must not end this thread
                internal_fault("orphans", exc)

    def settle(self, timeout: float) -> None:
        """Have those ended that wait; `timeout` seconds for one that the thread is ending just now."""
        if self.thread is None or self.thread is threading.current_thread():
            return
        passed = _Passed()
        self.queue.put(passed)
        passed.wait(timeout)

    def after_fork_in_child(self) -> None:
        """Queue and thread are the parent's."""
        self.queue = SimpleQueue()
        self.thread = None


class _Passed(threading.Event):
    """Goes through the queue and says when all before it have been ended."""

    def close(self) -> None:
        self.set()


orphans = Orphans()


class AlertDelivery:
    """Alerts go the way of events."""

    def __init__(self, options: MeterOptions) -> None:
        self._delivery = Delivery(options.on_alert, async_emit=options.async_emit)

    def deliver(self, alert: AlertEvent) -> None:
        self._delivery.deliver(alert)  # type: ignore[arg-type]

    def flush(self, timeout: float) -> bool:
        return self._delivery.flush(timeout)

    async def flush_async(self, timeout: float) -> bool:
        return await self._delivery.flush_async(timeout)

    def close(self, timeout: float) -> bool:
        return self._delivery.close(timeout)


class State:
    """Which meters of the process are in force."""

    __slots__ = ("everything", "vendors")

    def __init__(self) -> None:
        self.everything: Meter | None = None
        """Of `instrument()`."""
        self.vendors: dict[str, Meter] = {}
        """Of `instrument_<vendor>()`."""


state = State()
_spare: Meter | None = None


def meter_for(request: Any) -> Meter:
    """The process's meter for a request that a transport made by hand sees; metering alone, emitting
    nothing, where `instrument()` was not called."""
    global _spare
    if state.everything is not None:
        return state.everything
    if _spare is None:
        _spare = Meter(MeterOptions())
    return _spare


class _Meters:
    """All meters that ever were, weakly, for forks and exits."""

    def __init__(self) -> None:
        from weakref import WeakSet

        self._all: WeakSet[Meter] = WeakSet()

    def add(self, meter: Meter) -> None:
        self._all.add(meter)

    def each(self) -> list[Meter]:
        return list(self._all)


meters = _Meters()


def _after_fork_in_child() -> None:
    orphans.after_fork_in_child()
    for meter in meters.each():
        meter.after_fork_in_child()


on_fork_in_child(_after_fork_in_child)
