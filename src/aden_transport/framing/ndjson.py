"""Lines of JSON (NDJSON, JSON Lines), fed in pieces.

Sources: https://github.com/ndjson/ndjson-spec, https://jsonlines.org. Ollama and Cohere v1 stream so.
"""

from __future__ import annotations

from ._faults import note

__all__ = ["NdjsonParser"]


class NdjsonParser:
    """The lines of one stream, without blank ones; keeps at most one line of `max_line` bytes.

    Faults: `ndjson.line_too_long` (skipped, see `skipped`; parsing goes on at the next line).
    """

    def __init__(self, *, max_line: int = 1 << 20) -> None:
        self.faults: list[str] = []
        self.skipped = 0
        """How many lines were longer than `max_line` bytes."""
        self._max_line = max_line
        self._pending = bytearray()
        self._skipping = False

    def receive_data(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, in order, without the white space around them."""
        found: list[bytes] = []
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and (self._pending or self._skipping):
            self._hold(lines[0])
            lines[0] = self._take()
        for line in lines:
            self._append(line, found)
        if rest:
            self._hold(rest)
        return found

    def receive_eof(self) -> list[bytes]:
        """The last line, if no line end followed it (it may be cut off)."""
        found: list[bytes] = []
        self._append(self._take(), found)
        return found

    def _hold(self, data: bytes) -> None:
        if self._skipping:
            return
        self._pending += data
        if len(self._pending) > self._max_line:
            self._skipping = True
            self._skip()
            self._pending.clear()

    def _take(self) -> bytes:
        """The held line; nothing if it was too long."""
        line = bytes(self._pending)
        self._pending.clear()
        self._skipping = False
        return line

    def _append(self, line: bytes, found: list[bytes]) -> None:
        if len(line) > self._max_line:
            self._skip()
            return
        line = line.strip()
        if line:
            found.append(line)

    def _skip(self) -> None:
        self.skipped += 1
        note(self.faults, "ndjson.line_too_long")
