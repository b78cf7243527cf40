"""Events discarded, where only budgets are wanted."""

from __future__ import annotations

from ..events import MetricEvent
from .base import BaseEmitter, Placement

__all__ = ["NoopEmitter", "create_noop_emitter"]


class NoopEmitter(BaseEmitter):
    """Does nothing with an event."""

    placement = Placement.INLINE

    def __call__(self, event: MetricEvent) -> None:
        pass


def create_noop_emitter() -> NoopEmitter:
    """Discard all events."""
    return NoopEmitter()
