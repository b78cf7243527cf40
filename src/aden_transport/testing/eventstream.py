"""Frames of `application/vnd.amazon.eventstream`, as AWS sends them.

https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

__all__ = ["frame"]

_STRING = 7
"""The type number of a header whose value is text."""


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message: prelude and its CRC-32, headers, payload, CRC-32 of all."""
    packed = b"".join(
        struct.pack("!B", len(name))
        + name.encode()
        + struct.pack("!BH", _STRING, len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack("!I", zlib.crc32(message))
