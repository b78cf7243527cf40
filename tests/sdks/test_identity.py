"""What the application's client reads is the same, byte for byte and piece for piece, with and without us."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import httpx2
import openai
import pytest

from aden_transport import MeterOptions, instrument, register_vendor, uninstrument
from aden_transport.meter import classifier
from aden_transport.testing import FakeProvider, Reply

from .support import (
    CLAUDE,
    GEMINI,
    HELLO,
    TLS,
    Recorder,
    anthropic_async,
    anthropic_sync,
    openai_async,
    openai_sync,
)

TEXT = "One two, «drei», four."
CHUNKINGS: Any = ("event", "byte", 7, "whole")
ENCODINGS: Any = ("identity", "gzip")


class Seen(NamedTuple):
    """What a client read: a digest over its pieces, how many, and the headers that describe them."""

    digest: str
    pieces: int
    headers: tuple[str | None, ...]


DESCRIBING = ("content-type", "content-encoding", "content-length", "transfer-encoding")


def seen(pieces: list[bytes], headers: Any) -> Seen:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(len(piece).to_bytes(4, "big") + piece)
    return Seen(digest.hexdigest(), len(pieces), tuple(headers.get(name) for name in DESCRIBING))


@contextmanager
def running(chunking: Any, encoding: Any) -> Iterator[FakeProvider]:
    """A provider that answers every run with the same bytes."""
    reply = Reply(text=TEXT, input_tokens=23, output_tokens=11, chunking=chunking, encoding=encoding)
    with FakeProvider(reply=reply, clock=lambda: 1_800_000_000.0) as provider:
        yield provider


@contextmanager
def metering() -> Iterator[Recorder]:
    recorder = Recorder()
    instrument(MeterOptions(emit_metric=recorder))
    try:
        yield recorder
    finally:
        uninstrument()


class Ask(NamedTuple):
    """A call through an SDK's `with_streaming_response`."""

    name: str
    sdk: str
    method: Callable[[Any], Any]
    arguments: dict[str, Any]


_CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
_MESSAGE: dict[str, Any] = {"model": CLAUDE, "max_tokens": 64, "messages": HELLO}
ASKS = (
    Ask("chat", "openai", lambda c: c.chat.completions.with_streaming_response.create, _CHAT),
    Ask(
        "chat_stream",
        "openai",
        lambda c: c.chat.completions.with_streaming_response.create,
        {**_CHAT, "stream": True},
    ),
    Ask(
        "responses_stream",
        "openai",
        lambda c: c.responses.with_streaming_response.create,
        {"model": "gpt-4o", "input": "hello", "stream": True},
    ),
    Ask("messages", "anthropic", lambda c: c.messages.with_streaming_response.create, _MESSAGE),
    Ask(
        "messages_stream",
        "anthropic",
        lambda c: c.messages.with_streaming_response.create,
        {**_MESSAGE, "stream": True},
    ),
)


def read_raw(ask: Ask, provider: FakeProvider) -> Seen:
    client: Any = openai_sync(provider) if ask.sdk == "openai" else anthropic_sync(provider)
    with client, ask.method(client)(**ask.arguments) as response:
        pieces = list(response.http_response.iter_raw())
        return seen(pieces, response.headers)


async def read_raw_async(ask: Ask, provider: FakeProvider) -> Seen:
    client: Any = openai_async(provider) if ask.sdk == "openai" else anthropic_async(provider)
    async with client, ask.method(client)(**ask.arguments) as response:
        pieces = [piece async for piece in response.http_response.aiter_raw()]
        return seen(pieces, response.headers)


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.name)
@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_raw_pieces_are_the_same_with_and_without_us(ask: Ask, chunking: Any, encoding: Any) -> None:
    with running(chunking, encoding) as provider:
        plain = read_raw(ask, provider)
        sent = [(request.raw_headers, request.body) for request in provider.requests]
    with running(chunking, encoding) as provider, metering() as events:
        metered = read_raw(ask, provider)
        ours = [(request.raw_headers, request.body) for request in provider.requests]
    assert metered == plain
    assert plain.pieces > 0
    assert len(events.events) == 1
    without_host(sent, ours)


def without_host(plain: list[Any], metered: list[Any]) -> None:
    """What was sent is the same too, but for the port."""

    def stable(requests: list[Any]) -> list[Any]:
        return [([h for h in headers if h[0].lower() != "host"], body) for headers, body in requests]

    assert stable(metered) == stable(plain)


@pytest.mark.anyio
@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.name)
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_async_raw_pieces_are_the_same_with_and_without_us(ask: Ask, encoding: Any) -> None:
    for chunking in ("event", 7):
        with running(chunking, encoding) as provider:
            plain = await read_raw_async(ask, provider)
        with running(chunking, encoding) as provider, metering() as events:
            assert await read_raw_async(ask, provider) == plain
        assert len(events.events) == 1


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("verb", ["generateContent", "streamGenerateContent?alt=sse"])
@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_raw_pieces_of_a_plain_client_are_the_same_with_and_without_us(
    library: Any, verb: str, chunking: Any, encoding: Any
) -> None:
    def read(provider: FakeProvider) -> Seen:
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        url = f"{provider.url}/v1beta/models/{GEMINI}:{verb}"
        with library.Client(verify=TLS) as client, client.stream("POST", url, json=body) as response:
            return seen(list(response.iter_raw()), response.headers)

    with running(chunking, encoding) as provider:
        plain = read(provider)
    with running(chunking, encoding) as provider, metering() as events:
        assert read(provider) == plain
    assert len(events.events) == 1
    assert events.events[0].usage_source == "reported"


