"""What an emitter is: any callable that takes one event; and what ours know beside that."""

from __future__ import annotations

import enum
import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from .._guard import internal_fault
from ..errors import ConfigurationError
from ..events import MetricEvent

__all__ = [
    "BaseEmitter",
    "Composite",
    "Emitter",
    "Fault",
    "Placement",
    "Sink",
    "check_emitter",
    "check_function",
    "is_async",
    "placement",
    "report_fault",
]


class Emitter(Protocol):
    """A function or object that takes one event, sync or async; what it returns is not looked at."""

    def __call__(self, event: MetricEvent, /) -> object: ...


Sink: TypeAlias = Callable[[MetricEvent], None]
"""A dispatched emitter: takes the event, raises nothing of the emitter's own."""

Fault: TypeAlias = Callable[[MetricEvent, BaseException], None]
"""Told about an event that an emitter failed on."""


class Placement(enum.Enum):
    """Where an emitter runs."""

    INLINE = enum.auto()
    """In the call: it is quick, and the event is there when the call returns."""
    THREAD = enum.auto()
    """On the emitter thread: it may block."""
    ASYNC = enum.auto()
    """On an event loop."""
    MIXED = enum.auto()
    """A composition whose members differ: each runs at its own place."""


class BaseEmitter:
    """Base of the emitters that come with aden-transport."""

    placement: Placement = Placement.THREAD
    report: Fault | None = None
    """Set by the `Delivery` that uses this emitter: where failures outside of a call are told."""

    def __call__(self, event: MetricEvent) -> None:
        raise NotImplementedError

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait at most `timeout` seconds until all events so far went out; whether they did."""
        return True

    def close(self, timeout: float = 2.0) -> bool:
        """Flush, and give threads back. A later event opens the emitter again, so none is lost."""
        return self.flush(timeout)

    def tell(self, event: MetricEvent, exc: BaseException) -> None:
        """Tell `report` where a `Delivery` set it, else log the first of its kind. Raises nothing."""
        try:
            (self.report or report_fault)(event, exc)
        except BaseException as second:  # noqa: BLE001 - told on a thread of ours, that must go on
            internal_fault("on_emit_error", second)


class Composite(BaseEmitter):
    """An emitter made of others."""

    def __init__(self, members: tuple[Emitter, ...]) -> None:
        self.members = members
        places = {placement(member) for member in members} or {Placement.INLINE}
        self.placement = places.pop() if len(places) == 1 else Placement.MIXED

    def bind(self, leaf: Callable[[Emitter], Sink], fault: Fault) -> Sink:
        """This composition with every member replaced by `leaf(member)`; `fault` hears of the rest."""
        raise NotImplementedError

    def __call__(self, event: MetricEvent) -> None:
        """Emit without a meter: sync members here, async members on the running loop or on ours.

        A member that fails is logged once; the others get the event all the same.
        """
        self._direct(event)

    def flush(self, timeout: float = 2.0) -> bool:
        from ._dispatch import flush_members

        return flush_members(self.members, timeout)

    @functools.cached_property
    def _direct(self) -> Sink:
        from ._dispatch import direct

        return direct(self)


def report_fault(event: MetricEvent, exc: BaseException) -> None:
    """The `Fault` of last resort: counted, and logged once per kind."""
    internal_fault("emit", exc)


def is_async(function: object) -> bool:
    """Whether calling `function` gives a coroutine, as far as can be told without calling it."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(_unwrapped(function), "__call__", None)  # noqa: B004 - looks at the method, not whether
    )


def _unwrapped(function: object) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def placement(emitter: Emitter) -> Placement:
    """Where `emitter` runs."""
    if isinstance(emitter, BaseEmitter):
        return emitter.placement
    return Placement.ASYNC if is_async(emitter) else Placement.THREAD


def check_emitter(emitter: Any, what: str) -> Emitter:
    """`emitter` itself. Raises: ConfigurationError where events would go nowhere."""
    if not callable(emitter):
        raise ConfigurationError(
            f"{what} is a {type(emitter).__name__}: give a function that takes one event, "
            "or one of the create_…_emitter() emitters"
        )
    name = getattr(emitter, "__name__", "")
    module = getattr(emitter, "__module__", None) or ""
    if module.startswith(__package__ or "") and name.startswith("create_"):
        raise ConfigurationError(f"{what} is the factory {name}: call it, as in {name}(…)")
    if inspect.isgeneratorfunction(emitter) or inspect.isasyncgenfunction(emitter):
        raise ConfigurationError(f"{what} is a generator function, which would never run: take out its yield")
    return emitter  # type: ignore[no-any-return]  # callable is all that is asked


def check_function(function: Any, what: str) -> None:
    """Raises: ConfigurationError where `function` is not a plain (not async) callable."""
    if not callable(function):
        raise ConfigurationError(f"{what} is a {type(function).__name__}: give a function")
    if is_async(function):
        raise ConfigurationError(f"{what} is async: give a plain function, whose answer is needed at once")
