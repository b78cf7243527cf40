"""Server-sent events: the standard's rules, the vendors' habits, and two other readings of them."""

from __future__ import annotations

import re
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.framing.sse import ServerSentEvent, SSEParser, looks_like_sse, tail_events


def events(stream: bytes, **options: int) -> list[tuple[str, bytes]]:
    parser = SSEParser(**options)
    return [(event.event, event.data) for event in parser.receive_data(stream) + parser.receive_eof()]


RULES = {
    # WHATWG HTML 9.2.6
    "the standard's first example": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [("", b"YHOO\n+2\n10")],
    ),
    "the standard's second example": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [("", b"first event"), ("", b"second event"), ("", b" third event")],
    ),
    "the standard's third example": (
        b"data\n\ndata\ndata\n\ndata:\n",
        [("", b""), ("", b"\n"), ("", b"")],
    ),
    "the standard's fourth example": (b"data:test\n\ndata: test\n\n", [("", b"test"), ("", b"test")]),
    "byte-order mark": (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
    "only one byte-order mark": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [("", b"b")]),
    "line ends may be mixed": (
        b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r",
        [("", b"a\nb\nc"), ("", b"d")],
    ),
    "no data, no event": (b"event: a\n\nid: 3\n\nretry: 4\n\ndata: b\n\n", [("", b"b")]),
    "field names are exact": (b"Data: a\ndatax: b\n data: c\ndata : d\n\n", []),
    "last event name wins": (b"event: a\nevent: b\ndata: c\n\n", [("b", b"c")]),
    "event name does not outlive its event": (b"event: a\ndata: b\n\ndata: c\n\n", [("a", b"b"), ("", b"c")]),
    "only one space is dropped": (b"data:  a \n\n", [("", b" a ")]),
    "invalid UTF-8 stays in the data": (b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff")]),
    # Vendors
    "comments of OpenRouter": (
        b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: {}\n\n",
        [("", b"{}")],
    ),
    "data before its event name (bedrock-mantle)": (b"data: {}\nevent: done\n\n", [("done", b"{}")]),
    "CRLF (Gemini)": (b"data: {}\r\n\r\ndata: []\r\n\r\n", [("", b"{}"), ("", b"[]")]),
    "no blank line at the end": (b"data: {}\n\ndata: [DONE]", [("", b"{}"), ("", b"[DONE]")]),
    "one line end at the end": (b"data: {}\n\nevent: a\ndata: b\n", [("", b"{}"), ("a", b"b")]),
    "cut off at the end": (b'data: {"usage": {"in', [("", b'{"usage": {"in')]),
    "bare JSON between events (Vertex)": (
        b'data: {}\n\n{\n  "error": {\n    "code": 499\n  }\n}\n',
        [("", b"{}"), ("", b'{\n  "error": {\n    "code": 499\n  }\n}')],
    ),
    "bare JSON right after and before an event": (
        b'event: a\ndata: b\n{"error": 1}\ndata: c\n\n',
        [("a", b"b"), ("", b'{"error": 1}'), ("a", b"c")],
    ),
    "bare JSON, then a comment": (b'[{"error": 1}]\n: note\n\n', [("", b'[{"error": 1}]')]),
    "plain JSON as an event stream (Gemini)": (
        b'\n{\n  "error": {"code": 400}\n}\n',
        [("", b'{\n  "error": {"code": 400}\n}')],
    ),
    "empty stream": (b"", []),
}


