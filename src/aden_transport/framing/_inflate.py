"""gzip and deflate, decoded in pieces with zlib (RFC 1950, 1951, 1952)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

__all__ = ["Deflate", "Gzip"]

_GZIP, _ZLIB, _RAW = 31, 15, -15  # window bits as zlib takes them


class Gzip:
    """A gzip file: one or more members (RFC 1952 §2.2), perhaps padded with zero bytes."""

    errors: tuple[type[Exception], ...] = (zlib.error,)

    def __init__(self, *, piece: int) -> None:
        self._piece = piece
        self._inflate = zlib.decompressobj(_GZIP)
        self.later = False
        """Whether a complete member lies behind, so that an error is one of what follows it."""

    @property
    def complete(self) -> bool:
        """Whether the data may end here."""
        return self._inflate.eof

    def decode(self, data: bytes) -> Iterable[bytes]:
        """Decoded pieces of at most `piece` bytes; a tuple where `data` gives one or none."""
        inflate = self._inflate
        if inflate.eof:
            data = data.lstrip(b"\0")
            return self._rest(self._next_member(data)) if data else ()
        out = inflate.decompress(data, self._piece)
        if len(out) < self._piece and not inflate.eof:
            return (out,) if out else ()
        return self._rest(out)

    def _rest(self, out: bytes) -> Iterator[bytes]:
        """`out`, then what zlib still holds of the input."""
        while True:
            if out:
                yield out
            inflate = self._inflate
            if inflate.eof:
                data = inflate.unused_data.lstrip(b"\0")
                if not data:
                    return
                out = self._next_member(data)
            elif len(out) < self._piece:
                return
            else:
                out = inflate.decompress(inflate.unconsumed_tail, self._piece)

    def _next_member(self, data: bytes) -> bytes:
        self.later = True
        self._inflate = zlib.decompressobj(_GZIP)
        return self._inflate.decompress(data, self._piece)


class Deflate(Gzip):
    """`deflate` is zlib's format (RFC 9110 §8.4.1.2), but some servers send bare RFC 1951 data."""

    def __init__(self, *, piece: int) -> None:
        super().__init__(piece=piece)
        self._head: bytes | None = b""

    def decode(self, data: bytes) -> Iterable[bytes]:
        """As `Gzip.decode`; the first two bytes tell the format."""
        if self._head is not None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return ()
            self._head = None
            self._inflate = zlib.decompressobj(_ZLIB if _has_zlib_header(data) else _RAW)
        return super().decode(data)

    def _next_member(self, data: bytes) -> bytes:
        self.later = True
        raise zlib.error("data after the end of the stream")


def _has_zlib_header(data: bytes) -> bool:
    # RFC 1950 §2.2: CM = 8, CINFO <= 7, and the two bytes are a multiple of 31. Bare deflate would
    # begin like this only with a stored block whose padding bits are set.
    return data[0] & 0x8F == 0x08 and (data[0] << 8 | data[1]) % 31 == 0
