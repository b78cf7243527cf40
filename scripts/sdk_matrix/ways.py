"""How each SDK is asked the same: once, streamed, sync and async, against a fake provider.

Run by `probe.py` in an environment that has only the SDK in question: each is imported by its own function.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from importlib import import_module
from typing import Any, NamedTuple

from aden_transport.testing import FakeProvider

PROMPT = "Say hello."
MESSAGES: list[Any] = [{"role": "user", "content": PROMPT}]


class Ways(NamedTuple):
    """One SDK's ways to ask; streams are iterators that close what they opened."""

    provider: str
    """`event.provider`."""
    cheaper: str
    """Another model of that host."""
    retries: bool
    """Whether the SDK tries again by itself."""
    ask: Callable[[], object]
    stream: Callable[[], Generator[object, None, None]]
    ask_async: Callable[[], Awaitable[object]]
    stream_async: Callable[[], AsyncGenerator[object, None]]


def chat_ways(
    vendor: str, model: str, cheaper: str, sync: Callable[[], Any], asynchronous: Callable[[], Any]
) -> Ways:
    """SDKs with `client.chat.completions.create`."""

    def ask() -> object:
        return sync().chat.completions.create(model=model, messages=MESSAGES)

    def stream() -> Generator[object, None, None]:
        with sync().chat.completions.create(model=model, messages=MESSAGES, stream=True) as chunks:
            yield from chunks

    async def ask_async() -> object:
        async with asynchronous() as client:
            return await client.chat.completions.create(model=model, messages=MESSAGES)

    async def stream_async() -> AsyncGenerator[object, None]:
        async with asynchronous() as client:
            create = client.chat.completions.create
            async with await create(model=model, messages=MESSAGES, stream=True) as chunks:
                async for chunk in chunks:
                    yield chunk

    return Ways(vendor, cheaper, True, ask, stream, ask_async, stream_async)


def openai(fake: FakeProvider) -> Ways:
    sdk = import_module("openai")

    given: Any = {"base_url": fake.base_url("openai"), "api_key": "any"}
    return chat_ways(
        "openai", "gpt-4o", "gpt-4o-mini", lambda: sdk.OpenAI(**given), lambda: sdk.AsyncOpenAI(**given)
    )


def groq(fake: FakeProvider) -> Ways:
    sdk = import_module("groq")

    given: Any = {"base_url": fake.base_url("groq"), "api_key": "any"}
    model = "llama-3.3-70b-versatile"
    return chat_ways(
        "groq", model, "llama-3.1-8b-instant", lambda: sdk.Groq(**given), lambda: sdk.AsyncGroq(**given)
    )


def together(fake: FakeProvider) -> Ways:
    sdk = import_module("together")

    given: Any = {"base_url": fake.base_url("together"), "api_key": "any"}
    model = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    cheaper = "meta-llama/Llama-3.2-3B-Instruct-Turbo"
    return chat_ways(
        "together", model, cheaper, lambda: sdk.Together(**given), lambda: sdk.AsyncTogether(**given)
    )


def cerebras(fake: FakeProvider) -> Ways:
    sdk = import_module("cerebras.cloud.sdk")

    given: Any = {"base_url": fake.base_url("cerebras"), "api_key": "any", "warm_tcp_connection": False}
    return chat_ways(
        "cerebras",
        "llama-3.3-70b",
        "llama3.1-8b",
        lambda: sdk.Cerebras(**given),
        lambda: sdk.AsyncCerebras(**given),
    )


def anthropic(fake: FakeProvider) -> Ways:
    sdk = import_module("anthropic")

    given: Any = {"base_url": fake.base_url("anthropic"), "api_key": "any"}
    asked: Any = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}

    def stream() -> Generator[object, None, None]:
        with sdk.Anthropic(**given).messages.stream(**asked) as events:
            yield from events

    async def ask_async() -> object:
        async with sdk.AsyncAnthropic(**given) as client:
            return await client.messages.create(**asked)

    async def stream_async() -> AsyncGenerator[object, None]:
        async with sdk.AsyncAnthropic(**given) as client, client.messages.stream(**asked) as events:
            async for event in events:
                yield event

    def ask() -> object:
        return sdk.Anthropic(**given).messages.create(**asked)

    return Ways("anthropic", "claude-3-5-haiku-latest", True, ask, stream, ask_async, stream_async)


