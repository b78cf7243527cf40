"""Every way of calling every SDK, refused by a budget: our exception as it is, and nothing else happens.

The table is that of what SDKs do with a refusal; `scripts/sdk_matrix` runs the older majors.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import anthropic
import httpx
import httpx2
import openai
import pytest
import trio
from anthropic.lib.bedrock import AnthropicBedrock, AsyncAnthropicBedrock
from anthropic.lib.vertex import AnthropicVertex, AsyncAnthropicVertex

from aden_transport import BudgetExceededError, find_cancelled
from aden_transport.testing import FakeProvider

from ..sdks.support import (
    TLS,
    anthropic_async,
    anthropic_sync,
    gemini_async,
    gemini_sync,
    openai_async,
    openai_sync,
)
from .kit import HELLO, Enforced, enforced

# What SDKs warn of by themselves; on trio they leave generators unfinished, with and without us.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{warning}")
    for warning in (
        "Async generator '(openai|anthropic|httpx2|httpcore2)[.]:ResourceWarning",
        "deprecated:DeprecationWarning",
        "The (Sora|Assistants) API:DeprecationWarning",
        "Inheritance class AiohttpClientSession:DeprecationWarning",
    )
]

SPENT = {
    "budgets": [
        {
            "id": "day",
            "name": "Every day",
            "type": "global",
            "limit": 0.01,
            "spent": 0.02,
            "period": "daily",
            "limitAction": "block",
        }
    ]
}
GPT, CLAUDE, GEMINI = "gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"
SMALL, COMMAND, LLAMA = "mistral-small-latest", "command-a-03-2025", "meta-llama/Llama-3.3-70B-Instruct"
WAV = ("a.wav", bytes(3200), "audio/wav")
PNG = ("a.png", b"\x89PNG\r\n", "image/png")
ASKED: Any = {"model": GPT, "messages": HELLO}
MESSAGE: Any = {"model": CLAUDE, "max_tokens": 64, "messages": HELLO}
BATCH: Any = {"custom_id": "1", "params": MESSAGE}

Call = Callable[[Any], Any]


class Way(NamedTuple):
    """`call` begins the call; `call_async`, where the SDK names its async methods otherwise."""

    sdk: str
    call: Call
    call_async: Call | None = None


OPENAI: dict[str, Call] = {
    "create": lambda c: c.chat.completions.create(**ASKED),
    "stream": lambda c: c.chat.completions.create(**ASKED, stream=True),
    "helper": lambda c: c.chat.completions.stream(**ASKED),
    "parse": lambda c: c.chat.completions.parse(**ASKED),
    "raw": lambda c: c.chat.completions.with_raw_response.create(**ASKED),
    "raw stream": lambda c: c.chat.completions.with_raw_response.create(**ASKED, stream=True),
    "streamed response": lambda c: c.chat.completions.with_streaming_response.create(**ASKED),
    "responses": lambda c: c.responses.create(model=GPT, input="hi"),
    "responses stream": lambda c: c.responses.create(model=GPT, input="hi", stream=True),
    "responses helper": lambda c: c.responses.stream(model=GPT, input="hi"),
    "responses parse": lambda c: c.responses.parse(model=GPT, input="hi"),
    "responses in background": lambda c: c.responses.create(model=GPT, input="hi", background=True),
    "completions": lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi"),
    "embeddings": lambda c: c.embeddings.create(model="text-embedding-3-small", input="hi"),
    "embeddings raw": lambda c: c.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input="hi"
    ),
    "images": lambda c: c.images.generate(model="gpt-image-1", prompt="hi"),
    "image edit": lambda c: c.images.edit(model="gpt-image-1", image=PNG, prompt="hi"),
    "transcription": lambda c: c.audio.transcriptions.create(model="whisper-1", file=WAV),
    "translation": lambda c: c.audio.translations.create(model="whisper-1", file=WAV),
    "speech": lambda c: c.audio.speech.create(model="tts-1", voice="alloy", input="hi"),
    "speech streamed": lambda c: c.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="hi"
    ),
    "moderation": lambda c: c.moderations.create(model="omni-moderation-latest", input="hi"),
    "batch": lambda c: c.batches.create(
        input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
    ),
    "training": lambda c: c.fine_tuning.jobs.create(model=GPT, training_file="file-1"),
    "vector store": lambda c: c.vector_stores.create(name="x"),
    "video": lambda c: c.videos.create(model="sora-2", prompt="hi"),
    "run": lambda c: c.beta.threads.create_and_run(assistant_id="a", model=GPT),
}
ANTHROPIC: dict[str, Call] = {
    "create": lambda c: c.messages.create(**MESSAGE),
    "stream": lambda c: c.messages.create(**MESSAGE, stream=True),
    "helper": lambda c: c.messages.stream(**MESSAGE),
    "raw": lambda c: c.messages.with_raw_response.create(**MESSAGE),
    "streamed response": lambda c: c.messages.with_streaming_response.create(**MESSAGE),
    "beta": lambda c: c.beta.messages.create(**MESSAGE),
    "beta helper": lambda c: c.beta.messages.stream(**MESSAGE),
    "batch": lambda c: c.messages.batches.create(requests=[BATCH]),
}
GEMINI_WAYS: dict[str, Call] = {
    "generate": lambda c: c.models.generate_content(model=GEMINI, contents="hi"),
    "stream": lambda c: c.models.generate_content_stream(model=GEMINI, contents="hi"),
    "embed": lambda c: c.models.embed_content(model="gemini-embedding-001", contents="hi"),
    "chat": lambda c: c.chats.create(model=GEMINI).send_message("hi"),
    "chat stream": lambda c: c.chats.create(model=GEMINI).send_message_stream("hi"),
}
COHERE: dict[str, Call] = {
    "chat": lambda c: c.v2.chat(model=COMMAND, messages=HELLO),
    "stream": lambda c: c.v2.chat_stream(model=COMMAND, messages=HELLO),
    "v1 chat": lambda c: c.chat(model=COMMAND, message="hi"),
    "v1 stream": lambda c: c.chat_stream(model=COMMAND, message="hi"),
    "embed": lambda c: c.v2.embed(
        model="embed-v4.0", texts=["hi"], input_type="search_query", embedding_types=["float"]
    ),
    "rerank": lambda c: c.v2.rerank(model="rerank-v3.5", query="hi", documents=["a", "b"]),
    "raw": lambda c: c.v2.with_raw_response.chat(model=COMMAND, messages=HELLO),
}
MISTRAL: dict[str, tuple[Call, Call]] = {
    "complete": (
        lambda c: c.chat.complete(model=SMALL, messages=HELLO),
        lambda c: c.chat.complete_async(model=SMALL, messages=HELLO),
    ),
    "stream": (
        lambda c: c.chat.stream(model=SMALL, messages=HELLO),
        lambda c: c.chat.stream_async(model=SMALL, messages=HELLO),
    ),
    "embeddings": (
        lambda c: c.embeddings.create(model="mistral-embed", inputs=["hi"]),
        lambda c: c.embeddings.create_async(model="mistral-embed", inputs=["hi"]),
    ),
    "fim": (
        lambda c: c.fim.complete(model="codestral-latest", prompt="def f("),
        lambda c: c.fim.complete_async(model="codestral-latest", prompt="def f("),
    ),
    "agent": (
        lambda c: c.agents.complete(agent_id="ag_1", messages=HELLO),
        lambda c: c.agents.complete_async(agent_id="ag_1", messages=HELLO),
    ),
    "transcription": (
        lambda c: c.audio.transcriptions.complete(
            model="voxtral-mini-latest", file={"content": io.BytesIO(bytes(64)), "file_name": "a.wav"}
        ),
        lambda c: c.audio.transcriptions.complete_async(
            model="voxtral-mini-latest", file={"content": io.BytesIO(bytes(64)), "file_name": "a.wav"}
        ),
    ),
}
HUGGINGFACE: dict[str, Call] = {
    "chat": lambda c: c.chat_completion(model=LLAMA, messages=HELLO),
    "stream": lambda c: c.chat_completion(model=LLAMA, messages=HELLO, stream=True),
    "as openai": lambda c: c.chat.completions.create(model=LLAMA, messages=HELLO),
}
OLLAMA: dict[str, Call] = {
    "chat": lambda c: c.chat(model="llama3.2", messages=HELLO),
    "stream": lambda c: c.chat(model="llama3.2", messages=HELLO, stream=True),
    "generate": lambda c: c.generate(model="llama3.2", prompt="hi"),
    "embed": lambda c: c.embed(model="llama3.2", input="hi"),
}
WAYS = {
    f"{sdk}: {name}": Way(sdk, call)
    for sdk, calls in (
        ("openai", OPENAI),
        ("anthropic", ANTHROPIC),
        ("gemini", GEMINI_WAYS),
        ("cohere", COHERE),
        ("huggingface", HUGGINGFACE),
        ("ollama", OLLAMA),
    )
    for name, call in calls.items()
}
WAYS |= {f"mistral: {name}": Way("mistral", *calls) for name, calls in MISTRAL.items()}
WAYS |= {
    "azure: create": Way("azure", OPENAI["create"]),
    "azure: stream": Way("azure", OPENAI["stream"]),
    "vertex claude: create": Way("vertex claude", ANTHROPIC["create"]),
    "vertex claude: helper": Way("vertex claude", ANTHROPIC["helper"]),
    "bedrock claude: create": Way("bedrock claude", ANTHROPIC["create"]),
    "bedrock claude: stream": Way("bedrock claude", ANTHROPIC["stream"]),
}
ASYNC_ONLY = {
    "openai on aiohttp: create": Way("openai on aiohttp", OPENAI["create"]),
    "openai on aiohttp: stream": Way("openai on aiohttp", OPENAI["stream"]),
    "anthropic on aiohttp: create": Way("anthropic on aiohttp", ANTHROPIC["create"]),
    "gemini on aiohttp: generate": Way("gemini on aiohttp", GEMINI_WAYS["generate"]),
    "gemini on aiohttp: stream": Way("gemini on aiohttp", GEMINI_WAYS["stream"]),
}
ON_TRIO = {"openai", "anthropic", "azure", "vertex claude", "bedrock claude"}
"""The other SDKs' async clients need asyncio."""
TWICE: Any = {"max_retries": 2}
BEDROCK: Any = {"aws_region": "us-east-1", "api_key": "any"}
VERTEX: Any = {"region": "us-east5", "project_id": "p", "access_token": "any"}


