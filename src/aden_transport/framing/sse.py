"""Server-sent events, fed in pieces.

Source: WHATWG HTML, "9.2.6 Interpreting an event stream". Beyond it, because vendors do so: an
unfinished last event is given at the end, and a JSON text that stands between events without
`data:` is given as an event of its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ._faults import note

__all__ = ["SSEParser", "ServerSentEvent", "looks_like_sse", "tail_events"]

_new = tuple.__new__  # half the time of ServerSentEvent(...), which is a Python function
_BOM = b"\xef\xbb\xbf"
_FIELDS = frozenset((b"data", b"event", b"id", b"retry", b""))  # b"" is a comment
_JSON_STARTS = (b"{", b"[")
_FIRST_LINE = re.compile(rb"(?:data|event|id|retry)(?:[:\r\n])|:")
_FIRST_LINE_STARTS = (b"data", b"event", b"id", b"retry")


class ServerSentEvent(NamedTuple):
    """One dispatched event."""

    event: str
    """The last `event:` field, `""` where there was none (browsers call that `message`)."""
    data: bytes
    """The `data:` lines joined by LF, as sent; a JSON text at every vendor, or a marker as `[DONE]`."""


class SSEParser:
    """Events of one stream; keeps at most one event of `max_event` bytes.

    Faults: `sse.event_too_long` (skipped, see `skipped`; parsing goes on at the next event) and
    `sse.unknown_line` (no field of SSE, no JSON: ignored, as the standard says).
    """

    def __init__(self, *, max_event: int = 1 << 20) -> None:
        self.faults: list[str] = []
        self.skipped = 0
        """How many events were longer than `max_event` bytes."""
        self._max_event = max_event
        self._pending = bytearray()
        self._skipping = False
        self._after_cr = False
        self._head: bytes | None = b""

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes, in order."""
        if self._head is not None:
            data = self._without_bom(self._head + data)
        if self._after_cr or b"\r" in data:
            data = self._with_lf_only(data)
        events: list[ServerSentEvent] = []
        if self._pending and data:
            data = self._finish_pending(data, events)
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        for block in blocks:
            if block.startswith(b"data: ") and b"\n" not in block and len(block) <= self._max_event:
                # The usual event of the OpenAI dialect: 1.3 µs with its splitting; the general way takes 2.3.
                events.append(_new(ServerSentEvent, ("", block[6:])))
            else:
                self._dispatch(block, events)
        if rest:
            self._hold(rest)
        return events

    def receive_eof(self) -> list[ServerSentEvent]:
        """The last event, if the stream ended inside it (its data may be cut off)."""
        events: list[ServerSentEvent] = []
        self._pending += self._head or b""
        self._head = None
        if not self._skipping:
            self._dispatch(bytes(self._pending.removesuffix(b"\n")), events)
        self._pending.clear()
        self._skipping = False
        return events

    def _without_bom(self, data: bytes) -> bytes:
        """`data` without a byte-order mark; nothing while the mark may still be incomplete."""
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(_BOM)

    def _with_lf_only(self, data: bytes) -> bytes:
        """`data` with LF for CR and CRLF; a CR at the end counts at once, its LF is dropped later."""
        if not data:
            return data
        ends_in_cr = data.endswith(b"\r")
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = ends_in_cr
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _finish_pending(self, data: bytes, events: list[ServerSentEvent]) -> bytes:
        """Complete the held event with the beginning of `data`; returns what comes after it."""
        pending = self._pending
        if data.startswith(b"\n") and pending.endswith(b"\n"):
            block, rest = bytes(pending[:-1]), data[1:]
        else:
            end = data.find(b"\n\n")
            if end < 0:
                self._hold(data)
                return b""
            pending += data[:end]
            block, rest = bytes(pending), data[end + 2 :]
        if not self._skipping:
            self._dispatch(block, events)
        pending.clear()
        self._skipping = False
        return rest

    def _hold(self, data: bytes) -> None:
        """Keep the beginning of an event, or only its last byte once it is too long."""
        self._pending += data
        # One byte more than the limit may be the first LF of the blank line.
        if self._skipping or len(self._pending) > self._max_event + 1:
            if not self._skipping:
                self._skip()
            self._skipping = True
            del self._pending[:-1]

    def _skip(self) -> None:
        self.skipped += 1
        note(self.faults, "sse.event_too_long")

    def _dispatch(self, block: bytes, events: list[ServerSentEvent]) -> None:
        """Read one event, the lines between two blank lines."""
        if len(block) > self._max_event:
            self._skip()
        elif block:
            self._read_lines(block.split(b"\n"), events)

    def _read_lines(self, lines: list[bytes], events: list[ServerSentEvent]) -> None:
        name = b""
        data: list[bytes] = []
        raw: list[bytes] = []
        for line in lines:
            field, _, value = line.partition(b":")
            if field in _FIELDS:
                if raw:
                    _append_raw(raw, events)
                if field == b"data":
                    data.append(value.removeprefix(b" "))
                elif field == b"event":
                    name = value.removeprefix(b" ")
            elif raw:
                raw.append(line)
            elif line.startswith(_JSON_STARTS):
                _append_data(name, data, events)
                raw.append(line)
            else:
                note(self.faults, "sse.unknown_line")
        _append_raw(raw, events)
        _append_data(name, data, events)


def _append_data(name: bytes, data: list[bytes], events: list[ServerSentEvent]) -> None:
    if data:
        events.append(ServerSentEvent(name.decode("utf-8", "replace"), b"\n".join(data)))
        data.clear()


def _append_raw(raw: list[bytes], events: list[ServerSentEvent]) -> None:
    # Google reports an error in the middle of a stream as bare, indented JSON.
    if raw:
        events.append(ServerSentEvent("", b"\n".join(raw)))
        raw.clear()


def tail_events(data: bytes, *, max_event: int = 1 << 20) -> list[ServerSentEvent]:
    """The events in `data`, the end of a stream that was cut at any byte.

    What stands before the first blank line belongs to an event whose beginning is lost.
    """
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    _, _, rest = data.partition(b"\n\n")
    parser = SSEParser(max_event=max_event)
    return parser.receive_data(rest) + parser.receive_eof()


def looks_like_sse(head: bytes) -> bool | None:
    """Whether a body that begins with `head` is an event stream; None while too little is known.

    The content type does not say: vendors have sent JSON as `text/event-stream` and the reverse.
    """
    head = head.removeprefix(_BOM).lstrip()
    if _FIRST_LINE.match(head):
        return True
    if _BOM.startswith(head) or any(start.startswith(head) for start in _FIRST_LINE_STARTS):
        return None
    return False
