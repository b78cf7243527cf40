"""The fake provider's dialects, as the meter reads them: plain, streamed, refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx2
import pytest

from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.events import MetricEvent
from aden_transport.testing import FakeProvider, Reply

MESSAGES = [{"role": "user", "content": "Say hello, and call get_weather."}]
CONVERSED = [{"role": "user", "content": [{"text": "Say hello, and call get_weather."}]}]
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CLAUDE = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0"


class Dialect(NamedTuple):
    vendor: str
    agent: str
    """How the vendor's SDK introduces itself, which tells it on a host that nobody knows."""
    path: str
    body: Mapping[str, Any]
    streamed: Mapping[str, Any] | None
    """The same, streamed; its `path`, if any, is another path."""
    operation: str = "chat"


OPENAI_CHAT = {"model": "some-model", "messages": MESSAGES}
TOOLS = {"tools": [{"type": "function", "function": TOOL}]}


def compatible(vendor: str, agent: str, path: str) -> Dialect:
    return Dialect(vendor, agent, path, OPENAI_CHAT, {**OPENAI_CHAT, "stream": True})


DIALECTS = {
    "cohere v2": Dialect(
        "cohere", "cohere/7.3", "/v2/chat", OPENAI_CHAT | TOOLS, {**OPENAI_CHAT, **TOOLS, "stream": True}
    ),
    "cohere v1": Dialect(
        "cohere", "cohere/4", "/v1/chat", {"message": "hi"}, {"message": "hi", "stream": True}
    ),
    "cohere embed": Dialect(
        "cohere",
        "cohere/7.3",
        "/v2/embed",
        {"model": "embed-v4.0", "texts": ["a b", "c"]},
        None,
        "embeddings",
    ),
    "mistral": Dialect(
        "mistral",
        "mistral-client-python/3.7",
        "/mistral/v1/chat/completions",
        OPENAI_CHAT | TOOLS,
        {**OPENAI_CHAT, **TOOLS, "stream": True},
    ),
    "mistral fim": Dialect(
        "mistral",
        "mistral-client-python/3.7",
        "/mistral/v1/fim/completions",
        {"model": "codestral-latest", "prompt": "def f("},
        {"model": "codestral-latest", "prompt": "def f(", "stream": True},
        "text_completion",
    ),
    "ollama": Dialect(
        "ollama",
        "ollama-python/0.6",
        "/api/chat",
        {**OPENAI_CHAT, **TOOLS, "stream": False},
        OPENAI_CHAT | TOOLS,
    ),
    "ollama generate": Dialect(
        "ollama",
        "ollama-python/0.6",
        "/api/generate",
        {"model": "llama3.2", "prompt": "hi", "stream": False},
        {"model": "llama3.2", "prompt": "hi"},
        "text_completion",
    ),
    "bedrock converse": Dialect(
        "bedrock",
        "Boto3/1.44",
        f"{CLAUDE}/converse",
        {"messages": CONVERSED},
        {"path": f"{CLAUDE}/converse-stream", "messages": CONVERSED},
    ),
    "bedrock claude": Dialect(
        "bedrock",
        "AnthropicBedrock/Python 2.12",
        f"{CLAUDE}/invoke",
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": MESSAGES},
        {
            "path": f"{CLAUDE}/invoke-with-response-stream",
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 100,
            "messages": MESSAGES,
        },
    ),
    "groq": compatible("groq", "Groq/Python 1.7", "/groq/openai/v1/chat/completions"),
    "together": compatible("together", "Together/Python 3.1", "/together/v1/chat/completions"),
    "cerebras": compatible("cerebras", "Cerebras/Python 1.91", "/cerebras/v1/chat/completions"),
}


@pytest.fixture
def memory() -> Iterator[MemoryEmitter]:
    emitter = create_memory_emitter()
    instrument(MeterOptions(emit_metric=emitter))
    yield emitter
    uninstrument()


def asked(provider: FakeProvider, dialect: Dialect, body: Mapping[str, Any]) -> httpx2.Response:
    path, sent = body.get("path", dialect.path), {k: v for k, v in body.items() if k != "path"}
    headers = {"user-agent": dialect.agent}
    response = httpx2.post(provider.url + path, json=sent, headers=headers)
    response.read()
    return response


def only(memory: MemoryEmitter) -> MetricEvent:
    (event,) = memory.events
    return event


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_an_answer_is_read(dialect: Dialect, memory: MemoryEmitter) -> None:
    with FakeProvider() as provider:
        assert asked(provider, dialect, dialect.body).status_code == 200
    event = only(memory)
    assert (event.provider, event.operation, event.stream) == (dialect.vendor, dialect.operation, False)
    assert event.usage_source == "reported"
    assert event.usage is not None
    assert event.usage.input_tokens
    assert event.faults == ()


STREAMED = {name: dialect for name, dialect in DIALECTS.items() if dialect.streamed is not None}


@pytest.mark.parametrize("dialect", STREAMED.values(), ids=STREAMED.keys())
def test_a_stream_is_read_as_the_answer_is(dialect: Dialect, memory: MemoryEmitter) -> None:
    assert dialect.streamed is not None
    with FakeProvider() as provider:
        asked(provider, dialect, dialect.body)
        asked(provider, dialect, dialect.streamed)
    whole, streamed = memory.events
    assert streamed.stream
    assert streamed.usage_source == "reported"
    assert streamed.usage == whole.usage
    assert streamed.finish_reasons == whole.finish_reasons
    assert [t.name for t in streamed.tool_calls or ()] == [t.name for t in whole.tool_calls or ()]
    assert streamed.faults == ()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
@pytest.mark.parametrize(
    ("status", "kind"), [(401, "authentication_error"), (429, "rate_limit_error"), (500, "server_error")]
)
def test_a_refusal_is_read(dialect: Dialect, status: int, kind: str, memory: MemoryEmitter) -> None:
    with FakeProvider() as provider:
        provider.push(Reply(status=status))
        assert asked(provider, dialect, dialect.body).status_code == status
    event = only(memory)
    assert (event.status_code, event.error_type) == (status, kind)
    assert event.error
    assert event.usage is None


@pytest.mark.parametrize("dialect", STREAMED.values(), ids=STREAMED.keys())
def test_a_stream_that_breaks_off_is_an_estimate(dialect: Dialect, memory: MemoryEmitter) -> None:
    assert dialect.streamed is not None
    with FakeProvider() as provider:
        provider.push(Reply(text="word " * 200, disconnect_after_events=20))
        with pytest.raises(httpx2.RemoteProtocolError):
            asked(provider, dialect, dialect.streamed)
    event = only(memory)
    assert event.usage_source == "estimated"
    assert event.usage is not None
    assert event.usage.output_tokens
