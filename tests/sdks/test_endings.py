"""However a stream ends, its attempt makes one event, with what was seen of it, and nothing stays open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, NamedTuple

import anthropic
import anyio
import anyio.to_thread
import openai
import pytest

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply

from .support import (
    CLAUDE,
    GEMINI,
    HELLO,
    STALL_MS,
    Clients,
    Recorder,
    async_client,
    open_calls,
    tokens_of,
)

ANSWER = Reply(text="One two three four five.", input_tokens=23, output_tokens=11)
STALLED = Reply(text="One two three four five.", input_tokens=23, output_tokens=11, event_delay_ms=STALL_MS)
"""Writes its first event and then nothing."""


class Opened(NamedTuple):
    """A way to open a stream. `told_input`: the first event tells the input tokens."""

    name: str
    sdk: str
    sync: Callable[[Any], Any]
    told_input: bool = False
    faults: tuple[str, ...] = ("stream.abandoned",)


STREAMS = (
    Opened(
        "chat", "openai", lambda c: c.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
    ),
    Opened("responses", "openai", lambda c: c.responses.create(model="gpt-4o", input="hello", stream=True)),
    Opened(
        "completions",
        "openai",
        lambda c: c.completions.create(model="davinci-002", prompt="hello", stream=True),
    ),
    Opened(
        "messages",
        "anthropic",
        lambda c: c.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, stream=True),
        told_input=True,
    ),
)
each_stream = pytest.mark.parametrize("opened", STREAMS, ids=lambda opened: opened.name)


class Stop(Exception):
    """Raised by a consumer of a stream."""


def check_partial(event: MetricEvent, opened: Opened) -> None:
    assert (event.status_code, event.stream, event.usage_source) == (200, True, "estimated")
    assert event.faults == opened.faults
    assert event.input_tokens is not None
    assert event.input_tokens > 0
    assert event.finish_reasons == ()
    assert event.attempt == 0


# -- sync ---------------------------------------------------------------------------------------


def _close_early(stream: Any) -> None:
    next(iter(stream))
    stream.close()


def _break_and_close(stream: Any) -> None:
    for _ in stream:
        break
    stream.close()


def _leave_the_block(stream: Any) -> None:
    with stream:
        for _ in stream:
            break


def _raise_in_the_block(stream: Any) -> None:
    with suppress(Stop), stream:
        for _ in stream:
            raise Stop


def _never_iterate(stream: Any) -> None:
    stream.close()


SYNC_ENDINGS: tuple[Callable[[Any], None], ...] = (
    _close_early,
    _break_and_close,
    _leave_the_block,
    _raise_in_the_block,
    _never_iterate,
)


@each_stream
@pytest.mark.parametrize("end", SYNC_ENDINGS, ids=lambda end: end.__name__.strip("_"))
def test_a_stream_that_is_left_makes_one_event_of_what_was_seen(
    opened: Opened, end: Callable[[Any], None], provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(STALLED)
    stream = opened.sync(clients.of(opened.sdk))
    assert events.events == []
    assert open_calls() == 1
    end(stream)
    check_partial(events.only(), opened)


@each_stream
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "never_iterated"])
def test_a_stream_that_is_forgotten_makes_its_event_when_it_is_collected(
    opened: Opened, begun: bool, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(STALLED)
    stream = opened.sync(clients.of(opened.sdk))
    if begun:
        for _ in stream:
            break
    assert events.events == []
    del stream
    gc.collect()
    events.wait(1)
    check_partial(events.only(), opened)


@each_stream
def test_a_stream_that_is_read_to_its_end_is_reported_once(
    opened: Opened, provider: FakeProvider, clients: Clients, events: Recorder, known_openai_for: None
) -> None:
    provider.push(ANSWER)
    stream = opened.sync(clients.of(opened.sdk))
    for _ in stream:
        pass
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.faults == ()
    stream.close()
    del stream
    gc.collect()
    events.only()


def test_the_estimate_of_a_left_stream_counts_the_text_that_was_seen(
    provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(ANSWER)
    seen = ""
    with clients.of("openai").chat.completions.create(model="gpt-4o", messages=HELLO, stream=True) as stream:
        for chunk in stream:
            seen += chunk.choices[0].delta.content or ""
            if "three" in seen:
                break
    assert seen == "One two three"
    assert events.only().output_tokens == tokens_of(seen)


def test_the_event_of_a_left_stream_keeps_what_the_vendor_reported_so_far(
    provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(STALLED)
    client = clients.of("anthropic")
    with client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, stream=True) as stream:
        next(stream)
    event = events.only()
    assert (event.input_tokens, event.usage_source) == (23, "estimated")
    assert event.response_id is not None


def test_a_left_gemini_stream_makes_one_event(
    provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(STALLED)
    stream = clients.of("gemini").models.generate_content_stream(model=GEMINI, contents="hello")
    assert next(stream).text
    del stream
    gc.collect()
    events.wait(1)
    event = events.only()
    assert (event.usage_source, event.faults) == ("estimated", ("stream.abandoned",))
    assert event.input_tokens == 23


# -- breaks of the server -----------------------------------------------------------------------


@each_stream
def test_a_disconnect_amid_a_stream_makes_one_event_with_the_error(
    opened: Opened, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(Reply(text="One two three four five.", input_tokens=23, disconnect_after_events=4))
    with pytest.raises(Exception, match=r"peer closed|onnection"):
        list(opened.sync(clients.of(opened.sdk)))
    event = events.only()
    check_partial(event, opened)
    assert event.error is not None
    assert "RemoteProtocolError" in event.error


@each_stream
def test_an_error_event_ends_a_stream_with_its_error(
    opened: Opened, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(Reply(text="One two three four five.", input_tokens=23, error_after_events=4))
    error = openai.APIError if opened.sdk == "openai" else anthropic.APIStatusError
    with pytest.raises(error):
        list(opened.sync(clients.of(opened.sdk)))
    event = events.only()
    assert (event.status_code, event.usage_source) == (200, "estimated")
    assert event.error is not None
    expected = "service_unavailable" if opened.sdk == "anthropic" else "server_error"
    assert event.error_type == expected
    assert event.finish_reasons in ((), ("failed",))


def test_a_disconnect_amid_a_whole_answer_makes_one_event_without_usage(
    provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(Reply(disconnect_after_bytes=40))
    with pytest.raises(openai.APIConnectionError):
        clients.of("openai").chat.completions.create(model="gpt-4o", messages=HELLO)
    event = events.only()
    assert (event.status_code, event.usage, event.usage_source) == (200, None, None)
    assert event.error is not None
    assert "body.abandoned" in event.faults


# -- async --------------------------------------------------------------------------------------


async def _aclose_early(stream: Any) -> None:
    await anext(aiter(stream))
    await stream.close()


async def _leave_the_async_block(stream: Any) -> None:
    async with stream:
        async for _ in stream:
            break


async def _raise_in_the_async_block(stream: Any) -> None:
    with suppress(Stop):
        async with stream:
            async for _ in stream:
                raise Stop


async def _never_iterate_async(stream: Any) -> None:
    await stream.close()


async def _cancel_amid_the_stream(stream: Any) -> None:
    with anyio.CancelScope() as scope:
        async with stream:
            async for _ in stream:
                scope.cancel()  # felt at the next wait, for the server has stalled
    assert scope.cancelled_caught


ASYNC_ENDINGS = (
    _aclose_early,
    _leave_the_async_block,
    _raise_in_the_async_block,
    _never_iterate_async,
    _cancel_amid_the_stream,
)


@pytest.mark.anyio
@each_stream
@pytest.mark.parametrize("end", ASYNC_ENDINGS, ids=lambda end: end.__name__.strip("_"))
async def test_an_async_stream_that_is_left_makes_one_event_of_what_was_seen(
    opened: Opened, end: Callable[[Any], Any], provider: FakeProvider, events: Recorder
) -> None:
    provider.push(STALLED)
    async with async_client(provider, opened.sdk) as client:
        stream = await opened.sync(client)
        assert open_calls() == 1
        await end(stream)
        check_partial(events.only(), opened)


@pytest.mark.anyio
@each_stream
async def test_an_async_stream_that_is_read_to_its_end_is_reported_once(
    opened: Opened, provider: FakeProvider, events: Recorder, known_openai_for: None
) -> None:
    provider.push(ANSWER)
    async with async_client(provider, opened.sdk) as client:
        stream = await opened.sync(client)
        async for _ in stream:
            pass
        event = events.only()
        assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
        assert event.faults == ()
        await stream.close()
    events.only()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@each_stream
async def test_an_async_stream_that_is_forgotten_makes_its_event_when_it_is_collected(
    opened: Opened, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(STALLED)
    async with async_client(provider, opened.sdk) as client:
        stream = await opened.sync(client)
        del stream
        gc.collect()
        await anyio.to_thread.run_sync(events.wait)
        check_partial(events.only(), opened)


async def _wait_for_request(provider: FakeProvider) -> None:
    await anyio.to_thread.run_sync(provider.wait_for_requests, 1)


def check_cancelled_before_headers(event: MetricEvent) -> None:
    assert (event.status_code, event.usage, event.usage_source) == (None, None, None)
    assert event.error is not None
    assert "Cancelled" in event.error
    assert event.billing == "unknown"
    assert event.faults == ()


@pytest.mark.anyio
@each_stream
async def test_a_call_cancelled_while_it_waits_for_headers_makes_one_event(
    opened: Opened, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(delay_ms=STALL_MS))
    async with async_client(provider, opened.sdk, max_retries=2) as client:

        async def call() -> None:
            await opened.sync(client)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await _wait_for_request(provider)
            group.cancel_scope.cancel()
    check_cancelled_before_headers(events.only())
    assert len(provider.requests) == 1


@pytest.mark.anyio
@each_stream
async def test_move_on_after_makes_one_event(
    opened: Opened, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(delay_ms=STALL_MS))

    async def expire(scope: anyio.CancelScope) -> None:
        await _wait_for_request(provider)
        scope.deadline = anyio.current_time()

    scope = anyio.move_on_after(STALL_MS)
    async with async_client(provider, opened.sdk) as client, anyio.create_task_group() as group:
        with scope:
            group.start_soon(expire, scope)
            await opened.sync(client)
    assert scope.cancelled_caught
    event = events.only()
    assert event.error is not None
    assert event.status_code is None


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@each_stream
async def test_wait_for_amid_a_stream_makes_one_event(
    opened: Opened, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(STALLED)
    async with async_client(provider, opened.sdk) as client:
        stream = await opened.sync(client)

        async def consume() -> None:
            async with stream:
                async for _ in stream:
                    pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(consume(), 0.1)
        check_partial(events.only(), opened)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@each_stream
async def test_a_cancelled_task_makes_one_event(
    opened: Opened, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(STALLED)
    async with async_client(provider, opened.sdk) as client:
        begun = asyncio.Event()

        async def consume() -> None:
            async with await opened.sync(client) as stream:
                async for _ in stream:
                    begun.set()

        task = asyncio.create_task(consume())
        await asyncio.wait({task, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        check_partial(events.only(), opened)


@pytest.mark.anyio
@each_stream
async def test_an_async_disconnect_makes_one_event_with_the_error(
    opened: Opened, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(text="One two three four five.", input_tokens=23, disconnect_after_events=4))
    async with async_client(provider, opened.sdk) as client:
        stream = await opened.sync(client)
        with pytest.raises(Exception, match=r"peer closed|onnection"):
            await _read(stream)
    event = events.only()
    check_partial(event, opened)
    assert event.error is not None


async def _read(stream: AsyncIterator[Any]) -> None:
    async for _ in stream:
        pass


@pytest.fixture
def known_openai_for(opened: Opened, request: pytest.FixtureRequest) -> None:
    """Chat streams report usage only where they are asked to."""
    if opened.sdk == "openai":
        request.getfixturevalue("known_openai")
