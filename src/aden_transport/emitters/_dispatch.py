"""Calling emitters: behind a fence, and each member of a composition where it belongs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Iterator
from functools import cache

from ..events import MetricEvent
from ._lanes import Lanes
from ._reentry import emitting
from .base import BaseEmitter, Composite, Emitter, Fault, Placement, Sink, placement, report_fault

__all__ = ["direct", "fenced", "flagged", "flush_all", "flush_members", "native_leaves", "tree"]


def fenced(emitter: Emitter, fault: Fault, lanes: Lanes) -> Sink:
    """`emitter` as a sink: what it raises goes to `fault`, an awaitable it returns to `lanes`.

    KeyboardInterrupt, SystemExit and GeneratorExit pass: in the application's thread they are its
    own (Ctrl-C, a signal handler that exits). CancelledError does not: nothing here awaits, so no
    cancellation of the call can arrive, and one that is raised is the emitter's own.
    """

    def send(event: MetricEvent) -> None:
        try:
            if event.__class__ is MetricEvent:
                event.read()
            result = emitter(event)
            if result is not None and inspect.isawaitable(result):
                lanes.adopt(result, event)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as exc:  # noqa: BLE001 - see above
            fault(event, exc)

    return send


def flagged(sink: Sink) -> Sink:
    """`sink`, with `in_emitter()` true inside."""

    def send(event: MetricEvent) -> None:
        token = emitting.set(True)
        try:
            sink(event)
        finally:
            emitting.reset(token)

    return send


def tree(emitter: Emitter, fault: Fault, lanes: Lanes) -> Sink:
    """`emitter` with all its sync members run by the caller, and its async ones by `lanes`."""
    if isinstance(emitter, Composite):
        return emitter.bind(lambda member: tree(member, fault, lanes), fault)
    if placement(emitter) is Placement.ASYNC:
        return lambda event: lanes.send(emitter, event)
    return fenced(emitter, fault, lanes)


def native_leaves(emitter: Emitter) -> Iterator[BaseEmitter]:
    """The emitters of ours at the ends of a composition."""
    if isinstance(emitter, Composite):
        for member in emitter.members:
            yield from native_leaves(member)
    elif isinstance(emitter, BaseEmitter):
        yield emitter


@cache
def _shared_lanes() -> Lanes:
    return Lanes(report_fault)


def direct(composite: Composite) -> Sink:
    """How a composition runs when it is called by hand, without a `Delivery`."""
    return flagged(tree(composite, report_fault, _shared_lanes()))


def flush_members(members: Iterable[Emitter], timeout: float) -> bool:
    """Flush what compositions called by hand have started."""
    deadline = time.monotonic() + timeout
    done = _shared_lanes().flush(timeout)
    return flush_all((leaf for member in members for leaf in native_leaves(member)), deadline) and done


def flush_all(leaves: Iterable[BaseEmitter], deadline: float) -> bool:
    """Flush each until `deadline` on the monotonic clock; whether all were done by then."""
    results = [leaf.flush(max(0.0, deadline - time.monotonic())) for leaf in leaves]
    return all(results)
