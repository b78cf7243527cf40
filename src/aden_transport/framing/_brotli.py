"""Brotli (RFC 7932), where the module `brotli` or `brotlicffi` is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

__all__ = ["Brotli", "find_brotli"]


def find_brotli() -> Any | None:
    """The installed module, None where there is none that can be fed in pieces."""
    for name in ("brotli", "brotlicffi"):
        try:
            module = import_module(name)
        except ImportError:
            continue
        # brotlipy, abandoned since 2017, has the name `brotli` but not this method.
        if hasattr(module.Decompressor, "is_finished"):
            return module
    return None


class Brotli:
    """One brotli stream."""

    def __init__(self, module: Any, *, piece: int) -> None:
        self.errors: tuple[type[Exception], ...] = (module.error,)
        self.later = False
        self._piece = piece
        self._state = module.Decompressor()
        # Since 1.2 the output of one call can be limited. Before, a block of 16 MiB fits into some
        # ten bytes of input, so that only tiny inputs keep the memory bounded.
        self._limited = hasattr(self._state, "can_accept_more_data")

    @property
    def complete(self) -> bool:
        """Whether the data may end here."""
        return bool(self._state.is_finished())

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most `piece` bytes."""
        if data and self.complete:
            self.later = True
            raise self.errors[0]("data after the end of the stream")
        outputs = self._limited_outputs(data) if self._limited else self._outputs(data)
        for out in outputs:
            for start in range(0, len(out), self._piece):
                yield out[start : start + self._piece]

    def _limited_outputs(self, data: bytes) -> Iterator[bytes]:
        # 1.2.1 says that it can accept more data while it still holds output, so only a call that
        # stays below the limit shows that nothing is left. It gives up to three times the limit.
        out = self._state.process(data, output_buffer_limit=self._piece)
        yield out
        while len(out) >= self._piece:
            out = self._state.process(b"", output_buffer_limit=self._piece)
            yield out

    def _outputs(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 16):
            yield self._state.process(data[start : start + 16])
