"""Where emitters run, what their faults do, and that nothing waits for them."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aden_transport import _guard
from aden_transport.emitters import (
    Delivery,
    create_filtered_emitter,
    create_memory_emitter,
    create_multi_emitter,
    in_emitter,
)
from aden_transport.errors import ConfigurationError
from aden_transport.events import MetricEvent

if TYPE_CHECKING:
    from .conftest import MakeEvent


class Slow:
    """A plain emitter that notes events, and can be held up."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.inside: list[bool] = []

    def __call__(self, event: MetricEvent) -> None:
        self.threads.add(threading.current_thread())
        self.started.set()
        assert self.go_on.wait(60)
        self.inside.append(in_emitter())
        self.ids.append(event.event_id)


def test_inline_emitters_have_seen_the_event_when_the_call_returns(make_event: MakeEvent) -> None:
    memory = create_memory_emitter()
    for emit in (memory, create_multi_emitter([create_filtered_emitter(memory, bool)])):
        delivery = Delivery(emit)
        delivery.deliver(make_event())
        assert len(memory.events) == 1
        memory.clear()
        assert delivery.close(0)


def test_a_blocking_emitter_holds_up_neither_the_call_nor_inline_siblings(make_event: MakeEvent) -> None:
    slow, memory = Slow(), create_memory_emitter()
    delivery = Delivery(create_multi_emitter([slow, memory, slow]))
    for n in range(3):
        delivery.deliver(make_event(event_id=str(n)))
    assert slow.ids == []
    assert len(memory.events) == 3
    assert not delivery.flush(0.0)
    slow.go_on.set()
    assert delivery.flush(30)
    assert slow.ids == ["0", "0", "1", "1", "2", "2"]
    assert len(slow.threads) == 1
    assert slow.inside == [True] * 6
    assert slow.threads.pop().daemon
    assert delivery.close(30)


def test_async_emit_false_runs_plain_callables_in_the_call(make_event: MakeEvent) -> None:
    slow = Slow()
    slow.go_on.set()
    delivery = Delivery(create_multi_emitter([slow]), async_emit=False)
    delivery.deliver(make_event())
    assert slow.threads == {threading.current_thread()}
    assert slow.inside == [True]
    assert not in_emitter()


