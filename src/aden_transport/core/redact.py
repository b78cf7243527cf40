"""Keeping credentials out of error texts: vendors quote the key they refuse, exceptions quote URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["redacted"]

SECRET_HEADERS = (
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
    b"proxy-authorization",
    b"cookie",
)
SECRET_PARAMETERS = frozenset({"key", "api_key", "api-key", "token", "access_token"})
MIN_SECRET = 8
_SHAPES = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{6,}"
    r"|\b(?:sk|pk|rk|gsk|xai|hf|key)[-_][\w*.-]{6,}"
    r"|\bAIza[\w-]{6,}|\bAKIA[A-Z0-9]{8,}|\beyJ[\w-]{8,}\.[\w.-]+"
    r"|(?<=[?&])(?:key|api[-_]?key|token|access_token|sig|signature)=[^&\s\"']+"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")


def redacted(message: str, headers: Mapping[bytes, bytes], target: bytes, *, limit: int = 500) -> str:
    """`message` without the request's own credentials, anything of a key's shape and control characters."""
    for name in SECRET_HEADERS:
        value = headers.get(name)
        if value is None:
            continue
        for secret in {value, value.rpartition(b" ")[2]}:
            if len(secret) >= MIN_SECRET:
                message = message.replace(secret.decode("latin-1"), "[redacted]")
    query = target.partition(b"?")[2].decode("ascii", "replace")
    for pair in query.split("&"):
        key, _, given = pair.partition("=")
        if len(given) >= MIN_SECRET and key.lower() in SECRET_PARAMETERS:
            message = message.replace(given, "[redacted]")
    message = _SHAPES.sub("[redacted]", message[: limit * 4])
    return _CONTROL.sub(" ", message)[:limit]
