"""The garbage collector may run anywhere: between any two steps of ours, on any thread, under any lock."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aden_transport import create_batch_emitter, create_memory_emitter, create_multi_emitter, flush
from aden_transport.core import conclude as conclusions
from aden_transport.core.exchange import Exchange
from aden_transport.core.observe import BodyObserver, StreamObserver
from aden_transport.emitters.batch import BatchEmitter
from aden_transport.emitters.delivery import Delivery
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.meter import Meter, Orphans, meters
from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, STREAM, VARIANTS, Caller, Metering, Variant, consume, in_thread, open_exchanges

# What is dropped here leaves sockets and the library's own generators to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

SECTIONS: list[tuple[Any, str]] = [
    (Exchange, "__init__"),
    (Exchange, "start"),
    (Exchange, "receive_response"),
    (Exchange, "_end"),
    (Exchange, "receive_eof"),
    (Exchange, "close"),
    (StreamObserver, "look"),
    (StreamObserver, "read"),
    (BodyObserver, "receive_data"),
    (Delivery, "deliver"),
    (MemoryEmitter, "__call__"),
    (BatchEmitter, "__call__"),
    (BatchEmitter, "next_batch"),
    (BatchEmitter, "handled"),
    (Orphans, "settle"),
    (Meter, "flush"),
    (conclusions, "_take_answer"),
]
SYNC = [variant for variant in VARIANTS if variant.is_sync]


class Garbage:
    """Answers dropped unread in reference cycles, collected at every critical step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._waiting: list[Any] = []
        self._busy = threading.local()
        self.runs = 0
        for owner, name in SECTIONS:
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def section(*args: Any, **kwargs: Any) -> Any:
            self.collect()
            try:
                return original(*args, **kwargs)
            finally:
                self.collect()

        return section

    def leave(self, response: Any) -> None:
        """Have `response` become garbage at the next step."""
        response.itself = response
        self._waiting.append(response)

    def collect(self) -> None:
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            if self._waiting:
                self._waiting.pop()
                gc.collect()
                self.runs += 1
        finally:
            self._busy.now = False


@pytest.fixture
def garbage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Garbage]:
    # Collections come where the test says.
    was_enabled = gc.isenabled()
    gc.disable()
    yield Garbage(monkeypatch)
    if was_enabled:
        gc.enable()
    gc.collect()


@pytest.mark.parametrize("variant", SYNC, ids=str)
def test_collections_in_critical_sections(
    variant: Variant, metering: Metering, garbage: Garbage, provider: FakeProvider, url: str
) -> None:
    batches: list[Any] = []
    batch = create_batch_emitter(batches.extend, batch_size=4, flush_interval=0.01)
    metering.start(emit_metric=create_multi_emitter([metering.emitter, batch]))
    provider.script(Reply(events=3))
    rounds = 25

    async def scenario() -> None:
        caller = metering.caller()
        for _ in range(rounds):
            for _ in range(3):
                garbage.leave(await caller.open(url))
            await caller.post(url, json=BODY)
            await consume(caller.raw(await caller.open(url)))
        while garbage._waiting:
            garbage.collect()
        await caller.end()
        assert flush(10.0)

    in_thread(lambda: variant.run(scenario))
    assert garbage.runs >= 3 * rounds
    assert len(metering.events) == 5 * rounds
    assert len({event.event_id for event in metering.events}) == 5 * rounds
    assert len(batches) == 5 * rounds
    assert open_exchanges() == 0


async def mixed(caller: Caller, url: str, count: int) -> None:
    for number in range(count):
        match number % 5:
            case 0:
                await caller.post(url, json=BODY)
            case 1:
                await consume(caller.raw(await caller.open(url)))
            case 2:
                await caller.close(await caller.open(url))
            case 3:
                response = await caller.open(url, BODY)
                response.itself = response
                del response
            case _:
                response = await caller.open(url, STREAM)
                pieces = caller.raw(response)
                await anext(pieces)
                # Generators left half-way are not for this test: collected in a bad moment, httpcore's sync
                # ones wait for a lock that their thread holds, and its async ones are finalised while they
                # run. Both are the bare client's too. Here they are closed before they become garbage.
                await caller.close(response)
                response.pieces = pieces
                del response, pieces


# httpx2's generators are finalised while they run under trio, as often with the bare client as with us.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object:pytest.PytestUnraisableExceptionWarning"
)
def test_collections_at_every_allocation(
    variant: Variant, metering: Metering, provider: FakeProvider, url: str
) -> None:
    metering.start()
    provider.script(Reply(events=3))
    count = 30

    async def scenario() -> None:
        caller = metering.caller()
        await mixed(caller, url, count)
        await caller.end()

    thresholds = gc.get_threshold()

    def work() -> None:
        gc.set_threshold(1, 1, 1)
        try:
            variant.run(scenario)
        finally:
            gc.set_threshold(*thresholds)

    in_thread(work)
    gc.collect()
    # pytest holds what an ignored exception names, an answer's generator and so the answer itself, until
    # the test is over: those end as at the interpreter's exit.
    for meter in meters.each():
        meter.end_open_calls()
    assert len(metering.events) == count
    assert len({event.event_id for event in metering.events}) == count


@pytest.mark.parametrize("variant", [SYNC[0], SYNC[-1]], ids=str)
def test_collections_on_many_threads(
    variant: Variant, metering: Metering, provider: FakeProvider, url: str
) -> None:
    """Each thread drops its answers where another one may collect them."""
    memory = create_memory_emitter()
    metering.start(emit_metric=memory)
    provider.script(Reply(events=3))
    each, workers = 20, 4

    async def scenario() -> None:
        caller = metering.caller()
        await mixed(caller, url, each)
        await caller.end()

    def work() -> None:
        threads = [threading.Thread(target=variant.run, args=(scenario,)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    in_thread(work)
    gc.collect()
    assert flush(5.0)
    assert len(memory.events) == each * workers
