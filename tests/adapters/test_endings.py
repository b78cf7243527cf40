"""One event per call, whatever becomes of its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from aden_transport.events import MetricEvent
from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, STREAM, VARIANTS, Caller, Metering, Variant, collect, consume, open_exchanges

# An answer that is dropped leaves the library's own generators to the garbage collector: trio names them,
# and sockets are closed by their finalisers.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <function _SelectorTransport:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

EVENTS = 6


class Left(Exception):
    """What an application raises while it reads."""


async def to_the_end(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    await consume(caller.raw(response))


async def read_at_once(caller: Caller, url: str, body: Any) -> None:
    await caller.post(url, json=body)


async def read_later(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    await caller.read(response)
    await caller.close(response)


async def closed_unread(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    await caller.close(response)
    await caller.close(response)


async def closed_with_the_iterator_held(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    pieces = caller.raw(response)
    await anext(pieces)
    await caller.close(response)
    with suppress(Exception):  # what it is depends on the library, and is compared elsewhere
        await anext(pieces)


async def broken_off(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    async for _ in caller.raw(response):
        break
    await caller.close(response)


async def raised_in_the_reader(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    try:
        async for _ in caller.raw(response):
            raise Left
    except Left:
        await caller.close(response)


async def dropped_unread(caller: Caller, url: str, body: Any) -> None:
    await caller.open(url, body)
    collect()


async def dropped_in_a_cycle(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    pieces = caller.raw(response)
    await anext(pieces)
    response.me = response
    response.pieces = pieces
    del response, pieces
    collect()


async def read_twice(caller: Caller, url: str, body: Any) -> None:
    response = await caller.open(url, body)
    await consume(caller.stream(response))
    await consume(caller.stream(response))
    await caller.close(response)


async def read_on_by_another_iterator(caller: Caller, url: str, body: Any) -> None:
    """openai's async client leaves its own iteration at [DONE], and drains the stream by a second one."""
    response = await caller.open(url, body)
    pieces = caller.stream(response)
    first = await anext(pieces)
    rest = await consume(caller.stream(response))
    assert first
    assert first not in rest
    await caller.close(response)
    del pieces


ENDINGS = [
    to_the_end,
    read_at_once,
    read_later,
    closed_unread,
    closed_with_the_iterator_held,
    broken_off,
    raised_in_the_reader,
    dropped_unread,
    dropped_in_a_cycle,
    read_twice,
    read_on_by_another_iterator,
]
WHOLE = {to_the_end, read_at_once, read_later, read_twice, read_on_by_another_iterator}


def perform(metering: Metering, url: str, body: Any, *endings: Any) -> list[MetricEvent]:
    """The events of these calls, which must be there before the client is closed."""

    async def scenario() -> list[MetricEvent]:
        caller = metering.caller()
        try:
            for ending in endings:
                await ending(caller, url, body)
            return list(metering.events)
        finally:
            await caller.end()

    return metering.variant.run(scenario)


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["json", "stream"])
@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_every_ending_gives_one_event(
    metering: Metering, provider: FakeProvider, url: str, ending: Any, body: Any
) -> None:
    metering.start()
    provider.script(Reply(events=EVENTS, chunking="event" if body is STREAM else 20))
    [event] = perform(metering, url, body, ending)
    collect()
    assert len(metering.events) == 1
    assert open_exchanges() == 0
    assert event.status_code == 200
    assert event.request_model == "gpt-4o"
    assert (event.latency_ms > 0, event.stream) == (True, body is STREAM)
    if ending in WHOLE:
        assert event.faults == ()
        assert event.finish_reasons == ("stop",)
        assert event.usage_source == ("reported" if body is BODY else "estimated")
    else:
        assert event.faults
        assert event.usage_source == ("estimated" if body is STREAM else None)


def test_endings_in_a_row_do_not_mix(metering: Metering, provider: FakeProvider, url: str) -> None:
    metering.start()
    provider.script(Reply(events=EVENTS))
    events = perform(metering, url, STREAM, *ENDINGS)
    assert len(events) == len(ENDINGS) == len({event.event_id for event in events})
    assert len({event.call_id for event in events}) == len(ENDINGS)


