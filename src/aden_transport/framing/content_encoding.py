"""Content codings of HTTP bodies, undone in pieces (RFC 9110 §8.4).

The application's client decodes its own copy; this one is for us, so it may stop early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ._brotli import Brotli, find_brotli
from ._faults import note
from ._inflate import Deflate, Gzip
from ._zstd import find_zstd

__all__ = ["Decoder", "decoder_for"]

_PIECE = 1 << 16
"""The most bytes of one decoded piece."""
_SLICE = 1 << 14
"""The most bytes given to a codec at once: bounds what it holds back and copies per piece."""
_FREE = 32 << 20
"""Decoded bytes that no ratio forbids."""
_RATIO = 100
"""Decoded per encoded byte, above which data beyond `_FREE` is a bomb. Text has 3 to 20."""
_MAX_CODINGS = 5  # as in curl and httpx2


class _Stage(Protocol):
    """One coding's decoder; `decode` raises one of `errors` where it cannot go on."""

    errors: tuple[type[Exception], ...]
    later: bool

    @property
    def complete(self) -> bool: ...

    def decode(self, data: bytes) -> Iterable[bytes]: ...


class Decoder:
    """Undoes the codings of one body.

    Use up what `receive_data` returns before the next call: it decodes while it is iterated, so
    that no more than one piece is in memory.

    Faults, after each of which nothing more is decoded: `encoding.unsupported`, `encoding.corrupt`,
    `encoding.trailing` (what follows complete data is not of its coding), `encoding.bomb`; and
    `encoding.truncated` at the end. Up to 16 KiB of the data before a corrupt byte may be lost.
    """

    def __init__(self, stages: Sequence[_Stage] | None) -> None:
        self.faults: list[str] = []
        self.supported = stages is not None
        """Whether every coding is known and its library installed; if not, nothing is decoded."""
        self._stages = tuple(stages or ())
        self._errors = tuple(error for stage in self._stages for error in stage.errors)
        self._single = self._stages[0] if len(self._stages) == 1 else None
        self._received = 0
        self._decoded = [0] * len(self._stages)
        self._stopped = False
        if not self.supported:
            self._stop("encoding.unsupported")

    def receive_data(self, data: bytes) -> Iterable[bytes]:
        """Decoded pieces, none empty, none above 64 KiB."""
        if self._stopped:
            return ()
        if self._single is None or len(data) > _SLICE:
            return self._slices(data)
        # Small reads of a single coding, the usual stream: 0.7 µs besides zlib's own 0.7.
        try:
            pieces = self._single.decode(data)
        except self._errors:
            self._stop_at_error()
            return ()
        self._received += len(data)
        if type(pieces) is tuple:
            if pieces:
                self._decoded[0] += len(pieces[0])
            return pieces
        return self._guarded(self._counted(0, pieces))

    def receive_eof(self) -> Iterable[bytes]:
        """Nothing, since nothing is held back; where a coding has not ended, that is a fault."""
        if self._stopped:
            return ()  # and brotli does not even answer after an error
        self._stopped = True
        fed = (self._received, *self._decoded)
        if any(received and not stage.complete for stage, received in zip(self._stages, fed, strict=False)):
            note(self.faults, "encoding.truncated")
        return ()

    def _slices(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _SLICE):
            part = data[start : start + _SLICE]
            self._received += len(part)
            yield from self._guarded(self._through(0, part))
            if self._stopped:
                return

    def _guarded(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except self._errors:
            self._stop_at_error()

    def _through(self, index: int, data: bytes) -> Iterator[bytes]:
        """`data` decoded by the stages from `index` on."""
        pieces = self._counted(index, self._stages[index].decode(data))
        if index + 1 == len(self._stages):
            yield from pieces
            return
        for piece in pieces:
            yield from self._through(index + 1, piece)

    def _counted(self, index: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """`pieces` of one stage, until they are too many for what was received."""
        for piece in pieces:
            if self._stopped:
                return
            self._decoded[index] += len(piece)
            if self._decoded[index] > _FREE and self._decoded[index] > _RATIO * self._received:
                self._stop("encoding.bomb")
                return
            yield piece

    def _stop_at_error(self) -> None:
        later = any(stage.later for stage in self._stages)
        self._stop("encoding.trailing" if later else "encoding.corrupt")

    def _stop(self, fault: str) -> None:
        self._stopped = True
        note(self.faults, fault)


def decoder_for(content_encoding: str | None) -> Decoder | None:
    """The decoder for a `Content-Encoding` value such as `"gzip"` or `"gzip, br"`; None for identity."""
    codings = [coding.strip().lower() for coding in (content_encoding or "").split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > _MAX_CODINGS:
        return Decoder(None)
    # RFC 9110 §8.4: listed in the order in which they were applied.
    stages = [stage for coding in reversed(codings) if (stage := _stage_for(coding)) is not None]
    return Decoder(stages if len(stages) == len(codings) else None)


def _stage_for(coding: str) -> _Stage | None:
    make = _STAGES.get(coding, _no_stage)
    return make()


def _no_stage() -> _Stage | None:
    return None


def _brotli() -> _Stage | None:
    module = find_brotli()
    return None if module is None else Brotli(module, piece=_PIECE)


def _zstd() -> _Stage | None:
    make = find_zstd()
    return None if make is None else make(piece=_PIECE)


_STAGES: dict[str, Callable[[], _Stage | None]] = {
    "gzip": lambda: Gzip(piece=_PIECE),
    # RFC 9110 §8.4.1.3: a recipient treats x-gzip as gzip.
    "x-gzip": lambda: Gzip(piece=_PIECE),
    "deflate": lambda: Deflate(piece=_PIECE),
    "br": _brotli,
    "zstd": _zstd,
}
