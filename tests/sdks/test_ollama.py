"""Ollama's SDK: every call one event with the counts of its last line, streamed or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply, ToolCall

from .support import HELLO, TLS, WEATHER_SCHEMA, Recorder

ollama = pytest.importorskip("ollama", reason="ollama is not installed")

ANSWER = Reply(text="One two three four five.", input_tokens=23, output_tokens=11)
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[Any]:
    with ollama.Client(host=provider.base_url("ollama"), verify=TLS, trust_env=False) as made:
        yield made


def told(event: MetricEvent) -> tuple[Any, ...]:
    usage = (event.usage_source, event.input_tokens, event.output_tokens)
    return event.provider, event.operation, event.stream, *usage


def test_chat(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    client.chat(model="llama3.2", messages=HELLO)
    event = events.only()
    assert told(event) == ("ollama", "chat", False, "reported", 23, 11)
    assert (event.request_model, event.finish_reasons) == ("llama3.2", ("stop",))
    # What it costs to run a model is not known.
    assert event.cost is None


def test_chat_stream(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    parts = list(client.chat(model="llama3.2", messages=HELLO, stream=True))
    assert parts[-1].done
    event = events.only()
    assert told(event) == ("ollama", "chat", True, "reported", 23, 11)
    assert event.faults == ()
    assert event.operation_details is not None
    assert event.operation_details["total_duration_ms"] > 0


def test_a_long_stream(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(Reply(text="word " * 4000, events=4000, input_tokens=23, output_tokens=4000))
    for _ in client.generate(model="llama3.2", prompt="hello there", stream=True):
        pass
    assert told(events.only()) == ("ollama", "text_completion", True, "reported", 23, 4000)


def test_a_stream_that_is_left_is_estimated(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(Reply(text="word " * 200, events=200, event_delay_ms=5))
    stream = client.chat(model="llama3.2", messages=HELLO, stream=True)
    next(stream)
    stream.close()
    event = events.only()
    assert event.usage_source == "estimated"
    assert "stream.abandoned" in event.faults


def test_generate(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    client.generate(model="llama3.2", prompt="hello there")
    assert told(events.only()) == ("ollama", "text_completion", False, "reported", 23, 11)


def test_tools(provider: FakeProvider, client: Any, events: Recorder) -> None:
    call = Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris"}),))
    provider.push(call, call)
    client.chat(model="llama3.2", messages=HELLO, tools=[WEATHER])
    list(client.chat(model="llama3.2", messages=HELLO, tools=[WEATHER], stream=True))
    assert len(events.events) == 2
    for event in events.events:
        assert event.tool_calls is not None
        assert [(tool.name, tool.arguments_bytes) for tool in event.tool_calls] == [("get_weather", 16)]


def test_embed(provider: FakeProvider, client: Any, events: Recorder) -> None:
    answer = client.embed(model="nomic-embed-text", input=["hello", "there"])
    event = events.only()
    assert told(event) == ("ollama", "embeddings", False, "reported", answer.prompt_eval_count, 0)
    assert (event.operation_details or {})["embeddings"] == 2


def test_an_error(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(Reply(status=404, raw=b'{"error":"model \'none\' not found"}'))
    with pytest.raises(ollama.ResponseError):
        client.chat(model="none", messages=HELLO)
    event = events.only()
    assert (event.status_code, event.error) == (404, "model 'none' not found")
    assert event.error_type == "not_found_error"


def test_an_error_within_a_stream(provider: FakeProvider, client: Any, events: Recorder) -> None:
    line = {"model": "llama3.2", "message": {"role": "assistant", "content": "He"}, "done": False}
    raw = json.dumps(line).encode() + b'\n{"error":"the model runner has stopped"}\n'
    provider.push(Reply(raw=raw))
    with pytest.raises(ollama.ResponseError):
        list(client.chat(model="llama3.2", messages=HELLO, stream=True))
    event = events.only()
    assert (event.status_code, event.error) == (200, "the model runner has stopped")
    assert event.usage_source == "estimated"


def test_lists_and_descriptions_are_no_calls(provider: FakeProvider, client: Any, events: Recorder) -> None:
    body = b'{"models":[],"model_info":{}}'
    provider.script(Reply(status=200, raw=body, headers={"content-type": "application/json"}))
    client.list()
    client.ps()
    client.show("llama3.2")
    assert events.events == []


@pytest.mark.anyio
async def test_the_asynchronous_colour(provider: FakeProvider, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER, ANSWER)
    async with ollama.AsyncClient(host=provider.base_url("ollama"), verify=TLS, trust_env=False) as client:
        await client.chat(model="llama3.2", messages=HELLO)
        parts = [part async for part in await client.chat(model="llama3.2", messages=HELLO, stream=True)]
        assert parts[-1].done
        await client.generate(model="llama3.2", prompt="hello there")
        await client.embed(model="nomic-embed-text", input="hello there")
    assert [told(event)[:4] for event in events.events] == [
        ("ollama", "chat", False, "reported"),
        ("ollama", "chat", True, "reported"),
        ("ollama", "text_completion", False, "reported"),
        ("ollama", "embeddings", False, "reported"),
    ]
    assert [(e.input_tokens, e.output_tokens) for e in events.events[:3]] == [(23, 11)] * 3
