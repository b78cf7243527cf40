"""Cohere's SDK, both versions of the API: usage is what is billed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply, ToolCall

from .support import HELLO, TLS, WEATHER_SCHEMA, Recorder

cohere = pytest.importorskip("cohere", reason="cohere is not installed")

COMMAND = "command-r-08-2024"
ANSWER = Reply(text="One two three four five.", input_tokens=23, output_tokens=11)
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}


@pytest.fixture
def anyio_backend() -> str:
    """The SDK itself needs asyncio."""
    return "asyncio"


@pytest.fixture
def http_client() -> Iterator[httpx.Client]:
    with httpx.Client(verify=TLS, trust_env=False) as made:
        yield made


@pytest.fixture
def v1(provider: FakeProvider, http_client: httpx.Client) -> Any:
    return cohere.Client(api_key="any", base_url=provider.base_url("cohere"), httpx_client=http_client)


@pytest.fixture
def v2(provider: FakeProvider, http_client: httpx.Client) -> Any:
    return cohere.ClientV2(api_key="any", base_url=provider.base_url("cohere"), httpx_client=http_client)


def told(event: MetricEvent) -> tuple[Any, ...]:
    usage = (event.usage_source, event.input_tokens, event.output_tokens)
    return event.provider, event.operation, event.stream, *usage


PROCESSED = {"processed_input_tokens": 83, "processed_output_tokens": 13}
"""The fake provider adds 60 tokens of a preamble and 2 at the end, which are not billed."""


def test_chat(provider: FakeProvider, v2: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    v2.chat(model=COMMAND, messages=HELLO)
    event = events.only()
    assert told(event) == ("cohere", "chat", False, "reported", 23, 11)
    assert event.operation_details == PROCESSED
    assert (event.request_model, event.response_model) == (COMMAND, None)
    # $0.15 and $0.60 for a million tokens, of those that are billed.
    assert event.cost == pytest.approx((23 * 0.15 + 11 * 0.60) / 1e6)


def test_chat_stream(provider: FakeProvider, v2: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    kinds = [event.type for event in v2.chat_stream(model=COMMAND, messages=HELLO)]
    assert kinds[-1] == "message-end"
    event = events.only()
    assert told(event) == ("cohere", "chat", True, "reported", 23, 11)
    assert (event.finish_reasons, event.operation_details) == (("COMPLETE",), PROCESSED)


def test_tools(provider: FakeProvider, v2: Any, events: Recorder) -> None:
    call = Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris"}),))
    provider.push(call, call)
    v2.chat(model=COMMAND, messages=HELLO, tools=[WEATHER])
    list(v2.chat_stream(model=COMMAND, messages=HELLO, tools=[WEATHER]))
    assert len(events.events) == 2
    for event in events.events:
        assert event.finish_reasons == ("TOOL_CALL",)
        assert event.tool_calls is not None
        assert [tool.name for tool in event.tool_calls] == ["get_weather"]
        assert event.tool_calls[0].arguments_bytes > 0


def test_the_first_version(provider: FakeProvider, v1: Any, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER)
    v1.chat(model=COMMAND, message="hello there")
    kinds = [event.event_type for event in v1.chat_stream(model=COMMAND, message="hello there")]
    assert kinds[-1] == "stream-end"
    assert [told(event) for event in events.events] == [
        ("cohere", "chat", False, "reported", 23, 11),
        ("cohere", "chat", True, "reported", 23, 11),
    ]
    assert [event.operation_details for event in events.events] == [PROCESSED, PROCESSED]


def test_a_long_stream_of_lines(provider: FakeProvider, v1: Any, events: Recorder) -> None:
    provider.push(Reply(text="word " * 3000, events=3000, input_tokens=23, output_tokens=3000))
    for _ in v1.chat_stream(model=COMMAND, message="hello there"):
        pass
    assert told(events.only()) == ("cohere", "chat", True, "reported", 23, 3000)


def test_embeddings_and_searches(v2: Any, events: Recorder) -> None:
    v2.embed(
        model="embed-v4.0", texts=["hello", "there"], input_type="search_query", embedding_types=["float"]
    )
    v2.rerank(model="rerank-v3.5", query="hello", documents=["a", "b"])
    embedded, ranked = events.events
    assert told(embedded) == ("cohere", "embeddings", False, "reported", 4, 0)
    assert embedded.operation_details == {"embeddings": 2}
    assert (ranked.operation, ranked.usage_source) == ("rerank", "reported")
    assert ranked.usage is not None
    assert (ranked.usage.search_units, ranked.usage.total_tokens) == (1, 0)


def test_tokenizing_is_no_call(provider: FakeProvider, v1: Any, events: Recorder) -> None:
    v1.tokenize(text="hello there", model=COMMAND, offline=False)
    assert len(provider.requests) == 1
    assert events.events == []


def test_an_error_is_in_the_message(provider: FakeProvider, v2: Any, events: Recorder) -> None:
    provider.push(Reply(status=404, raw=b'{"id":"e","message":"model \'none\' not found"}'))
    with pytest.raises(Exception, match="not found"):
        v2.chat(model="none", messages=HELLO)
    event = events.only()
    assert (event.status_code, event.error) == (404, "model 'none' not found")


def test_a_stream_that_fails(provider: FakeProvider, v2: Any, events: Recorder) -> None:
    end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "out of memory", "usage": {}}}
    raw = f"event: message-end\ndata: {json.dumps(end)}\n\ndata: [DONE]\n\n"
    provider.push(Reply(raw=raw.encode()))
    list(v2.chat_stream(model=COMMAND, messages=HELLO))
    event = events.only()
    assert (event.status_code, event.error, event.error_type) == (200, "out of memory", "server_error")
    assert event.finish_reasons == ("ERROR",)


@pytest.mark.anyio
async def test_the_asynchronous_colour(provider: FakeProvider, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER, ANSWER, ANSWER)
    async with httpx.AsyncClient(verify=TLS, trust_env=False) as client:
        options: Any = {
            "api_key": "any",
            "base_url": provider.base_url("cohere"),
            "httpx_client": client,
        }
        v2, v1 = cohere.AsyncClientV2(**options), cohere.AsyncClient(**options)
        await v2.chat(model=COMMAND, messages=HELLO)
        assert [e.type async for e in v2.chat_stream(model=COMMAND, messages=HELLO)][-1] == "message-end"
        await v1.chat(model=COMMAND, message="hello there")
        assert [e async for e in v1.chat_stream(model=COMMAND, message="hello there")]
        await v2.rerank(model="rerank-v3.5", query="hello", documents=["a", "b"])
    assert [told(event) for event in events.events[:4]] == [
        ("cohere", "chat", stream, "reported", 23, 11) for stream in (False, True, False, True)
    ]
    assert [event.operation for event in events.events[4:]] == ["rerank"]
