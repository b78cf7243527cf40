"""What the SDK tests share: a recorder of events, clients pointed at the fake provider, and call shapes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai
from google import genai

from aden_transport import MetricEvent
from aden_transport.core import estimate
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.meter import state
from aden_transport.testing import FakeProvider

KEY = "any"
HELLO: Any = [{"role": "user", "content": "hello there"}]
CLAUDE = "claude-haiku-4-5"
GEMINI = "gemini-2.5-flash"
WEATHER_SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STALL_MS = 60_000.0
"""Longer than any test: the server writes nothing more until its client leaves."""

# Reading the certificates takes longer than a whole test, so all clients share them.
TLS = ssl.create_default_context()


class Recorder(MemoryEmitter):
    """The memory emitter, which can also be waited for."""

    def __init__(self) -> None:
        super().__init__(10_000)
        self.faults: dict[str, int] = {}
        """Faults that the test provokes: `"part:ExceptionType"` and how often."""
        self._arrived = threading.Condition()

    def __call__(self, event: MetricEvent) -> None:
        with self._arrived:
            super().__call__(event)
            self._arrived.notify_all()

    def wait(self, count: int = 1, timeout: float = 10.0) -> list[MetricEvent]:
        """The events, once there are `count` of them; for those that another thread emits."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.events) >= count, timeout), self.events
            return list(self.events)

    def only(self) -> MetricEvent:
        """The one event there is; nothing is open any more."""
        assert len(self.events) == 1, [(e.operation, e.status_code, e.error) for e in self.events]
        assert open_calls() == 0
        return self.events[0]


Metered = Callable[..., Recorder]
"""`metered(**options)`: instrument with a recorder; the fixture takes it back."""


def open_calls() -> int:
    """Exchanges that have not ended."""
    assert state.everything is not None
    return len(state.everything.settings.open)


def tokens_of(text: str) -> int:
    """Tokens, as the meter estimates them."""
    return estimate.tokens_of(text)


# -- clients ------------------------------------------------------------------------------------


def openai_sync(provider: FakeProvider, *, max_retries: int = 0) -> openai.OpenAI:
    http_client = openai.DefaultHttpxClient(verify=TLS, trust_env=False)
    return openai.OpenAI(
        base_url=provider.openai_base_url, api_key=KEY, max_retries=max_retries, http_client=http_client
    )


def openai_async(provider: FakeProvider, *, max_retries: int = 0) -> openai.AsyncOpenAI:
    http_client = openai.DefaultAsyncHttpxClient(verify=TLS, trust_env=False)
    return openai.AsyncOpenAI(
        base_url=provider.openai_base_url, api_key=KEY, max_retries=max_retries, http_client=http_client
    )


def anthropic_sync(provider: FakeProvider, *, max_retries: int = 0) -> anthropic.Anthropic:
    http_client = anthropic.DefaultHttpxClient(verify=TLS, trust_env=False)
    return anthropic.Anthropic(
        base_url=provider.anthropic_base_url, api_key=KEY, max_retries=max_retries, http_client=http_client
    )


def anthropic_async(provider: FakeProvider, *, max_retries: int = 0) -> anthropic.AsyncAnthropic:
    http_client = anthropic.DefaultAsyncHttpxClient(verify=TLS, trust_env=False)
    return anthropic.AsyncAnthropic(
        base_url=provider.anthropic_base_url, api_key=KEY, max_retries=max_retries, http_client=http_client
    )


def gemini_sync(provider: FakeProvider) -> genai.Client:
    options: Any = {"base_url": provider.gemini_base_url, "client_args": {"verify": TLS}}
    return genai.Client(api_key=KEY, http_options=options)


@asynccontextmanager
async def gemini_async(provider: FakeProvider, *, library: str) -> AsyncIterator[genai.client.AsyncClient]:
    """The async client on `"httpx2"`, or on `"aiohttp"`, which it prefers where that is installed."""
    options: dict[str, Any] = {"base_url": provider.gemini_base_url, "client_args": {"verify": TLS}}
    if library == "httpx2":
        options["async_client_args"] = {"transport": httpx2.AsyncHTTPTransport(verify=TLS)}
    client = genai.Client(api_key=KEY, http_options=options)  # type: ignore[arg-type]
    try:
        yield client.aio
    finally:
        await client.aio.aclose()
        client.close()


