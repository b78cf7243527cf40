"""What holds for every framing: cuts do not matter, nothing is raised, memory is bounded."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.framing.aws_eventstream import AwsEventStreamParser
from aden_transport.framing.content_encoding import Decoder, decoder_for
from aden_transport.framing.json_array import JsonArrayParser
from aden_transport.framing.json_body import JsonBody
from aden_transport.framing.ndjson import NdjsonParser
from aden_transport.framing.sse import SSEParser

from .frames import event, exception, frame

BOUND = 64  # small, so that the payloads below exceed it


class Body:
    """A `JsonBody` that gives what it found, as the streaming parsers do."""

    def __init__(self) -> None:
        self.body = JsonBody(limit=2 * BOUND, edge=BOUND)
        self.faults = self.body.faults

    def receive_data(self, data: bytes) -> list[Any]:
        self.body.receive_data(data)
        return []

    def receive_eof(self) -> list[Any]:
        body = self.body
        body.receive_eof()
        ends = (body.size, body.whole, body.head, body.tail)
        return [ends, body.value(), body.member("usage"), body.member("usage", 2), body.member("model")]


class Decoded:
    """A decoder whose pieces are joined: where they are cut is its own affair."""

    def __init__(self, coding: str) -> None:
        decoder = decoder_for(coding)
        assert isinstance(decoder, Decoder)
        self.decoder = decoder
        self.faults = decoder.faults
        self.pieces: list[bytes] = []

    def receive_data(self, data: bytes) -> list[bytes]:
        for piece in self.decoder.receive_data(data):
            assert 0 < len(piece) <= 1 << 16
            self.pieces.append(piece)
        return []

    def receive_eof(self) -> list[bytes]:
        assert list(self.decoder.receive_eof()) == []
        return [b"".join(self.pieces)]


class Framing(NamedTuple):
    make: Callable[[], Any]
    payloads: tuple[bytes, ...]
    held: int
    """Bytes that it may keep besides the newest piece."""


def squeezed(data: bytes, wbits: int) -> bytes:
    squeezer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    return squeezer.compress(data) + squeezer.flush()


TEXT = b"".join(b'data: {"n": %d}\n\n' % n for n in range(40))
GZIP = squeezed(TEXT, 31)

FRAMINGS = {
    "sse": Framing(
        lambda: SSEParser(max_event=BOUND),
        (
            b"data: a\n\ndata: b\n\n",
            b"\xef\xbb\xbfdata: a\r\ndata:b\r\n\r\n: note\r\n\r\nevent: x\r\ndata: c\r\n\r\n\r\ndata: d",
            b"data: a\revent: y\r\r\rdata: b\r\n\rid: 3\rretry: 5\r\rdata\r\r",
            b"data: a\n\ndata: " + b"x" * 80 + b"\n\ndata: " + b"y" * BOUND + b"\n\ndata: b\n\n",
            b"data: " + b"x" * (BOUND - 6) + b"\n\ndata: " + b"x" * (BOUND - 5) + b"\n\n: c\n",
            b'data: a\n\n{\n "error": {\n  "code": 499\n }\n}\ndata: b\n\n[1,\n2]',
            b"<html>\n<body>\n\n</html>",
            b"\n\n\n\ndata: a\n\n\n\n\n",
            b"\xef\xbb",
            b"",
        ),
        BOUND + 1,
    ),
    "ndjson": Framing(
        lambda: NdjsonParser(max_line=BOUND),
        (
            b'{"a": 1}\n{"b": 2}\r\n\n  \r\n{"c": 3}',
            b'{"a": 1}\n"' + b"x" * 90 + b'"\n{"b": 2}\n',
            b"x" * BOUND + b"\n" + b"y" * (BOUND + 1) + b"\nz\n" + b"w" * 100,
            b"",
        ),
        BOUND,
    ),
    "json array": Framing(
        lambda: JsonArrayParser(max_element=BOUND),
        (
            b'\xef\xbb\xbf [{"a": "]}\\"{[", "b": {"c": [1, {}]}}\r\n,\r\n {"d": "\\\\"} , {} , [1, "]"]]\n',
            b'{"error": {"code": 400, "message": "\xc3\xa9 \\u00e9 }"}}\n{"b": 1} [{"c": 2}]',
            b'[1, "a]{", null, {"a": 1}, "\\"[", true]',
            b'[{"a": "' + b"x" * 90 + b'"}, {"b": [[' + b"y" * 90 + b']]}, {"c": 1}]',
            b"[" + b"{" * 30 + b"}" * 30 + b"," + b"{" * 40 + b"}" * 40 + b"]",
            b'[{"a": 1}, {"b": "cut off',
            b'[{"a": 1}, {"b": "cut off\\',
            b"<html>[{}]</html>",
            b"]]}}",
            b"[]",
            b"",
        ),
        BOUND,
    ),
    "aws event stream": Framing(
        lambda: AwsEventStreamParser(max_message=BOUND),
        (
            frame({":event-type": "a"}, b"{}") * 3,
            frame({":event-type": "a"}, b"x" * 200) + frame({":event-type": "b"}, b"{}"),
            frame({":event-type": "a"}, b"{}")[:-1],
            frame({}) + frame(b"\xff", b"{}") + frame({":event-type": "b"}, b"{}"),
            event("chunk", {"bytes": "e30="}) + exception("throttlingException", {"message": "slow"}),
            b"data: {}\n\n",
            b"\0" * 40,
            b"",
        ),
        BOUND,
    ),
    "json body": Framing(
        Body,
        (
            b'\n\n  {"model": "m", "usage": {"n": 1}}',
            b'{"model": "m", "text": "' + b"x" * 200 + b'", "usage": {"n": 1}}',
            b'{"response": {"model": "m", "text": "' + b"x" * 200 + b'", "usage": {"n": 1}}}',
            b'{"model": "m", "usage": {"n": 1}, "text": "' + b"x" * 50,
            b"not JSON",
            b"",
        ),
        # The end is cut back to BOUND bytes only when it has grown to twice as much.
        3 * BOUND,
    ),
    "gzip": Framing(
        lambda: Decoded("gzip"),
        (GZIP, GZIP + GZIP, GZIP + b"\0" * 9 + GZIP + b"\0\0", GZIP[:-1], squeezed(b"", 31), b""),
        0,
    ),
    "deflate": Framing(
        lambda: Decoded("deflate"),
        (squeezed(TEXT, 15), squeezed(TEXT, -15), squeezed(b"", -15), squeezed(TEXT, 15)[:-3], b"x", b""),
        1,
    ),
    "gzip, deflate": Framing(
        lambda: Decoded("gzip, deflate"), (squeezed(GZIP, 15), squeezed(GZIP[:-5], -15), b""), 1
    ),
}

PAYLOADS = [
    pytest.param(framing, payload, id=f"{name} {number}")
    for name, framing in FRAMINGS.items()
    for number, payload in enumerate(framing.payloads)
]


def read(framing: Framing, pieces: Iterable[bytes]) -> tuple[list[Any], list[str]]:
    parser = framing.make()
    messages = [message for piece in pieces for message in parser.receive_data(piece)]
    messages += parser.receive_eof()
    return messages, parser.faults


def cut(data: bytes, points: Iterable[int]) -> list[bytes]:
    ends = [0, *sorted(min(point, len(data)) for point in points), len(data)]
    return [data[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize(("framing", "payload"), PAYLOADS)
def test_one_cut_anywhere_changes_nothing(framing: Framing, payload: bytes) -> None:
    whole = read(framing, [payload])
    for point in range(len(payload) + 1):
        assert read(framing, cut(payload, [point])) == whole, point


@pytest.mark.parametrize(("framing", "payload"), PAYLOADS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_of_one_size_change_nothing(framing: Framing, payload: bytes, size: int) -> None:
    assert read(framing, cut(payload, range(size, len(payload), size))) == read(framing, [payload])


@pytest.mark.parametrize(("framing", "payload"), PAYLOADS)
@given(points=st.lists(st.integers(0, 1000)))
def test_random_cuts_change_nothing(framing: Framing, payload: bytes, points: list[int]) -> None:
    assert read(framing, cut(payload, points)) == read(framing, [payload])


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
@given(pieces=st.lists(st.binary(max_size=100)))
def test_random_bytes_raise_nothing(framing: Framing, pieces: list[bytes]) -> None:
    read(framing, pieces)


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_damaged_payloads_raise_nothing(framing: Framing) -> None:
    dice = random.Random(1)
    for payload in framing.payloads:
        for at in range(len(payload)):
            damaged = payload[:at] + bytes([payload[at] ^ 1 << dice.randrange(8)]) + payload[at + 1 :]
            read(framing, [damaged])
            read(framing, [payload[:at], payload[at + 1 :]])


def held(value: Any) -> int:
    """Bytes kept in the attributes of a parser and of its parts."""
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, (list, tuple)):
        return sum(map(held, value))
    return sum(map(held, vars(value).values())) if type(value).__module__.startswith("aden") else 0


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
@pytest.mark.parametrize("filler", [b"x", b'"', b"{", b"[", b"\\", b"\n", b"\r", b"data: ", b"\0"])
def test_memory_is_bounded(framing: Framing, filler: bytes) -> None:
    for start in (b"", b"data: ", b"[{", b'[{"', b'{"a": "', GZIP[:12], squeezed(TEXT, 15)[:4]):
        parser = framing.make()
        parser.receive_data(start)
        for _ in range(100):
            parser.receive_data(filler * 5)
            inner = parser.body if isinstance(parser, Body) else parser
            inner = parser.decoder if isinstance(parser, Decoded) else inner
            assert held(inner) <= framing.held + len(filler) * 5
        parser.receive_eof()
        assert len(parser.faults) <= 3


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_json_nested_100000_deep_raises_nothing(framing: Framing) -> None:
    for text in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"a":' * 50_000 + b"}",
    ):
        read(framing, [text])
        read(framing, [b"data: " + text + b"\n\n"])
        read(framing, cut(text, range(0, len(text), 9999)))