# -- where usage was asked for and hidden -------------------------------------------------------


@contextmanager
def known(provider: FakeProvider) -> Iterator[None]:
    hosts = [f"127.0.0.1:{provider.port}"]
    vendor = register_vendor("openai", hosts=hosts, accepts_stream_options=True)
    try:
        yield
    finally:
        classifier.unregister(vendor)


def parsed(provider: FakeProvider, **extra: Any) -> list[dict[str, Any]]:
    with openai_sync(provider) as client:
        stream = client.chat.completions.create(stream=True, **_CHAT, **extra)
        return [chunk.model_dump() for chunk in stream]


def lines(provider: FakeProvider, **extra: Any) -> list[str]:
    with (
        openai_sync(provider) as client,
        client.chat.completions.with_streaming_response.create(stream=True, **_CHAT, **extra) as response,
    ):
        return list(response.iter_lines())


def joined_bytes(provider: FakeProvider, **extra: Any) -> bytes:
    with (
        openai_sync(provider) as client,
        client.chat.completions.with_streaming_response.create(stream=True, **_CHAT, **extra) as response,
    ):
        return b"".join(response.iter_bytes(7))


ASKED: Any = {"include_usage": True}


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_parsed_chunks_are_those_of_an_app_that_asked_without_the_usage(chunking: Any, encoding: Any) -> None:
    with running(chunking, encoding) as provider:
        asked = parsed(provider, stream_options=ASKED)
    with running(chunking, encoding) as provider:
        unasked = parsed(provider)
    with running(chunking, encoding) as provider, known(provider), metering() as events:
        ours = parsed(provider)
    assert asked[-1]["choices"] == []
    assert ours == asked[:-1]
    assert len(ours) == len(unasked)
    assert [chunk["choices"] for chunk in ours] == [chunk["choices"] for chunk in unasked]
    assert events.events[0].usage_source == "reported"


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lines_and_bytes_are_those_of_an_app_that_asked_without_the_usage(
    chunking: Any, encoding: Any
) -> None:
    with running(chunking, encoding) as provider:
        asked = lines(provider, stream_options=ASKED)
    with running(chunking, encoding) as provider, known(provider), metering():
        ours = lines(provider)
    with running(chunking, encoding) as provider, known(provider), metering():
        raw = joined_bytes(provider)
    usage = next(n for n, line in enumerate(asked) if '"prompt_tokens"' in line)
    assert json.loads(asked[usage].removeprefix("data: "))["choices"] == []
    assert ours == asked[:usage] + asked[usage + 2 :]
    assert raw.decode().splitlines() == ours


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_async_parsed_chunks_are_those_of_an_app_that_asked_without_the_usage(encoding: Any) -> None:
    async def read(provider: FakeProvider, **extra: Any) -> list[Any]:
        async with openai_async(provider) as client:
            stream = await client.chat.completions.create(stream=True, **_CHAT, **extra)
            return [chunk.model_dump() async for chunk in stream]

    for chunking in ("event", 7, "whole"):
        with running(chunking, encoding) as provider:
            asked = await read(provider, stream_options=ASKED)
        with running(chunking, encoding) as provider, known(provider), metering() as events:
            assert await read(provider) == asked[:-1]
        assert events.events[0].usage_source == "reported"


def test_the_helper_ends_with_the_same_completion() -> None:
    def read(provider: FakeProvider) -> tuple[list[Any], Any]:
        with (
            openai_sync(provider) as client,
            client.chat.completions.stream(**_CHAT) as stream,
        ):
            kinds = [event.type for event in stream]
            return kinds, stream.get_final_completion().model_dump()

    with running("event", "identity") as provider:
        plain = read(provider)
    with running("event", "identity") as provider, known(provider), metering():
        assert read(provider) == plain


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_headers_of_a_filtered_answer_describe_what_the_client_reads(encoding: Any) -> None:
    with (
        running("event", encoding) as provider,
        known(provider),
        metering(),
        openai_sync(provider) as client,
        client.chat.completions.with_streaming_response.create(stream=True, **_CHAT) as response,
    ):
        raw = b"".join(response.http_response.iter_raw())
        assert "content-encoding" not in response.headers
        assert "content-length" not in response.headers
    assert raw.endswith(b"data: [DONE]\n\n")


def test_an_exception_of_the_sdk_is_the_same_with_and_without_us() -> None:
    def fail(provider: FakeProvider) -> tuple[str, Any, Any]:
        with openai_sync(provider) as client, pytest.raises(openai.APIStatusError) as raised:
            client.chat.completions.create(**_CHAT)
        return str(raised.value), raised.value.body, raised.value.status_code

    with running("event", "identity") as provider:
        provider.push(Reply(status=429))
        plain = fail(provider)
    with running("event", "identity") as provider, metering():
        provider.push(Reply(status=429))
        assert fail(provider) == plain
