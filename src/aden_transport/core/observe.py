"""Reading an answer as its bytes pass by: bounded, synchronous, never in the way.

A JSON body is collected and read at its end. A stream is only collected while it flows: its first and
last 64 KiB are kept, and the few events that matter are read when it ends. Only where tool calls or
several choices were asked for is every event read, in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .._json import loads
from ..framing.content_encoding import Decoder
from ..framing.json_array import JsonArrayParser
from ..framing.json_body import JsonBody
from ..framing.ndjson import NdjsonParser
from ..framing.sse import ServerSentEvent, SSEParser, tail_events
from ..vendors import Operation, Reading, StreamShape

__all__ = ["BodyObserver", "StreamObserver"]

EDGE = 64 * 1024
"""Bytes kept of each end of a stream."""
MAX_EDGE = 1024 * 1024
"""How far the kept end may grow to hold one large last event."""
FIRST_EVENTS = 2
LAST_EVENTS = 8
MARKER = 64
"""No terminal marker is longer."""


class BodyObserver:
    """Collects a JSON answer and reads it once."""

    __slots__ = ("_body", "_decoder", "size")

    def __init__(self, decoder: Decoder | None) -> None:
        self._decoder = decoder
        self._body = JsonBody()
        self.size = 0

    def receive_data(self, data: bytes) -> None:
        self.size += len(data)
        if self._decoder is None:
            self._body.receive_data(data)
            return
        for piece in self._decoder.receive_data(data):
            self._body.receive_data(piece)

    def read(self, operation: Operation, reading: Reading, *, error: bool) -> None:
        """Read what was collected into `reading`."""
        if self._decoder is not None:
            for piece in self._decoder.receive_eof():
                self._body.receive_data(piece)
            reading.faults += self._decoder.faults
        body = self._body.value()
        if isinstance(body, list) and body and isinstance(body[0], dict):
            body = body[0]  # Google wraps stream errors in an array
        if isinstance(body, dict):
            _read_object(body, operation, reading, error=error)
        elif not self._body.whole:
            _read_object(_edges(self._body), operation, reading, error=error)
            reading.faults.append("body.large")
        reading.faults += self._body.faults


def _read_object(body: dict[str, Any], operation: Operation, reading: Reading, *, error: bool) -> None:
    if error:
        from ..vendors.openai_shapes import read_error

        read_error(body, reading)
    if operation.read_body is not None:
        operation.read_body(body, reading)


EDGE_MEMBERS = (
    "id",
    "model",
    "usage",
    "service_tier",
    "status",
    "stop_reason",
    "usageMetadata",
    "modelVersion",
    "responseId",
    "error",
)


def _edges(body: JsonBody) -> dict[str, Any]:
    """The members that stand near either end of a body too large to keep."""
    found = {name: body.member(name) for name in EDGE_MEMBERS}
    return {name: value for name, value in found.items() if value is not None}


class StreamObserver:
    """Collects a streamed answer: 0.2 µs an event while it flows, a few events read at its end.

    `on_terminal` is called once, while the piece that completes the protocol's last event is received:
    some clients neither read on nor close after it.
    """

    __slots__ = (
        "_append",
        "_before",
        "_chunks",
        "_decoder",
        "_ending",
        "_full",
        "_head",
        "_on_terminal",
        "_parser",
        "_quiet",
        "_reading",
        "_room",
        "_shape",
        "_terminals",
        "receive_data",
        "skipped",
    )

    def __init__(
        self,
        shape: StreamShape,
        reading: Reading,
        decoder: Decoder | None,
        *,
        full: bool,
        on_terminal: Callable[[], None],
    ) -> None:
        self._shape = shape
        self._reading = reading
        self._decoder = decoder
        self._on_terminal = on_terminal
        self._quiet = shape.quiet
        self._terminals = shape.terminals
        self._full = full
        self._parser: Parser | None = None
        self._head: bytes | None = None
        self._before = b"\n"
        """The last bytes before `_chunks`."""
        self._chunks: list[bytes] = []
        self._append = self._chunks.append
        self._ending = False
        self._room = EDGE
        self.skipped = 0
        """Decoded bytes that were neither kept nor read."""
        self.receive_data: Callable[[bytes], None] = self._collect if decoder is None else self._decode

    def _collect(self, data: bytes) -> None:
        # The hot path: a piece that ends in `quiet` is whole events and not the last one.
        self._append(data)
        self._room -= len(data)
        if self._room < 0 or not data.endswith(self._quiet):
            self._look(data)

    def _decode(self, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None
        for piece in decoder.receive_data(data):
            self._collect(piece)

    def _look(self, data: bytes) -> None:
        """See whether the last event has begun or ended, and make room."""
        if self._terminals:
            window = self._carry() + data
            if not self._ending:
                self._ending = any(marker in window for marker in self._terminals)
            if self._ending and window.endswith(BLANK_LINES):
                self.receive_data = ignore
                self._on_terminal()
                return
        if self._room < 0:
            self._make_room()

    def _carry(self) -> bytes:
        """The bytes before the newest piece in which a marker may have begun."""
        chunks = self._chunks
        if len(chunks) < 2:
            return self._before
        before = chunks[-2]
        if len(before) < MARKER:
            before = self._before + b"".join(chunks[-1 - MARKER : -1])
        return before[-MARKER:]

    def _make_room(self) -> None:
        self._room = EDGE
        if self._full:
            data = b"".join(self._chunks)
            self._before = (self._before + data[-MARKER:])[-MARKER:]
            self._parse(data)
            self._chunks.clear()
        elif self._head is None:
            self._head = b"".join(self._chunks)
            self._before = self._head[-MARKER:]
            self._chunks.clear()
        else:
            self._forget_middle()

    def _forget_middle(self) -> None:
        """Keep the last 64 KiB, and an event that has not ended yet as far as 1 MiB goes."""
        chunks = self._chunks
        unfinished = len(chunks) - 1
        while unfinished > 0 and not chunks[unfinished - 1].endswith(BLANK_LINES):
            unfinished -= 1
        total = sum(map(len, chunks))
        drop = 0
        while drop < len(chunks) - 1:
            rest = total - len(chunks[drop])
            if not (rest >= EDGE and drop < unfinished) and total <= MAX_EDGE:
                break
            total = rest
            drop += 1
        if drop:
            gone = chunks[:drop]
            self.skipped += sum(map(len, gone))
            self._before = b"".join(gone[-MARKER:])[-MARKER:]
            del chunks[:drop]
        if len(chunks[0]) > MAX_EDGE:
            self.skipped += len(chunks[0]) - MAX_EDGE
            chunks[0] = chunks[0][-MAX_EDGE:]

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = parser_for(data)
        self._read_events(self._parser.receive_data(data), self._reading)

    def _read_events(self, events: Iterable[ServerSentEvent | bytes], reading: Reading) -> None:
        read_event = self._shape.read_event
        for event in events:
            name, data = ("", event) if isinstance(event, bytes) else (event.event, event.data)
            if data == b"[DONE]":
                continue
            try:
                value = loads(data)
            except ValueError:
                if "stream.malformed" not in reading.faults:
                    reading.faults.append("stream.malformed")
                continue
            if isinstance(value, dict):
                read_event(name, value, reading)

    def read(self) -> None:
        """Read what matters of what was collected. Called once, at the end."""
        self._drain_decoder()
        self.receive_data = ignore
        tail = b"".join(self._chunks)
        if self._full or self._looks_otherwise(tail):
            self._parse(tail)
            assert self._parser is not None
            self._read_events(self._parser.receive_eof(), self._reading)
            self._reading.faults += self._parser.faults
            return
        for part in self._telling_parts(tail):
            self._read_part(part, self._reading)

    def _drain_decoder(self) -> None:
        if self._decoder is not None:
            for piece in self._decoder.receive_eof():
                self._append(piece)
            self._reading.faults += self._decoder.faults

    def _looks_otherwise(self, tail: bytes) -> bool:
        """JSON under a stream's content type: an error, or a server that does not stream."""
        start = (self._head or tail)[:256].lstrip()
        return self._head is None and start[:1] in (b"{", b"[")

    def _telling_parts(self, tail: bytes) -> list[bytes]:
        """The first and the last events: ids and models, and finish reasons, usage and errors."""
        if self._head is not None and not self.skipped:
            tail = self._head + tail
        if self._head is None or not self.skipped:
            first, last = _first_events(tail), _last_events(tail)
            return [tail] if first + last >= len(tail) else [tail[:first], tail[-last:]]
        if not tail:
            return [self._head]
        return [self._head[: _first_events(self._head)], tail[-_last_events(tail) :]]

    def _read_part(self, part: bytes, reading: Reading) -> None:
        parser = SSEParser()
        self._read_events(parser.receive_data(part), reading)
        self._read_events(parser.receive_eof(), reading)

    def text_bytes(self) -> int:
        """Bytes of generated text in all that passed; what was not kept is inferred from what was."""
        if self._full:
            return self._reading.text_bytes
        seen = Reading()
        tail = b"".join(self._chunks)
        if not self.skipped:
            whole = (self._head or b"") + tail
            self._read_part(whole, seen)
            return seen.text_bytes
        head = self._head or b""
        self._read_part(head, seen)
        self._read_events(tail_events(tail), seen)
        kept = len(head) + len(tail)
        return seen.text_bytes + round(seen.text_bytes * self.skipped / max(1, kept))


BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")


def ignore(_data: bytes) -> None:
    """Takes what follows the last event."""


class Parser(Protocol):
    faults: list[str]

    def receive_data(self, data: bytes) -> Iterable[ServerSentEvent | bytes]: ...

    def receive_eof(self) -> Iterable[ServerSentEvent | bytes]: ...


def parser_for(start: bytes) -> Parser:
    """The parser for a stream that begins so; vendors' content types are not always right."""
    first = start[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first == b"[":
        return JsonArrayParser()
    if first == b"{":
        return NdjsonParser() if b"}\n{" in start[: 16 * 1024] else JsonArrayParser()
    return SSEParser()


def _first_events(data: bytes) -> int:
    """Where the first events end."""
    blank = b"\r\n\r\n" if b"\r\n\r\n" in data[:4096] else b"\n\n"
    end = 0
    for _ in range(FIRST_EVENTS):
        found = data.find(blank, end)
        if found < 0:
            return len(data)
        end = found + len(blank)
    return end


def _last_events(data: bytes) -> int:
    """How many bytes the last events have."""
    blank = b"\r\n\r\n" if b"\r\n\r\n" in data[-4096:] else b"\n\n"
    start = len(data)
    for _ in range(LAST_EVENTS + 1):
        found = data.rfind(blank, 0, start)
        if found < 0:
            return len(data)
        start = found
    return len(data) - start - len(blank)
