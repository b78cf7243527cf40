"""From an answer's natural pieces to the pieces that go on the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from .answers import Answer
from .encodings import bomb, encode
from .reply import Chunking, Reply

__all__ = ["Body", "make_body"]

_FILL = re.compile(rb"@@fill:(\d+)@@")
_FILLER = b"lorem ipsum dolor sit amet " * 2428  # 65 556 bytes
_SLICE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """The pieces to write, made while they are read."""

    pieces: Iterator[bytes]
    encoding: str
    length: int | None
    """Bytes of the whole body, where that is known before it is made."""
    lost: bool
    """The connection closes after the pieces, the end of the body untold."""


def make_body(answer: Answer, reply: Reply, *, accept_encoding: str) -> Body:
    """Apply the reply's events, filler, encoding and chunking.

    Raises: ImportError for an encoding whose library is missing.
    """
    lost = reply.disconnect_after_events is not None or reply.disconnect_after_bytes is not None
    encoding = _encoding(reply, accept_encoding)
    pieces = _fill(_events(answer, reply)) if reply.text_mb is not None else _events(answer, reply)
    length: int | None = None
    if reply.gzip_bomb_mib is not None:
        pad = b"\n" if answer.stream else b" "
        pieces = bomb(pieces, mib=reply.gzip_bomb_mib, pad=pad)
    else:
        # A broken connection leaves a compressed body unfinished too.
        unfinished = reply.disconnect_after_events is not None
        pieces = encode(pieces, encoding=encoding, fault=reply.encoding_fault, finish=not unfinished)
        if not answer.stream and reply.text_mb is None:
            whole = b"".join(pieces)
            pieces, length = iter((whole,)), len(whole)
    if reply.disconnect_after_bytes is not None:
        pieces = _first_bytes(pieces, reply.disconnect_after_bytes)
    return Body(_cut(pieces, reply.chunking), encoding, length, lost)


def _encoding(reply: Reply, accept_encoding: str) -> str:
    if reply.gzip_bomb_mib is not None:
        return "gzip"
    if reply.encoding != "accept":
        return reply.encoding
    return "gzip" if re.search(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", accept_encoding) else "identity"


def _events(answer: Answer, reply: Reply) -> Iterator[bytes]:
    pieces = iter(answer.pieces)
    if reply.disconnect_after_events is not None:
        yield from islice(pieces, reply.disconnect_after_events)
    elif reply.error_after_events is not None and answer.stream:
        yield from islice(pieces, reply.error_after_events)
        yield answer.error_event
    else:
        yield from pieces


def _fill(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put filler in the place of each `@@fill:N@@`; short pieces stay whole, long ones come in slices."""
    for piece in pieces:
        parts = _FILL.split(piece)
        if sum(map(int, parts[1::2])) <= _SLICE:
            yield _FILL.sub(lambda found: _FILLER[: int(found[1])], piece)
            continue
        for position, part in enumerate(parts):
            if position % 2 == 0:
                yield part
                continue
            for start in range(0, int(part), _SLICE):
                yield _FILLER[: min(_SLICE, int(part) - start)]


def _first_bytes(pieces: Iterable[bytes], limit: int) -> Iterator[bytes]:
    for piece in pieces:
        yield piece[:limit]
        limit -= len(piece)
        if limit <= 0:
            return


def _cut(pieces: Iterable[bytes], chunking: Chunking | int) -> Iterator[bytes]:
    """The same bytes in other pieces; empty pieces are left out, for a chunk of no bytes ends a body."""
    if chunking == "event":
        yield from filter(None, pieces)
        return
    if chunking == "whole":
        whole = b"".join(pieces)
        if whole:
            yield whole
        return
    size = 1 if chunking == "byte" else chunking
    rest = b""
    for piece in pieces:
        rest += piece
        whole_pieces = len(rest) - len(rest) % size
        for start in range(0, whole_pieces, size):
            yield rest[start : start + size]
        rest = rest[whole_pieces:]
    if rest:
        yield rest
