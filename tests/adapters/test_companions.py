"""Beside mocks, other instrumentation and another transport: each call counted once, theirs undisturbed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import httpx_aiohttp
import httpx_aiohttp.httpx2
import pytest
import respx
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aden_transport import MeterOptions, create_memory_emitter, flush, instrument, uninstrument
from aden_transport.testing import FakeProvider

from .kit import BODY, CHAT, LIBRARIES, STREAM, VERIFY, Variant

OPENAI = "https://api.openai.com/v1/chat/completions"
ANSWER: Any = {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
SSE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

pytestmark = pytest.mark.usefixtures("no_faults")


@pytest.fixture
def memory() -> Iterator[Any]:
    emitter = create_memory_emitter()
    instrument(MeterOptions(emit_metric=emitter))
    yield emitter
    uninstrument()


def counted(memory: Any) -> list[Any]:
    """Status, tokens and faults of each event."""
    flush(5.0)
    return [(event.status_code, event.total_tokens, event.faults) for event in memory.events]


@pytest.mark.parametrize("using", ["httpx", "httpcore"])
def test_respx(memory: Any, using: str) -> None:
    with respx.mock(using=using) as mock:
        mock.post(OPENAI).respond(200, json=ANSWER)
        with httpx.Client() as client:
            assert client.post(OPENAI, json=BODY).json() == ANSWER
    assert counted(memory) == [(200, 7, ())]


@pytest.mark.anyio
@pytest.mark.parametrize("using", ["httpx", "httpcore"])
async def test_respx_async(memory: Any, using: str) -> None:
    with respx.mock(using=using) as mock:
        mock.post(OPENAI).respond(200, json=ANSWER)
        async with httpx.AsyncClient() as client:
            assert (await client.post(OPENAI, json=BODY)).json() == ANSWER
    assert counted(memory) == [(200, 7, ())]


def test_respx_failures(memory: Any) -> None:
    with respx.mock() as mock:
        mock.post(OPENAI).mock(side_effect=httpx.ConnectTimeout)
        with httpx.Client() as client, pytest.raises(httpx.ConnectTimeout):
            client.post(OPENAI, json=BODY)
    assert [event.error_type for event in memory.events] == ["timeout_error"]


def test_pytest_httpx(memory: Any, httpx_mock: Any) -> None:
    httpx_mock.add_response(json=ANSWER)
    httpx_mock.add_response(content=SSE, headers={"content-type": "text/event-stream"})
    with httpx.Client() as client:
        assert client.post(OPENAI, json=BODY).json() == ANSWER
        assert client.post(OPENAI, json=STREAM).content == SSE
    assert [status for status, _, _ in counted(memory)] == [200, 200]
    assert [event.stream for event in memory.events] == [False, True]
    assert [event.finish_reasons for event in memory.events] == [(), ("stop",)]


def test_pytest_httpx2(memory: Any, httpx2_mock: Any) -> None:
    route = httpx2_mock.post(OPENAI)
    with httpx2.Client() as client:
        route.respond(200, json=ANSWER)
        assert client.post(OPENAI, json=BODY).json() == ANSWER
        route.respond(200, content=SSE, headers={"content-type": "text/event-stream"})
        assert client.post(OPENAI, json=STREAM).content == SSE
    assert [status for status, _, _ in counted(memory)] == [200, 200]
    assert [event.finish_reasons for event in memory.events] == [(), ("stop",)]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "kind",
    [httpx_aiohttp.HttpxAiohttpClient, httpx_aiohttp.httpx2.Httpx2AiohttpClient],
    ids=["httpx", "httpx2"],
)
async def test_httpx_aiohttp(memory: Any, provider: FakeProvider, kind: Any, anyio_backend: str) -> None:
    async with kind(verify=VERIFY, trust_env=False) as client:
        assert (await client.post(provider.url + CHAT, json=BODY)).status_code == 200
        async with client.stream("POST", provider.url + CHAT, json=STREAM) as response:
            pieces = [piece async for piece in response.aiter_raw()]
    assert b"".join(pieces).endswith(b"[DONE]\n\n")
    assert [(status, faults) for status, _, faults in counted(memory)] == [(200, ())] * 2


def attributes() -> dict[tuple[str, str, str], Any]:
    """All methods that either of us may patch."""
    return {
        (library, kind, name): getattr(module, kind).__dict__.get(name)
        for library, module in LIBRARIES.items()
        for kind in ("Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport")
        for name in (
            "send",
            "_send_single_request",
            "_transport_for_url",
            "handle_request",
            "handle_async_request",
        )
    }


class Telemetry:
    """OpenTelemetry's instrumentation of one library."""

    def __init__(self, library: str) -> None:
        self.exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        kind: Callable[[], Any] = HTTPXClientInstrumentor if library == "httpx" else HTTPX2ClientInstrumentor
        self._instrumentor = kind()

    def start(self) -> None:
        self._instrumentor.instrument(tracer_provider=self._provider)

    def stop(self) -> None:
        self._instrumentor.uninstrument()


ORDERS = [
    order
    for order in itertools.permutations(["ours in", "ours out", "theirs in", "theirs out"])
    if order.index("ours in") < order.index("ours out")
    and order.index("theirs in") < order.index("theirs out")
]


@pytest.mark.parametrize("order", ORDERS, ids=", ".join)
@pytest.mark.parametrize("colour", ["sync", "asyncio"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_opentelemetry_in_any_order(library: str, colour: Any, order: Any, provider: FakeProvider) -> None:
    variant = Variant(library, colour, "bare")
    telemetry, emitter = Telemetry(library), create_memory_emitter()
    steps: dict[str, Callable[[], Any]] = {
        "ours in": lambda: instrument(MeterOptions(emit_metric=emitter)),
        "ours out": uninstrument,
        "theirs in": telemetry.start,
        "theirs out": telemetry.stop,
    }
    before = attributes()

    async def post() -> None:
        client = variant.client()
        if variant.is_sync:
            client.post(provider.url + CHAT, json=BODY)
            client.close()
        else:
            await client.post(provider.url + CHAT, json=BODY)
            await client.aclose()

    ours = theirs = 0
    active: set[str] = set()
    for step in order:
        steps[step]()
        who, _, way = step.partition(" ")
        active = active | {who} if way == "in" else active - {who}
        variant.run(post)
        ours += "ours" in active
        theirs += "theirs" in active
        assert len(emitter.events) == ours, step
        assert len(telemetry.exporter.get_finished_spans()) == theirs, step
    after = attributes()
    assert all(after[key] is value for key, value in before.items())
