"""Events passed on only where a function says so."""

from __future__ import annotations

from collections.abc import Callable

from ..events import MetricEvent
from .base import Composite, Emitter, Fault, Sink, check_emitter, check_function

__all__ = ["FilteredEmitter", "create_filtered_emitter"]


class FilteredEmitter(Composite):
    """Passes on the events for which `filter_fn` is true."""

    def __init__(self, emitter: Emitter, filter_fn: Callable[[MetricEvent], object]) -> None:
        super().__init__((emitter,))
        self._filter = filter_fn

    def bind(self, leaf: Callable[[Emitter], Sink], fault: Fault) -> Sink:
        sink = leaf(self.members[0])
        wanted = self._filter

        def send(event: MetricEvent) -> None:
            try:
                passes = wanted(event)
            except Exception as exc:  # noqa: BLE001 - the siblings in a multi still get the event
                fault(event, exc)
                return
            if passes:
                sink(event)

        return send


def create_filtered_emitter(emitter: Emitter, filter_fn: Callable[[MetricEvent], object]) -> FilteredEmitter:
    """Emit only the events for which `filter_fn(event)` is true.

    `filter_fn` is a plain function; an event that it raises on is not emitted, and
    `on_emit_error` hears of it.

    Raises: ConfigurationError where an argument is not callable or `filter_fn` is async.
    """
    check_function(filter_fn, "create_filtered_emitter: filter_fn")
    return FilteredEmitter(check_emitter(emitter, "create_filtered_emitter: emitter"), filter_fn)
