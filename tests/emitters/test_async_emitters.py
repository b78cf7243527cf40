"""Async emitters: on the loop of the call, else on ours; bounded; and what ends with a loop."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
import trio.testing

from aden_transport import _guard
from aden_transport.emitters import (
    Delivery,
    _lanes,
    create_filtered_emitter,
    create_multi_emitter,
    in_emitter,
)
from aden_transport.events import MetricEvent

if TYPE_CHECKING:
    from .conftest import MakeEvent

pytestmark = pytest.mark.filterwarnings("error")


class Waits:
    """An async emitter that notes events, where it ran, and can be held up."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.threads: list[threading.Thread] = []
        self.inside: list[bool] = []
        self.begun = 0
        self.most = 0
        self.running = 0
        self.hold: anyio.Event | None = None

    async def __call__(self, event: MetricEvent) -> None:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            self.inside.append(in_emitter())
            if self.hold is not None:
                await self.hold.wait()
            await anyio.sleep(0)
            self.threads.append(threading.current_thread())
            self.ids.append(event.event_id)
        finally:
            self.running -= 1


@pytest.mark.anyio
async def test_it_runs_on_the_loop_of_the_call(make_event: MakeEvent) -> None:
    emit = Waits()
    delivery = Delivery(emit)
    delivery.deliver(make_event())
    assert emit.ids == []  # deliver waits for nothing
    assert not in_emitter()
    assert await delivery.flush_async(30)
    assert emit.threads == [threading.current_thread()]
    assert emit.inside == [True]
    assert delivery.close(0)


def test_without_a_loop_it_runs_on_ours(make_event: MakeEvent) -> None:
    emit = Waits()
    delivery = Delivery(emit)
    for _ in range(3):
        delivery.deliver(make_event())
    assert delivery.flush(30)
    assert len(emit.ids) == 3
    assert {thread.name for thread in emit.threads} == {"aden-emit-async"}
    assert emit.inside == [True] * 3
    assert delivery.close(30)
    assert not emit.threads[0].is_alive()
    delivery.deliver(make_event())
    assert delivery.close(30)
    assert len(emit.ids) == 4


@pytest.mark.anyio
async def test_so_many_at_once_and_the_rest_in_order(
    make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "CONCURRENT", 2)
    emit = Waits()
    emit.hold = anyio.Event()
    delivery = Delivery(emit, queue_size=5)
    for n in range(9):
        delivery.deliver(make_event(event_id=str(n)))
    assert delivery.dropped == 4
    assert not await delivery.flush_async(0.0)
    emit.hold.set()
    assert await delivery.flush_async(30)
    assert set(emit.ids[:2]) == {"0", "1"}  # trio shuffles what is ready at the same time
    assert sorted(emit.ids) == ["0", "1", "2", "3", "4"]
    assert emit.most == 2


@pytest.mark.anyio
async def test_sync_flush_in_a_loop_does_not_wait_for_that_loop(make_event: MakeEvent) -> None:
    emit = Waits()
    delivery = Delivery(emit)
    delivery.deliver(make_event())
    assert not delivery.flush(3600)
    assert not delivery.close(3600)
    assert await delivery.flush_async(30)
    assert len(emit.ids) == 1


class Fatal(BaseException):
    pass


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [ValueError, Fatal, asyncio.CancelledError])
async def test_a_fault_is_told_and_the_loop_goes_on(make_event: MakeEvent, kind: type[BaseException]) -> None:
    told: list[type[BaseException]] = []

    async def fail(event: MetricEvent) -> None:
        raise kind

    delivery = Delivery(fail, lambda event, exc: told.append(type(exc)))
    delivery.deliver(make_event())
    assert await delivery.flush_async(30)
    assert told == [kind]


def test_on_our_loop_no_fault_gets_out(make_event: MakeEvent) -> None:
    kinds: list[type[BaseException]] = [KeyboardInterrupt, SystemExit, Fatal, ValueError]
    left = list(kinds)

    async def fail(event: MetricEvent) -> None:
        raise left.pop(0)

    def on_error(event: MetricEvent, exc: BaseException) -> None:
        raise type(exc)

    delivery = Delivery(fail, on_error)
    for _ in kinds:
        delivery.deliver(make_event())
        assert delivery.flush(30)
    assert delivery.close(30)
    parts = ("emit", "on_emit_error")
    assert _guard.fault_counts() == {f"{part}:{kind.__name__}": 1 for part in parts for kind in kinds}


