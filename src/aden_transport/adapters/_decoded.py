"""Answers whose content the client decodes: what it makes of them is observed, and not made once more.

To inflate a copy takes longer than all else that observing does. Only a reader of the raw bytes has us decode
a copy: it is known by its asking for a second piece without having had the first one decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..core.exchange import Exchange
from ..core.observe import EDGE, StreamObserver
from ._look import feed, look

__all__ = ["Shown", "shown_by"]


class Shown:
    """A library's content decoder, in its place in the response."""

    __slots__ = ("_decode", "_decoder", "_exchange", "_held", "_is_passed_by", "_is_used")

    def __init__(self, decoder: Any, exchange: Exchange) -> None:
        self._decoder = decoder
        self._decode = decoder.decode
        self._exchange = exchange
        self._held: bytes | None = None
        """The latest raw piece, until the client has it decoded."""
        self._is_passed_by = False
        """Whether the client reads the raw bytes."""
        self._is_used = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    # -- for the client -------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Any:
        """httpx wants bytes, httpx2 an iterator of them."""
        self._held = None
        decoded = self._decode(data)
        if not self._is_used:
            if self._is_passed_by:
                return decoded
            self._is_used = True
            self._exchange.expect_decoded()
        if decoded.__class__ is bytes:
            feed(self._exchange, decoded)
            return decoded
        observer = self._exchange.stream_observer
        if observer is None:
            return self._each(decoded)
        return each(decoded, self._exchange, observer)

    def flush(self) -> Any:
        return self._decoder.flush()

    def _each(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            feed(self._exchange, piece)
            yield piece

    # -- for the body ---------------------------------------------------------------------------------

    def pass_raw(self, data: bytes) -> None:
        """`data` is handed to the client."""
        if self._held is not None:
            self.end()  # It has not had the piece before decoded.
        if self._is_passed_by:
            feed(self._exchange, data)
        else:
            self._held = data

    def end(self) -> None:
        """No piece follows."""
        if self._held is not None and not self._is_used:
            self._is_passed_by = True
            feed(self._exchange, self._held)
        self._held = None


def each(pieces: Iterable[bytes], exchange: Exchange, observer: StreamObserver) -> Iterator[bytes]:
    """The same of a stream; see `collected`."""
    for piece in pieces:
        observer.chunks.append(piece)
        observer.many -= 1
        try:
            # A decoder's pieces may have a mebibyte, after many that had a few bytes.
            if observer.many < 0 or piece[observer.place] != observer.byte or len(piece) > EDGE:
                observer.many = look(exchange, observer)
        except IndexError:
            observer.many = look(exchange, observer)
        yield piece


def shown_by(response: Any, exchange: Exchange) -> Shown | None:
    """The decoder of `response`, now one that shows; None where the library has none for its encodings, or
    keeps it elsewhere."""
    try:
        decoder = response._get_content_decoder()
        if type(decoder).__name__ == "IdentityDecoder" or response._decoder is not decoder:
            return None
        made = response._decoder = Shown(decoder, exchange)
    except AttributeError:
        return None
    return made
