"""JSON in and out: orjson, with the standard library for what orjson refuses."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["dumps", "loads", "parse"]

parse = orjson.loads
"""`loads` of what is well-formed. Raises: ValueError where it is not, though `loads` may still read it."""


def loads(data: bytes | str) -> Any:
    """Parse JSON.

    orjson rejects `NaN`, `1e400`, a byte-order mark and lone surrogates, which vendors have sent;
    the standard library accepts them.

    Raises: ValueError where neither can read it (RecursionError is translated to it).
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf") if isinstance(data, bytes) else data)
    except RecursionError as exc:
        raise ValueError("JSON nested too deeply") from exc


def dumps(value: Any) -> bytes:
    """Serialise to UTF-8 JSON; values JSON does not know become their `str`."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # Lone surrogates and integers over 64 bits in user metadata.
        return json.dumps(value, default=str).encode("utf-8")
