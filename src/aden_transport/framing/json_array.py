"""A JSON array of objects, fed in pieces.

Gemini's `streamGenerateContent` without `alt=sse` streams one array, each element a response:
https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. Its errors come as
the same array or as a bare object.
"""

from __future__ import annotations

from ._faults import note
from ._json_tokens import CLOSERS, OPENERS, QUOTE, STRING_REST, TOKEN

__all__ = ["JsonArrayParser"]

_SPACE = b" \t\r\n\xef\xbb\xbf"


class JsonArrayParser:
    """The elements of a top-level array, or a bare top-level object, as their bytes.

    Keeps at most one element of `max_element` bytes. Brackets are counted, not matched, so an
    element may turn out not to be JSON. Elements that are neither object nor array are passed over.

    Faults: `json_array.element_too_long` (skipped, see `skipped`), `json_array.not_json` (the body
    begins with neither bracket; nothing of it is read), `json_array.truncated`.
    """

    def __init__(self, *, max_element: int = 1 << 20) -> None:
        self.faults: list[str] = []
        self.skipped = 0
        """How many elements were longer than `max_element` bytes."""
        self._max_element = max_element
        self._begun = False
        self._refused = False
        self._in_string = False
        self._escaped = False
        self._depth = 0
        self._base = 0  # the depth at which elements stand: 1 inside the array
        self._pending = bytearray()
        self._skipping = False

    def receive_data(self, data: bytes) -> list[bytes]:
        """The elements that `data` completes, in order."""
        if not self._begun:
            data = self._begin(data)
        if self._refused or not data:
            return []
        return self._scan(data)

    def receive_eof(self) -> list[bytes]:
        """Nothing: an element without its end is no JSON. An array without its end is a fault."""
        if self._depth:
            note(self.faults, "json_array.truncated")
        self._pending.clear()
        return []

    def _begin(self, data: bytes) -> bytes:
        data = data.lstrip(_SPACE)
        if data:
            self._begun = True
            if data[0] not in OPENERS:
                self._refused = True
                note(self.faults, "json_array.not_json")
        return data

    def _scan(self, data: bytes) -> list[bytes]:
        found: list[bytes] = []
        start = 0 if self._depth > self._base else -1  # where in `data` the open element goes on
        for token in TOKEN.finditer(data, self._skip_string(data)):
            at = token.start()
            first = data[at]
            if first == QUOTE:
                self._in_string = not token[1]
                self._escaped = self._in_string and token.end() < len(data)
            elif first in CLOSERS:
                if self._close() and start >= 0:
                    self._take(data[start : at + 1], found)
                    start = -1
            elif self._open(first):
                start = at
        if start >= 0:
            self._hold(data[start:])
        return found

    def _skip_string(self, data: bytes) -> int:
        """Where in `data` the string ends that an earlier piece began."""
        if not self._in_string:
            return 0
        rest = STRING_REST.match(data, int(self._escaped))
        assert rest is not None  # the pattern matches nothing at all, too
        self._in_string = not rest[1]
        self._escaped = self._in_string and rest.end() < len(data)
        return rest.end()

    def _open(self, bracket: int) -> bool:
        """Count an opening bracket; true if an element begins with it."""
        begins = self._depth == self._base
        self._depth += 1
        if begins and self._base == 0 and bracket == ord("["):
            self._base = 1
            return False
        return begins

    def _close(self) -> bool:
        """Count a closing bracket; true if an element ends with it."""
        if self._depth == self._base:
            self._depth = self._base = 0
            return False
        self._depth -= 1
        return self._depth == self._base

    def _hold(self, data: bytes) -> None:
        if self._skipping:
            return
        self._pending += data
        if len(self._pending) > self._max_element:
            self._skip()
            self._skipping = True
            self._pending.clear()

    def _take(self, data: bytes, found: list[bytes]) -> None:
        if self._pending or self._skipping:
            self._hold(data)
            data = bytes(self._pending)
            self._pending.clear()
        if len(data) > self._max_element:
            self._skip()
        elif not self._skipping:
            found.append(data)
        self._skipping = False

    def _skip(self) -> None:
        self.skipped += 1
        note(self.faults, "json_array.element_too_long")
