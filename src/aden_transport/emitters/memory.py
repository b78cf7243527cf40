"""Events kept in a list, for tests and notebooks."""

from __future__ import annotations

from ..errors import ConfigurationError
from ..events import MetricEvent
from ._tally import Tally
from .base import BaseEmitter, Placement

__all__ = ["MemoryEmitter", "create_memory_emitter"]


class MemoryEmitter(BaseEmitter):
    """Appends every event to `events`; has it when the call returns."""

    placement = Placement.INLINE

    def __init__(self, max_events: int) -> None:
        self.events: list[MetricEvent] = []
        """The events so far, oldest first."""
        self._max = max_events
        self._drops = Tally("memory emitter is full", "clear() it or raise max_events")

    def __call__(self, event: MetricEvent) -> None:
        if len(self.events) < self._max:
            self.events.append(event)
        else:
            self._drops.add()

    def clear(self) -> None:
        """Forget the events; `dropped` stays."""
        self.events.clear()

    @property
    def dropped(self) -> int:
        """Events that came while `max_events` were held."""
        return self._drops.value


def create_memory_emitter(max_events: int = 100_000) -> MemoryEmitter:
    """Keep events in `.events`; `.clear()` forgets them.

    When `max_events` are held, further ones are dropped and counted in `.dropped`.

    Raises: ConfigurationError where `max_events` is not a whole number above 0.
    """
    if not isinstance(max_events, int) or isinstance(max_events, bool) or max_events < 1:
        raise ConfigurationError(f"max_events={max_events!r}: give a whole number of events above 0")
    return MemoryEmitter(max_events)
