"""Content-encodings, piece by piece, and the ways they go wrong."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, Protocol

from .reply import EncodingFault

__all__ = ["bomb", "encode"]

_MIB = 1024 * 1024


class _Encoder(Protocol):
    def piece(self, data: bytes) -> bytes:
        """`data`, encoded so far that a reader can decode all of it."""
        ...

    def finish(self) -> bytes: ...


class _Zlib:
    """gzip (`wbits` 31) and deflate (15)."""

    def __init__(self, wbits: int) -> None:
        self._compressor = zlib.compressobj(wbits=wbits)

    def piece(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Brotli:
    def __init__(self) -> None:
        self._compressor: Any = _import("brotli", "brotlicffi").Compressor()

    def piece(self, data: bytes) -> bytes:
        return bytes(self._compressor.process(data) + self._compressor.flush())

    def finish(self) -> bytes:
        return bytes(self._compressor.finish())


class _Zstd:
    """The standard library's module (3.14) and its backport, or `zstandard`, which is made otherwise."""

    def __init__(self) -> None:
        module = _import("compression.zstd", "backports.zstd", "zstandard")
        self._is_zstandard = hasattr(module, "COMPRESSOBJ_FLUSH_BLOCK")
        compressor: Any = module.ZstdCompressor()
        self._compressor: Any = compressor.compressobj() if self._is_zstandard else compressor
        self._block: int = module.COMPRESSOBJ_FLUSH_BLOCK if self._is_zstandard else compressor.FLUSH_BLOCK

    def piece(self, data: bytes) -> bytes:
        if not self._is_zstandard:
            return bytes(self._compressor.compress(data, self._block))
        return bytes(self._compressor.compress(data) + self._compressor.flush(self._block))

    def finish(self) -> bytes:
        return bytes(self._compressor.flush())


def _import(*names: str) -> Any:
    """The first of these modules that is installed.

    Raises: ImportError.
    """
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImportError(f"this encoding needs one of {', '.join(names)}")


_ENCODERS: dict[str, Callable[[], _Encoder]] = {
    "gzip": lambda: _Zlib(31),
    "deflate": lambda: _Zlib(15),
    "br": _Brotli,
    "zstd": _Zstd,
}


def encode(
    pieces: Iterable[bytes], *, encoding: str, fault: EncodingFault | None = None, finish: bool = True
) -> Iterator[bytes]:
    """Encode each piece so that it can be decoded when it arrives.

    `finish=False` leaves the end away, as a lost connection does.

    Raises: ImportError for an encoding whose library is missing, before the first piece.
    """
    if encoding == "identity" or fault == "mislabelled":
        return iter(pieces)
    encoder = _ENCODERS[encoding]()
    encoded = _encode(pieces, encoder, finish=finish)
    return encoded if fault is None else _spoil(encoded, fault)


def _encode(pieces: Iterable[bytes], encoder: _Encoder, *, finish: bool) -> Iterator[bytes]:
    for piece in pieces:
        yield encoder.piece(piece)
    if finish:
        yield encoder.finish()


def _spoil(pieces: Iterable[bytes], fault: EncodingFault) -> Iterator[bytes]:
    whole = bytearray(b"".join(pieces))
    if fault == "truncated":
        yield bytes(whole[: len(whole) // 2])
        return
    for place in range(len(whole) // 3, len(whole)):
        whole[place] ^= 0x55
    yield bytes(whole)


def bomb(pieces: Iterable[bytes], *, mib: int, pad: bytes) -> Iterator[bytes]:
    """One gzip member: `mib` MiB of the byte `pad`, then `pieces`. Costs memory for one MiB."""
    # After Z_FULL_FLUSH a block refers to nothing before it, so the same bytes serve for every MiB.
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(pad * _MIB) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum, size = 0, mib * _MIB
    padding = pad * _MIB
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    for _ in range(mib):
        checksum = zlib.crc32(padding, checksum)
        yield block
    tail = zlib.compressobj(wbits=-15)
    for piece in pieces:
        checksum, size = zlib.crc32(piece, checksum), size + len(piece)
        yield tail.compress(piece) + tail.flush(zlib.Z_SYNC_FLUSH)
    yield tail.flush() + checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
