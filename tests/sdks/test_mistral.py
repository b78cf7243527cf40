"""Mistral's SDK: every call one event with the usage that its answer has, and no wish for it in a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply

from .support import HELLO, TLS, WEATHER_SCHEMA, Metered, Recorder

sdk = pytest.importorskip("mistralai.client", reason="mistralai is not installed")

SMALL, AGENT = "mistral-small-latest", "ag_1"
ANSWER = Reply(text="One two three four five.", input_tokens=23, output_tokens=11)
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
CONVERSATION_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 5,
    "connector_tokens": 100,
    "total_tokens": 125,
    "connectors": {"web_search": 2, "code_interpreter": 1},
}
CONVERSATION_EVENTS: Any = (
    {"type": "conversation.response.started", "conversation_id": "conv_1"},
    {"type": "message.output.delta", "id": "m", "model": SMALL, "role": "assistant", "content": "Hello"},
    {
        "type": "function.call.delta",
        "id": "f",
        "model": SMALL,
        "name": "get_weather",
        "tool_call_id": "call_1",
        "arguments": '{"city":"Paris"}',
    },
    {"type": "conversation.response.done", "usage": CONVERSATION_USAGE},
)


EMBEDDING = {
    "id": "e",
    "object": "list",
    "data": [{"object": "embedding", "embedding": [0.5], "index": 0}],
    "model": "mistral-embed",
    "usage": {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0},
}
CALLED: Any = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": SMALL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1},
}


def whole(body: Any) -> Reply:
    return Reply(status=200, raw=json.dumps(body).encode(), headers={"content-type": "application/json"})


def streamed(raw: bytes) -> Reply:
    return Reply(status=200, raw=raw, headers={"content-type": "text/event-stream"})


def named(*events: Any) -> bytes:
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


@pytest.fixture
def mistral(provider: FakeProvider) -> Iterator[Any]:
    with (
        httpx2.Client(verify=TLS, trust_env=False) as client,
        sdk.Mistral(api_key="any", server_url=provider.base_url("mistral"), client=client) as made,
    ):
        yield made


@pytest.fixture
def anyio_backend() -> str:
    """The SDK itself needs asyncio."""
    return "asyncio"


def told(event: MetricEvent) -> tuple[Any, ...]:
    return event.provider, event.operation, event.stream, event.usage_source, *counts(event)


def counts(event: MetricEvent) -> tuple[int | None, int | None]:
    return event.input_tokens, event.output_tokens


def test_chat(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    mistral.chat.complete(model=SMALL, messages=HELLO)
    event = events.only()
    assert told(event) == ("mistral", "chat", False, "reported", 23, 11)
    assert event.finish_reasons == ("stop",)
    assert event.cost is not None


def test_chat_stream_is_never_asked_for_usage(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    with mistral.chat.stream(model=SMALL, messages=HELLO) as stream:
        last = [chunk.data for chunk in stream][-1]
    assert last.usage.prompt_tokens == 23
    assert "stream_options" not in provider.requests[0].json()
    assert told(events.only()) == ("mistral", "chat", True, "reported", 23, 11)


def test_tools_in_a_stream(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    # Mistral sends a call whole, in one event beside the usage.
    call = {
        "id": "Caf7Pyrd8",
        "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
        "index": 0,
    }
    choice = {"index": 0, "delta": {"content": "", "tool_calls": [call]}, "finish_reason": "tool_calls"}
    chunk = {**CALLED, "object": "chat.completion.chunk", "choices": [choice]}
    provider.push(streamed(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode()))
    with mistral.chat.stream(model=SMALL, messages=HELLO, tools=[WEATHER]) as stream:
        list(stream)
    event = events.only()
    assert event.tool_calls is not None
    assert [(tool.id, tool.name) for tool in event.tool_calls] == [("Caf7Pyrd8", "get_weather")]
    assert (event.usage_source, *counts(event)) == ("reported", 3, 1)


def test_a_refused_request_is_one_event(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(Reply(status=401, raw=b'{"detail":"Unauthorized"}'))
    with pytest.raises(Exception, match="Unauthorized"):
        mistral.chat.complete(model=SMALL, messages=HELLO)
    event = events.only()
    assert (event.status_code, event.error, event.error_type) == (401, "Unauthorized", "authentication_error")


def test_the_metadata_of_the_call_is_sent_and_attributes_it(
    provider: FakeProvider, mistral: Any, events: Recorder
) -> None:
    metadata = {"tenant": "acme", "run": "7"}
    mistral.fim.complete(model="codestral-latest", prompt="def f():", metadata=metadata)
    assert provider.requests[0].json()["metadata"] == metadata
    assert (events.only().metadata or {}).get("tenant") == "acme"


def test_embeddings(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(whole(EMBEDDING))
    mistral.embeddings.create(model="mistral-embed", inputs=["hello there"])
    event = events.only()
    assert told(event) == ("mistral", "embeddings", False, "reported", 3, 0)


def test_code_completion(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER)
    mistral.fim.complete(model="codestral-latest", prompt="def f():")
    with mistral.fim.stream(model="codestral-latest", prompt="def f():") as stream:
        list(stream)
    assert [told(event) for event in events.events] == [
        ("mistral", "text_completion", False, "reported", 23, 11),
        ("mistral", "text_completion", True, "reported", 23, 11),
    ]


def test_agents_name_no_model(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(Reply(text="Hello.", input_tokens=23, output_tokens=11, model=SMALL))
    mistral.agents.complete(agent_id=AGENT, messages=HELLO)
    event = events.only()
    assert (event.request_model, event.response_model) == (None, SMALL)
    assert told(event) == ("mistral", "chat", False, "reported", 23, 11)


def test_documents_are_counted_by_their_pages(mistral: Any, events: Recorder) -> None:
    document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
    mistral.ocr.process(model="mistral-ocr-2512", document=document)
    event = events.only()
    assert event.usage is not None
    assert (event.operation, event.usage.pages) == ("ocr", 2)
    assert event.operation_details == {"doc_size_bytes": 4096}
    assert event.cost == pytest.approx(0.004)


def test_a_conversation_counts_what_its_connectors_read(
    provider: FakeProvider, mistral: Any, events: Recorder
) -> None:
    body = {
        "conversation_id": "conv_1",
        "outputs": [{"type": "message.output", "model": SMALL, "role": "assistant", "content": "Hello"}],
        "usage": CONVERSATION_USAGE,
    }
    provider.push(whole(body))
    mistral.beta.conversations.start(model=SMALL, inputs="hello there")
    event = events.only()
    assert told(event) == ("mistral", "conversation", False, "reported", 120, 5)
    assert (event.response_id, event.response_model) == ("conv_1", SMALL)
    assert event.usage is not None
    assert event.usage.server_tool_calls == 2
    assert event.operation_details == {"server_tool_calls": 3}


def test_a_conversation_as_a_stream(provider: FakeProvider, mistral: Any, events: Recorder) -> None:
    provider.push(streamed(named(*CONVERSATION_EVENTS)))
    with mistral.beta.conversations.start_stream(agent_id=AGENT, inputs="hello there") as stream:
        assert [event.event for event in stream] == [event["type"] for event in CONVERSATION_EVENTS]
    event = events.only()
    assert told(event) == ("mistral", "conversation", True, "reported", 120, 5)
    assert (event.response_id, event.response_model) == ("conv_1", SMALL)
    assert event.tool_calls is not None
    assert [(tool.id, tool.name) for tool in event.tool_calls] == [("call_1", "get_weather")]


@pytest.mark.anyio
async def test_the_asynchronous_colour(provider: FakeProvider, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER, whole(EMBEDDING))
    async with httpx2.AsyncClient(verify=TLS, trust_env=False) as client:
        url = provider.base_url("mistral")
        await _calls(sdk.Mistral(api_key="any", server_url=url, async_client=client))
    assert [told(event)[:4] for event in events.events] == [
        ("mistral", "chat", False, "reported"),
        ("mistral", "chat", True, "reported"),
        ("mistral", "embeddings", False, "reported"),
    ]
    assert [counts(event) for event in events.events] == [(23, 11), (23, 11), (3, 0)]


async def _calls(mistral: Any) -> None:
    await mistral.chat.complete_async(model=SMALL, messages=HELLO)
    async with await mistral.chat.stream_async(model=SMALL, messages=HELLO) as stream:
        assert [chunk.data.choices[0].finish_reason async for chunk in stream][-1] == "stop"
    await mistral.embeddings.create_async(model="mistral-embed", inputs=["hello there"])


def test_a_refusal_sends_nothing(provider: FakeProvider, mistral: Any, metered: Metered) -> None:
    from aden_transport import BeforeRequestResult, find_cancelled

    recorder = metered(before_request=lambda _params, _context: BeforeRequestResult.cancel("no"))
    with pytest.raises(Exception) as caught:  # the SDK may wrap it
        mistral.chat.complete(model=SMALL, messages=HELLO)
    assert find_cancelled(caught.value) is not None
    assert provider.requests == []
    assert recorder.only().decision.action == "block"
