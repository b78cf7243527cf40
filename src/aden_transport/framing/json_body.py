"""A JSON body, fed in pieces: whole while it is small, its two ends when it is not."""

from __future__ import annotations

import json
import re
from typing import Any

from .._json import loads
from ._faults import note
from ._json_tokens import OPENERS, QUOTE, TOKEN

__all__ = ["JsonBody"]

_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_AFTER_VALUE = " \t\r\n,}]"
_ATTEMPTS = 16  # one attempt parses at most an edge: 0.03 to 0.2 ms for 64 KiB


class JsonBody:
    """One body; keeps it whole up to `limit` bytes, then only its first and last `edge` bytes.

    Faults: `json.unreadable` (whole, but no JSON) and `json.too_large` (only `member` can help).
    """

    def __init__(self, *, limit: int = 1 << 20, edge: int = 1 << 16) -> None:
        self.faults: list[str] = []
        self.size = 0
        """Bytes received so far."""
        self._limit = limit
        self._edge = min(edge, limit)
        self._whole: bytes | bytearray = b""
        self._head = b""
        self._tail = bytearray()
        self._parsed: tuple[Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether every byte is still here."""
        return self.size <= self._limit

    @property
    def head(self) -> bytes:
        """The first bytes: at most `edge` of them."""
        return bytes(self._whole[: self._edge]) if self.whole else self._head

    @property
    def tail(self) -> bytes:
        """The last bytes: at most `edge` of them."""
        kept = self._whole if self.whole else self._tail
        return bytes(kept[max(0, len(kept) - self._edge) :])

    def receive_data(self, data: bytes) -> None:
        """Keep `data`, or as much of it as the limits allow."""
        before = self.size
        self.size = before + len(data)
        self._parsed = None
        if not before:
            self._whole = data  # most bodies come in one piece: no copy
        elif before <= self._limit:
            if isinstance(self._whole, bytes):
                self._whole = bytearray(self._whole)
            self._whole += data
        else:
            self._keep_tail(data)
        if before <= self._limit < self.size:
            self._drop_middle()

    def receive_eof(self) -> None:
        """The body is complete: say so if it did not fit."""
        if not self.whole:
            note(self.faults, "json.too_large")

    def value(self) -> Any | None:
        """The parsed body; None, with a fault, where it is not whole or not JSON. Parsed once."""
        if not self.whole:
            note(self.faults, "json.too_large")
            return None
        if self._parsed is None:
            self._parsed = (self._parse(),)
        return self._parsed[0]

    def member(self, name: str, depth: int = 1) -> Any | None:
        """The member `name` of the top-level object, or of an object `depth - 1` levels inside it.

        `depth=2` finds `usage` in `{"response": {"usage": …}}`, and the last one that is not null if
        several objects have it. Where the body is not whole or is broken, its last `edge` bytes are
        searched from the end, then its first `edge` bytes from the beginning; a member that stands,
        or does not fit, between them is not found.
        """
        if self.whole:
            value = self.value()
            if value is not None:
                return _dig(value, name, depth)
        key = json.dumps(name).encode()
        found = _member_in_tail(self.tail, key, name, depth)
        return _member_in_head(self.head, key, depth) if found is None else found

    def _parse(self) -> Any | None:
        try:
            return loads(bytes(self._whole))
        except ValueError:
            note(self.faults, "json.unreadable")
            return None

    def _keep_tail(self, data: bytes) -> None:
        self._tail += data[max(0, len(data) - self._edge) :]
        # Cut only now and then, so that each byte is moved once on average.
        if len(self._tail) > 2 * self._edge:
            del self._tail[: -self._edge or None]

    def _drop_middle(self) -> None:
        body = self._whole
        self._head = bytes(body[: self._edge])
        self._tail = bytearray(body[max(0, len(body) - self._edge) :])
        self._whole = b""


def _dig(value: Any, name: str, depth: int) -> Any | None:
    if not isinstance(value, dict):
        return None
    if depth <= 1:
        return value.get(name)
    found = None
    for child in value.values():
        inner = _dig(child, name, depth - 1)
        found = found if inner is None else inner
    return found


def _member_in_tail(tail: bytes, key: bytes, name: str, depth: int) -> Any | None:
    """The last member `name`, in the end of a body.

    `{` + the rest from the key on is JSON only if the key stands at that depth: a key in a string
    would have its quotes escaped, one further in leaves closing brackets over.
    """
    prefix = b"{" + b'"_":{' * (depth - 1)
    attempts, end = _ATTEMPTS, len(tail)
    while attempts and (at := tail.rfind(key, 0, end)) >= 0:
        end = at + len(key) - 1
        if not _COLON.match(tail, at + len(key)):
            continue  # a string value
        attempts -= 1
        try:
            found = _dig(loads(prefix + tail[at:]), name, depth)
        except ValueError:
            continue
        if found is not None:
            return found
    return None


def _member_in_head(head: bytes, key: bytes, depth: int) -> Any | None:
    """The first complete member with that quoted `key`, in the beginning of a body."""
    if key not in head:
        return None
    attempts = _ATTEMPTS
    open_brackets = bytearray()
    for token in TOKEN.finditer(head):
        first = head[token.start()]
        if first in OPENERS:
            open_brackets.append(first)
        elif first != QUOTE:
            del open_brackets[-1:]  # nothing to close is no error here
        elif len(open_brackets) == depth and token[0] == key and b"[" not in open_brackets and attempts:
            value = _value_after(head, token.end())
            if value is not None:
                return value
            attempts -= 1
    return None


def _value_after(head: bytes, at: int) -> Any | None:
    """The value after a key that ends at `at`; None where it is cut off or no value follows."""
    colon = _COLON.match(head, at)
    if colon is None:
        return None
    text = head[colon.end() :].decode("utf-8", "replace")
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    after = text[end : end + 1]
    # `12` at the cut may be the beginning of `123`; before a dot, of `12.5`.
    return value if (after in _AFTER_VALUE if after else text[end - 1] in '"}]') else None