@dataclass
class Clients:
    """The SDKs' sync clients, made when first asked for."""

    provider: FakeProvider
    max_retries: int = 0
    _made: dict[str, Any] = field(default_factory=dict[str, Any])

    def of(self, sdk: str) -> Any:
        if sdk not in self._made:
            make: Mapping[str, Callable[[], Any]] = {
                "openai": lambda: openai_sync(self.provider, max_retries=self.max_retries),
                "anthropic": lambda: anthropic_sync(self.provider, max_retries=self.max_retries),
                "gemini": lambda: gemini_sync(self.provider),
            }
            self._made[sdk] = make[sdk]()
        return self._made[sdk]

    def close(self) -> None:
        for client in self._made.values():
            client.close()


@asynccontextmanager
async def async_client(provider: FakeProvider, sdk: str, *, max_retries: int = 0) -> AsyncIterator[Any]:
    """The async client of `"openai"`, `"anthropic"`, `"gemini"` (on httpx2) or `"gemini-aiohttp"`."""
    match sdk:
        case "openai":
            async with openai_async(provider, max_retries=max_retries) as client:
                yield client
        case "anthropic":
            async with anthropic_async(provider, max_retries=max_retries) as client:
                yield client
        case "gemini":
            async with gemini_async(provider, library="httpx2") as client:
                yield client
        case _:
            async with gemini_async(provider, library="aiohttp") as client:
                yield client


# -- ways to make a call ------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One shape of call, driven to its end. `extra` are more arguments of the SDK's method."""

    sdk: str
    name: str
    sync: Callable[..., object]
    asynchronous: Callable[..., Coroutine[Any, Any, object]]
    operation: str = "chat"
    stream: bool = False

    @property
    def id(self) -> str:
        return f"{self.sdk}-{self.name}"


def _chat(client: Any, **extra: Any) -> object:
    return client.chat.completions.create(model="gpt-4o", messages=HELLO, **extra)


async def _chat_async(client: Any, **extra: Any) -> object:
    return await client.chat.completions.create(model="gpt-4o", messages=HELLO, **extra)


def _chat_stream(client: Any, **extra: Any) -> object:
    with client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, **extra) as stream:
        return list(stream)


async def _chat_stream_async(client: Any, **extra: Any) -> object:
    stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, **extra)
    async with stream:
        return [chunk async for chunk in stream]


def _chat_helper(client: Any, **extra: Any) -> object:
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO, **extra) as stream:
        return [event.type for event in stream]


async def _chat_helper_async(client: Any, **extra: Any) -> object:
    async with client.chat.completions.stream(model="gpt-4o", messages=HELLO, **extra) as stream:
        return [event.type async for event in stream]


def _chat_parse(client: Any, **extra: Any) -> object:
    return client.chat.completions.parse(model="gpt-4o", messages=HELLO, **extra)


async def _chat_parse_async(client: Any, **extra: Any) -> object:
    return await client.chat.completions.parse(model="gpt-4o", messages=HELLO, **extra)


def _chat_raw(client: Any, **extra: Any) -> object:
    return client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, **extra).parse()


async def _chat_raw_async(client: Any, **extra: Any) -> object:
    response = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, **extra)
    return response.parse()


def _chat_streamed_response(client: Any, **extra: Any) -> object:
    method = client.chat.completions.with_streaming_response.create
    with method(model="gpt-4o", messages=HELLO, **extra) as response:
        return response.parse()


async def _chat_streamed_response_async(client: Any, **extra: Any) -> object:
    method = client.chat.completions.with_streaming_response.create
    async with method(model="gpt-4o", messages=HELLO, **extra) as response:
        return await response.parse()


def _responses(client: Any, **extra: Any) -> object:
    return client.responses.create(model="gpt-4o", input="hello there", **extra)


async def _responses_async(client: Any, **extra: Any) -> object:
    return await client.responses.create(model="gpt-4o", input="hello there", **extra)


def _responses_stream(client: Any, **extra: Any) -> object:
    with client.responses.create(model="gpt-4o", input="hello there", stream=True, **extra) as stream:
        return [event.type for event in stream]


async def _responses_stream_async(client: Any, **extra: Any) -> object:
    stream = await client.responses.create(model="gpt-4o", input="hello there", stream=True, **extra)
    async with stream:
        return [event.type async for event in stream]


def _embeddings(client: Any, **extra: Any) -> object:
    return client.embeddings.create(model="text-embedding-3-small", input="hello there", **extra)


