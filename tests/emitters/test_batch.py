"""Batches: sizes, order, flushing, and handlers that fail or hang."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aden_transport import _guard
from aden_transport.emitters import Delivery, create_batch_emitter, create_multi_emitter, in_emitter
from aden_transport.errors import ConfigurationError
from aden_transport.events import MetricEvent

if TYPE_CHECKING:
    from .conftest import MakeEvent


class Received:
    """A handler that notes batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.came = threading.Semaphore(0)
        self.inside: list[bool] = []

    def __call__(self, events: list[MetricEvent]) -> None:
        self.thread = threading.current_thread()
        self.started.set()
        self.inside.append(in_emitter())
        assert self.go_on.wait(60)
        self.batches.append([event.event_id for event in events])
        self.came.release()


def test_a_full_batch_goes_out_at_once(make_event: MakeEvent) -> None:
    received = Received()
    emit = create_batch_emitter(received, 2, 3600)
    for n in range(5):
        emit(make_event(event_id=str(n)))
    assert received.came.acquire(timeout=60)
    assert received.came.acquire(timeout=60)
    assert received.batches == [["0", "1"], ["2", "3"]]
    assert emit.close(30)
    assert received.batches[2:] == [["4"]]
    assert received.inside == [True] * 3


def test_an_old_batch_goes_out(make_event: MakeEvent) -> None:
    received = Received()
    emit = create_batch_emitter(received, 100, 0.001)
    emit(make_event(event_id="0"))
    assert received.came.acquire(timeout=60)
    emit(make_event(event_id="1"))
    assert received.came.acquire(timeout=60)
    assert emit.close(30)
    assert received.batches == [["0"], ["1"]]


def test_flush_hands_over_everything_in_order(make_event: MakeEvent) -> None:
    received = Received()
    emit = create_batch_emitter(received, 3, 3600)
    assert emit.flush(0)
    received.go_on.clear()
    for n in range(7):
        emit(make_event(event_id=str(n)))
    assert not emit.flush(0.0)
    received.go_on.set()
    assert emit.flush(30)
    assert [name for batch in received.batches for name in batch] == [str(n) for n in range(7)]
    assert emit.flush(0)
    emit.close(30)


def test_overflow_is_counted_exactly(make_event: MakeEvent) -> None:
    received = Received()
    received.go_on.clear()
    emit = create_batch_emitter(received, 5, 3600, max_events=5)
    for _ in range(5):
        emit(make_event())
    assert received.started.wait(60)  # those five are with the handler
    for _ in range(12):
        emit(make_event())
    received.go_on.set()
    assert emit.close(30)
    assert emit.dropped == 7
    assert sum(map(len, received.batches)) == 10


def test_a_failing_handler_is_told_per_event_and_goes_on(make_event: MakeEvent) -> None:
    told: list[tuple[str, str]] = []
    got: list[int] = []

    def handler(events: list[MetricEvent]) -> None:
        if events[0].event_id == "bad":
            raise SystemExit("no")
        got.append(len(events))

    emit = create_batch_emitter(handler, 2, 3600)
    delivery = Delivery(emit, lambda event, exc: told.append((event.event_id, repr(exc))))
    for name in ("bad", "too", "good"):
        delivery.deliver(make_event(event_id=name))
    assert delivery.close(30)
    assert told == [("bad", "SystemExit('no')"), ("too", "SystemExit('no')")]
    assert got == [1]
    assert (emit.failed, emit.dropped) == (2, 0)


def test_a_callback_that_exits_does_not_end_the_flusher(make_event: MakeEvent) -> None:
    def fail(*args: object) -> None:
        raise SystemExit

    emit = create_batch_emitter(fail, 1, 3600)
    delivery = Delivery(emit, fail)
    delivery.deliver(make_event())
    delivery.deliver(make_event())
    assert delivery.close(30)
    assert emit.failed == 2
    assert _guard.fault_counts() == {"emit:SystemExit": 2, "on_emit_error:SystemExit": 2}


def test_an_async_handler_keeps_its_loop_between_batches(make_event: MakeEvent) -> None:
    loops: list[asyncio.AbstractEventLoop] = []
    inside: list[bool] = []

    async def handler(events: list[MetricEvent]) -> None:
        await asyncio.sleep(0)
        inside.append(in_emitter())
        loops.append(asyncio.get_running_loop())
        if len(loops) == 2:
            raise asyncio.CancelledError

    emit = create_batch_emitter(handler, 1, 3600)
    for _ in range(3):
        emit(make_event())
    assert emit.close(30)
    assert len(set(loops)) == 1
    assert loops[0].is_closed()
    assert inside == [True] * 3
    assert emit.failed == 1
    assert _guard.fault_counts() == {"emit:CancelledError": 1}


def test_the_handler_cannot_wait_for_itself(make_event: MakeEvent) -> None:
    answers: list[bool] = []
    emit = create_batch_emitter(lambda events: answers.extend((emit.flush(60), emit.close(60))), 1, 3600)
    emit(make_event())
    assert emit.close(30)
    assert answers == [False, False]


def test_an_event_after_close_opens_it_again(make_event: MakeEvent) -> None:
    received = Received()
    emit = create_batch_emitter(received, 10, 3600)
    assert emit.close(0)
    emit(make_event(event_id="0"))
    assert emit.close(30)
    emit(make_event(event_id="1"))
    assert emit.close(30)
    assert received.batches == [["0"], ["1"]]


def test_close_is_bounded_and_the_thread_still_ends(make_event: MakeEvent) -> None:
    received = Received()
    received.go_on.clear()
    emit = create_batch_emitter(received, 1, 3600)
    emit(make_event(event_id="0"))
    assert received.started.wait(60)
    thread = received.thread
    assert not emit.close(0.0)
    received.go_on.set()
    thread.join(60)
    assert not thread.is_alive()
    assert received.batches == [["0"]]


def test_without_a_thread_events_wait_for_the_next_try(
    make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = Received()
    emit = create_batch_emitter(received, 10, 3600)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        emit(make_event(event_id="0"))
        assert not emit.flush(0)
        assert not emit.close(0)
    assert emit.flush(30)
    assert received.batches == [["0"]]
    emit.close(30)


def test_it_runs_in_the_call_within_compositions(make_event: MakeEvent) -> None:
    received = Received()
    emit = create_batch_emitter(received, 10, 3600)
    delivery = Delivery(create_multi_emitter([emit]))
    delivery.deliver(make_event(event_id="0"))
    assert delivery.flush(30)
    assert received.batches == [["0"]]
    delivery.close(30)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((None, 1, 1), {}),
        ((print, 0, 1), {}),
        ((print, True, 1), {}),
        ((print, 1.5, 1), {}),
        ((print, 1, 0), {}),
        ((print, 1, float("nan")), {}),
        ((print, 1, float("inf")), {}),
        ((print, 1, True), {}),
        ((print, 1, "1"), {}),
        ((print, 10, 1), {"max_events": 9}),
        ((print, 10, 1), {"max_events": None}),
    ],
)
def test_wrong_arguments(args: Any, kwargs: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"create_batch_emitter: .*(give|raise)"):
        create_batch_emitter(*args, **kwargs)