def gemini(fake: FakeProvider) -> Ways:
    sdk = import_module("google.genai")
    held: list[Any] = []

    def client() -> Any:
        # One for each event loop, held because a client that nobody holds closes itself.
        held.append(sdk.Client(api_key="any", http_options=sdk.types.HttpOptions(base_url=fake.url)))
        return held[-1]

    asked: Any = {"model": "gemini-2.5-flash", "contents": PROMPT}

    def ask() -> object:
        return client().models.generate_content(**asked)

    def stream() -> Generator[object, None, None]:
        yield from client().models.generate_content_stream(**asked)

    async def ask_async() -> object:
        return await client().aio.models.generate_content(**asked)

    async def stream_async() -> AsyncGenerator[object, None]:
        async for chunk in await client().aio.models.generate_content_stream(**asked):
            yield chunk

    return Ways("gemini", "gemini-2.5-flash-lite", False, ask, stream, ask_async, stream_async)


def mistral(fake: FakeProvider) -> Ways:
    sdk = import_module("mistralai.client")

    def client() -> Any:
        return sdk.Mistral(api_key="any", server_url=fake.base_url("mistral"))

    asked: Any = {"model": "mistral-small-latest", "messages": MESSAGES}

    def stream() -> Generator[object, None, None]:
        with client() as held, held.chat.stream(**asked) as events:
            yield from events

    async def ask_async() -> object:
        async with client() as held:
            return await held.chat.complete_async(**asked)

    async def stream_async() -> AsyncGenerator[object, None]:
        async with client() as held, await held.chat.stream_async(**asked) as events:
            async for event in events:
                yield event

    return Ways(
        "mistral",
        "ministral-8b-latest",
        False,
        lambda: client().chat.complete(**asked),
        stream,
        ask_async,
        stream_async,
    )


def cohere(fake: FakeProvider) -> Ways:
    sdk = import_module("cohere")

    given: Any = {"base_url": fake.base_url("cohere"), "api_key": "any"}
    asked: Any = {"model": "command-a-03-2025", "messages": MESSAGES}

    def stream() -> Generator[object, None, None]:
        yield from sdk.ClientV2(**given).chat_stream(**asked)

    async def ask_async() -> object:
        return await sdk.AsyncClientV2(**given).chat(**asked)

    async def stream_async() -> AsyncGenerator[object, None]:
        async for event in sdk.AsyncClientV2(**given).chat_stream(**asked):
            yield event

    return Ways(
        "cohere",
        "command-r7b-12-2024",
        True,
        lambda: sdk.ClientV2(**given).chat(**asked),
        stream,
        ask_async,
        stream_async,
    )


def huggingface(fake: FakeProvider) -> Ways:
    sdk = import_module("huggingface_hub")

    given: Any = {"base_url": fake.base_url("huggingface"), "api_key": "any"}
    asked: Any = {"model": "meta-llama/Llama-3.3-70B-Instruct", "messages": MESSAGES}

    def stream() -> Generator[object, None, None]:
        client = sdk.InferenceClient(**given)  # one that nobody holds closes its streams
        yield from client.chat_completion(**asked, stream=True)

    async def ask_async() -> object:
        async with sdk.AsyncInferenceClient(**given) as client:
            return await client.chat_completion(**asked)

    async def stream_async() -> AsyncGenerator[object, None]:
        async with sdk.AsyncInferenceClient(**given) as client:
            async for chunk in await client.chat_completion(**asked, stream=True):
                yield chunk

    def ask() -> object:
        return sdk.InferenceClient(**given).chat_completion(**asked)

    return Ways(
        "huggingface", "meta-llama/Llama-3.1-8B-Instruct", False, ask, stream, ask_async, stream_async
    )


def ollama(fake: FakeProvider) -> Ways:
    sdk = import_module("ollama")

    asked: Any = {"model": "llama3.2", "messages": MESSAGES}

    def stream() -> Generator[object, None, None]:
        yield from sdk.Client(host=fake.url).chat(**asked, stream=True)

    async def ask_async() -> object:
        return await sdk.AsyncClient(host=fake.url).chat(**asked)

    async def stream_async() -> AsyncGenerator[object, None]:
        async for chunk in await sdk.AsyncClient(host=fake.url).chat(**asked, stream=True):
            yield chunk

    return Ways(
        "ollama",
        "llama3.2:1b",
        False,
        lambda: sdk.Client(host=fake.url).chat(**asked),
        stream,
        ask_async,
        stream_async,
    )


SDKS: dict[str, Callable[[FakeProvider], Ways]] = {
    "anthropic": anthropic,
    "cerebras-cloud-sdk": cerebras,
    "cohere": cohere,
    "google-genai": gemini,
    "groq": groq,
    "huggingface_hub": huggingface,
    "mistralai": mistral,
    "ollama": ollama,
    "openai": openai,
    "together": together,
}
"""By the name of the distribution."""
