"""google-genai's async client on aiohttp, which it prefers where that is installed."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from google.genai import errors

from aden_transport import BeforeRequestResult, MetricEvent, RequestCancelledError, context
from aden_transport.testing import FakeProvider, Reply

from .gemini_cases import ANSWER, TOOLS, tool_config
from .support import GEMINI, GEMINI_WAYS, STALL_MS, Metered, Recorder, Way, gemini_async, open_calls

# google-genai subclasses aiohttp's session, which aiohttp discourages.
SUBCLASS = "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(SUBCLASS)]
each_way = pytest.mark.parametrize("way", GEMINI_WAYS, ids=lambda way: way.name)


@pytest.fixture
def anyio_backend() -> str:
    """aiohttp works on asyncio alone."""
    return "asyncio"


@each_way
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_call_makes_one_event(
    way: Way, encoding: Any, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(text="One two.", input_tokens=23, output_tokens=11, encoding=encoding))
    async with gemini_async(provider, library="aiohttp") as client:
        await way.asynchronous(client)
    assert len(provider.requests) == 1
    event = events.only()
    assert (event.provider, event.operation, event.stream) == ("gemini", "generate_content", way.stream)
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert (event.request_model, event.finish_reasons) == (GEMINI, ("STOP",))
    assert (event.status_code, event.faults) == (200, ())
    assert event.cost_usd is not None
    assert event.latency_ms > 0


@pytest.mark.parametrize("chunking", ["event", "byte", "whole", 7])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_what_the_sdk_reads_is_the_same_with_and_without_us(
    provider: FakeProvider, metered: Metered, chunking: Any, encoding: Any
) -> None:
    reply = Reply(text="One two, «drei».", chunking=chunking, encoding=encoding)

    async def read() -> list[Any]:
        provider.push(reply)
        async with gemini_async(provider, library="aiohttp") as client:
            stream = await client.models.generate_content_stream(model=GEMINI, contents="hello")
            return [chunk.model_dump(exclude={"response_id", "sdk_http_response"}) async for chunk in stream]

    plain = await read()
    events = metered()
    assert await read() == plain
    assert events.only().usage_source == "reported"


async def test_function_calls_are_figures(provider: FakeProvider, events: Recorder) -> None:
    provider.push(TOOLS)
    async with gemini_async(provider, library="aiohttp") as client:
        await client.models.generate_content(model=GEMINI, contents="hello", config=tool_config())
    event = events.only()
    assert event.tool_calls is not None
    assert [call.name for call in event.tool_calls] == ["get_weather", "get_time"]


async def test_embeddings_make_one_event_and_counting_none(provider: FakeProvider, events: Recorder) -> None:
    async with gemini_async(provider, library="aiohttp") as client:
        await client.models.count_tokens(model=GEMINI, contents="hello")
        await client.models.embed_content(model="gemini-embedding-001", contents="hello")
    event = events.only()
    assert (event.operation, event.input_tokens) == ("embeddings", 2)


@each_way
async def test_cancel_reaches_the_caller_unwrapped_and_sends_nothing(
    way: Way, provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=lambda params, context: BeforeRequestResult.cancel("too dear"))
    async with gemini_async(provider, library="aiohttp") as client:
        with pytest.raises(RequestCancelledError, match="too dear") as raised:
            await way.asynchronous(client)
    assert type(raised.value) is RequestCancelledError
    assert events.only().decision.action == "block"
    assert (provider.requests, provider.bytes_received, provider.connections_made) == ([], 0, 0)


@each_way
async def test_degrade_rewrites_the_path(way: Way, provider: FakeProvider, metered: Metered) -> None:
    model = "gemini-2.5-flash-lite"
    events = metered(before_request=lambda params, context: BeforeRequestResult.degrade(model))
    async with gemini_async(provider, library="aiohttp") as client:
        await way.asynchronous(client)
    assert f"/models/{model}:" in provider.requests[0].path
    assert ("alt=sse" in provider.requests[0].target) is way.stream
    event = events.only()
    assert (event.request_model, event.degraded_from) == (model, GEMINI)


async def test_throttle_waits(provider: FakeProvider, metered: Metered) -> None:
    events = metered(before_request=lambda params, context: BeforeRequestResult.throttle(5))
    async with gemini_async(provider, library="aiohttp") as client:
        await client.models.generate_content(model=GEMINI, contents="hello")
    assert events.only().throttle_ms >= 5


@each_way
async def test_our_headers_and_metadata_never_arrive_at_the_server(
    way: Way, provider: FakeProvider, events: Recorder
) -> None:
    options = {"headers": {"x-aden-agent": "writer"}, "extra_body": {"metadata": {"tenant": "acme"}}}
    async with gemini_async(provider, library="aiohttp") as client:
        with context(feature="search"):
            await way.asynchronous(client, config={"http_options": options})
    assert events.only().metadata == {"agent": "writer", "tenant": "acme", "feature": "search"}
    [request] = provider.requests
    assert "x-aden-agent" not in request.headers
    assert "metadata" not in request.json()


@each_way
@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (429, "rate_limit_error")])
async def test_an_error_has_its_type(
    way: Way, status: int, kind: str, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(status=status))
    async with gemini_async(provider, library="aiohttp") as client:
        with pytest.raises(errors.ClientError):
            await way.asynchronous(client)
    event = events.only()
    assert (event.status_code, event.error_type, event.usage) == (status, kind, None)


async def test_a_refused_connection_makes_one_event_that_bills_nothing(
    provider: FakeProvider, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """google-genai tries a refused connection again on aiohttp, after 1 to 10 s; here at once."""
    monkeypatch.setattr("google.genai._api_client.random.randint", lambda low, high: -1)
    provider.stop()
    async with gemini_async(provider, library="aiohttp") as client:
        with pytest.raises(Exception, match="onnect"):
            await client.models.generate_content(model=GEMINI, contents="hello")
    assert [event.attempt for event in events.events] == [0, 1]
    assert len({event.call_id for event in events.events}) == 1
    assert open_calls() == 0
    for event in events.events:
        assert (event.status_code, event.usage, event.billing) == (None, None, None)


# -- endings ------------------------------------------------------------------------------------

STALLED = Reply(text="One two three.", input_tokens=23, event_delay_ms=STALL_MS)


def check_partial(event: MetricEvent) -> None:
    assert (event.status_code, event.usage_source, event.input_tokens) == (200, "estimated", 23)
    assert event.faults == ("stream.abandoned",)


async def test_a_stream_that_is_left_makes_one_event_when_it_is_collected(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.push(STALLED)
    async with gemini_async(provider, library="aiohttp") as client:
        stream: Any = await client.models.generate_content_stream(model=GEMINI, contents="hello")
        await anext(stream)
        # This SDK closes neither the answer nor its own inner generators.
        await stream.aclose()
        del stream
        async with asyncio.timeout(10):
            while not events.events:  # what is collected ends in later turns of the loop
                gc.collect()
                await asyncio.sleep(0.01)
    check_partial(events.only())


async def test_a_stream_cancelled_midway_makes_one_event(provider: FakeProvider, events: Recorder) -> None:
    provider.push(STALLED)
    async with gemini_async(provider, library="aiohttp") as client:
        begun = asyncio.Event()

        async def consume() -> None:
            stream = await client.models.generate_content_stream(model=GEMINI, contents="hello")
            async for _ in stream:
                begun.set()

        task = asyncio.create_task(consume())
        await asyncio.wait({task, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    check_partial(events.only())


async def test_a_call_cancelled_while_it_waits_for_headers_makes_one_event(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(delay_ms=STALL_MS))
    async with gemini_async(provider, library="aiohttp") as client:
        task = asyncio.create_task(client.models.generate_content(model=GEMINI, contents="hello"))
        await asyncio.to_thread(provider.wait_for_requests, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    event = events.only()
    assert (event.status_code, event.usage, event.billing) == (None, None, "unknown")


async def test_a_disconnect_amid_a_stream_makes_one_event(provider: FakeProvider, events: Recorder) -> None:
    provider.push(Reply(text="One two three four.", input_tokens=23, disconnect_after_events=2))
    async with gemini_async(provider, library="aiohttp") as client:
        with pytest.raises(Exception, match=r"."):
            await GEMINI_WAYS[1].asynchronous(client)
    event = events.only()
    check_partial(event)
    assert event.error is not None


async def test_two_calls_side_by_side_are_two_calls(provider: FakeProvider, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER)
    async with gemini_async(provider, library="aiohttp") as client:
        await asyncio.gather(*(way.asynchronous(client) for way in GEMINI_WAYS))
    assert len(events.events) == 2
    assert len({event.call_id for event in events.events}) == 2
