"""google-genai on httpx2: content whole and streamed, embeddings, tools, Vertex paths."""

from __future__ import annotations

from typing import Any

import pytest
from google import genai
from google.oauth2.credentials import Credentials

from aden_transport import register_vendor
from aden_transport.meter import classifier
from aden_transport.testing import FakeProvider, Reply

from .gemini_cases import ANSWER, TOOLS, thinking_config, tool_config
from .support import GEMINI, TLS, Recorder, gemini_async


@pytest.fixture
def anyio_backend() -> str:
    """google-genai's async client works on asyncio alone."""
    return "asyncio"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_content_makes_one_event(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder, streamed: bool
) -> None:
    provider.push(ANSWER)
    if streamed:
        chunks = list(gemini_client.models.generate_content_stream(model=GEMINI, contents="hello"))
        answer = chunks[-1]
    else:
        answer = gemini_client.models.generate_content(model=GEMINI, contents="hello")
    event = events.only()
    assert (event.provider, event.operation, event.stream) == ("gemini", "generate_content", streamed)
    assert (event.request_model, event.response_model) == (GEMINI, GEMINI)
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.finish_reasons == ("STOP",)
    assert event.response_id == answer.response_id
    assert event.faults == ()


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_async_content_makes_one_event(
    provider: FakeProvider, events: Recorder, streamed: bool
) -> None:
    provider.push(ANSWER)
    async with gemini_async(provider, library="httpx2") as client:
        if streamed:
            stream = await client.models.generate_content_stream(model=GEMINI, contents="hello")
            text = "".join([chunk.text or "" async for chunk in stream])
        else:
            text = (await client.models.generate_content(model=GEMINI, contents="hello")).text or ""
    assert text == "One two three."
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.faults == ()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_function_calls_are_figures_without_arguments(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder, streamed: bool
) -> None:
    provider.push(TOOLS)
    if streamed:
        list(
            gemini_client.models.generate_content_stream(model=GEMINI, contents="hello", config=tool_config())
        )
    else:
        gemini_client.models.generate_content(model=GEMINI, contents="hello", config=tool_config())
    event = events.only()
    assert event.tool_calls is not None
    assert [(call.name, call.index, call.arguments_bytes) for call in event.tool_calls] == [
        ("get_weather", 0, len(b'{"city":"Rome"}')),
        ("get_time", 1, 0),
    ]
    assert "Rome" not in repr(event)


def test_thoughts_are_part_of_the_output(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder
) -> None:
    provider.push(Reply(output_tokens=11, reasoning_tokens=40))
    gemini_client.models.generate_content(model=GEMINI, contents="hello", config=thinking_config())
    event = events.only()
    assert (event.output_tokens, event.reasoning_tokens) == (51, 40)


def test_cached_content_is_part_of_the_input(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder
) -> None:
    provider.push(Reply(input_tokens=3000, cached_tokens=2000))
    gemini_client.models.generate_content(model=GEMINI, contents="hello")
    event = events.only()
    assert (event.input_tokens, event.cached_tokens) == (3000, 2000)


def test_embeddings_make_one_event(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder
) -> None:
    texts: Any = ["one", "two"]
    gemini_client.models.embed_content(model="gemini-embedding-001", contents=texts)
    event = events.only()
    assert (event.operation, event.request_model) == ("embeddings", "gemini-embedding-001")
    assert (event.usage_source, event.input_tokens) == ("reported", 2)
    assert event.operation_details == {"embeddings": 2}


def test_counting_tokens_and_listing_models_make_no_event(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder
) -> None:
    assert gemini_client.models.count_tokens(model=GEMINI, contents="hello").total_tokens
    assert list(gemini_client.models.list())
    assert events.events == []
    assert len(provider.requests) == 2


def test_a_stream_that_is_never_iterated_sends_nothing(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder
) -> None:
    gemini_client.models.generate_content_stream(model=GEMINI, contents="hello")
    assert provider.requests == []
    assert events.events == []


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("chunking", ["event", "byte", "whole", 7])
def test_a_stream_is_read_however_it_is_cut(
    provider: FakeProvider, gemini_client: genai.Client, events: Recorder, encoding: Any, chunking: Any
) -> None:
    provider.push(
        Reply(text="One two.", input_tokens=23, output_tokens=11, encoding=encoding, chunking=chunking)
    )
    list(gemini_client.models.generate_content_stream(model=GEMINI, contents="hello"))
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.faults == ()


# -- Vertex -------------------------------------------------------------------------------------


def vertex(provider: FakeProvider, credentials: str) -> genai.Client:
    options: Any = {"base_url": provider.url, "client_args": {"verify": TLS}}
    if credentials == "api_key":
        return genai.Client(vertexai=True, api_key="any", http_options=options)
    return genai.Client(
        vertexai=True,
        project="project",
        location="us-central1",
        credentials=Credentials("any"),  # type: ignore[no-untyped-call]
        http_options=options,
    )


@pytest.mark.parametrize("known", [False, True], ids=["unknown_host", "known_host"])
@pytest.mark.parametrize("credentials", ["api_key", "credentials"])
def test_vertex_has_the_model_in_its_path(
    provider: FakeProvider, events: Recorder, credentials: str, known: bool
) -> None:
    vendor = None
    if known:
        vendor = register_vendor("vertex", hosts=[f"127.0.0.1:{provider.port}"], like="vertex")
    provider.push(ANSWER)
    try:
        with vertex(provider, credentials) as client:
            client.models.generate_content(model=GEMINI, contents="hello")
    finally:
        if vendor is not None:
            classifier.unregister(vendor)
    assert provider.requests[0].path.endswith(f"/publishers/google/models/{GEMINI}:generateContent")
    event = events.only()
    # On a host that nobody knows the SDK's user agent decides, and it is Gemini's.
    assert event.provider == ("vertex" if known else "gemini")
    assert (event.request_model, event.usage_source) == (GEMINI, "reported")
    assert (event.input_tokens, event.output_tokens) == (23, 11)
    assert event.operation_details == {"traffic_type": "ON_DEMAND"}
    assert event.cost_usd is not None


def test_vertex_embeddings_make_one_event(provider: FakeProvider, events: Recorder) -> None:
    vendor = register_vendor("vertex", hosts=[f"127.0.0.1:{provider.port}"], like="vertex")
    try:
        with vertex(provider, "credentials") as client:
            client.models.embed_content(model="text-embedding-005", contents="hello there")
    finally:
        classifier.unregister(vendor)
    event = events.only()
    assert event.request_model == "text-embedding-005"
    assert (event.usage_source, event.input_tokens) == ("reported", 3)
