"""Content codings: round trips, damage, bombs, and the optional libraries (real ones where installed)."""

from __future__ import annotations

import gzip
import importlib
import random
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from aden_transport.framing.content_encoding import Decoder, decoder_for

MIB = 1 << 20
DICE = random.Random(1)
TEXT = b"".join(b'data: {"n": %d}\n\n' % DICE.randrange(10**9) for _ in range(30))


def squeezed(data: bytes, wbits: int = 31) -> bytes:
    squeezer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    return squeezer.compress(data) + squeezer.flush()


# ── stand-ins with the interfaces of the optional libraries, on top of zlib ─────────────────────────


class LibraryError(Exception):
    pass


class Stand:
    """What the stand-ins share: zlib's decompressor with an error of their own."""

    def __init__(self, *_arguments: object, **_options: object) -> None:
        self.inner = zlib.decompressobj()

    def run(self, data: bytes, limit: int = 0) -> bytes:
        try:
            return self.inner.decompress(self.inner.unconsumed_tail + data, limit)
        except zlib.error as exc:
            raise LibraryError(str(exc)) from exc

    @property
    def eof(self) -> bool:
        return self.inner.eof

    @property
    def unused_data(self) -> bytes:
        return self.inner.unused_data


class OldBrotli(Stand):
    def process(self, data: bytes) -> bytes:
        return self.run(data)

    def is_finished(self) -> bool:
        return self.inner.eof


class NewBrotli(Stand):
    def process(self, data: bytes, output_buffer_limit: int) -> bytes:
        return self.run(data, output_buffer_limit)

    def is_finished(self) -> bool:
        return self.inner.eof

    def can_accept_more_data(self) -> bool:
        return True


class StandardZstd(Stand):
    needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self.run(data, max_length)
        self.needs_input = len(out) < max_length
        return out


class ZstandardFrame(Stand):
    def decompress(self, data: bytes) -> bytes:
        return self.run(data)


class ZstandardPackage:
    def __init__(self, max_window_size: int) -> None:
        assert max_window_size == 8 * MIB

    def decompressobj(self) -> ZstandardFrame:
        return ZstandardFrame()


STANDARD_ZSTD = SimpleNamespace(
    ZstdError=LibraryError,
    DecompressionParameter=SimpleNamespace(window_log_max="window"),
    ZstdDecompressor=StandardZstd,
)
ZSTANDARD = SimpleNamespace(ZstdError=LibraryError, ZstdDecompressor=ZstandardPackage)
LIBRARIES = ("brotli", "brotlicffi", "compression.zstd", "backports.zstd", "zstandard")


class Coding(NamedTuple):
    name: str
    """In the header."""
    encode: Callable[[bytes], bytes]
    library: str = ""
    stand_in: Any = None
    many: bool = True
    """Whether complete data may be followed by more of it."""


def real(module: str) -> Callable[[bytes], bytes]:
    def encode(data: bytes) -> bytes:
        encoded = importlib.import_module(module).compress(data)
        assert isinstance(encoded, bytes)
        return encoded

    return encode


def stand_in(data: bytes) -> bytes:
    return squeezed(data, 15)


CODINGS = {
    "gzip": Coding("gzip", gzip.compress),
    "x-gzip": Coding(" X-GZip ", gzip.compress),
    "zlib": Coding("deflate", zlib.compress, many=False),
    "bare deflate": Coding("deflate", lambda data: squeezed(data, -15), many=False),
    "brotli": Coding("br", real("brotli"), "brotli", many=False),
    "brotlicffi": Coding("br", real("brotlicffi"), "brotlicffi", many=False),
    "compression.zstd": Coding("zstd", real("compression.zstd"), "compression.zstd"),
    "backports.zstd": Coding("zstd", real("backports.zstd"), "backports.zstd"),
    "zstandard": Coding("zstd", real("zstandard"), "zstandard"),
    "stand-in for brotli 1.1": Coding(
        "br", stand_in, "brotli", SimpleNamespace(Decompressor=OldBrotli, error=LibraryError), many=False
    ),
    "stand-in for brotli 1.2": Coding(
        "br", stand_in, "brotli", SimpleNamespace(Decompressor=NewBrotli, error=LibraryError), many=False
    ),
    "stand-in for compression.zstd": Coding("zstd", stand_in, "compression.zstd", STANDARD_ZSTD),
    "stand-in for backports.zstd": Coding("zstd", stand_in, "backports.zstd", STANDARD_ZSTD),
    "stand-in for zstandard": Coding("zstd", stand_in, "zstandard", ZSTANDARD),
}


