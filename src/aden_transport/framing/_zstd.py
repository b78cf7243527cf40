"""Zstandard (RFC 8878), where Python 3.14, `backports.zstd` or `zstandard` brings it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

__all__ = ["Zstd", "ZstdUnlimited", "find_zstd"]

_WINDOW_LOG = 23  # RFC 9659 §3: a content coding needs no window above 8 MiB


def find_zstd() -> Callable[..., Zstd | ZstdUnlimited] | None:
    """What makes a decoder with the installed module, None where there is none."""
    for name, kind in (("compression.zstd", Zstd), ("backports.zstd", Zstd), ("zstandard", ZstdUnlimited)):
        try:
            module = import_module(name)
        except ImportError:
            continue
        return lambda *, piece: kind(module, piece=piece)
    return None


class Zstd:
    """One or more frames, with the standard library's interface."""

    def __init__(self, module: Any, *, piece: int) -> None:
        self.errors: tuple[type[Exception], ...] = (module.ZstdError,)
        self.later = False
        self._module = module
        self._piece = piece
        self._options = {module.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self._frame = self._new_frame()

    @property
    def complete(self) -> bool:
        """Whether the data may end here."""
        return bool(self._frame.eof)

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most `piece` bytes."""
        while data:
            if self._frame.eof:
                self.later = True
                self._frame = self._new_frame()
            frame = self._frame
            out = frame.decompress(data, self._piece)
            while out:
                yield out
                out = b"" if frame.eof or frame.needs_input else frame.decompress(b"", self._piece)
            data = frame.unused_data

    def _new_frame(self) -> Any:
        return self._module.ZstdDecompressor(options=self._options)


class ZstdUnlimited:
    """One or more frames, with the interface of the package `zstandard`, which knows no output limit."""

    def __init__(self, module: Any, *, piece: int) -> None:
        self.errors: tuple[type[Exception], ...] = (module.ZstdError,)
        self.later = False
        self._piece = piece
        self._context = module.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
        self._frame = self._context.decompressobj()

    @property
    def complete(self) -> bool:
        """Whether the data may end here."""
        return bool(self._frame.eof)

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most `piece` bytes."""
        # A block of 128 KiB fits into four bytes, so 128 bytes give at most 4 MiB.
        for start in range(0, len(data), 128):
            part = data[start : start + 128]
            while part:
                if self._frame.eof:
                    self.later = True
                    self._frame = self._context.decompressobj()
                out = self._frame.decompress(part)
                for at in range(0, len(out), self._piece):
                    yield out[at : at + self._piece]
                part = self._frame.unused_data
