"""Answers are metered alike, whoever decodes them: the client for a reader of content, we for a reader of the
raw bytes; nobody, where there is nothing to decode."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from .kit import BODY, CHAT, STREAM, VARIANTS, Caller, Metering, Variant, consume
from .test_garbage import body_of

URL = "https://api.openai.com" + CHAT
USAGE = {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
WHOLE = json.dumps(
    {
        "id": "1",
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi " * 99}}
        ],
        "usage": USAGE,
    }
).encode()
EVENTS = [b'data: {"id":"1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'] * 150
EVENTS += [b'data: {"choices":[],"usage":%s}\n\n' % json.dumps(USAGE).encode(), b"data: [DONE]\n\n"]
ASKED = {**STREAM, "stream_options": {"include_usage": True}}


def pieces_of(events: list[bytes], encoding: str) -> list[bytes]:
    """Each event a piece, as servers flush them."""
    if encoding == "identity":
        return events
    squeeze = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return [squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH) for event in events] + [
        squeeze.flush()
    ]


def encoded(data: bytes, encoding: str) -> bytes:
    if encoding == "identity":
        return data
    return gzip.compress(data) if encoding == "gzip" else zlib.compress(data)


def answer(variant: Variant, encoding: str) -> Callable[[Any], Any]:
    module = variant.module

    def handler(request: Any) -> Any:
        streams = b'"stream"' in request.content
        whole = encoded(WHOLE, encoding)
        pieces = pieces_of(EVENTS, encoding) if streams else [whole[:40], whole[40:]]
        headers = {
            "content-type": "text/event-stream" if streams else "application/json",
            "content-encoding": encoding,
        }
        return module.Response(200, headers=headers, stream=body_of(module, pieces)())

    return handler


def halves_of(module: Any, inner: Any) -> Any:
    """A layer over a body that cuts each piece in two."""

    class Halves(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Any:
            for piece in inner:
                yield piece[: len(piece) // 2]
                yield piece[len(piece) // 2 :]

        async def __aiter__(self) -> Any:
            async for piece in inner:
                yield piece[: len(piece) // 2]
                yield piece[len(piece) // 2 :]

        def close(self) -> None:
            inner.close()

        async def aclose(self) -> None:
            await inner.aclose()

    return Halves()


def undone(response: Any) -> Any:
    """What inflates the raw bytes of `response`."""
    return None if response.headers["content-encoding"] == "identity" else zlib.decompressobj(wbits=47)


async def by_content(caller: Caller, response: Any) -> bytes:
    return await caller.read(response)


async def by_lines(caller: Caller, response: Any) -> bytes:
    return "\n".join([line async for line in caller.lines(response)]).encode()


async def by_halves(caller: Caller, response: Any) -> bytes:
    response.stream = halves_of(caller.variant.module, response.stream)
    return await caller.read(response)


async def by_raw(caller: Caller, response: Any) -> bytes:
    raw, undo = b"".join(await consume(caller.raw(response))), undone(response)
    return raw if undo is None else undo.decompress(raw)


async def by_raw_to_the_last(caller: Caller, response: Any) -> bytes:
    """Closed where the last piece is there, not asked for another."""
    undo, got = undone(response), b""
    pieces = caller.raw(response)
    async for piece in pieces:
        got += piece if undo is None else undo.decompress(piece)
        if (undo is not None and undo.eof) or got.endswith(b"[DONE]\n\n") or len(got) == len(WHOLE):
            break
    await caller.close(response)
    if not caller.variant.is_sync:
        await pieces.aclose()
    return got


async def by_content_and_stream(caller: Caller, response: Any) -> bytes:
    """The first pieces as content, the others from the body itself: SDKs drain it so."""
    pieces = caller.lines(response)
    got = [await anext(pieces) for _ in range(6)]
    assert b"".join(await consume(caller.stream(response))).endswith(b"[DONE]\n\n")
    if not caller.variant.is_sync:
        await pieces.aclose()
    return "\n".join(got).encode()


pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
@pytest.mark.parametrize("asked", [BODY, ASKED], ids=["whole", "stream"])
@pytest.mark.parametrize("way", [by_content, by_lines, by_halves, by_raw, by_raw_to_the_last])
@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.way == "patched"], ids=str)
def test_answers_are_metered(variant: Variant, way: Any, asked: Any, encoding: str) -> None:
    metering = Metering(variant)
    metering.start()

    async def scenario() -> bytes:
        caller = metering.caller(transport=variant.mock(answer(variant, encoding)))
        response = await caller.open(URL, json=asked)
        got: bytes = await way(caller, response)
        await caller.close(response)
        await caller.end()
        return got

    expected = WHOLE if asked is BODY else b"".join(EVENTS)
    assert variant.run(scenario).rstrip() == expected.rstrip()
    (event,) = metering.events
    assert (event.input_tokens, event.output_tokens, event.usage_source) == (8, 3, "reported")
    assert event.faults == ()


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.way == "patched"], ids=str)
def test_a_decoding_error_is_the_clients_own(variant: Variant) -> None:
    metering = Metering(variant)
    metering.start()
    module = variant.module

    def handler(_: Any) -> Any:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        return module.Response(200, headers=headers, stream=body_of(module, [b"no gzip at all"])())

    async def scenario() -> None:
        caller = metering.caller(transport=variant.mock(handler))
        response = await caller.open(URL, json=BODY)
        with pytest.raises(module.DecodingError):
            await caller.read(response)
        await caller.close(response)
        await caller.end()

    variant.run(scenario)
    (event,) = metering.events
    assert event.usage_source != "reported"


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.way == "patched"], ids=str)
def test_a_stream_may_change_its_reader(variant: Variant) -> None:
    metering = Metering(variant)
    metering.start()

    async def scenario() -> bytes:
        caller = metering.caller(transport=variant.mock(answer(variant, "identity")))
        response = await caller.open(URL, json=ASKED)
        got = await by_content_and_stream(caller, response)
        await caller.close(response)
        await caller.end()
        return got

    assert b"".join(EVENTS).startswith(variant.run(scenario))
    (event,) = metering.events
    assert (event.input_tokens, event.output_tokens, event.usage_source) == (8, 3, "reported")
    assert event.faults == ()


class Steps:
    """Gives pieces to a loop, and nothing that a loop does not ask for."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def __next__(self) -> bytes:
        return next(self._pieces)

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_body_may_be_no_more_than_steps(variant: Variant) -> None:
    metering = Metering(variant)
    metering.start()
    module = variant.module

    class Body(module.SyncByteStream, module.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Any:
            return Steps(EVENTS)

        def __aiter__(self) -> Any:
            return Steps(EVENTS)

    def handler(_: Any) -> Any:
        return module.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    async def scenario() -> bytes:
        caller = metering.caller(transport=variant.mock(handler))
        got = await caller.read(await caller.open(URL, json=ASKED))
        await caller.end()
        return got

    assert variant.run(scenario) == b"".join(EVENTS)
    (event,) = metering.events
    assert (event.input_tokens, event.output_tokens, event.faults) == (8, 3, ())