async def _embeddings_async(client: Any, **extra: Any) -> object:
    return await client.embeddings.create(model="text-embedding-3-small", input="hello there", **extra)


def _messages(client: Any, **extra: Any) -> object:
    return client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, **extra)


async def _messages_async(client: Any, **extra: Any) -> object:
    return await client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, **extra)


def _messages_stream(client: Any, **extra: Any) -> object:
    with client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, stream=True, **extra) as stream:
        return [event.type for event in stream]


async def _messages_stream_async(client: Any, **extra: Any) -> object:
    stream = await client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, stream=True, **extra)
    async with stream:
        return [event.type async for event in stream]


def _messages_helper(client: Any, **extra: Any) -> object:
    with client.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO, **extra) as stream:
        return "".join(stream.text_stream)


async def _messages_helper_async(client: Any, **extra: Any) -> object:
    async with client.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO, **extra) as stream:
        return "".join([text async for text in stream.text_stream])


def _messages_raw(client: Any, **extra: Any) -> object:
    return client.messages.with_raw_response.create(
        model=CLAUDE, max_tokens=64, messages=HELLO, **extra
    ).parse()


async def _messages_raw_async(client: Any, **extra: Any) -> object:
    response = await client.messages.with_raw_response.create(
        model=CLAUDE, max_tokens=64, messages=HELLO, **extra
    )
    parsed = response.parse()
    return await parsed if hasattr(parsed, "__await__") else parsed


def _messages_streamed_response(client: Any, **extra: Any) -> object:
    method = client.messages.with_streaming_response.create
    with method(model=CLAUDE, max_tokens=64, messages=HELLO, **extra) as response:
        return response.parse()


async def _messages_streamed_response_async(client: Any, **extra: Any) -> object:
    method = client.messages.with_streaming_response.create
    async with method(model=CLAUDE, max_tokens=64, messages=HELLO, **extra) as response:
        return await response.parse()


def _beta_messages(client: Any, **extra: Any) -> object:
    return client.beta.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, **extra)


async def _beta_messages_async(client: Any, **extra: Any) -> object:
    return await client.beta.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, **extra)


def _generate(client: Any, **extra: Any) -> object:
    return client.models.generate_content(model=GEMINI, contents="hello there", **extra)


async def _generate_async(client: Any, **extra: Any) -> object:
    return await client.models.generate_content(model=GEMINI, contents="hello there", **extra)


def _generate_stream(client: Any, **extra: Any) -> object:
    return list(client.models.generate_content_stream(model=GEMINI, contents="hello there", **extra))


async def _generate_stream_async(client: Any, **extra: Any) -> object:
    stream = await client.models.generate_content_stream(model=GEMINI, contents="hello there", **extra)
    return [chunk async for chunk in stream]


OPENAI_WAYS = (
    Way("openai", "create", _chat, _chat_async),
    Way("openai", "stream", _chat_stream, _chat_stream_async, stream=True),
    Way("openai", "helper", _chat_helper, _chat_helper_async, stream=True),
    Way("openai", "parse", _chat_parse, _chat_parse_async),
    Way("openai", "raw", _chat_raw, _chat_raw_async),
    Way("openai", "streamed_response", _chat_streamed_response, _chat_streamed_response_async),
    Way("openai", "responses", _responses, _responses_async, operation="responses"),
    Way(
        "openai",
        "responses_stream",
        _responses_stream,
        _responses_stream_async,
        operation="responses",
        stream=True,
    ),
    Way("openai", "embeddings", _embeddings, _embeddings_async, operation="embeddings"),
)
ANTHROPIC_WAYS = (
    Way("anthropic", "create", _messages, _messages_async),
    Way("anthropic", "stream", _messages_stream, _messages_stream_async, stream=True),
    Way("anthropic", "helper", _messages_helper, _messages_helper_async, stream=True),
    Way("anthropic", "raw", _messages_raw, _messages_raw_async),
    Way("anthropic", "streamed_response", _messages_streamed_response, _messages_streamed_response_async),
    Way("anthropic", "beta", _beta_messages, _beta_messages_async),
)
GEMINI_WAYS = (
    Way("gemini", "generate", _generate, _generate_async, operation="generate_content"),
    Way(
        "gemini",
        "generate_stream",
        _generate_stream,
        _generate_stream_async,
        operation="generate_content",
        stream=True,
    ),
)
WAYS = (*OPENAI_WAYS, *ANTHROPIC_WAYS, *GEMINI_WAYS)
