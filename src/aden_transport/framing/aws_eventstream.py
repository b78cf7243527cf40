"""AWS event streams (`application/vnd.amazon.eventstream`), fed in pieces.

Each message is a prelude (length of the message, length of its headers, CRC-32 of both, 4 bytes each,
big-endian), headers, a payload, and a CRC-32 of all before it.

Source: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

from .._json import dumps
from ._faults import note

__all__ = ["STARTS", "AwsEventStreamParser", "EventStreamMessage"]

PRELUDE = Struct(">III")
UINT32 = Struct(">I")
UINT16 = Struct(">H")
CHECKSUM = 4
OVERHEAD = PRELUDE.size + CHECKSUM
STARTS = (b"\0", b"\1")
"""First bytes of a stream: a message has 24 MiB and 128 KiB at most."""
FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the header values that do not say their own length, by type: booleans, integers, times, UUIDs."""
BYTES, STRING = 6, 7


class EventStreamMessage(NamedTuple):
    """One message, with the name by which its kind is told."""

    event: str
    """`:event-type`; of an exception its `:exception-type`, of an error its `:error-code`."""
    data: bytes
    """The payload: a JSON text at Amazon Bedrock; `{}` where there is none."""


class AwsEventStreamParser:
    """Messages of one stream; keeps at most one message of `max_message` bytes.

    Faults: `aws_event_stream.message_too_long` and `aws_event_stream.malformed` (a checksum or headers
    that do not fit: skipped, see `skipped`; parsing goes on at the next message),
    `aws_event_stream.lost` (a prelude that cannot be right: nothing is read from there on) and
    `aws_event_stream.truncated`.
    """

    def __init__(self, *, max_message: int = 1 << 20) -> None:
        self.faults: list[str] = []
        self.skipped = 0
        """How many messages were too long or malformed."""
        self._max_message = max_message
        self._pending = bytearray()
        self._passing = 0  # bytes of a message too long to keep that are still to come
        self._lost = False

    def receive_data(self, data: bytes) -> list[EventStreamMessage]:
        """The messages that `data` completes, in order."""
        found: list[EventStreamMessage] = []
        if self._passing:
            data = self._pass_over(data)
        if self._lost or not data:
            return found
        pending = self._pending
        pending += data
        start = 0
        while (length := self._length(start)) is not None:
            rest = len(pending) - start
            if length > self._max_message:
                self._skip("message_too_long")
                self._passing = max(0, length - rest)
            elif rest < length:
                break
            else:
                self._take(bytes(pending[start : start + length]), found)
            start += min(length, rest)
        del pending[: len(pending) if self._lost else start]
        return found

    def receive_eof(self) -> list[EventStreamMessage]:
        """Nothing: of a message that is cut off, nothing is certain."""
        if self._pending or self._passing:
            note(self.faults, "aws_event_stream.truncated")
        self._pending.clear()
        self._passing = 0
        return []

    def _pass_over(self, data: bytes) -> bytes:
        """What follows the message that is too long to keep."""
        gone = min(self._passing, len(data))
        self._passing -= gone
        return data[gone:]

    def _length(self, start: int) -> int | None:
        """The length of the message that begins at `start`; None while its prelude is incomplete."""
        if len(self._pending) - start < PRELUDE.size:
            return None
        length, headers, checksum = PRELUDE.unpack_from(self._pending, start)
        known = crc32(self._pending[start : start + PRELUDE.size - CHECKSUM])
        if checksum != known or OVERHEAD + headers > length:
            note(self.faults, "aws_event_stream.lost")
            self._lost = True
            return None
        return int(length)

    def _take(self, message: bytes, found: list[EventStreamMessage]) -> None:
        """Read one whole message whose prelude is right."""
        end = len(message) - CHECKSUM
        payload = PRELUDE.size + UINT32.unpack_from(message, 4)[0]
        headers = read_headers(message[PRELUDE.size : payload])
        if headers is None or UINT32.unpack_from(message, end)[0] != crc32(message[:end]):
            self._skip("malformed")
            return
        data = message[payload:end]
        kind = headers.get(":message-type", "event")
        if kind == "error":
            # It has no payload, but a message among its headers.
            data = dumps({"message": headers.get(":error-message", "")})
        found.append(EventStreamMessage(headers.get(NAMED_BY.get(kind, ":event-type"), ""), data or b"{}"))

    def _skip(self, why: str) -> None:
        self.skipped += 1
        note(self.faults, f"aws_event_stream.{why}")


NAMED_BY = {"event": ":event-type", "exception": ":exception-type", "error": ":error-code"}


def read_headers(data: bytes) -> dict[str, str] | None:
    """The headers that are strings, by name; None where `data` are no headers."""
    found: dict[str, str] = {}
    at, end = 0, len(data)
    while at < end:
        name_end = at + 1 + data[at]
        if name_end >= end:
            return None
        kind, value = data[name_end], name_end + 1
        if kind in (BYTES, STRING):
            if value + UINT16.size > end:
                return None
            size = UINT16.unpack_from(data, value)[0]
            value += UINT16.size
        elif kind in FIXED_SIZES:
            size = FIXED_SIZES[kind]
        else:
            return None
        if value + size > end:
            return None
        if kind == STRING:
            name = data[at + 1 : name_end].decode("utf-8", "replace")
            found[name] = data[value : value + size].decode("utf-8", "replace")
        at = value + size
    return found