def sync_client(sdk: str, provider: FakeProvider) -> Any:
    """A client that would try twice more."""
    url, given = provider.url, TWICE
    match sdk:
        case "openai":
            return openai_sync(provider, max_retries=2)
        case "anthropic":
            return anthropic_sync(provider, max_retries=2)
        case "gemini":
            return gemini_sync(provider)
        case "azure":
            http = openai.DefaultHttpxClient(verify=TLS, trust_env=False)
            return openai.AzureOpenAI(
                azure_endpoint=url, api_version="2024-10-21", api_key="any", http_client=http, **given
            )
        case "vertex claude":
            http = anthropic.DefaultHttpxClient(verify=TLS, trust_env=False)
            return AnthropicVertex(base_url=f"{url}/v1", http_client=http, **VERTEX, **given)
        case "bedrock claude":
            http = anthropic.DefaultHttpxClient(verify=TLS, trust_env=False)
            return AnthropicBedrock(base_url=url, http_client=http, **BEDROCK, **given)
        case "cohere":
            sdk_ = pytest.importorskip("cohere")
            http_client = httpx.Client(verify=TLS, trust_env=False)
            return sdk_.Client(api_key="any", base_url=provider.base_url("cohere"), httpx_client=http_client)
        case "mistral":
            sdk_ = pytest.importorskip("mistralai.client")
            again = sdk_.utils.RetryConfig("backoff", sdk_.utils.BackoffStrategy(1, 2, 1.0, 100), True)
            return sdk_.Mistral(
                api_key="any",
                server_url=provider.base_url("mistral"),
                client=httpx2.Client(verify=TLS, trust_env=False),
                async_client=httpx2.AsyncClient(verify=TLS, trust_env=False),
                retry_config=again,
            )
        case "huggingface":
            sdk_ = pytest.importorskip("huggingface_hub")
            return sdk_.InferenceClient(base_url=provider.base_url("huggingface"), api_key="any")
        case _:
            sdk_ = pytest.importorskip("ollama")
            return sdk_.Client(host=provider.base_url("ollama"), verify=TLS, trust_env=False)