def test_in_trio_not_even_an_exit_gets_out(make_event: MakeEvent) -> None:
    async def fail(event: MetricEvent) -> None:
        raise SystemExit

    def on_error(event: MetricEvent, exc: BaseException) -> None:
        raise type(exc)

    delivery = Delivery(fail, on_error)

    async def main() -> None:
        delivery.deliver(make_event())
        assert await delivery.flush_async(30)

    trio.run(main)
    assert _guard.fault_counts() == {"emit:SystemExit": 1, "on_emit_error:SystemExit": 1}


def test_in_asyncio_an_exit_is_the_applications(make_event: MakeEvent) -> None:
    async def leave(event: MetricEvent) -> None:
        raise SystemExit(3)

    delivery = Delivery(leave)

    async def main() -> None:
        delivery.deliver(make_event())
        await asyncio.sleep(3600)

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert delivery.close(30)
    assert _guard.fault_counts() == {}


@pytest.mark.parametrize("count", [1, 200])
@pytest.mark.parametrize("rounds", [0, 1])
def test_asyncio_run_that_ends_at_once_loses_nothing(make_event: MakeEvent, count: int, rounds: int) -> None:
    emit = Waits()
    delivery = Delivery(emit)

    async def main() -> None:
        for _ in range(count):
            delivery.deliver(make_event())
        for _ in range(rounds):
            await asyncio.sleep(0)

    asyncio.run(main(), debug=True)
    assert delivery.close(30)
    assert len(emit.ids) == count
    assert delivery.dropped == 0
    assert _guard.fault_counts() == {}


def test_an_event_of_a_loops_last_moments_is_not_lost(make_event: MakeEvent) -> None:
    """A cancelled call ends, and is emitted, while `asyncio.run` cancels what is left."""
    emit = Waits()
    delivery = Delivery(emit)

    async def call() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            delivery.deliver(make_event())

    async def main() -> None:
        main.task = asyncio.create_task(call())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    asyncio.run(main())
    assert delivery.close(30)
    assert len(emit.ids) == 1
    gc.collect()


@pytest.mark.parametrize("started", [True, False])
def test_a_loop_that_is_closed_around_its_jobs(
    make_event: MakeEvent, started: bool, caplog: pytest.LogCaptureFixture
) -> None:
    emit = Waits()
    delivery = Delivery(emit)

    async def main() -> None:
        emit.hold = anyio.Event()
        delivery.deliver(make_event(event_id="0"))
        if started:
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    emit.hold = None

    async def other() -> None:
        delivery.deliver(make_event(event_id="1"))
        assert await delivery.flush_async(30)

    asyncio.run(other())
    assert sorted(emit.ids) == ["0", "1"]
    assert delivery.close(30)
    gc.collect()
    assert not caplog.records


def test_trio_run_that_ends_at_once_loses_nothing(
    make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "CONCURRENT", 2)
    emit = Waits()
    delivery = Delivery(emit)

    async def main() -> None:
        for _ in range(5):
            delivery.deliver(make_event())

    trio.run(main)
    assert delivery.close(30)
    assert len(emit.ids) == 5
    assert delivery.dropped == 0


def test_a_trio_emitter_that_hangs_keeps_the_run_for_its_grace_only(
    make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lanes, "GRACE_S", 0.01)
    begun: list[str] = []

    async def hang(event: MetricEvent) -> None:
        begun.append(event.event_id)
        if event.event_id == "fails" and begun.count("fails") == 2:
            raise ValueError
        await trio.sleep_forever()

    delivery = Delivery(hang)

    async def main() -> None:
        for name in ("hangs", "fails"):
            delivery.deliver(make_event(event_id=name))
        delivery._lanes.adopt(hang(make_event(event_id="once")), make_event())
        await trio.testing.wait_all_tasks_blocked()

    trio.run(main)
    assert sorted(begun) == ["fails", "fails", "hangs", "hangs", "once"]
    assert delivery.dropped == 2
    assert _guard.fault_counts() == {"emit:ValueError": 1}
    assert delivery.close(30)


def test_an_event_after_a_trio_run_closed_its_doors(make_event: MakeEvent) -> None:
    emit = Waits()
    delivery = Delivery(emit)

    async def main() -> None:
        def refuse(*args: object, **kwargs: object) -> Any:
            raise RuntimeError("Nursery is closed to new arrivals")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trio.lowlevel, "spawn_system_task", refuse)
            delivery.deliver(make_event())

    trio.run(main)
    assert delivery.close(30)
    assert len(emit.ids) == 1


