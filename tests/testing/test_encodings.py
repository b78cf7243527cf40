"""Content-encodings, sound and spoiled."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from importlib.util import find_spec
from typing import Any, get_args

import httpx2
import pytest

from aden_transport.testing import FakeProvider, Reply
from aden_transport.testing.encodings import bomb, encode
from aden_transport.testing.reply import EncodingFault

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Any = {**BODY, "stream": True}
INSTALLED = {
    "gzip": True,
    "deflate": True,
    "br": find_spec("brotli") is not None,
    "zstd": find_spec("backports") is not None and find_spec("backports.zstd") is not None,
}


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("encoding", INSTALLED)
def test_encoded_answers_decode_to_the_plain_ones(
    provider: FakeProvider, raw: httpx2.Client, encoding: Any, body: Any
) -> None:
    if not INSTALLED[encoding]:
        pytest.skip("library not installed")
    provider.push(Reply(encoding=encoding))
    response = raw.post(CHAT, json=body)
    assert response.headers["content-encoding"] == encoding
    assert "short sentence" in response.text if body is BODY else "[DONE]" in response.text


def test_each_event_of_a_compressed_stream_can_be_decoded_when_it_arrives(
    provider: FakeProvider, raw: httpx2.Client
) -> None:
    provider.push(Reply(encoding="gzip", events=3))
    decoder = zlib.decompressobj(31)
    with raw.stream("POST", CHAT, json=STREAM) as response:
        decoded = [decoder.decompress(piece) for piece in response.iter_raw()]
    assert [piece[:6] for piece in decoded[:-1]] == [b"data: "] * 6
    assert decoder.eof


def test_a_missing_library_is_told(provider: FakeProvider, raw: httpx2.Client) -> None:
    if INSTALLED["br"]:
        pytest.skip("library installed")
    provider.push(Reply(encoding="br"))
    response = raw.post(CHAT, json=BODY)
    assert response.status_code == 500
    assert "needs one of brotli" in response.text


@pytest.mark.parametrize(
    ("accepted", "encoded"),
    [("gzip, br", True), ("identity", False), ("gzip;q=0", False), ("gzip;q=0.5", True)],
)
def test_accept_follows_the_request(
    provider: FakeProvider, raw: httpx2.Client, accepted: str, encoded: bool
) -> None:
    provider.push(Reply(encoding="accept"))
    response = raw.post(CHAT, json=BODY, headers={"accept-encoding": accepted})
    assert ("content-encoding" in response.headers) is encoded
    assert response.json()["object"] == "chat.completion"


@pytest.mark.parametrize("fault", get_args(EncodingFault))
@pytest.mark.parametrize("body", [BODY, STREAM])
def test_spoiled_encodings_do_not_decode(
    provider: FakeProvider, raw: httpx2.Client, fault: EncodingFault, body: Any
) -> None:
    provider.push(Reply(encoding="gzip", encoding_fault=fault))
    with raw.stream("POST", CHAT, json=body) as response:
        encoded = b"".join(response.iter_raw())
    with pytest.raises((EOFError, zlib.error, gzip.BadGzipFile)):
        gzip.decompress(encoded)


def test_a_broken_stream_leaves_the_encoding_unfinished(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(encoding="gzip", disconnect_after_events=2))
    decoder, got = zlib.decompressobj(31), b""
    with pytest.raises(httpx2.RemoteProtocolError), raw.stream("POST", CHAT, json=STREAM) as response:
        for piece in response.iter_raw():
            got += decoder.decompress(piece)
    assert got.count(b"data: ") == 2
    assert not decoder.eof


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_bomb_is_small_on_the_wire_and_whole_when_decoded(
    provider: FakeProvider, raw: httpx2.Client, body: Any
) -> None:
    provider.push(Reply(gzip_bomb_mib=5))
    with raw.stream("POST", CHAT, json=body) as response:
        encoded = b"".join(response.iter_raw())
    decoded = gzip.decompress(encoded)
    assert len(encoded) < 10_000
    assert len(decoded) > 5 * 1024 * 1024
    if body is BODY:
        assert json.loads(decoded)["object"] == "chat.completion"
    else:
        assert decoded.strip().startswith(b"data: ")


def test_a_bomb_takes_little_memory() -> None:
    tracemalloc.start()
    try:
        size = sum(len(piece) for piece in bomb([b"{}"], mib=200, pad=b" "))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 300_000
    assert peak < 8 * 1024 * 1024


def test_identity_passes_the_pieces_on() -> None:
    assert list(encode([b"a", b"b"], encoding="identity")) == [b"a", b"b"]
