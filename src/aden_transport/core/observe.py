"""Reading an answer as its bytes pass by: bounded, synchronous, never in the way.

A JSON body is collected and read at its end. A stream is only collected while it flows: its first and
last 16 KiB are kept, and the few events that matter are read when it ends. Only where tool calls or
several choices were asked for is every event read, in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .._json import loads
from ..framing.aws_eventstream import STARTS, AwsEventStreamParser, EventStreamMessage
from ..framing.content_encoding import Decoder
from ..framing.json_array import JsonArrayParser
from ..framing.json_body import JsonBody
from ..framing.ndjson import NdjsonParser
from ..framing.sse import ServerSentEvent, SSEParser, tail_events
from ..vendors import Operation, Reading, StreamShape
from ..vendors.base import INCOMPLETE
from .estimate import tokens_of

__all__ = ["EDGE", "MANY", "BodyObserver", "StreamObserver", "ignore"]

EDGE = 16 * 1024
"""Bytes kept of each end of a stream."""
MAX_EDGE = 1024 * 1024
"""How far the kept end may grow to hold one large last event."""
STEP = 8 * 1024
"""How much is parsed at a time, so that what is kept is not there several times over."""
SMALL = 64
"""Pieces of fewer bytes on average are joined, since each is an object of its own."""
USUAL = 1024
"""Pieces of fewer bytes are joined to know how many they have: in half the time, where a copy is small."""
MANY = 64
"""Pieces between two looks at most. Where they become larger than those before: httpcore's have 64 KiB at
most, and an event that comes in several is looked at until its last, since they do not end as events do. So
many of the 16 KiB that servers and HTTP/2 send at once are 1 MiB."""
SAMPLE = 2048
MANY_SAMPLES = 32
"""How many are kept of the middle of a stream at most, of `SAMPLE` bytes."""
FIRST_EVENTS = 1
LAST_EVENTS = 4
PING = 48
"""Bytes of the longest ping, `[DONE]` among them; events with figures are longer."""
MAX_WHOLE = 1024 * 1024
"""A larger JSON answer is kept and read at its ends only."""
TOOL_REASONS = frozenset({"tool_calls", "tool_use", "function_call", "TOOL_CALL"})
"""Finish reasons of answers that call tools."""
WINDOW = 512
"""Where in an event its kind is looked for, from either end."""
MARKER = 64
"""No terminal marker is longer."""


class BodyObserver:
    """Collects a JSON answer and reads it once."""

    __slots__ = ("_chunks", "_decoder", "_large", "_room")

    def __init__(self, decoder: Decoder | None) -> None:
        self._decoder = decoder
        self._chunks: list[bytes] = []
        self._room = MAX_WHOLE
        self._large: JsonBody | None = None
        """Takes over where the body is too large to keep."""

    def receive_data(self, data: bytes) -> None:
        if self._decoder is None and len(data) <= self._room:
            self._room -= len(data)
            self._chunks.append(data)
            return
        for piece in (data,) if self._decoder is None else self._decoder.receive_data(data):
            self._keep(piece)

    def expect_decoded(self) -> None:
        """What follows, from the first byte on, has been decoded."""
        self._decoder = None

    def _keep(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room >= 0:
            self._chunks.append(data)
            return
        if self._large is None:
            self._large = JsonBody(limit=MAX_WHOLE)
            for known in self._chunks:
                self._large.receive_data(known)
            self._chunks.clear()
        self._large.receive_data(data)

    def read(self, operation: Operation, reading: Reading, *, error: bool) -> None:
        """Read what was collected into `reading`."""
        if self._decoder is not None:
            self._decoder.receive_eof()  # holds nothing back, but says whether the encoding has ended
            reading.faults += self._decoder.faults
        if self._large is not None:
            _read_object(_edges(self._large), operation, reading, error=error)
            reading.faults.append("body.large")
            return
        chunks = self._chunks
        raw = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            body: Any = loads(raw)
        except ValueError:
            body = self._what_there_is(raw, reading)
        if body.__class__ is list and body and isinstance(body[0], dict):
            body = body[0]  # Google wraps stream errors in an array
        if body.__class__ is dict:
            _read_object(body, operation, reading, error=error)

    def _what_there_is(self, raw: bytes, reading: Reading) -> dict[str, Any]:
        """The members that can be told of a body that is broken off or malformed."""
        if not raw.strip():
            return {}
        reading.faults.append("body.malformed")
        broken = JsonBody()
        broken.receive_data(raw)
        return _edges(broken)


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
    "background",
    "created_at",
    "stop_reason",
    "usageMetadata",
    "modelVersion",
    "responseId",
    "meta",
    "usage_info",
    "prompt_eval_count",
    "error",
)


def _edges(body: JsonBody) -> dict[str, Any]:
    """The members that stand near either end of a body too large to keep."""
    found = {name: body.member(name) for name in EDGE_MEMBERS}
    return {name: value for name, value in found.items() if value is not None}


class StreamObserver:
    """Collects a streamed answer: 0.2 µs an event while it flows, a few events read at its end.

    An adapter may do itself, for each piece, what `receive_data` does::

        chunks.append(piece)
        if many < 0 or piece[place] != byte:  # or IndexError
            many = look()

    where `many` says how many pieces more may come before the next look; the first piece is looked at.

    `on_terminal` is called once, when the piece that completes the protocol's last event is looked at:
    some clients neither read on nor close after it.
    """

    __slots__ = (
        "_at",
        "_before",
        "_decoder",
        "_ended",
        "_ending",
        "_full",
        "_half",
        "_half_size",
        "_head",
        "_left",
        "_limit",
        "_on_first",
        "_on_terminal",
        "_parser",
        "_quiet",
        "_reading",
        "_samples",
        "_shape",
        "_size",
        "_sized",
        "_stride",
        "_texts",
        "_until_sample",
        "byte",
        "chunks",
        "many",
        "place",
        "skipped",
    )

    def __init__(
        self,
        shape: StreamShape,
        reading: Reading,
        decoder: Decoder | None,
        *,
        full: bool,
        on_first: Callable[[], None],
        on_terminal: Callable[[], None],
    ) -> None:
        self._shape = shape
        self._reading = reading
        self._decoder = decoder
        self._on_first: Callable[[], None] | None = on_first
        self._on_terminal = on_terminal
        self._full = full or shape.every_event
        self._parser: Parser | None = None
        self._texts: list[str] = []
        """Where every event is read: some generated text of the first batch, and of the latest two."""
        self._head: bytes | None = None
        self._before = b"\n"
        """The last bytes before `chunks`."""
        self.chunks: list[bytes] = []
        self.place, self.byte = shape.quiet
        self._at = slice(self.place, self.place + 1 or None)
        self._quiet = bytes((self.byte,))
        self._size = self._sized = 0
        """Bytes of the first `_sized` of `chunks`; the later ones are not counted yet."""
        self._limit = 2 * EDGE
        """How large they may become before room is made."""
        self._half = self._half_size = 0
        """Of `chunks`: how many are to go once enough bytes have followed them, and how large they are."""
        self.many = 0
        """For who adds pieces itself: how many more may come before it looks."""
        self._left = 0
        """How many bytes `receive_data` may take before it looks."""
        self._ending = self._ended = False
        self.skipped = 0
        """Decoded bytes that were neither kept nor read."""
        self._samples: list[bytes] = []
        """Ends of what was let go of, spread evenly over the stream."""
        self._stride = self._until_sample = 1

    @property
    def plain(self) -> bool:
        """Whether pieces may be appended as they come, since nothing has to be decoded."""
        return self._decoder is None

    def expect_decoded(self) -> None:
        """What follows, from the first byte on, has been decoded."""
        self._decoder = None

    def receive_data(self, data: bytes) -> None:
        for piece in (data,) if self._decoder is None else self._decoder.receive_data(data):
            self.chunks.append(piece)
            self._left -= len(piece)
            if self._left < 0 or piece[self._at] != self._quiet:
                self.look()
                self._left = self._limit - self._size

    def look(self) -> int:
        """See whether the last event has begun or ended, and make room. Returns how many pieces more may
        come before the next look."""
        chunks = self.chunks
        if self._ended:
            chunks.clear()
            self._size = self._sized = 0
            return MANY
        if self._on_first is not None:
            on_first, self._on_first = self._on_first, None
            on_first()
        piece = chunks[-1]
        if self._shape.terminals and piece[self._at] != self._quiet:
            window = self._carry() + piece
            self._ending = self._ending or self._begins_last(window)
            if window.endswith(BLANK_LINES) and (self._ending or self._began_unseen(window)):
                self._ended = True
                self._on_terminal()
                return MANY
        return self._gather()

    def _gather(self) -> int:
        """Make room after the pieces that have come since the last look."""
        chunks, sized = self.chunks, self._sized
        count = len(chunks) - sized
        if len(chunks[-1]) < USUAL:
            joined = b"".join(chunks[sized:])  # it takes half as long as to add up their lengths
            new = len(joined)
            if count > 1 and new < SMALL * count:
                chunks[sized:] = (joined,)
        else:
            new = sum(map(len, chunks[sized:]))
        self._size += new
        if self._size > self._limit:
            self._make_room()
        self._sized = len(chunks)
        # The next ones are taken to be as large as these; there are never so many that it matters.
        return max(0, min((self._limit - self._size) * count // (new + 1), MANY))

    def _begins_last(self, window: bytes) -> bool:
        """Whether the newest event in `window` is the protocol's last one: its first line says so, or,
        where `data:` comes before `event:`, its last."""
        start = max(_last_start(window), 0)
        edges = window[start : start + WINDOW] + b"\0" + window[-WINDOW:]
        return any(marker in edges for marker in self._shape.terminals)

    def _began_unseen(self, window: bytes) -> bool:
        """Whether the event that ends here began in a piece that was cut where it looked like any other."""
        if _last_start(window) < 0:
            self._ending = self._begins_last(self._before + b"".join(self.chunks))
        return self._ending

    def _carry(self) -> bytes:
        """The bytes before the newest piece in which a marker may have begun."""
        chunks = self.chunks
        if len(chunks) < 2:
            return self._before
        before = chunks[-2]
        if len(before) < MARKER:
            before = self._before + b"".join(chunks[-1 - MARKER : -1])
        return before[-MARKER:]

    def _make_room(self) -> None:
        chunks = self.chunks
        if not self._full and self._head is not None:
            if len(chunks) > 1 and chunks[-2].endswith(BLANK_LINES):
                self._forget(self._half, self._half_size)
            else:
                self._forget_middle()
            self._half, self._half_size = len(chunks), self._size
            self._limit = self._size + EDGE
            return
        data = b"".join(chunks)
        self._before = (self._before + data[-MARKER:])[-MARKER:]
        chunks.clear()
        self._size = 0
        if self._full:
            self._parse(data)
        else:
            self._head = data[:MAX_EDGE]
            self._limit = EDGE

    def _forget(self, count: int, size: int) -> None:
        """Let go of the first `count` chunks, which have `size` bytes."""
        chunks = self.chunks
        if count:
            last = chunks[count - 1]
            gone = last if len(last) >= MARKER else self._before + b"".join(chunks[:count][-MARKER:])
            self._before = gone[-MARKER:]
            self._until_sample -= 1
            if not self._until_sample:
                self._take_sample(b"".join(chunks[:count])[-SAMPLE:])
            del chunks[:count]
            self.skipped += size
            self._size -= size

    def _take_sample(self, sample: bytes) -> None:
        self._samples.append(sample)
        if len(self._samples) >= MANY_SAMPLES:
            del self._samples[::2]
            self._stride *= 2
        self._until_sample = self._stride

    def _forget_middle(self) -> None:
        """Keep the last 16 KiB, and an event that has not ended yet as far as 1 MiB goes."""
        chunks = self.chunks
        unfinished = len(chunks) - 1
        while unfinished > 0 and not chunks[unfinished - 1].endswith(BLANK_LINES):
            unfinished -= 1
        total = before = self._size
        drop = 0
        while drop < len(chunks) - 1:
            rest = total - len(chunks[drop])
            if not (rest >= EDGE and drop < unfinished) and total <= MAX_EDGE:
                break
            total = rest
            drop += 1
        self._forget(drop, before - total)
        if len(chunks[0]) > MAX_EDGE:
            self.skipped += len(chunks[0]) - MAX_EDGE
            self._size -= len(chunks[0]) - MAX_EDGE
            chunks[0] = chunks[0][-MAX_EDGE:]

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = parser_for(data)
        reading = self._reading
        reading.texts = []
        self._read_events(self._parser.receive_data(data), reading)
        self._texts.append("".join(reading.texts)[-EDGE:])
        del reading.texts
        if len(self._texts) > 3:
            del self._texts[1]

    def _read_events(
        self, events: Iterable[ServerSentEvent | EventStreamMessage | bytes], reading: Reading
    ) -> None:
        read_event = self._shape.read_event
        for event in events:
            name, data = ("", event) if isinstance(event, bytes) else (event.event, event.data)
            if data.startswith(b"[DONE]"):
                reading.ended = True
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
        self._ended = True
        tail = b"".join(self.chunks)
        if self._full or self._looks_otherwise(tail):
            self._parse(tail)
            assert self._parser is not None
            self._read_events(self._parser.receive_eof(), self._reading)
            self._reading.faults += self._parser.faults
            return
        for part in self._telling_parts(tail):
            self._read_part(part, self._reading)
        if self._tells_of_more():
            self._read_all(tail)

    def _tells_of_more(self) -> bool:
        """Whether figures stand between the first and the last events: tools that not the request names, but
        a prompt or a cache that is stored, and what another event was sent before."""
        reading = self._reading
        return (
            reading.tools is not None
            or INCOMPLETE in reading.faults
            or not TOOL_REASONS.isdisjoint(reading.finish_reasons.values())
        )

    def _read_all(self, tail: bytes) -> None:
        """Read every event that is here; where some are gone, those of the beginning and the last."""
        reading, head = self._reading, self._head or b""
        if self.skipped and INCOMPLETE not in reading.faults:
            return  # of tools, those in the middle are gone
        known = reading.tools
        reading.tools = reading.usage = None
        if INCOMPLETE in reading.faults:
            reading.faults.remove(INCOMPLETE)
        if self.skipped:
            self._read_events(SSEParser().receive_data(head), reading)  # its last event is cut off
            self._read_part(tail[-_last_events(tail) :], reading)
            reading.tools = known
        else:
            self._read_part(head + tail, reading)

    def _drain_decoder(self) -> None:
        if self._decoder is not None:
            self._decoder.receive_eof()
            # A stream ends with its last event, before the end of its encoding has come.
            over = {"encoding.truncated"} if self._ending else set()
            self._reading.faults += [fault for fault in self._decoder.faults if fault not in over]

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
        return [self._head[: _first_events(self._head)], tail[-_last_events(tail) :]]

    def _read_part(self, part: bytes, reading: Reading) -> None:
        parser = SSEParser()
        for start in range(0, len(part), STEP):
            self._read_events(parser.receive_data(part[start : start + STEP]), reading)
        self._read_events(parser.receive_eof(), reading)

    def text_bytes(self) -> int:
        """Bytes of generated text in all that passed; what was not kept is inferred from what was."""
        return self._generated()[1]

    def text_tokens(self) -> int:
        """Estimated tokens of the generated text in all that passed: what was not kept is taken to be like
        what was."""
        text, size = self._generated()
        kept = len(text.encode("utf-8", "replace"))
        return -(-tokens_of(text) * size // kept) if kept else 0

    def _generated(self) -> tuple[str, int]:
        """What is kept of the generated text, and how many bytes passed in all."""
        if self._parser is not None:
            return "".join(self._texts), self._reading.text_bytes  # every event was read
        seen = Reading()
        texts: list[str] = []
        seen.texts = texts
        tail = b"".join(self.chunks)
        if not self.skipped:
            whole = (self._head or b"") + tail
            self._read_part(whole, seen)
            return "".join(texts), seen.text_bytes
        head = self._head or b""
        self._read_part(head, seen)
        self._read_events(tail_events(tail), seen)
        kept = len(head) + len(tail)
        size = seen.text_bytes + round(seen.text_bytes * self.skipped / max(1, kept))
        for sample in self._samples:  # for what the text is like, not for how much there is
            self._read_events(tail_events(sample), seen)
        return "".join(texts), size


def _last_start(window: bytes) -> int:
    """Where the newest event in `window` begins, with the blank line before it; -1 where it began earlier."""
    return max(window.rfind(b"\n\n", 0, -4), window.rfind(b"\r\n\r\n", 0, -4))


BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")


def ignore(_data: bytes) -> None:
    """Takes what follows the last event."""


class Parser(Protocol):
    faults: list[str]

    def receive_data(self, data: bytes) -> Iterable[ServerSentEvent | EventStreamMessage | bytes]: ...

    def receive_eof(self) -> Iterable[ServerSentEvent | EventStreamMessage | bytes]: ...


def parser_for(start: bytes) -> Parser:
    """The parser for a stream that begins so; vendors' content types are not always right."""
    if start[:1] in STARTS:
        return AwsEventStreamParser()
    first = start[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first == b"[":
        return JsonArrayParser()
    if first == b"{":
        return NdjsonParser() if b"}\n{" in start[: 16 * 1024] else JsonArrayParser()
    return SSEParser()


def _first_events(data: bytes) -> int:
    """Where the first events end."""
    blank = b"\r\n\r\n" if b"\r\n\r\n" in data[:4096] else b"\n\n"
    count = end = 0
    while (found := data.find(blank, end)) >= 0:
        count += _tells(data, end, found)
        end = found + len(blank)
        if count == FIRST_EVENTS:
            return end
    return len(data)


def _last_events(data: bytes) -> int:
    """How many bytes the last events have."""
    blank = b"\r\n\r\n" if b"\r\n\r\n" in data[-4096:] else b"\n\n"
    end, count = len(data), 0
    while (found := data.rfind(blank, 0, end)) >= 0:
        start = found + len(blank)
        count += _tells(data, start, end)
        if count == LAST_EVENTS:
            return len(data) - start
        end = found
    return len(data)


def _tells(data: bytes, start: int, end: int) -> bool:
    """Whether what stands between two blank lines is an event with figures, as far as its looks go: neither
    a comment nor a ping, which keep a connection alive, nor the protocol's `[DONE]`."""
    if end - start <= PING:
        return False
    if data.startswith(b":", start):
        return data.find(b"\ndata:", start, end) >= 0
    return not data.startswith((b"event: ping", b"event:ping"), start)
