"""Events changed on their way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from ..events import MetricEvent
from .base import Composite, Emitter, Fault, Sink, check_emitter, check_function

__all__ = ["TransformEmitter", "copy_event", "create_transform_emitter"]


class TransformEmitter(Composite):
    """Passes on what `transform_fn` makes of a copy of each event."""

    def __init__(self, emitter: Emitter, transform_fn: Callable[[MetricEvent], MetricEvent | None]) -> None:
        super().__init__((emitter,))
        self._transform = transform_fn

    def bind(self, leaf: Callable[[Emitter], Sink], fault: Fault) -> Sink:
        sink = leaf(self.members[0])
        transform = self._transform

        def send(event: MetricEvent) -> None:
            try:
                changed: Any = transform(copy_event(event))
                if changed is None:
                    return
                if not isinstance(changed, MetricEvent):
                    raise TypeError(
                        "transform_fn must return the event, or None to drop it; "
                        f"it returned a {type(changed).__name__}"
                    )
            except Exception as exc:  # noqa: BLE001 - the siblings in a multi still get the event
                fault(event, exc)
                return
            sink(changed)

        return send


def copy_event(event: MetricEvent) -> MetricEvent:
    """A copy whose usage, rate limit, tool calls and mappings may be changed freely."""
    twin = copy.copy(event)
    twin.usage = copy.copy(event.usage)
    twin.rate_limit = copy.copy(event.rate_limit)
    if event.tool_calls is not None:
        twin.tool_calls = [copy.copy(call) for call in event.tool_calls]
    for name in ("headers", "operation_details", "metadata", "content"):
        value = getattr(event, name)
        if value is not None:
            setattr(twin, name, {key: _copy_plain(part) for key, part in value.items()})
    return twin


def _copy_plain(value: Any) -> Any:
    """Dicts and lists anew, all else shared: metadata may hold what cannot be copied, such as a lock."""
    if isinstance(value, dict):
        return {key: _copy_plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_copy_plain(part) for part in value]
    return value


def create_transform_emitter(
    emitter: Emitter, transform_fn: Callable[[MetricEvent], MetricEvent | None]
) -> TransformEmitter:
    """Emit what `transform_fn(event)` returns; None drops the event.

    It is given a copy, so that other members of a multi emitter see the event as it was.
    `transform_fn` is a plain function; an event that it raises on is not emitted, and
    `on_emit_error` hears of it.

    Raises: ConfigurationError where an argument is not callable or `transform_fn` is async.
    """
    check_function(transform_fn, "create_transform_emitter: transform_fn")
    return TransformEmitter(check_emitter(emitter, "create_transform_emitter: emitter"), transform_fn)