def test_overflow_drops_the_newest_counts_exactly_and_says_so_once(
    make_event: MakeEvent, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    delivery = Delivery(slow, queue_size=10)
    delivery.deliver(make_event(event_id="0"))
    assert slow.started.wait(60)  # that one has left the queue
    for n in range(1, 31):
        delivery.deliver(make_event(event_id=str(n)))
    assert delivery.dropped == 20
    slow.go_on.set()
    assert delivery.close(30)
    assert slow.ids == [str(n) for n in range(11)]
    assert len([r for r in caplog.records if "dropped" in r.getMessage()]) == 1


def test_many_threads_lose_and_invent_nothing(make_event: MakeEvent) -> None:
    slow = Slow()
    slow.go_on.set()
    delivery = Delivery(slow, queue_size=50)
    events = [[make_event() for _ in range(300)] for _ in range(8)]

    def work(mine: list[MetricEvent]) -> None:
        for event in mine:
            delivery.deliver(event)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert delivery.close(30)
    assert len(slow.ids) + delivery.dropped == 2400
    assert len(set(slow.ids)) == len(slow.ids)


class Fatal(BaseException):
    pass


RAISED: list[type[BaseException]] = [ValueError, Fatal, SystemExit, KeyboardInterrupt, GeneratorExit]


@pytest.mark.parametrize("kind", RAISED)
def test_on_our_thread_no_fault_gets_out(make_event: MakeEvent, kind: type[BaseException]) -> None:
    told: list[tuple[str, type[BaseException]]] = []

    def fail(event: MetricEvent) -> None:
        raise kind

    def on_error(event: MetricEvent, exc: BaseException) -> None:
        told.append((event.event_id, type(exc)))
        assert in_emitter()
        raise kind

    delivery = Delivery(fail, on_error)
    for n in range(3):
        delivery.deliver(make_event(event_id=str(n)))
    assert delivery.close(30)
    assert told == [(str(n), kind) for n in range(3)]
    assert _guard.fault_counts() == {f"emit:{kind.__name__}": 3, f"on_emit_error:{kind.__name__}": 3}


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("where", ["emitter", "filter", "on_error"])
def test_in_the_call_only_the_applications_own_exits_pass(
    event: MetricEvent, kind: type[BaseException], where: str
) -> None:
    def fail(*args: object) -> None:
        raise kind

    def plain(event: MetricEvent) -> None:
        raise ValueError

    emit: Any = {
        "emitter": fail,
        "filter": create_filtered_emitter(create_memory_emitter(), fail),
        "on_error": plain,
    }[where]
    delivery = Delivery(emit, fail if where == "on_error" else None, async_emit=False)
    if kind in (ValueError, Fatal):
        delivery.deliver(event)
        part = "on_emit_error" if where == "on_error" else "emit"
        assert f"{part}:{kind.__name__}" in _guard.fault_counts()
    else:
        with pytest.raises(kind):
            delivery.deliver(event)
    assert not in_emitter()


def test_a_fault_is_logged_once(make_event: MakeEvent, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: MetricEvent) -> None:
        raise ValueError("mine")

    delivery = Delivery(fail)
    delivery.deliver(make_event())
    delivery.deliver(make_event())
    assert delivery.close(30)
    assert [r.getMessage().split(";")[0] for r in caplog.records] == ["emit failed (ValueError)"]


def test_a_logging_filter_that_raises_does_not_get_out(event: MetricEvent) -> None:
    def fail(*args: object) -> bool:
        raise ValueError("mine")

    logger = logging.getLogger("aden.internal")
    logger.addFilter(fail)
    try:
        Delivery(fail, fail, async_emit=False).deliver(event)
    finally:
        logger.removeFilter(fail)
    assert _guard.fault_counts() == {"emit:ValueError": 1, "on_emit_error:ValueError": 1}


@pytest.mark.parametrize("async_emit", [True, False])
def test_calls_made_by_an_emitter_are_not_emitted(make_event: MakeEvent, async_emit: bool) -> None:
    seen: list[str] = []

    def emit(event: MetricEvent) -> None:
        seen.append(event.event_id)
        delivery.deliver(make_event())  # as the meter would, were it to meter this
        assert not delivery.flush(60)  # which would wait for this very emitter
        assert not delivery.close(60)

    delivery = Delivery(emit, async_emit=async_emit)
    delivery.deliver(make_event(event_id="outer"))
    assert delivery.close(30)
    assert seen == ["outer"]
    assert _guard.fault_counts() == {}


def test_a_late_event_is_emitted_after_close(make_event: MakeEvent) -> None:
    slow = Slow()
    slow.go_on.set()
    delivery = Delivery(slow)
    assert delivery.close(0)
    for n in range(2):
        delivery.deliver(make_event(event_id=str(n)))
        assert delivery.close(30)
    assert slow.ids == ["0", "1"]
    assert not any(thread.is_alive() for thread in slow.threads)


def test_close_is_bounded_and_what_it_left_still_goes_out(make_event: MakeEvent) -> None:
    slow = Slow()
    delivery = Delivery(slow)
    delivery.deliver(make_event(event_id="0"))
    delivery.deliver(make_event(event_id="1"))
    assert slow.started.wait(60)
    assert not delivery.close(0.0)
    delivery.deliver(make_event(event_id="2"))
    slow.go_on.set()
    assert delivery.close(30)
    for thread in list(slow.threads):
        thread.join(60)
    assert sorted(slow.ids) == ["0", "1", "2"]


def test_without_a_thread_events_wait_for_the_next_try(
    make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow()
    slow.go_on.set()
    delivery = Delivery(slow)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        delivery.deliver(make_event(event_id="0"))
        assert not delivery.flush(0)
        assert not delivery.close(0)
        assert delivery.dropped == 1
        delivery.deliver(make_event(event_id="1"))
    assert delivery.flush(30)
    assert slow.ids == ["1"]
    assert delivery.close(30)


def test_sampling_goes_by_trace(make_event: MakeEvent) -> None:
    memory = create_memory_emitter()
    halves = [Delivery(memory, sample_rate=0.5), Delivery(memory, sample_rate=0.5)]
    for n in range(1000):
        for attempt, delivery in enumerate(halves):
            delivery.deliver(make_event(trace_id=f"{n:032x}", attempt=attempt))
    traces = [event.trace_id for event in memory.events]
    assert traces[::2] == traces[1::2]  # all attempts or none
    assert 400 < len(set(traces)) < 600  # fixed ids: this number never changes
    memory.clear()
    Delivery(memory, sample_rate=0).deliver(make_event())
    assert memory.events == []
    Delivery(memory, sample_rate=1).deliver(make_event(trace_id="\ud800"))
    assert len(memory.events) == 1


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((None,), {}, "emit_metric is a NoneType"),
        ((create_memory_emitter,), {}, "call it"),
        ((print, 3), {}, "on_emit_error is a int"),
        ((print,), {"sample_rate": 1.1}, "from 0.0 to 1.0"),
        ((print,), {"sample_rate": -0.1}, "from 0.0 to 1.0"),
        ((print,), {"sample_rate": float("nan")}, "from 0.0 to 1.0"),
        ((print,), {"sample_rate": True}, "from 0.0 to 1.0"),
        ((print,), {"sample_rate": "1"}, "from 0.0 to 1.0"),
    ],
)
def test_wrong_arguments(args: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Delivery(*args, **kwargs)


def test_an_async_on_error_is_refused() -> None:
    async def on_error(event: MetricEvent, exc: BaseException) -> None: ...

    with pytest.raises(ConfigurationError, match="on_emit_error is async"):
        Delivery(print, on_error)


EXITS = """
import atexit, logging, sys, threading, time
logging.getLogger("aden").setLevel(logging.CRITICAL)  # that events were dropped is told elsewhere
from aden_transport.emitters import *
from aden_transport.events import MetricEvent
event = MetricEvent(event_id="e", trace_id="t", span_id="s", provider="p", operation="o", request_model="m",
                    stream=False, timestamp_s=0.0)
def slow(event): time.sleep(3600)
async def slow_async(event):
    import asyncio
    await asyncio.sleep(3600)
async def quick(event): pass
batch = create_batch_emitter(slow, 1, 1)
emit = create_multi_emitter([create_console_emitter(), slow, slow_async, quick, batch])
delivery = Delivery(emit)
for _ in range(10): delivery.deliver(event)
if "close" in sys.argv: atexit.register(delivery.close, 0.05)
if "late" in sys.argv: atexit.register(Delivery(emit).deliver, event)
"""


@pytest.mark.parametrize("how", ["just", "close", "late"])
def test_the_interpreter_exits_quietly(how: str) -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", EXITS, how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_heavy_is_imported_for_plain_emitters() -> None:
    program = (
        "import sys\n"
        "from aden_transport.emitters import *\n"
        "Delivery(create_multi_emitter([create_memory_emitter(), create_console_emitter()]))\n"
        "assert not {'asyncio', 'anyio', 'trio', 'httpx'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