def test_the_terminal_event_ends_a_call_that_is_neither_read_on_nor_closed(
    metering: Metering, provider: FakeProvider, url: str
) -> None:
    """LiteLLM stops at [DONE] and never closes."""
    metering.start()

    async def scenario() -> None:
        caller = metering.caller()
        response = await caller.open(url)
        pieces = caller.raw(response)
        while b"[DONE]" not in await anext(pieces):
            assert metering.emitter.events == []
        [event] = metering.emitter.events
        assert event.finish_reasons == ("stop",)
        await caller.close(response)
        await caller.end()

    metering.variant.run(scenario)
    assert len(metering.events) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through(metering: Metering, url: str, kind: Any) -> None:
    """An interrupt in the transport ends the call and stays what it is."""
    metering.start()
    variant = metering.variant

    def interrupted(request: Any) -> Any:
        raise kind

    async def scenario() -> None:
        caller = metering.caller(transport=variant.mock(interrupted))
        try:
            with pytest.raises(kind):
                await caller.post(url, json=BODY)
        finally:
            await caller.end()

    variant.run(scenario)
    [event] = metering.events
    assert event.error == kind.__name__


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.is_sync], ids=str)
def test_answers_may_be_read_on_another_thread(metering: Metering, provider: FakeProvider, url: str) -> None:
    metering.start()
    provider.script(Reply(events=EVENTS))

    async def scenario() -> None:
        caller = metering.caller()
        responses = [await caller.open(url) for _ in range(8)]
        readers = [threading.Thread(target=response.read) for response in responses]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        await caller.end()

    metering.variant.run(scenario)
    assert [event.faults for event in metering.events] == [()] * 8


def test_a_stream_that_outlives_its_meter_ends_under_it(
    metering: Metering, provider: FakeProvider, url: str
) -> None:
    """Read to its end, closed, or dropped: after `uninstrument()` as before."""
    metering.start()
    provider.script(Reply(events=EVENTS))

    async def scenario() -> None:
        caller = metering.caller()
        read, closed, dropped = [await caller.open(url) for _ in range(3)]
        metering.stop()
        collect()
        await caller.read(read)
        await caller.close(closed)
        dropped.me = dropped
        del dropped
        collect()
        await caller.end()

    metering.variant.run(scenario)
    assert len(metering.events) == 3


def orphan_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "aden-orphans"]


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.is_sync], ids=str)
def test_meters_that_are_gone_leave_no_thread_behind(metering: Metering, url: str) -> None:
    """A transport made by hand for each request, or options changed again and again."""
    from aden_transport import is_instrumented, update_options

    metering.start()
    before = len(orphan_threads())

    async def scenario() -> None:
        for number in range(5):
            caller = metering.caller()
            await caller.post(url, json=BODY)
            await caller.end()
            if is_instrumented():
                update_options(agent_name=f"agent {number}")

    metering.variant.run(scenario)
    collect()
    assert len(metering.emitter.events) == 5
    assert len(orphan_threads()) <= max(1, before)


@pytest.fixture
def cycles() -> Iterator[list[Any]]:
    kept: list[Any] = []
    yield kept
    kept.clear()
    collect()


def test_a_body_in_memory_is_counted_before_the_call_returns(
    metering: Metering, variant: Variant, cycles: list[Any]
) -> None:
    """Mocks give responses whose content is there already."""
    metering.start()
    answer = {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}

    async def scenario() -> None:
        caller = metering.caller(transport=variant.mock(lambda _: variant.module.Response(200, json=answer)))
        response = await caller.post("https://api.openai.com/v1/chat/completions", json=BODY)
        cycles.append(response)
        [event] = metering.emitter.events
        assert event.total_tokens == 7
        await caller.end()

    variant.run(scenario)


SSE = (
    b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}\n\n'
    b"data: [DONE]\n\n"
)


def test_a_stream_in_memory_is_counted_and_its_usage_event_hidden(
    metering: Metering, variant: Variant, cycles: list[Any]
) -> None:
    """Asked for usage by us, a mock's answer is cut as a server's is."""
    metering.start()

    def answer(request: Any) -> Any:
        assert b"include_usage" in request.content
        return variant.module.Response(200, content=SSE, headers={"content-type": "text/event-stream"})

    async def scenario() -> None:
        caller = metering.caller(transport=variant.mock(answer))
        response = await caller.post("https://api.openai.com/v1/chat/completions", json=STREAM)
        cycles.append(response)
        assert b"usage" not in response.content
        assert response.content.endswith(b"data: [DONE]\n\n")
        [event] = metering.emitter.events
        assert event.total_tokens == 7
        await caller.end()

    variant.run(scenario)
