"""AWS event streams, written: the other half of what `framing/aws_eventstream.py` reads."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

__all__ = ["chunk", "event", "exception", "frame", "header"]


def header(name: str, kind: int, value: bytes) -> bytes:
    raw = name.encode()
    return bytes((len(raw),)) + raw + bytes((kind,)) + value


def frame(headers: Mapping[str, str] | bytes, payload: bytes = b"") -> bytes:
    """One message; `headers` are strings, or their bytes as they are."""
    if not isinstance(headers, bytes):
        headers = b"".join(
            header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())
            for name, value in headers.items()
        )
    start = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = start + struct.pack(">I", zlib.crc32(start)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(name: str, payload: Any) -> bytes:
    """An event; a `payload` that is not bytes is sent as compact JSON."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
    kind = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(kind, raw)


def exception(name: str, payload: Any) -> bytes:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    kind = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(kind, raw)


def chunk(inner: Any) -> bytes:
    """An event of a model vendor's own stream, as InvokeModelWithResponseStream sends it."""
    sent = json.dumps(inner, separators=(",", ":")).encode()
    return event("chunk", {"bytes": base64.b64encode(sent).decode(), "p": "abcdef"})
