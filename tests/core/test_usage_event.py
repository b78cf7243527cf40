"""Hiding the usage event that was asked for on the application's behalf."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.core.usage_event import MAX_HELD, UsageEventFilter

from .kit import every_cut, sse

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
Chunk = dict[str, Any]


def chunk(text: str = "", finish: str | None = None, usage: Any = None, **more: Any) -> Chunk:
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    return {"id": "c", "choices": choices, "usage": usage, **more}


LAST: Chunk = {"id": "c", "choices": [], "usage": USAGE}
FILTERED: Chunk = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
"""Azure's first chunk."""


def passed(pieces: Sequence[bytes]) -> tuple[bytes, int]:
    hiding = UsageEventFilter()
    out = b"".join([hiding.receive_data(piece) for piece in pieces])
    return out + hiding.receive_eof(), hiding.hidden


STREAMS: dict[str, tuple[list[Any], bool]] = {
    "chat": ([chunk("Hi"), chunk("", "stop"), LAST], True),
    "azure": ([FILTERED, chunk("Hi"), chunk("", "stop"), LAST], True),
    "legacy completions": (
        [
            {"id": "c", "choices": [{"index": 0, "text": "Hi", "finish_reason": None}]},
            {"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]},
            LAST,
        ],
        True,
    ),
    "two choices": (
        [chunk("", "stop"), {**chunk(), "choices": [{"index": 1, "finish_reason": "stop"}]}, LAST],
        True,
    ),
    "usage beside choices": ([chunk("Hi"), chunk("", "stop", USAGE)], False),
    "no usage": ([chunk("Hi"), chunk("", "stop")], False),
    "usage is null": ([chunk("", "stop"), {"id": "c", "choices": [], "usage": None}], False),
    "usage before the end": ([LAST, chunk("Hi"), chunk("", "stop")], False),
    "no finish reason": ([chunk("Hi"), LAST], False),
    "talks about it": (
        [chunk('"finish_reason":"stop"'), chunk('{"choices":[],"usage":{}}'), chunk("", "stop")],
        False,
    ),
    "no object": (["[1]", chunk("", "stop"), '"usage"', 'not json with "usage"'], False),
    "empty": ([], False),
}
ENDS = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", STREAMS)
def test_the_stream_without_its_usage_event_passes_however_it_is_cut(name: str, end: str) -> None:
    chunks, hides = STREAMS[name]
    stream = sse(*chunks, end=ENDS[end], done=True)
    visible = sse(*(c for c in chunks if c is not LAST or not hides), end=ENDS[end], done=True)
    for pieces in every_cut(stream):
        assert passed(pieces) == (visible, hides)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    texts=st.lists(st.text(max_size=8), max_size=4),
    end=st.sampled_from(list(ENDS.values())),
    spaced=st.booleans(),
    done=st.booleans(),
    cuts=st.lists(st.integers(0, 900), max_size=12),
)
def test_any_chunking_shows_the_same_bytes(
    texts: list[str], end: str, spaced: bool, done: bool, cuts: list[int]
) -> None:
    chunks = [*(chunk(text) for text in texts), chunk("", "stop")]
    separators = (", ", ": ") if spaced else (",", ":")
    written = [json.dumps(c, separators=separators) for c in (*chunks, LAST)]
    stream = sse(*written, end=end, done=done)
    visible = sse(*written[:-1], end=end, done=done)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert passed(pieces) == (visible, 1)


def test_before_a_finish_reason_every_piece_passes_as_it_came() -> None:
    hiding = UsageEventFilter()
    for at, byte in enumerate(stream := sse(chunk("Hi"), chunk("there"), FILTERED)):
        assert hiding.receive_data(bytes((byte,))) == stream[at : at + 1]


def test_at_most_one_unfinished_event_is_held_back() -> None:
    stream = sse(
        chunk("Hi"), chunk("", "stop"), *[chunk(str(n)) for n in range(20)], LAST, chunk("late"), done=True
    )
    hiding = UsageEventFilter()
    shown = b""
    for at in range(len(stream)):
        shown += hiding.receive_data(stream[at : at + 1])
        held = at + 1 - len(shown) - (len(sse(LAST)) if hiding.hidden else 0)
        unfinished = at + 1 - (stream.rfind(b"\n\n", 0, at + 1) + 2)
        assert held <= unfinished
    assert hiding.hidden == 1


def test_the_last_event_without_a_blank_line_is_hidden_at_the_end() -> None:
    stream = sse(chunk("", "stop"))
    assert passed([stream, sse(LAST).rstrip()]) == (stream, 1)
    assert passed([stream, b"data: {"]) == (stream + b"data: {", 0)


def test_one_event_is_hidden_and_no_more() -> None:
    """An application's own stream may have anything; only one event was asked for."""
    stream = sse(chunk("", "stop"), LAST, LAST)
    assert passed([stream]) == (sse(chunk("", "stop"), LAST), 1)


def test_what_is_too_long_for_a_usage_event_goes_on_as_it_comes() -> None:
    finish, long = sse(chunk("", "stop")), sse(chunk("x" * MAX_HELD, usage=USAGE))
    for size in (1000, MAX_HELD, len(long) - 1):
        hiding = UsageEventFilter()
        assert hiding.receive_data(finish) == finish
        shown = b"".join(hiding.receive_data(long[at : at + size]) for at in range(0, len(long), size))
        shown += hiding.receive_data(sse(LAST) + b"data: [DONE]\n\n")
        assert re.sub(b"x+", b"x", shown) == re.sub(b"x+", b"x", long) + b"data: [DONE]\n\n"
        assert hiding.hidden == 1


def test_an_event_over_several_lines_is_hidden_too() -> None:
    stream = sse(chunk("", "stop"))
    usage = b'event: chunk\ndata: {"choices": [],\ndata: "usage": {}}\n\n'
    assert passed([stream + usage]) == (stream, 1)
