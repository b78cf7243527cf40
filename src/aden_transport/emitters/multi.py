"""Events sent to several emitters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ConfigurationError
from ..events import MetricEvent
from .base import Composite, Emitter, Fault, Sink, check_emitter

__all__ = ["MultiEmitter", "create_multi_emitter"]


class MultiEmitter(Composite):
    """Hands every event to all members, in their order; one that fails keeps none from the others."""

    def bind(self, leaf: Callable[[Emitter], Sink], fault: Fault) -> Sink:
        sinks = tuple(leaf(member) for member in self.members)

        def send(event: MetricEvent) -> None:
            for sink in sinks:
                sink(event)

        return send


def create_multi_emitter(emitters: Iterable[Emitter]) -> MultiEmitter:
    """Send events to several emitters, sync and async ones mixed as you like.

    Raises: ConfigurationError where `emitters` is not a list of callables.
    """
    given: Any = emitters
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"create_multi_emitter takes one list of emitters, not a {type(given).__name__}: "
            "write create_multi_emitter([first, second])"
        )
    return MultiEmitter(
        tuple(check_emitter(member, f"create_multi_emitter: member {i}") for i, member in enumerate(given))
    )
