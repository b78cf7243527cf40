"""AWS event streams."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.framing.aws_eventstream import AwsEventStreamParser, EventStreamMessage

from .frames import event, exception, frame, header

Messages = list[EventStreamMessage]


def read(pieces: Iterable[bytes], parser: AwsEventStreamParser | None = None) -> tuple[Messages, list[str]]:
    parser = parser or AwsEventStreamParser()
    found = [message for piece in pieces for message in parser.receive_data(piece)]
    return found + parser.receive_eof(), parser.faults


def test_an_event_is_its_type_and_its_payload() -> None:
    stream = event("messageStart", b'{"role":"assistant"}') + event("chunk", b'{"bytes":"e30="}')
    assert read([stream]) == (
        [("messageStart", b'{"role":"assistant"}'), ("chunk", b'{"bytes":"e30="}')],
        [],
    )


def test_an_event_comes_with_its_last_byte() -> None:
    parser = AwsEventStreamParser()
    whole = event("a", b"{}")
    assert parser.receive_data(whole[:-1]) == []
    assert parser.receive_data(whole[-1:] + whole[:20]) == [("a", b"{}")]
    assert parser.receive_data(whole[20:]) == [("a", b"{}")]
    assert parser.receive_eof() == []
    assert parser.faults == []


def test_an_exception_is_named_by_its_type() -> None:
    sent = b'{"message":"Too many tokens"}'
    assert read([exception("throttlingException", sent)]) == ([("throttlingException", sent)], [])


def test_an_error_without_payload_says_its_headers() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": 'a "b"'}
    assert read([frame(headers)]) == ([("InternalError", b'{"message":"a \\"b\\""}')], [])
    assert read([frame({":message-type": "error"})]) == ([("", b'{"message":""}')], [])


def test_a_message_without_payload_or_headers_is_an_empty_object() -> None:
    assert read([event("initial-response", b""), frame({})]) == (
        [("initial-response", b"{}"), ("", b"{}")],
        [],
    )


def test_headers_of_every_type_are_passed_over() -> None:
    raw = b"".join(
        (
            header("yes", 0, b""),
            header("no", 1, b""),
            header("byte", 2, b"\x01"),
            header("short", 3, b"\x00\x01"),
            header("int", 4, b"\x00" * 4),
            header("long", 5, b"\x00" * 8),
            header("bytes", 6, struct.pack(">H", 3) + b"\xff\x00\xff"),
            header(":event-type", 7, struct.pack(">H", 5) + b"chunk"),
            header("when", 8, b"\x00" * 8),
            header("id", 9, b"\x00" * 16),
        )
    )
    assert read([frame(raw, b"{}")]) == ([("chunk", b"{}")], [])


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05a",  # a name that is cut off
        b"\x01a",  # no type
        b"\x01a\x0a",  # no such type
        b"\x01a\x07",  # no length
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x05abcd",  # a value that is cut off
        b"\x01a\x06\x00\x01",
        b"\x01a\x09" + b"\x00" * 15,
        b"\x01a\x02",
    ],
)
def test_headers_that_do_not_fit_cost_their_message_only(headers: bytes) -> None:
    parser = AwsEventStreamParser()
    found = read([frame(headers, b"{}") + event("b", b"{}")], parser)
    assert found == ([("b", b"{}")], ["aws_event_stream.malformed"])
    assert parser.skipped == 1


def test_a_wrong_checksum_costs_its_message_only() -> None:
    damaged = bytearray(event("a", b'{"n":1}'))
    damaged[-6] ^= 1
    parser = AwsEventStreamParser()
    assert read([bytes(damaged) + event("b", b"{}")], parser) == (
        [("b", b"{}")],
        ["aws_event_stream.malformed"],
    )
    assert parser.skipped == 1


@pytest.mark.parametrize(
    ("length", "headers", "checksum_off"),
    [(15, 0, 0), (0, 0, 0), (100, 85, 0), (100, 0xFFFF_FFFF, 0), (100, 10, 1)],
)
def test_after_a_prelude_that_cannot_be_right_nothing_is_read(
    length: int, headers: int, checksum_off: int
) -> None:
    prelude = struct.pack(">II", length, headers)
    prelude += struct.pack(">I", zlib.crc32(prelude) ^ checksum_off)
    stream = event("a", b"{}") + prelude + event("b", b"{}")
    parser = AwsEventStreamParser()
    assert read([stream, event("c", b"{}")], parser) == ([("a", b"{}")], ["aws_event_stream.lost"])


def test_a_stream_that_is_cut_off_is_a_fault() -> None:
    assert read([event("a", b"{}") + event("b", b"{}")[:-1]]) == (
        [("a", b"{}")],
        ["aws_event_stream.truncated"],
    )


@pytest.mark.parametrize("size", [1, 7, 1000, 10_000])
def test_a_message_above_the_limit_is_passed_over(size: int) -> None:
    stream = event("a", b"{}") + event("b", b"x" * 2000) + event("c", b"{}")
    parser = AwsEventStreamParser(max_message=200)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert read(pieces, parser) == ([("a", b"{}"), ("c", b"{}")], ["aws_event_stream.message_too_long"])
    assert parser.skipped == 1


def test_a_message_above_the_limit_may_end_the_stream_or_break_off() -> None:
    large = event("b", b"x" * 2000)
    assert read([large], AwsEventStreamParser(max_message=200))[1] == ["aws_event_stream.message_too_long"]
    assert read([large[:-1]], AwsEventStreamParser(max_message=200))[1] == [
        "aws_event_stream.message_too_long",
        "aws_event_stream.truncated",
    ]


def test_no_more_than_one_message_is_kept() -> None:
    parser = AwsEventStreamParser(max_message=1000)
    prelude = struct.pack(">II", 0xFFFF_FFFF, 0)
    parser.receive_data(prelude + struct.pack(">I", zlib.crc32(prelude)))
    for _ in range(1000):
        assert parser.receive_data(b"x" * 1000) == []
        assert len(parser._pending) <= 1000


NAMES = st.text(max_size=20)
HEADERS = st.dictionaries(NAMES.filter(bool), NAMES, max_size=4)


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=50)), max_size=5), st.lists(st.integers(0, 2000)))
def test_what_is_written_is_read_however_it_is_cut(
    messages: list[tuple[Mapping[str, str], bytes]], points: list[int]
) -> None:
    stream = b"".join(frame({**headers, ":event-type": str(n)}, b) for n, (headers, b) in enumerate(messages))
    ends = [0, *sorted(min(point, len(stream)) for point in points), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(ends)]
    wanted = [(str(n), payload or b"{}") for n, (_, payload) in enumerate(messages)]
    assert read(pieces) == (wanted, [])


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_damage_anywhere_never_yields_what_was_not_sent(at: int, change: int) -> None:
    whole = [event("a", b'{"n":1}'), event("b", b'{"n":2}'), event("c", b'{"n":3}')]
    damaged = bytearray(b"".join(whole))
    damaged[at % len(damaged)] ^= change
    found, faults = read([bytes(damaged)])
    assert set(found) < {("a", b'{"n":1}'), ("b", b'{"n":2}'), ("c", b'{"n":3}')}
    assert faults
