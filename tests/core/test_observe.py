"""Reading answers as they pass: in any pieces, any framing, bounded."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.core.observe import (
    EDGE,
    MAX_EDGE,
    MAX_WHOLE,
    BodyObserver,
    StreamObserver,
    ignore,
    parser_for,
)
from aden_transport.framing.content_encoding import decoder_for
from aden_transport.framing.json_array import JsonArrayParser
from aden_transport.framing.ndjson import NdjsonParser
from aden_transport.framing.sse import SSEParser
from aden_transport.vendors import Operation, Reading, StreamShape
from aden_transport.vendors.anthropic import MESSAGES
from aden_transport.vendors.gemini import STREAM_GENERATE
from aden_transport.vendors.openai import CHAT, COMPLETION, IMAGES, RESPONSES, SPEECH, TRANSCRIPTION

from .kit import every_cut, sse

USAGE = {"prompt_tokens": 9, "completion_tokens": 2}
ITEM_USAGE = {"input_tokens": 9, "output_tokens": 2}


def shape_of(operation: Operation) -> StreamShape:
    assert operation.stream is not None
    return operation.stream


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": text}, **more}]}


TRAP = 'data: [DONE]\n\nevent: message_stop\n"type":"response.completed"'
"""Text that an answer may well contain."""

CHAT_EVENTS = [
    delta("Hi"),
    delta(TRAP),
    delta("", finish_reason="stop"),
    {"id": "c", "choices": [], "usage": USAGE},
]
RESPONSE_EVENTS: list[dict[str, Any]] = [
    {
        "type": "response.created",
        "response": {"id": "r", "model": "gpt-4o", "status": "in_progress", "usage": None},
    },
    {"type": "response.output_text.delta", "delta": "Hi"},
    {"type": "response.output_text.delta", "delta": TRAP},
    {
        "type": "response.completed",
        "response": {"id": "r", "model": "gpt-4o", "status": "completed", "output": [], "usage": ITEM_USAGE},
    },
]
CLAUDE_EVENTS = [
    {
        "type": "message_start",
        "message": {"id": "m", "model": "claude", "usage": {**ITEM_USAGE, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TRAP}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
GEMINI_EVENTS = [
    {
        "candidates": [{"content": {"parts": [{"text": TRAP}]}}],
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
        "modelVersion": "gemini",
        "responseId": "g",
    },
    {
        "candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11},
        "modelVersion": "gemini",
        "responseId": "g",
    },
]
IMAGE_EVENTS = [
    {"type": "image_generation.partial_image", "b64_json": "x"},
    {"type": "image_generation.completed", "b64_json": "x", "usage": ITEM_USAGE},
]
TRANSCRIPT_EVENTS = [
    {"type": "transcript.text.delta", "delta": "Hi"},
    {"type": "transcript.text.done", "text": "Hi", "usage": {"type": "tokens", **ITEM_USAGE}},
]
SPEECH_EVENTS = [
    {"type": "speech.audio.delta", "audio": "x"},
    {"type": "speech.audio.done", "usage": ITEM_USAGE},
]
STREAMS: Mapping[str, tuple[Operation, bytes]] = {
    "chat": (CHAT, sse(*CHAT_EVENTS, done=True)),
    "chat, CRLF": (CHAT, sse(*CHAT_EVENTS, done=True, end="\r\n")),
    "chat, spaced": (CHAT, sse(*map(json.dumps, CHAT_EVENTS), done=True)),
    "chat, no space": (CHAT, sse(*CHAT_EVENTS, done=True).replace(b"data: ", b"data:")),
    "chat, comments": (
        CHAT,
        b": PROCESSING\n\n: PROCESSING\n\n" + sse(*CHAT_EVENTS) + b": x\n\n" + sse(done=True),
    ),
    "completions": (COMPLETION, sse({"choices": [{"text": "Hi", "finish_reason": "stop"}]}, done=True)),
    "responses": (RESPONSES, sse(*RESPONSE_EVENTS, named=True)),
    "responses, unnamed": (RESPONSES, sse(*RESPONSE_EVENTS)),
    "responses, CRLF": (RESPONSES, sse(*RESPONSE_EVENTS, named=True, end="\r\n")),
    "responses, data first": (
        RESPONSES,
        b"".join(
            b"data: %s\nevent: %s\n\n" % (json.dumps(e).encode(), str(e["type"]).encode())
            for e in RESPONSE_EVENTS
        ),
    ),
    "messages": (MESSAGES, sse(*CLAUDE_EVENTS, named=True)),
    "messages, CRLF": (MESSAGES, sse(*CLAUDE_EVENTS, named=True, end="\r\n")),
    "messages, spaced": (MESSAGES, sse(*map(json.dumps, CLAUDE_EVENTS))),
    "images": (IMAGES, sse(*IMAGE_EVENTS)),
    "transcript": (TRANSCRIPTION, sse(*TRANSCRIPT_EVENTS)),
    "speech": (SPEECH, sse(*SPEECH_EVENTS)),
}
"""Whose last event is marked."""
UNMARKED: Mapping[str, tuple[Operation, bytes]] = {
    "gemini": (STREAM_GENERATE, sse(*GEMINI_EVENTS)),
    "gemini, CRLF": (STREAM_GENERATE, sse(*GEMINI_EVENTS, end="\r\n")),
    "gemini, no last blank line": (STREAM_GENERATE, sse(*GEMINI_EVENTS, end="\r\n").rstrip()),
    "gemini, array": (STREAM_GENERATE, json.dumps(GEMINI_EVENTS, indent=1).encode()),
    "gemini, CRLF array": (
        STREAM_GENERATE,
        b"[" + b"\r\n,\r\n".join(json.dumps(e).encode() for e in GEMINI_EVENTS) + b"]",
    ),
    "gemini, lines": (STREAM_GENERATE, b"\n".join(json.dumps(e).encode() for e in GEMINI_EVENTS)),
    "gemini, one object": (STREAM_GENERATE, json.dumps(GEMINI_EVENTS[-1]).encode()),
    "error among events": (
        STREAM_GENERATE,
        sse(GEMINI_EVENTS[0]) + b'{\n "error": {\n  "code": 500,\n  "message": "broke"\n }\n}\n',
    ),
    "error alone": (CHAT, b'{"error": {"message": "broke", "code": "server_error"}}'),
    "chat, cut off": (CHAT, sse(*CHAT_EVENTS[:3])[:-9]),
    "no JSON": (CHAT, sse(delta("Hi"), "[1]", "7", "oops", delta("", finish_reason="stop"), done=True)),
    "nothing": (CHAT, b""),
    "blank": (CHAT, b"\n\n\n\n"),
}
KEPT_ALIVE = {
    "comments": b": ping\n\n",
    "long comments": b": " + 99 * b" " + b"\n\n",
    "pings": b'event: ping\ndata: {"type": "ping", "cost": "0.00000000"}\n\n',
}
PINGED: Mapping[tuple[str, str], bytes] = {
    (name, kind): b"".join(5 * ping + event + b"\n\n" for event in data.split(b"\n\n") if event) + 5 * ping
    for name in ("chat", "chat, comments", "responses", "messages", "gemini", "transcript")
    for data in ({**STREAMS, **UNMARKED}[name][1],)
    for kind, ping in KEPT_ALIVE.items()
}
"""What keeps a connection alive while a model thinks, before and after every event."""
ALL = {**STREAMS, **UNMARKED}
MARKED = {*STREAMS, "no JSON"}


class Observed:
    """A stream observer, and how often it saw a first piece and the last event."""

    def __init__(self, shape: StreamShape, *, full: bool = False, encoding: str | None = None) -> None:
        self.firsts = self.terminals = 0
        self.found: dict[str, Any] | None = None
        """What was read when the last event was seen, as an exchange does."""
        self.reading = Reading()
        self.observer = StreamObserver(
            shape,
            self.reading,
            decoder_for(encoding),
            full=full,
            on_first=self._first,
            on_terminal=self._terminal,
        )

    def _first(self) -> None:
        self.firsts += 1

    def _terminal(self) -> None:
        self.terminals += 1
        self.found = self._read()

    def feed(self, pieces: Sequence[bytes]) -> Observed:
        for piece in pieces:
            self.observer.receive_data(piece)
        return self

    def read(self) -> dict[str, Any]:
        """What was read. Text is counted apart, since the quick way does not look at all of it."""
        return self._read() if self.found is None else self.found

    def _read(self) -> dict[str, Any]:
        self.observer.read()
        return {"usage": None, **vars(self.reading), "text_bytes": self.observer.text_bytes()}


def observed(
    name: str, pieces: Sequence[bytes], *, full: bool = False, encoding: str | None = None
) -> dict[str, Any]:
    return Observed(shape_of(ALL[name][0]), full=full, encoding=encoding).feed(pieces).read()


# -- streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_quick_and_the_slow_way_read_the_same_however_it_is_cut(name: str) -> None:
    data = ALL[name][1]
    wanted = observed(name, [data])
    for pieces in every_cut(data):
        for full in (False, True):
            assert observed(name, pieces, full=full) == wanted


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("full", [False, True])
def test_the_last_event_is_seen_at_its_last_byte(name: str, full: bool) -> None:
    operation, data = STREAMS[name]
    for pieces in every_cut(data):
        pieces = [piece for piece in pieces if piece]
        seen = Observed(shape_of(operation), full=full).feed(pieces[:-1])
        assert seen.terminals == 0
        seen.feed(pieces[-1:])
        assert (seen.terminals, seen.firsts) == (1, 1)
        seen.feed([b"data: late\n\n", sse(*CHAT_EVENTS, done=True)])
        assert seen.terminals == 1


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(name=st.sampled_from(list(ALL)), cuts=st.lists(st.integers(1, 1500), max_size=20), full=st.booleans())
def test_any_pieces_read_the_same(name: str, cuts: list[int], full: bool) -> None:
    data = ALL[name][1]
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    seen = Observed(shape_of(ALL[name][0]), full=full).feed(pieces)
    assert seen.terminals == (name in MARKED)
    assert seen.read() == observed(name, [data])


@pytest.mark.parametrize("name", UNMARKED)
def test_without_a_marked_last_event_none_is_seen(name: str) -> None:
    operation, data = UNMARKED[name]
    seen = Observed(shape_of(operation)).feed([data])
    assert (seen.terminals, seen.firsts) == (name in MARKED, 1)


@pytest.mark.parametrize("name", ALL)
def test_what_comes_after_the_end_changes_nothing(name: str) -> None:
    data = ALL[name][1]
    if name in STREAMS:
        assert observed(name, [data, sse(delta("late", finish_reason="length"))]) == observed(name, [data])


@pytest.mark.parametrize(("name", "kind"), PINGED)
@pytest.mark.parametrize("size", [10**6, 37])
def test_what_keeps_a_connection_alive_changes_no_figure(name: str, kind: str, size: int) -> None:
    data = PINGED[name, kind]
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert observed(name, pieces) == observed(name, [ALL[name][1]])


def test_blank_lines_between_events_change_no_figure() -> None:
    data = STREAMS["messages"][1].replace(b"\n\n", 7 * b"\n\n")
    assert observed("messages", [data]) == observed("messages", [STREAMS["messages"][1]])


@pytest.mark.parametrize("end", [b"", b" ", b"\r", b"\n"])
def test_a_last_event_without_its_blank_line_is_one(end: bytes) -> None:
    seen = Observed(shape_of(CHAT)).feed([sse(delta("Hi")) + b"data: [DONE]" + end])
    seen.read()
    assert (seen.terminals, seen.reading.ended, seen.reading.faults) == (0, True, [])


@pytest.mark.parametrize("name", ["images", "transcript", "speech"])
def test_a_last_event_is_one_however_its_json_is_spaced(name: str) -> None:
    operation, data = STREAMS[name]
    events = [json.dumps(json.loads(line[6:])) for line in data.splitlines() if line]
    seen = Observed(shape_of(operation)).feed([sse(*events)])
    seen.read()
    assert seen.reading.ended
    assert seen.reading.usage is not None


def test_tools_that_the_request_does_not_name_are_read_whole() -> None:
    def call(**function: Any) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]}

    events = [delta("Hm"), call(name="look", arguments=""), *(call(arguments="xy") for _ in range(9))]
    for reason in ("tool_calls", "stop"):
        seen = Observed(shape_of(CHAT)).feed([sse(*events, delta("", finish_reason=reason), done=True)])
        seen.read()
        assert seen.reading.tools is not None
        assert [(tool.name, tool.arguments_bytes) for tool in seen.reading.tools.values()] == [("look", 18)]


@pytest.mark.parametrize("middle", [9, 900])
def test_a_beginning_after_events_of_another_kind_is_read(middle: int) -> None:
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 99 * "x"}}
    other = {"type": "vertex_event", "data": {"about": "the events that follow"}}
    events = [other, other, *CLAUDE_EVENTS[:3], *(text for _ in range(middle)), *CLAUDE_EVENTS[4:]]
    data = sse(*events, named=True)
    pieces = [data[at : at + 999] for at in range(0, len(data), 999)]
    seen = Observed(shape_of(MESSAGES)).feed(pieces)
    found = seen.read()
    assert (found["usage"].input_tokens, found["usage"].output_tokens, found["faults"]) == (9, 2, [])
    assert found["response_id"] == "m"
    assert bool(seen.observer.skipped) == (middle == 900)


def test_figures_of_every_dialect_are_read() -> None:
    for name in STREAMS:
        found = observed(name, [STREAMS[name][1]])
        if name != "completions":
            usage = found["usage"]
            assert (usage.input_tokens, usage.output_tokens) == (9, 2), name
        assert found["faults"] == []


def test_faults_of_a_stream_are_named_once() -> None:
    for name, faults in (
        ("no JSON", ["stream.malformed"]),
        ("chat, cut off", ["stream.malformed"]),
        ("nothing", []),
        ("blank", []),
        ("error alone", []),
    ):
        assert observed(name, [ALL[name][1]])["faults"] == faults
    twice = sse("oops", "oops again")
    assert Observed(shape_of(CHAT), full=True).feed([twice]).read()["faults"] == ["stream.malformed"]


def test_errors_inside_a_stream_are_read() -> None:
    assert observed("error among events", [UNMARKED["error among events"][1]])["error"] == "broke"
    assert observed("error alone", [UNMARKED["error alone"][1]])["error"] == "broke"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_encoded_stream_reads_the_same(name: str, encoding: str) -> None:
    import zlib

    data = ALL[name][1]
    packed = gzip.compress(data, mtime=0) if encoding == "gzip" else zlib.compress(data)
    for size in (1, 7, len(packed)):
        pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
        seen = Observed(shape_of(ALL[name][0]), encoding=encoding).feed(pieces)
        assert not seen.observer.plain
        assert seen.terminals == (name in MARKED)
        assert seen.read() == observed(name, [data])


def test_a_broken_encoding_is_a_fault() -> None:
    packed = gzip.compress(STREAMS["chat"][1], mtime=0)
    assert observed("chat", [packed[: len(packed) // 2]], encoding="gzip")["faults"][:1] == [
        "encoding.truncated"
    ]
    assert observed("chat", [b"no gzip at all"], encoding="gzip")["faults"] == ["encoding.corrupt"]


def test_a_stream_that_has_ended_may_end_before_its_encoding() -> None:
    packed = gzip.compress(STREAMS["chat"][1], mtime=0)
    assert observed("chat", [packed[:-4]], encoding="gzip")["faults"] == []


# -- what an adapter does by itself ------------------------------------------------------------------


def by_hand(observer: StreamObserver, pieces: Sequence[bytes]) -> None:
    """As the class describes it, and adapters do it."""
    chunks, place, byte, many = observer.chunks, observer.place, observer.byte, 0
    for piece in pieces:
        chunks.append(piece)
        many -= 1
        try:
            if many >= 0 and piece[place] == byte:
                continue
        except IndexError:
            pass
        many = observer.look()


@pytest.mark.parametrize("name", ALL)
def test_an_adapters_own_loop_sees_the_same(name: str) -> None:
    operation, data = ALL[name]
    for pieces in every_cut(data):
        seen = Observed(shape_of(operation))
        by_hand(seen.observer, [piece for piece in pieces if piece])
        assert seen.terminals == (name in MARKED)
        assert seen.read() == observed(name, [data])


@pytest.mark.parametrize("name", ALL)
def test_a_loop_may_go_on_where_another_was_left(name: str) -> None:
    operation, data = ALL[name]
    for pieces in every_cut(data):
        seen = Observed(shape_of(operation))
        for piece in pieces:
            if piece:
                by_hand(seen.observer, [piece])
        assert seen.terminals == (name in MARKED)
        assert seen.read() == observed(name, [data])


# -- bounds ------------------------------------------------------------------------------------------


def long_chat(events: int, size: int = 40) -> list[bytes]:
    middle = sse(delta("x" * size))
    return [sse(delta("Hi")), *[middle] * events, *(sse(e) for e in CHAT_EVENTS[2:]), sse(done=True)]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("hand", [False, True])
def test_a_hundred_thousand_events_are_read_in_bounded_memory(full: bool, hand: bool) -> None:
    seen = Observed(shape_of(CHAT), full=full)
    observer = seen.observer
    pieces = long_chat(100_000)
    kept = 0

    for start in range(0, len(pieces), 5000):
        part = pieces[start : start + 5000]
        if hand:
            by_hand(observer, part)
        else:
            seen.feed(part)
        kept = max(kept, sum(map(len, observer.chunks)))
        assert len(observer.chunks) < 5000
    assert kept < 4 * EDGE
    assert seen.terminals == 1
    found = seen.read()
    assert (found["usage"].input_tokens, found["finish_reasons"], found["faults"]) == (9, {0: "stop"}, [])
    assert found["response_id"] == "c"
    # What was not kept is inferred: a quarter more or less is no matter.
    assert 0.75 < found["text_bytes"] / 4_000_000 < 1.25
    assert (observer.skipped > 0) == (not full)


@pytest.mark.parametrize("events", [600, 1200, 1800, 2500])
def test_a_stream_between_whole_and_too_long_reads_the_same(events: int) -> None:
    pieces = long_chat(events)
    data = b"".join(pieces)
    wanted = Observed(shape_of(CHAT), full=True).feed([data]).read()
    for size in (None, 1000, 70_000, 200_000):
        cut = pieces if size is None else [data[at : at + size] for at in range(0, len(data), size)]
        seen = Observed(shape_of(CHAT)).feed(cut)
        assert seen.terminals == 1
        found = seen.read()
        exact = seen.observer.skipped == 0
        text = found.pop("text_bytes")
        assert found == {k: v for k, v in wanted.items() if k != "text_bytes"}
        assert text == wanted["text_bytes"] if exact else abs(text / wanted["text_bytes"] - 1) < 0.25


def huge(size: int) -> list[bytes]:
    """A Responses stream whose last event repeats the whole text."""
    text = {"type": "message", "content": [{"type": "output_text", "text": "x" * size}]}
    last = {"type": "response.completed", "response": {**RESPONSE_EVENTS[-1]["response"], "output": [text]}}
    return [sse(e, named=True) for e in (*RESPONSE_EVENTS[:-1], *[RESPONSE_EVENTS[1]] * 2000, last)]


@pytest.mark.parametrize("piece", [None, 1460, 65_536])
@pytest.mark.parametrize("size", [100_000, 900_000])
def test_a_huge_last_event_is_read_whole(size: int, piece: int | None) -> None:
    pieces = huge(size)
    data = b"".join(pieces)
    cut = pieces if piece is None else [data[at : at + piece] for at in range(0, len(data), piece)]
    seen = Observed(shape_of(RESPONSES)).feed(cut)
    found = seen.read()
    assert seen.terminals == 1
    assert (found["usage"].input_tokens, found["usage"].output_tokens) == (9, 2)
    assert (found["faults"], found["finish_reasons"]) == ([], {0: "completed"})


@pytest.mark.parametrize("piece", [None, 1460, 65_536])
def test_a_last_event_that_is_too_large_is_not_kept(piece: int | None) -> None:
    pieces = huge(3 * MAX_EDGE)
    data = b"".join(pieces)
    cut = pieces if piece is None else [data[at : at + piece] for at in range(0, len(data), piece)]
    seen = Observed(shape_of(RESPONSES))
    for part in cut:
        seen.feed([part])
        assert sum(map(len, seen.observer.chunks)) <= max(2 * MAX_EDGE, len(part) + 2 * EDGE)
    found = seen.read()
    assert found["usage"] is None
    assert found["response_id"] == "r"


@pytest.mark.parametrize("piece", [None, 1460, 65_536])
def test_a_huge_event_in_the_middle_is_passed_over(piece: int | None) -> None:
    pieces = long_chat(3000)
    pieces[2000:2000] = [sse(delta("x" * 3 * MAX_EDGE))]
    data = b"".join(pieces)
    seen = Observed(shape_of(CHAT))
    for part in pieces if piece is None else [data[at : at + piece] for at in range(0, len(data), piece)]:
        seen.feed([part])
        assert sum(map(len, seen.observer.chunks)) <= 2 * MAX_EDGE + max(map(len, pieces))
    found = seen.read()
    assert (seen.terminals, found["usage"].input_tokens, found["finish_reasons"]) == (1, 9, {0: "stop"})
    assert seen.observer.skipped > 2 * MAX_EDGE


def test_nothing_is_kept_after_the_last_event() -> None:
    seen = Observed(shape_of(CHAT)).feed([STREAMS["chat"][1]])
    for _ in range(1000):
        seen.observer.receive_data(b"x" * 1000)
    assert sum(map(len, seen.observer.chunks)) <= 5000


def test_ignoring_takes_anything() -> None:
    ignore(b"data")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"data: {}", SSEParser),
        (b": comment", SSEParser),
        (b"", SSEParser),
        (b"\xef\xbb\xbf [", JsonArrayParser),
        (b"\r\n[{", JsonArrayParser),
        (b"{\n}", JsonArrayParser),
        (b'{"a":1}\n{"a":2}', NdjsonParser),
    ],
)
def test_the_framing_is_told_by_the_beginning(start: bytes, kind: type) -> None:
    assert type(parser_for(start)) is kind


# -- bodies ------------------------------------------------------------------------------------------

BODY = {
    "id": "c",
    "model": "gpt-4o",
    "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


def body_read(pieces: Sequence[bytes], *, error: bool = False, encoding: str | None = None) -> dict[str, Any]:
    observer, reading = BodyObserver(decoder_for(encoding)), Reading()
    for piece in pieces:
        observer.receive_data(piece)
    observer.read(CHAT, reading, error=error)
    return vars(reading)


@pytest.mark.parametrize(
    "write", [json.dumps, lambda b: "\n \n" + json.dumps(b, indent=2), lambda b: "\ufeff" + json.dumps(b)]
)
def test_a_body_reads_the_same_however_it_is_cut(write: Callable[[Any], str]) -> None:
    data = write(BODY).encode()
    wanted = body_read([data])
    assert wanted["usage"].input_tokens == 9
    assert wanted["faults"] == []
    for pieces in every_cut(data):
        assert body_read(pieces) == wanted


def test_an_encoded_body_is_decoded_and_a_broken_one_is_a_fault() -> None:
    packed = gzip.compress(json.dumps({**BODY, "padding": "x" * 300}).encode(), mtime=0)
    assert body_read([packed], encoding="gzip")["usage"].input_tokens == 9
    broken = body_read([packed[:-12]], encoding="gzip")
    assert broken["faults"][0] == "encoding.truncated"
    assert body_read([b"no gzip"], encoding="gzip")["faults"] == ["encoding.corrupt"]


@pytest.mark.parametrize("data", [b"", b" \r\n", b"null", b"7", b"[]", b"[1]", b'"text"'])
def test_a_body_that_is_no_object_has_nothing_to_say(data: bytes) -> None:
    assert body_read([data] if data else []) == vars(Reading())


def test_a_body_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    found = body_read([json.dumps(BODY).encode()[:-1]])
    assert found["faults"] == ["body.malformed"]
    assert (found["response_id"], found["response_model"]) == ("c", "gpt-4o")
    assert body_read([b"<html>"])["faults"] == ["body.malformed"]


@pytest.mark.parametrize("piece", [None, 1460])
def test_a_body_that_is_too_large_is_read_at_its_ends(piece: int | None) -> None:
    data = json.dumps({"id": "c", "model": "gpt-4o", "data": "x" * 2 * MAX_WHOLE, "usage": USAGE}).encode()
    pieces = [data] if piece is None else [data[at : at + piece] for at in range(0, len(data), piece)]
    found = body_read(pieces)
    assert (found["response_id"], found["usage"].input_tokens, found["faults"]) == ("c", 9, ["body.large"])


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": {"message": "no", "code": 404}}, "no"),
        ([{"error": {"message": "no", "code": 404}}], "no"),
        ({"error": "no"}, "no"),
        ({"message": "no"}, "no"),
        ({"detail": "no"}, "no"),
        ({"detail": ["no"]}, None),
        ({}, None),
    ],
)
def test_an_error_is_read_in_every_shape(body: Any, error: str | None) -> None:
    assert body_read([json.dumps(body).encode()], error=True).get("error") == error


def test_an_answer_without_figures_is_read_all_the_same() -> None:
    observer, reading = BodyObserver(None), Reading()
    observer.receive_data(b'{"error": {"message": "no"}}')
    observer.read(SPEECH, reading, error=True)
    assert reading.error == "no"