@pytest.mark.anyio
async def test_what_a_plain_function_returned_is_awaited(make_event: MakeEvent) -> None:
    emit = Waits()
    plain = create_filtered_emitter(lambda event: emit(event), bool)
    delivery = Delivery(create_multi_emitter([plain, lambda event: "no awaitable"]), async_emit=False)
    delivery.deliver(make_event())
    assert await delivery.flush_async(30)
    assert emit.threads == [threading.current_thread()]


def test_what_was_returned_and_can_no_longer_run_is_dropped(make_event: MakeEvent) -> None:
    emit = Waits()
    delivery = Delivery(lambda event: emit(event), async_emit=False, queue_size=1)

    async def main() -> None:
        delivery.deliver(make_event())
        delivery.deliver(make_event())  # over the limit

    asyncio.run(main())
    assert delivery.close(30)
    assert emit.ids == []
    assert delivery.dropped == 2
    gc.collect()


def test_an_object_that_is_no_coroutine_is_dropped_quietly(make_event: MakeEvent) -> None:
    class Later:
        def __await__(self) -> Any:
            yield

        def close(self) -> None:
            raise ValueError

    delivery = Delivery(lambda event: Later(), async_emit=False)
    lanes = delivery._lanes
    lanes._limit = 0
    delivery.deliver(make_event())
    assert delivery.dropped == 1


@pytest.mark.anyio
async def test_what_only_looked_async_is_done_when_it_returns(make_event: MakeEvent) -> None:
    seen: list[str] = []
    delivery = Delivery(Waits())
    delivery._lanes.send(lambda event: seen.append(event.event_id), make_event(event_id="0"))
    assert await delivery.flush_async(30)
    assert seen == ["0"]


def test_close_cancels_what_hangs_on_our_loop(make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lanes, "CONCURRENT", 1)
    begun, ended = threading.Event(), threading.Event()

    async def hang(event: MetricEvent) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    delivery = Delivery(hang)
    delivery.deliver(make_event())
    delivery.deliver(make_event())
    assert begun.wait(60)
    own = delivery._lanes._own
    assert own is not None
    assert not delivery.close(0.0)
    assert ended.wait(60)
    own._thread.join(60)
    assert delivery.dropped == 2


def test_without_a_thread_it_is_counted(make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    emit = Waits()
    delivery = Delivery(emit)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        delivery.deliver(make_event())
    assert delivery.dropped == 1
    assert delivery.close(0)
    assert _guard.fault_counts() == {"emit thread:RuntimeError": 1}


def test_a_loops_own_task_factory_is_left_alone(make_event: MakeEvent) -> None:
    emit = Waits()
    delivery = Delivery(emit)

    def no_more_tasks(loop: Any, coro: Any) -> Any:
        raise AssertionError("the application's tasks only")

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(no_more_tasks)
        delivery.deliver(make_event())
        while not emit.ids:
            await asyncio.sleep(0)
        asyncio.get_running_loop().set_task_factory(None)

    asyncio.run(main())
    assert delivery.close(30)


def test_calls_made_by_an_async_emitter_are_not_emitted(make_event: MakeEvent) -> None:
    seen: list[str] = []

    async def emit(event: MetricEvent) -> None:
        seen.append(event.event_id)
        await asyncio.create_task(anyio.to_thread.run_sync(delivery.deliver, make_event()))

    delivery = Delivery(emit)
    delivery.deliver(make_event(event_id="outer"))
    assert delivery.close(30)
    assert seen == ["outer"]


@pytest.mark.parametrize("half_imported", [types.ModuleType("half"), None])
def test_a_library_that_is_not_imported_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, half_imported: types.ModuleType | None
) -> None:
    monkeypatch.setitem(sys.modules, "trio", half_imported)
    monkeypatch.setitem(sys.modules, "asyncio", half_imported)
    assert _lanes.running_host() == (None, None)


def test_a_lane_is_a_form(make_event: MakeEvent) -> None:
    lane = _lanes.Lane(_lanes.Lanes(lambda event, exc: None), None)
    assert not lane.is_dead()
    with pytest.raises(NotImplementedError):
        lane.start(_lanes.Job(make_event(), None, None))
