"""A request's parameters for `modify_params`: read for it, and written as it returns them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["changed", "read"]


def read(raw: bytes) -> dict[str, Any]:
    """The members of a JSON body, for the hook alone: it may change them as it likes.

    Read by the standard library, which keeps integers of any size.
    """
    try:
        value = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def changed(raw: bytes, result: object) -> bytes | None:
    """The body that `result` asks for; None where it asks for no change.

    `stream` stays what it was: the SDK waits for the one kind of answer, or for the other.

    Raises: TypeError where the hook returned something else; ValueError for what is no JSON.
    """
    if result is None:
        return None
    if not isinstance(result, Mapping):
        raise TypeError(
            f"modify_params returned {type(result).__name__}; return a mapping of parameters or None."
        )
    asked, before = dict(result), read(raw)
    if bool(asked.get("stream")) != bool(before.get("stream")):
        raise ValueError("modify_params changed stream, which only the caller can.")
    if asked == before:
        return None
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can express
        return json.dumps(asked, separators=(",", ":")).encode()
