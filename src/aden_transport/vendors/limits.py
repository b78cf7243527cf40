"""Rate-limit headers, dialect by dialect, into `RateLimit`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ..events import RateLimit
from .base import Headers

__all__ = ["anthropic_limits", "openai_limits", "retry_after"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d|us|µs|ns)")
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
MAX_SECONDS = 366 * 86400.0
MAX_LIMIT = 1 << 62


def whole(value: bytes | None) -> int | None:
    """A header's non-negative whole number, else None."""
    if value is None or not value.isdigit() or len(value) > 20:
        return None
    number = int(value)
    return number if number < MAX_LIMIT else None


def duration(value: bytes | None) -> float | None:
    """Seconds from `"6ms"`, `"1.182s"`, `"2m59.56s"` or plain seconds; None where it is none of these."""
    if value is None or len(value) > 64:
        return None
    word = value.decode("ascii", "replace").strip()
    try:
        seconds = float(word)
    except ValueError:
        parts = _DURATION.findall(word)
        if not parts or "".join(a + b for a, b in parts) != word:
            return None
        seconds = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return seconds if 0 <= seconds <= MAX_SECONDS else None


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` (Azure, OpenAI) or `retry-after`.

    RFC 9110 §10.2.3: Retry-After is seconds or an HTTP-date.
    """
    in_ms = headers.get(b"retry-after-ms")
    if in_ms is not None and (wait := duration(in_ms)) is not None:
        return wait / 1000
    value = headers.get(b"retry-after")
    if value is None:
        return None
    if (wait := duration(value)) is not None:
        return wait
    from email.utils import parsedate_to_datetime

    try:
        at = parsedate_to_datetime(value.decode("ascii", "replace")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - now), MAX_SECONDS)


def openai_limits(headers: Headers, now: float) -> RateLimit | None:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: counts and durations.

    https://platform.openai.com/docs/guides/rate-limits (Azure and Groq speak it too).
    """
    get = headers.get
    limit = get(b"x-ratelimit-limit-requests")
    remaining = get(b"x-ratelimit-remaining-requests")
    if limit is None and remaining is None and b"x-ratelimit-remaining-tokens" not in headers:
        wait = retry_after(headers, now)
        return None if wait is None else RateLimit(retry_after_s=wait)
    return RateLimit(
        whole(limit),
        whole(remaining),
        duration(get(b"x-ratelimit-reset-requests")),
        whole(get(b"x-ratelimit-limit-tokens")),
        whole(get(b"x-ratelimit-remaining-tokens")),
        duration(get(b"x-ratelimit-reset-tokens")),
        retry_after_s=retry_after(headers, now),
    )


def _until(value: bytes | None, now: float) -> float | None:
    if value is None or len(value) > 64:
        return None
    try:
        at = datetime.fromisoformat(value.decode("ascii", "replace").strip())
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, at.timestamp() - now), MAX_SECONDS)


def anthropic_limits(headers: Headers, now: float) -> RateLimit | None:
    """`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-*`; resets are RFC 3339.

    https://docs.anthropic.com/en/api/rate-limits
    """
    get = headers.get
    found = RateLimit(retry_after_s=retry_after(headers, now))
    seen = found.retry_after_s is not None
    for family, name in (
        ("requests", "requests"),
        ("tokens", "tokens"),
        ("input-tokens", "input_tokens"),
        ("output-tokens", "output_tokens"),
    ):
        prefix = b"anthropic-ratelimit-" + family.encode()
        limit = whole(get(prefix + b"-limit"))
        remaining = whole(get(prefix + b"-remaining"))
        if limit is None and remaining is None:
            continue
        seen = True
        setattr(found, f"limit_{name}", limit)
        setattr(found, f"remaining_{name}", remaining)
        setattr(found, f"reset_{name}_s", _until(get(prefix + b"-reset"), now))
    return found if seen else None