@pytest.mark.parametrize(("stream", "expected"), RULES.values(), ids=RULES)
def test_rules(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert events(stream) == expected


def test_an_event_is_a_named_tuple() -> None:
    [event] = SSEParser().receive_data(b"event: a\ndata: b\n\n")
    assert event == ServerSentEvent(event="a", data=b"b")
    [event] = SSEParser().receive_data(b"data: b\n\n")
    assert event == ServerSentEvent(event="", data=b"b")
    assert type(event) is ServerSentEvent


def test_a_line_that_is_no_field_is_a_fault_and_ignored() -> None:
    parser = SSEParser()
    assert parser.receive_data(b"<html>\ndata: a\nfoo: b\n\n") == [("", b"a")]
    assert parser.faults == ["sse.unknown_line"]


@pytest.mark.parametrize("prefix", [b"data: ", b"event: a\ndata: "])
def test_an_event_above_the_limit_is_skipped_and_counted(prefix: bytes) -> None:
    parser = SSEParser(max_event=100)
    fits, too_long = (prefix + b"x" * (size - len(prefix)) + b"\n\n" for size in (100, 101))
    given_events = parser.receive_data(fits + too_long + b"data: next\n\n" + too_long[:-2])
    assert [event.data[-4:] for event in given_events] == [b"xxxx", b"next"]
    assert parser.skipped == 1
    assert parser.receive_eof() == []
    assert parser.skipped == 2
    assert parser.faults == ["sse.event_too_long"]


def test_parsing_goes_on_after_a_long_event_in_many_pieces() -> None:
    parser = SSEParser(max_event=1000)
    assert parser.receive_data(b"data: ") == []
    for _ in range(100):
        assert parser.receive_data(b"x" * 99 + b"\n") == []
    assert parser.receive_data(b"\ndata: a\n\ndata: b") == [("", b"a")]
    assert parser.receive_eof() == [("", b"b")]
    assert (parser.skipped, parser.faults) == (1, ["sse.event_too_long"])


def test_a_large_event_in_small_pieces() -> None:
    parser = SSEParser()
    stream = b"data: " + b"x" * 1_000_000 + b"\n\n"
    found = [event for at in range(0, len(stream), 50) for event in parser.receive_data(stream[at : at + 50])]
    assert [len(event.data) for event in found] == [1_000_000]


# ── against two other readings ──────────────────────────────────────────────────────────────────────


def reference(stream: bytes) -> list[tuple[str, bytes]]:
    """The standard's algorithm line by line, with our two additions."""
    found: list[tuple[str, bytes]] = []
    name, data, raw = b"", None, None
    for line in [*re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        field, _, value = line.partition(b":")
        known = field in (b"data", b"event", b"id", b"retry", b"")
        if raw is not None and known:
            found.append(("", raw))
            raw = None
        if data is not None and (not line or (raw is None and not known and line[:1] in b"{[")):
            found.append((name.decode(errors="replace"), data))
            data = None
        if not line:
            name = b""
        elif raw is not None:
            raw += b"\n" + line
        elif not known and line[:1] in b"{[":
            raw = line
        elif field == b"data":
            value = value.removeprefix(b" ")
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value.removeprefix(b" ")
    return found


WORDS = (
    rb'data: a|data:b|data|data:  c|event: x|event|: note|id: 1|retry: 2|foo: d|da|{|{"e": 1}| "f": 2|}|[|||'
)
LINES = st.sampled_from([*WORDS.split(b"|"), b"\xef\xbb\xbf", b"\xff"])
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=25).map(b"".join)


@settings(max_examples=400)
@given(stream=STREAMS, last=LINES, points=st.lists(st.integers(0, 200), max_size=6))
def test_same_events_as_the_standards_algorithm(stream: bytes, last: bytes, points: list[int]) -> None:
    stream += last
    expected = reference(stream)
    assert events(stream) == expected
    parser = SSEParser()
    ends = [0, *sorted(points), len(stream)]
    found = [event for start, end in pairwise(ends) for event in parser.receive_data(stream[start:end])]
    assert found + parser.receive_eof() == expected


DATA = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


@given(
    written=st.lists(st.tuples(st.sampled_from(["", "delta", "done"]), DATA), max_size=10), crlf=st.booleans()
)
def test_same_events_as_httpx2(written: list[tuple[str, str]], crlf: bool) -> None:
    blocks = ((f"event: {name}\n" if name else "") + f"data: {data}\n\n" for name, data in written)
    text = "".join(blocks)
    stream = (text.replace("\n", "\r\n") if crlf else text).encode()
    response = httpx2.Response(
        200,
        headers={"content-type": "text/event-stream; charset=utf-8"},
        content=stream,
        request=httpx2.Request("GET", "http://localhost"),
    )
    theirs = [(event.event, event.data.encode()) for event in httpx2.EventSource(response)]
    assert [(name or "message", data) for name, data in events(stream)] == theirs


# ── the end of a stream, and its first bytes ────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_tail_events_are_the_last_events(end: bytes) -> None:
    blocks = [b"event: a" + end + b"data: %d" % number + end * 2 for number in range(5)]
    stream = b"".join(blocks)
    whole = events(stream)
    for start in range(1, len(stream)):
        tail = [tuple(event) for event in tail_events(stream[start:])]
        assert tail == whole[len(whole) - len(tail) :]
        assert len(tail) >= 5 - (start // len(blocks[0])) - 2
    assert [event.data for event in tail_events(b"lf\n\ndata: a\n\ndata: cut off")] == [b"a", b"cut off"]


def test_a_tail_inside_one_event_has_no_events() -> None:
    assert tail_events(b'long text"}\n') == []
    assert tail_events(b"a\n\ndata: " + b"x" * 100 + b"\n\ndata: b\n\n", max_event=50) == [("", b"b")]


HEADS = {
    b"data: {": True,
    b"data:": True,
    b"data\n": True,
    b"event: a": True,
    b"id: 1": True,
    b"retry:": True,
    b": OPENROUTER": True,
    b"\xef\xbb\xbf\n\ndata: a": True,
    b"": None,
    b" \r\n": None,
    b"\xef\xbb": None,
    b"da": None,
    b"event": None,
    b"date: 3": False,
    b"{": False,
    b'[{"a"': False,
    b"\xef\xbb\xbf{": False,
    b"<html>": False,
    b"database": False,
}


@pytest.mark.parametrize(("head", "expected"), HEADS.items(), ids=map(repr, HEADS))
def test_looks_like_sse(head: bytes, expected: bool | None) -> None:
    assert looks_like_sse(head) is expected
