"""Answers observed where the client decodes them, which it does to each piece in any case.

What it makes of an encoded piece is not made once more: to inflate a copy takes longer than all else that
observing does. And a step in the client's own loop costs less than a loop of ours around each piece of a
stream. A reader of the raw bytes is known by its asking for a second piece without having had the first one
decoded.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import repeat
from typing import Any, Protocol

from ..core.exchange import Exchange
from ..core.observe import EDGE, StreamObserver
from ._look import feed, look

__all__ = ["Shown", "shown_by"]


class Shown(Protocol):
    """A client's decoder, as a body sees it."""

    is_used: bool
    """Whether the client decodes the pieces, so that the body need not pass them here any more."""

    def begin(self) -> None:
        """A reader begins, perhaps where another has stopped."""

    def pass_raw(self, data: bytes) -> None:
        """`data` is handed to the client."""

    def end(self) -> None:
        """No piece follows."""


class ShownPlain:
    """Of a stream without an encoding: what comes out is what goes in."""

    __slots__ = ("_exchange", "_first", "is_used")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._first: bytes | None = None
        """The latest piece that the body has passed; observed."""
        self.is_used = False

    def begin(self) -> None:
        self.is_used = False

    def pass_raw(self, data: bytes) -> None:
        self._first = data
        feed(self._exchange, data)

    def end(self) -> None:
        self._first = None

    def decoding(self, observer: StreamObserver, *, one_by_one: bool) -> Generator[Any, bytes, None]:
        """Takes each piece and gives it back, `one_by_one` as the only one of several; what
        `StreamObserver` says is to be done for each piece is done here."""
        exchange = self._exchange
        append, place, byte = observer.chunks.append, observer.place, observer.byte
        piece = yield
        # Where something lies between the body and the client, the body's pieces are observed.
        while piece is not self._first:
            piece = yield [piece] if one_by_one else piece
        self._first, self.is_used = None, True
        several = [piece]
        """The same list each time: its reader has done with it before it brings the next piece."""
        many = 0
        while True:
            for _ in repeat(None, many):
                piece = yield several if one_by_one else piece
                append(piece)
                several[0] = piece
                try:
                    if piece[place] != byte:
                        look(exchange, observer)
                except IndexError:
                    look(exchange, observer)
            piece = yield several if one_by_one else piece
            append(piece)
            several[0] = piece
            many = look(exchange, observer)


class ShownDecoded:
    """Of an encoded answer: takes the place of the client's decoder."""

    __slots__ = ("_decode", "_decoder", "_exchange", "_held", "_is_passed_by", "is_used")

    def __init__(self, decoder: Any, exchange: Exchange) -> None:
        self._decoder = decoder
        self._decode = decoder.decode
        self._exchange = exchange
        self._held: bytes | None = None
        """The latest raw piece, until the client has it decoded."""
        self._is_passed_by = False
        """Whether the client reads the raw bytes."""
        self.is_used = False

    # -- for the client -------------------------------------------------------------------------------

    def decode(self, data: bytes) -> Any:
        """httpx wants bytes, httpx2 an iterator of them."""
        self._held = None
        decoded = self._decode(data)
        if not self.is_used:
            if self._is_passed_by:
                return decoded
            self.is_used = True
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

    def begin(self) -> None:
        pass

    def pass_raw(self, data: bytes) -> None:
        if self._held is not None:
            self.end()  # It has not had the piece before decoded.
        if self._is_passed_by:
            feed(self._exchange, data)
        else:
            self._held = data

    def end(self) -> None:
        if self._held is not None and not self.is_used:
            self._is_passed_by = True
            feed(self._exchange, self._held)
        self._held = None


def each(pieces: Iterable[bytes], exchange: Exchange, observer: StreamObserver) -> Iterator[bytes]:
    """The same of a stream; what `StreamObserver` says is to be done for each piece is done here."""
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
    """The decoder of `response`, now one that shows; None where that is of no use, or the library has none
    for its encodings or keeps it elsewhere."""
    try:
        decoder = response._get_content_decoder()
        if response._decoder is not decoder:
            return None
        if type(decoder).__name__ != "IdentityDecoder":
            made = response._decoder = ShownDecoded(decoder, exchange)
            return made
        observer = exchange.stream_observer
        if observer is None or not observer.plain:
            return None
        plain = ShownPlain(exchange)
        decoding = plain.decoding(observer, one_by_one=not isinstance(decoder.decode(b""), bytes))
        next(decoding)
        decoder.decode = decoding.send
    except AttributeError:
        return None
    return plain
