"""Encoded answers are metered alike, whoever decodes them: the client for a reader of content, we for a
reader of the raw bytes."""

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
    squeeze = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return [squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH) for event in events] + [
        squeeze.flush()
    ]


def answer(variant: Variant, encoding: str) -> Callable[[Any], Any]:
    module = variant.module

    def handler(request: Any) -> Any:
        streams = b'"stream"' in request.content
        whole = gzip.compress(WHOLE) if encoding == "gzip" else zlib.compress(WHOLE)
        pieces = pieces_of(EVENTS, encoding) if streams else [whole[:40], whole[40:]]
        headers = {
            "content-type": "text/event-stream" if streams else "application/json",
            "content-encoding": encoding,
        }
        return module.Response(200, headers=headers, stream=body_of(module, pieces)())

    return handler


async def by_content(caller: Caller, response: Any) -> bytes:
    return await caller.read(response)


async def by_lines(caller: Caller, response: Any) -> bytes:
    return "\n".join([line async for line in caller.lines(response)]).encode()


async def by_raw(caller: Caller, response: Any) -> bytes:
    raw = b"".join(await consume(caller.raw(response)))
    return zlib.decompressobj(wbits=47).decompress(raw)


async def by_raw_to_the_last(caller: Caller, response: Any) -> bytes:
    """Closed where the last piece is there, not asked for another."""
    undo, got = zlib.decompressobj(wbits=47), b""
    pieces = caller.raw(response)
    async for piece in pieces:
        got += undo.decompress(piece)
        if undo.eof or got.endswith(b"[DONE]\n\n"):
            break
    await caller.close(response)
    if not caller.variant.is_sync:
        await pieces.aclose()
    return got


pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("asked", [BODY, ASKED], ids=["whole", "stream"])
@pytest.mark.parametrize("way", [by_content, by_lines, by_raw, by_raw_to_the_last])
@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.way == "patched"], ids=str)
def test_encoded_answers_are_metered(variant: Variant, way: Any, asked: Any, encoding: str) -> None:
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
