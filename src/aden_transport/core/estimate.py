"""Tokens by the characters of a text, where nobody reports them.

The tokens of Latin text, code and numbers are added up over neighbouring bytes: which class of letter or
sign follows which tells languages, prose and code apart. Characters of other scripts have a weight each.
The weights are fitted to OpenAI's `o200k_base`; docs/estimates.md has what they are off by, there and for
other vendors' tokenizers. What rests on them says `usage_source="estimated"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from zlib import adler32

from .token_weights import (
    AFTER,
    BEFORE,
    JAPANESE,
    OTHER,
    PAIRS,
    RARE,
    RUSSIAN,
    SCRIPTS,
    SECOND,
    TRADITIONAL,
)

__all__ = ["input_tokens", "output_cap", "tokens_of"]

SAMPLE = 4096
"""Characters of a long text that are looked at: pieces from all over it."""
PIECE = 64
PER_MESSAGE = 4
"""Tokens of framing that each message adds (OpenAI's cookbook counts 3 or 4)."""
PER_IMAGE = 765
"""A high-detail 1024 x 1024 image at OpenAI's tile counting; media are never counted by their bytes."""
MAX_DEPTH = 32
MEDIA_KEYS = frozenset(
    {"image_url", "input_audio", "source", "inlineData", "inline_data", "file", "b64_json"}
)
SCHEMA_KEYS = frozenset({"tools", "functions", "json_schema", "responseSchema"})
"""Members whose names are read by the model as well."""
SILENT_KEYS = frozenset(
    {"model", "role", "type", "id", "name", "stream_options", "metadata", "user", "tool_call_id", "mimeType"}
)


def tokens_of(text: str) -> int:
    """Tokens of `text`, rounded up; at most one for each of its bytes."""
    if not text:
        return 0
    sample = _sample(text)
    data = sample.encode("utf-8", "replace")
    most = len(data)
    # An indentation is one token, however deep.
    data = data.replace(b"    ", b"  ").replace(b"    ", b"  ").replace(b"    ", b"  ")
    units = _pairs(data)
    if not sample.isascii():
        units += _scripts(data, sample)
    units = max(units, UNIT * most // LONGEST)
    units = min(units, UNIT * most)
    return -(-units * len(text) // (UNIT * len(sample)))


def _sample(text: str) -> str:
    if len(text) <= SAMPLE:
        return text
    room = len(text) - PIECE
    # Steps of the golden ratio: no text repeats itself at this distance.
    starts = [int(number * 0.6180339887 % 1 * room) for number in range(SAMPLE // PIECE)]
    return "".join([text[start : start + PIECE] for start in starts])


# -- weights that are added up without a loop over the text ----------------------------------------------

UNIT = 64
"""Weights are 1/64 tokens."""
ZERO = 32
"""Added to the weight of a pair, so that none is negative."""
LONGEST = 16
"""Bytes of a token, of which a text of only the longest words or lines would be made."""
SUMMED = 512
"""Bytes whose weights are added up at a time: pairs weigh 127 at most and characters, of two bytes or more,
255, so that the sum stays below the 65521 of Adler-32."""


def _sum(weights: bytes) -> int:
    """The sum of bytes: the lower half of Adler-32 is 1 and their sum (RFC 1950)."""
    starts = range(0, len(weights), SUMMED)
    return sum([(adler32(weights[at : at + SUMMED]) & 0xFFFF) - 1 for at in starts])


def _joined(data: bytes, before: bytes, after: bytes) -> bytes:
    """For each byte of `data`, what `before` has for its predecessor (0 for the first) and `after` for it."""
    first = int.from_bytes(data.translate(before), "big") >> 8
    return (first | int.from_bytes(data.translate(after), "big")).to_bytes(len(data), "big")


def _table(values: Mapping[bytes, int]) -> bytes:
    """A table for `bytes.translate`: each byte's value, 0 where it has none."""
    table = bytearray(256)
    for members, value in values.items():
        for byte in members:
            table[byte] = value
    return bytes(table)


def _units(weights: Iterable[float]) -> list[int]:
    return [round(weight * UNIT) for weight in weights]


BEFORE_TABLE = _table({members: number << 4 for number, members in enumerate(BEFORE)})
AFTER_TABLE = _table({members: number for number, members in enumerate(AFTER)})
PAIR_TABLE = bytes(ZERO + int(weight) for line in PAIRS for weight in line.split())

SCRIPT_TABLE = _table(dict(zip(SCRIPTS, _units(SCRIPTS.values()), strict=True)))
SHARED_LEADS = tuple(SECOND)
SHARED_TABLE = _table({lead: number << 6 for number, lead in enumerate(SHARED_LEADS, 1)})
SECOND_TABLE = _table({bytes((byte,)): byte & 0x3F for byte in range(0x80, 0xC0)})
CHARACTER_TABLE = bytes(64) + b"".join(
    _table(
        {bytes(range(0x80, 0xC0)): round(OTHER * UNIT)} | dict(zip(rows, _units(rows.values()), strict=True))
    )[0x80:0xC0]
    for rows in SECOND.values()
)


def _pairs(data: bytes) -> int:
    return _sum(_joined(data, BEFORE_TABLE, AFTER_TABLE).translate(PAIR_TABLE)) - ZERO * len(data)


def _scripts(data: bytes, text: str) -> int:
    """Units of the characters that are not Latin."""
    units = _sum(data.translate(SCRIPT_TABLE))
    if any(lead in data for lead in SHARED_LEADS):
        units += _sum(_joined(data, SHARED_TABLE, SECOND_TABLE).translate(CHARACTER_TABLE))
    han = len(data) - len(data.translate(None, HAN))
    if han:
        units += round(UNIT * _han(data, text, han))
    if b"\xd1\x8b" in data and not any(letter in data for letter in NOT_RUSSIAN):
        units += round(UNIT * RUSSIAN * (data.count(b"\xd0") + data.count(b"\xd1")))
    return units


HAN = b"\xe4\xe5\xe6\xe7\xe8\xe9"
KANA = (b"\xe3\x81", b"\xe3\x82", b"\xe3\x83")
NOT_RUSSIAN = (b"\xd1\x96", b"\xd2", b"\xd3")
"""Letters of other languages that have the Russian \u044b: \u0456, and those beyond the Slavic ones."""
GB2312 = "gb2312"
ASCII = bytes(range(0x80))
BELOW_HAN = bytes(range(0xB0))
BELOW_RARE = bytes(range(0xD8))
"""First bytes of GB 2312 before its first and its second level of Han characters."""


def _han(data: bytes, text: str, han: int) -> float:
    """What Han characters have more than the commonest."""
    try:
        encoded = text.encode(GB2312, "ignore")
    except LookupError:  # a Python that was packed without the codecs of East Asia
        return 0.0
    known = encoded.translate(None, ASCII)[::2].translate(None, BELOW_HAN)
    tokens = RARE * len(known.translate(None, BELOW_RARE))
    if sum(map(data.count, KANA)) * 10 > han:
        return tokens + JAPANESE * han
    return tokens + TRADITIONAL * max(0, han - len(known))


# -- requests --------------------------------------------------------------------------------------------


def input_tokens(body: Mapping[str, Any]) -> int:
    """Estimated tokens of a request body: its text, a constant per message and per medium."""
    texts: list[str] = []
    extra = _weigh(body, 0, texts)
    long = [text for text in texts if len(text) > SAMPLE]
    short = "\n".join([text for text in texts if len(text) <= SAMPLE])
    return tokens_of(short) + sum(map(tokens_of, long)) + extra


def _weigh(value: Any, depth: int, texts: list[str], *, schema: bool = False) -> int:
    """Tokens of what is not text in `value`; adds its text to `texts`, with the names in a `schema`."""
    if isinstance(value, str):
        texts.append(value)
        return 0
    if depth > MAX_DEPTH:
        return 0
    extra = 0
    if isinstance(value, Mapping):
        if "role" in value and not schema:
            extra += PER_MESSAGE
        for key, item in value.items():
            if schema:
                texts.append(f'"{key}":')
                extra += _weigh(item, depth + 1, texts, schema=True)
            elif key in MEDIA_KEYS and item:
                extra += PER_IMAGE
            elif key not in SILENT_KEYS:
                extra += _weigh(item, depth + 1, texts, schema=key in SCHEMA_KEYS)
    elif isinstance(value, list):
        if value and all(isinstance(item, int) for item in value[:16]):
            return len(value)  # a prompt given as token ids
        for item in value:
            extra += _weigh(item, depth + 1, texts, schema=schema)
    return extra


def output_cap(body: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The most output tokens that a request body allows for one choice, or None where it names no limit."""
    for name in names:
        value: Any = body
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None