@asynccontextmanager
async def async_client(sdk: str, provider: FakeProvider) -> AsyncIterator[Any]:
    url, given = provider.url, TWICE
    match sdk:
        case "openai":
            made: Any = openai_async(provider, max_retries=2)
        case "openai on aiohttp":
            http: Any = openai.DefaultAioHttpClient()
            made = openai.AsyncOpenAI(
                base_url=provider.openai_base_url, api_key="any", http_client=http, **given
            )
        case "anthropic":
            made = anthropic_async(provider, max_retries=2)
        case "anthropic on aiohttp":
            http = anthropic.DefaultAioHttpClient()
            made = anthropic.AsyncAnthropic(base_url=url, api_key="any", http_client=http, **given)
        case "gemini" | "gemini on aiohttp":
            made = gemini_async(provider, library="httpx2" if sdk == "gemini" else "aiohttp")
        case "azure":
            http = openai.DefaultAsyncHttpxClient(verify=TLS, trust_env=False)
            made = openai.AsyncAzureOpenAI(
                azure_endpoint=url, api_version="2024-10-21", api_key="any", http_client=http, **given
            )
        case "vertex claude":
            http = anthropic.DefaultAsyncHttpxClient(verify=TLS, trust_env=False)
            made = AsyncAnthropicVertex(base_url=f"{url}/v1", http_client=http, **VERTEX, **given)
        case "bedrock claude":
            http = anthropic.DefaultAsyncHttpxClient(verify=TLS, trust_env=False)
            made = AsyncAnthropicBedrock(base_url=url, http_client=http, **BEDROCK, **given)
        case "cohere":
            made = httpx.AsyncClient(verify=TLS, trust_env=False)
            async with made:
                yield pytest.importorskip("cohere").AsyncClient(
                    api_key="any", base_url=provider.base_url("cohere"), httpx_client=made
                )
            return
        case "mistral":
            made = sync_client("mistral", provider)
        case "huggingface":
            sdk_ = pytest.importorskip("huggingface_hub")
            made = sdk_.AsyncInferenceClient(base_url=provider.base_url("huggingface"), api_key="any")
        case _:
            sdk_ = pytest.importorskip("ollama")
            made = sdk_.AsyncClient(host=provider.base_url("ollama"), verify=TLS, trust_env=False)
            yield made
            await made._client.aclose()
            return
    async with made as client:
        yield client