@pytest.fixture(params=CODINGS.values(), ids=list(CODINGS))
def coding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Coding:
    """Each coding, with no other optional library in sight."""
    chosen: Coding = request.param
    if chosen.library and chosen.stand_in is None:
        pytest.importorskip(chosen.library)
    for library in LIBRARIES:
        if library != chosen.library:
            monkeypatch.setitem(sys.modules, library, None)
        elif chosen.stand_in is not None:
            monkeypatch.setitem(sys.modules, library, chosen.stand_in)
    return chosen


def decoder(content_encoding: str) -> Decoder:
    found = decoder_for(content_encoding)
    assert isinstance(found, Decoder)
    assert found.supported
    return found


def pieces_of(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def decode(content_encoding: str, data: bytes, size: int = 1 << 30) -> tuple[bytes, list[str]]:
    undo = decoder(content_encoding)
    out = [piece for part in pieces_of(data, size) for piece in undo.receive_data(part)]
    assert all(0 < len(piece) <= 1 << 16 for piece in out)
    assert list(undo.receive_eof()) == []
    return b"".join(out), undo.faults


# ── every coding ────────────────────────────────────────────────────────────────────────────────────


def test_round_trip_at_every_cut(coding: Coding) -> None:
    data = coding.encode(TEXT)
    for point in range(len(data) + 1):
        undo = decoder(coding.name)
        parts = (data[:point], data[point:])
        assert b"".join(piece for part in parts for piece in undo.receive_data(part)) == TEXT
        undo.receive_eof()
        assert undo.faults == []


@pytest.mark.parametrize("size", [1, 100, 20_000, 1 << 30])
def test_round_trip_of_a_large_body(coding: Coding, size: int) -> None:
    text = b"".join(b'{"n": %d},' % DICE.randrange(10**9) for _ in range(15_000)) + b"0" * 300_000
    assert decode(coding.name, coding.encode(text), size) == (text, [])


def test_truncated_at_every_byte(coding: Coding) -> None:
    data = coding.encode(TEXT)
    for end in range(1, len(data)):
        text, faults = decode(coding.name, data[:end])
        assert TEXT.startswith(text)
        assert faults == ["encoding.truncated"]


def test_no_bytes_at_all_are_no_fault(coding: Coding) -> None:
    assert decode(coding.name, b"") == (b"", [])
    assert list(decoder(coding.name).receive_data(b"")) == []


def test_corrupt_at_every_byte_raises_nothing(coding: Coding) -> None:
    data = coding.encode(TEXT)
    for at in range(len(data)):
        for value in (0, 0xFF, data[at] ^ 1 << DICE.randrange(8)):
            _, faults = decode(coding.name, data[:at] + bytes([value]) + data[at + 1 :], 50)
            assert len(faults) <= 1


def test_bytes_that_are_not_of_the_coding_are_corrupt(coding: Coding) -> None:
    text, faults = decode(coding.name, b"\xff\xfe not encoded at all " * 20)
    assert text == b""
    assert faults == ["encoding.corrupt"]


def test_nothing_is_decoded_after_a_fault(coding: Coding) -> None:
    undo = decoder(coding.name)
    assert list(undo.receive_data(b"\xff\xfe not encoded at all " * 20)) == []
    assert list(undo.receive_data(coding.encode(TEXT))) == []
    assert list(undo.receive_eof()) == []
    assert undo.faults == ["encoding.corrupt"]


@pytest.mark.parametrize("size", [1, 7, 1 << 30])
def test_complete_data_may_be_followed_by_more(coding: Coding, size: int) -> None:
    if coding.many:
        data = coding.encode(TEXT) + coding.encode(b"") + coding.encode(TEXT)
        assert decode(coding.name, data, size) == (TEXT * 2, [])


def test_what_is_not_of_the_coding_after_complete_data(coding: Coding) -> None:
    undo = decoder(coding.name)
    assert b"".join(undo.receive_data(coding.encode(TEXT))) == TEXT
    assert list(undo.receive_data(b"\xff\xfe not encoded at all")) == []
    assert list(undo.receive_data(b"\xff\xfe not encoded at all")) == []
    assert list(undo.receive_eof()) == []
    assert undo.faults == ["encoding.trailing"]


@pytest.mark.parametrize("size", [100, 1 << 30])
def test_a_bomb_is_stopped(coding: Coding, size: int) -> None:
    data = coding.encode(bytes(40 * MIB))
    undo = decoder(coding.name)
    tracemalloc.start()
    try:
        decoded = sum(len(piece) for part in pieces_of(data, size) for piece in undo.receive_data(part))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 30 * MIB < decoded <= 33 * MIB
    assert undo.faults == ["encoding.bomb"]
    assert peak < 16 * MIB


# ── single codings ──────────────────────────────────────────────────────────────────────────────────


def test_zero_bytes_after_gzip_are_padding() -> None:
    data = squeezed(TEXT)
    assert decode("gzip", data + bytes(50)) == (TEXT, [])
    assert decode("gzip", data + bytes(50), 3) == (TEXT, [])
    assert decode("gzip", data + bytes(50) + data, 3) == (TEXT * 2, [])


def test_trailing_bytes_in_the_same_piece() -> None:
    for wbits, name in ((31, "gzip"), (15, "deflate"), (-15, "deflate")):
        assert decode(name, squeezed(TEXT, wbits) + b"more") == (TEXT, ["encoding.trailing"])


def test_a_long_stream_of_the_usual_ratio_is_decoded_to_its_end() -> None:
    block = DICE.randbytes(MIB // 2).hex().encode()  # hex digits: 2 to 1
    squeezer = zlib.compressobj(1, zlib.DEFLATED, 31)
    undo = decoder("gzip")
    decoded = sum(len(piece) for _ in range(36) for piece in undo.receive_data(squeezer.compress(block)))
    decoded += sum(len(piece) for piece in undo.receive_data(squeezer.flush()))
    undo.receive_eof()
    assert decoded == 36 * MIB
    assert undo.faults == []


def test_server_sent_events_flushed_one_by_one() -> None:
    squeezer = zlib.compressobj(6, zlib.DEFLATED, 31)
    undo = decoder("gzip")
    for number in range(50):
        event = b"data: %d\n\n" % number
        data = squeezer.compress(event) + squeezer.flush(zlib.Z_SYNC_FLUSH)
        assert tuple(undo.receive_data(data)) == (event,)


# ── which codings ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [None, "", "identity", " Identity ", "identity, identity", ","])
def test_identity_needs_no_decoder(value: str | None) -> None:
    assert decoder_for(value) is None


@pytest.mark.parametrize(
    "value", ["aws-chunked", "gzip, compress", "compress, gzip", ", ".join(["gzip"] * 6)]
)
def test_an_unknown_coding_is_not_supported(value: str) -> None:
    undo = decoder_for(value)
    assert undo is not None
    assert not undo.supported
    assert list(undo.receive_data(squeezed(TEXT))) == []
    assert list(undo.receive_eof()) == []
    assert undo.faults == ["encoding.unsupported"]


@pytest.mark.parametrize("value", ["br", "zstd", "gzip, br"])
def test_a_coding_without_its_library_is_not_supported(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in LIBRARIES:
        monkeypatch.setitem(sys.modules, library, None)
    undo = decoder_for(value)
    assert undo is not None
    assert not undo.supported


def test_a_module_brotli_that_cannot_tell_the_end_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", SimpleNamespace(Decompressor=object))
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    undo = decoder_for("br")
    assert undo is not None
    assert not undo.supported


# ── several codings ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 5, 1 << 30])
def test_codings_are_undone_in_reverse(size: int) -> None:
    data = squeezed(squeezed(squeezed(TEXT), 15), 31)
    assert decode("gzip, deflate, identity, x-gzip", data, size) == (TEXT, [])


def test_an_inner_coding_may_be_truncated_or_corrupt() -> None:
    inner = squeezed(TEXT)
    assert decode("gzip, deflate", squeezed(inner[:-9], 15)) == (TEXT, ["encoding.truncated"])
    assert decode("gzip, deflate", squeezed(b"", 15)) == (b"", [])
    assert decode("gzip, deflate", squeezed(b"\xff\xfe" + inner, 15)) == (b"", ["encoding.corrupt"])


def test_a_bomb_in_two_layers_is_stopped() -> None:
    once = squeezed(bytes(40 * MIB)) + bytes(200_000)
    text, faults = decode("gzip, gzip", squeezed(once))
    assert 30 * MIB < len(text) <= 33 * MIB
    assert faults == ["encoding.bomb"]


def test_a_bomb_in_the_outer_layer_is_stopped() -> None:
    # The inner layer gives nothing: gzip's header may hold a file name of any length.
    bomb = squeezed(b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 40 * MIB)
    assert decode("gzip, gzip", bomb) == (b"", ["encoding.bomb"])
