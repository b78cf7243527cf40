"""Forks while emitters are busy: the child hangs never, repeats nothing, and loses nothing of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aden_transport.emitters import (
    Delivery,
    _renew,
    create_batch_emitter,
    create_memory_emitter,
    create_multi_emitter,
)
from aden_transport.events import MetricEvent

if TYPE_CHECKING:
    from .conftest import MakeEvent

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    # Python 3.12 and later: forking with threads about is what is tested.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def run_in_child(work: Callable[[], bool]) -> int:
    """Fork; the child's pid. It ends with 0 where `work` was true, and by SIGALRM where it hung."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return pid


def ended_well(pid: int) -> bool:
    return os.waitpid(pid, 0)[1] == 0


def test_a_hundred_forks_while_every_kind_of_emitter_has_a_backlog(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    out = tmp_path / "out"
    parent = os.getpid()
    gate = threading.Event()
    began = threading.Semaphore(0)

    def write(kind: str, event: MetricEvent) -> None:
        line = f"{kind} {event.event_id}\n".encode()
        descriptor = os.open(out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line)
        os.close(descriptor)

    def hold() -> None:
        if os.getpid() == parent:
            began.release()
            assert gate.wait(120)

    def plain(event: MetricEvent) -> None:
        hold()
        write("plain", event)

    def batch(events: list[MetricEvent]) -> None:
        hold()
        for event in events:
            write("batch", event)

    async def wait(event: MetricEvent) -> None:
        if os.getpid() == parent:
            began.release()
            while not gate.is_set():
                await asyncio.sleep(0.01)
        write("async", event)

    delivery = Delivery(create_multi_emitter([plain, wait, create_batch_emitter(batch, 2, 3600)]))
    for n in range(4):
        delivery.deliver(make_event(event_id=f"parent-{n}"))
    for _ in range(1 + 4 + 1):  # all three are in the middle of something
        assert began.acquire(timeout=60)

    def work(child: int) -> bool:
        for n in range(3):
            delivery.deliver(make_event(event_id=f"child-{child}-{n}"))
        return delivery.close(30) and delivery.dropped == 0

    for first in range(0, 100, 10):
        pids = [run_in_child(lambda child=child: work(child)) for child in range(first, first + 10)]  # type: ignore[misc]
        assert [ended_well(pid) for pid in pids] == [True] * 10
    gate.set()
    assert delivery.close(60)
    names = [f"parent-{n}" for n in range(4)]
    names += [f"child-{child}-{n}" for child in range(100) for n in range(3)]
    expected = Counter(f"{kind} {name}" for kind in ("plain", "batch", "async") for name in names)
    assert Counter(out.read_text().splitlines()) == expected


def test_a_fork_while_locks_are_held(make_event: MakeEvent) -> None:
    seen: list[str] = []
    memory = create_memory_emitter(max_events=1)
    batch = create_batch_emitter(lambda events: seen.extend(e.event_id for e in events), 10, 3600)
    delivery = Delivery(create_multi_emitter([memory, batch, lambda event: seen.append(event.event_id)]))
    held, release = threading.Event(), threading.Event()

    def hold_locks() -> None:
        with batch._changed, memory._drops._lock, delivery._thread._lock, delivery._lanes._changed:
            held.set()
            assert release.wait(60)

    holder = threading.Thread(target=hold_locks)
    holder.start()
    assert held.wait(60)

    def work() -> bool:
        delivery.deliver(make_event(event_id="a"))
        delivery.deliver(make_event(event_id="b"))
        return delivery.close(30) and Counter(seen) == {"a": 2, "b": 2} and memory.dropped == 1

    try:
        assert ended_well(run_in_child(work))
    finally:
        release.set()
        holder.join()


@pytest.mark.parametrize("step", [True, False])
def test_a_fork_inside_a_running_loop(make_event: MakeEvent, step: bool) -> None:
    seen: list[str] = []

    async def emit(event: MetricEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.event_id)

    delivery = Delivery(emit)

    async def main() -> None:
        delivery.deliver(make_event(event_id="parent"))
        if step:
            await asyncio.sleep(0)

        def work() -> bool:
            delivery.deliver(make_event(event_id="child"))
            return delivery.close(30) and seen == ["child"]

        assert ended_well(run_in_child(work))
        assert await delivery.flush_async(30)

    asyncio.run(main())
    assert seen == ["parent"]


def test_a_child_that_goes_on_with_its_parents_loop(make_event: MakeEvent) -> None:
    """What `renew` does in the child, done here, where it can be looked at."""
    seen: list[str] = []

    async def emit(event: MetricEvent) -> None:
        seen.append(event.event_id)

    delivery = Delivery(emit)

    async def main() -> None:
        delivery.deliver(make_event(event_id="parent"))
        _renew._renew_all()
        delivery.deliver(make_event(event_id="child"))
        assert await delivery.flush_async(30)

    asyncio.run(main())
    assert seen == ["child"]
    assert delivery.close(30)


def test_a_child_has_a_loop_of_its_own(make_event: MakeEvent) -> None:
    begun, ended = threading.Event(), threading.Event()
    seen: list[str] = []

    async def emit(event: MetricEvent) -> None:
        if event.event_id == "parent":
            begun.set()
            while not ended.is_set():
                await asyncio.sleep(0.01)
        seen.append(event.event_id)

    delivery = Delivery(emit)
    delivery.deliver(make_event(event_id="parent"))
    assert begun.wait(60)
    of_the_parent = delivery._lanes._own
    assert of_the_parent is not None
    _renew._renew_all()
    delivery.deliver(make_event(event_id="child"))
    assert delivery.close(30)
    assert seen == ["child"]
    ended.set()
    of_the_parent.stop(60)