def finish(begun: Any) -> object:
    """Have a call sent: enter what is a context manager, take from what is an iterator."""
    if hasattr(begun, "__enter__"):
        with begun:
            return begun
    return next(begun) if hasattr(begun, "__next__") else begun


async def finish_async(begun: Any) -> object:
    if inspect.isawaitable(begun):
        begun = await begun
    if hasattr(begun, "__aenter__"):
        async with begun:
            return begun
    return await anext(begun) if hasattr(begun, "__anext__") else begun


@pytest.fixture(scope="module")
def run() -> Iterator[Enforced]:
    with enforced(SPENT, ledger="memory") as made:
        yield made


@pytest.fixture(scope="module")
def clients(run: Enforced) -> Iterator[Callable[[str], Any]]:
    made: dict[str, Any] = {}

    def client(sdk: str) -> Any:
        if sdk not in made:
            made[sdk] = sync_client(sdk, run.provider)
        return made[sdk]

    yield client
    for one in made.values():
        wrapper = getattr(one, "_client_wrapper", None)  # Cohere's, which has no way to be closed
        getattr(one if wrapper is None else wrapper.httpx_client.httpx_client, "close", lambda: None)()


@pytest.fixture(autouse=True)
def nothing_else_happens(run: Enforced, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No byte, no connection, no second attempt, nothing held; whatever the way."""
    run.memory.clear()
    caplog.set_level(logging.DEBUG)  # SDKs that log an answer read more of it
    provider = run.provider
    before = provider.bytes_received, provider.connections_made
    yield
    assert (provider.bytes_received, provider.connections_made) == before == (0, 0)
    assert run.ledger.open_holds() == 0
    # What SDKs say before they wait, with the number of tries that are left.
    assert [record for record in caplog.records if "retry" in record.getMessage().lower()] == []


def check(run: Enforced, error: BaseException) -> None:
    assert type(error) is BudgetExceededError
    assert error.__cause__ is None
    assert find_cancelled(error) is error
    assert (error.budget_id, error.budget_name, error.status_code) == ("day", "Every day", 403)
    assert (error.spent_usd, error.limit_usd) == (0.02, 0.01)
    assert error.resets_at is not None
    assert timedelta() < error.resets_at - datetime.now(UTC) <= timedelta(days=1)
    assert error.context is not None
    (event,) = run.events
    assert (event.decision.action, event.decision.source) == ("block", "policy")
    assert event.decision.budget_id == "day"
    assert (event.attempt, event.throttle_ms, event.latency_ms) == (0, 0, 0)
    assert (event.status_code, event.usage, event.cost_usd, event.charged_usd) == (None, None, None, None)
    assert event.error == str(error)


@pytest.mark.parametrize("name", WAYS)
def test_a_sync_call_is_refused(name: str, run: Enforced, clients: Callable[[str], Any]) -> None:
    way = WAYS[name]
    client = clients(way.sdk)
    with pytest.raises(BudgetExceededError) as raised:
        finish(way.call(client))
    check(run, raised.value)


async def refused(way: Way, run: Enforced) -> BaseException:
    async with async_client(way.sdk, run.provider) as client:
        with pytest.raises(BudgetExceededError) as raised:
            await finish_async((way.call_async or way.call)(client))
    return raised.value


@pytest.mark.parametrize("name", WAYS | ASYNC_ONLY)
def test_an_async_call_is_refused(name: str, run: Enforced) -> None:
    check(run, asyncio.run(refused((WAYS | ASYNC_ONLY)[name], run)))


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.sdk in ON_TRIO])
def test_an_async_call_on_trio_is_refused(name: str, run: Enforced) -> None:
    check(run, trio.run(refused, WAYS[name], run))


def langchain(provider: FakeProvider, *, stream: bool) -> object:
    kind = pytest.importorskip("langchain_openai").ChatOpenAI
    http = openai.DefaultHttpxClient(verify=TLS, trust_env=False)
    model = kind(model=GPT, base_url=provider.openai_base_url, api_key="any", http_client=http)
    return list(model.stream("hi")) if stream else model.invoke("hi")


def pydantic_ai(provider: FakeProvider, *, stream: bool) -> object:
    kit = pytest.importorskip("pydantic_ai")
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def main() -> object:
        async with openai_async(provider, max_retries=2) as client:
            agent = kit.Agent(OpenAIChatModel(GPT, provider=OpenAIProvider(openai_client=client)))
            if not stream:
                return await agent.run("hi")
            async with agent.run_stream("hi") as answer:
                return await answer.get_output()

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("framework", [langchain, pydantic_ai])
def test_a_framework_passes_a_refusal_on(framework: Any, stream: bool, run: Enforced) -> None:
    with pytest.raises(Exception) as raised:
        framework(run.provider, stream=stream)
    error = find_cancelled(raised.value)
    assert error is not None
    check(run, error)
