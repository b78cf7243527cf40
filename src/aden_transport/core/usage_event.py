"""Hiding the usage event that we asked for and the application did not."""

from __future__ import annotations

from .._json import loads

__all__ = ["UsageEventFilter"]

BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")
FINISH = b'"finish_reason":'
CARRY = 32
MAX_HELD = 64 * 1024
"""A usage event has a few hundred bytes; what is longer is none and goes on."""


class UsageEventFilter:
    """Passes a chat stream on byte for byte, without its one event that has usage and no choices.

    Until a finish reason has gone by, every piece is passed on as it came. From then on at most one
    unfinished event is held back, since it may be the one to hide.
    """

    __slots__ = ("_armed", "_held", "_last", "_passing", "hidden")

    def __init__(self) -> None:
        self._armed = self._passing = False
        self._last = b""
        self._held = b""
        self.hidden = 0

    def receive_data(self, data: bytes) -> bytes:
        """What to hand on; may be empty."""
        if not self._armed:
            window = self._last + data
            if not _has_finish_reason(window):
                self._last = window[-CARRY:]
                return data
            self._armed = self._passing = True
            self._last = b""
        if self._passing:
            return self._pass_on(data)
        self._held += data
        return self._release()

    def _pass_on(self, data: bytes) -> bytes:
        """The rest of the event under way, which began in bytes already handed on, and what follows it."""
        window = self._last + data
        end = _event_end(window)
        if end < 0:
            self._last = window[-3:]  # the blank line may be cut anywhere
            return data
        cut = end - len(self._last)
        self._passing = False
        self._held = data[cut:]
        return data[:cut] + self._release()

    def receive_eof(self) -> bytes:
        """What was held back, unless it is the event to hide."""
        held, self._held = self._held, b""
        return b"" if self._hides(held) else held

    def _release(self) -> bytes:
        out = bytearray()
        while (end := _event_end(self._held)) >= 0:
            event, self._held = self._held[:end], self._held[end:]
            if not self._hides(event):
                out += event
        if len(self._held) > MAX_HELD:
            out += self._held
            self._last, self._held = self._held[-3:], b""
            self._passing = True
        return bytes(out)

    def _hides(self, event: bytes) -> bool:
        if self.hidden or b'"usage"' not in event:
            return False
        data = b"".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        try:
            chunk = loads(data)
        except ValueError:
            return False
        if isinstance(chunk, dict) and chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict):
            self.hidden += 1
            return True
        return False


def _has_finish_reason(window: bytes) -> bool:
    at = window.find(FINISH)
    while at >= 0:
        if window[at + len(FINISH) :].lstrip(b" ")[:1] == b'"':
            return True
        at = window.find(FINISH, at + 1)
    return False


def _event_end(data: bytes) -> int:
    """Where the first event in `data` ends, its blank line included; -1 where it has not ended."""
    ends = [at + len(blank) for blank in BLANK_LINES if (at := data.find(blank)) >= 0]
    return min(ends) if ends else -1
