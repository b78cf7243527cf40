"""Rate-limit headers, dialect by dialect, into `RateLimit`.

Where a vendor counts one thing over several windows (a minute, a day, a month), the window of which the
least is left is told, since it is the one that stops the caller first; of equal ones the shortest. Its
limit, rest and reset stay together. A limit that is too large to mean one is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime

from ..events import RateLimit
from .base import Headers

__all__ = [
    "anthropic_limits",
    "azure_limits",
    "bare_limits",
    "cohere_limits",
    "compatible_limits",
    "openai_limits",
    "retry_after",
    "together_limits",
    "windowed_limits",
]

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
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: counts and durations (`6ms`, `2m59.56s`).

    https://platform.openai.com/docs/guides/rate-limits (Groq speaks it too:
    https://console.groq.com/docs/rate-limits). Servers that speak OpenAI's format on hosts of their own
    come here as well, so that what is not the whole of this dialect is read as any of the others.
    """
    get = headers.get
    reset = get(b"x-ratelimit-reset-requests")
    if reset is None or b"x-ratelimit-renewalperiod-requests" in headers:
        return compatible_limits(headers, now)
    return RateLimit(
        whole(get(b"x-ratelimit-limit-requests")),
        whole(get(b"x-ratelimit-remaining-requests")),
        until(reset, now),
        whole(get(b"x-ratelimit-limit-tokens")),
        whole(get(b"x-ratelimit-remaining-tokens")),
        until(get(b"x-ratelimit-reset-tokens"), now),
        retry_after_s=retry_after(headers, now),
    )


def azure_limits(headers: Headers, now: float) -> RateLimit | None:
    """OpenAI's names, but resets are whole milliseconds; `renewalperiod` is the window in seconds.

    That resets are milliseconds follows from the figures: of 120 requests in 60 s one is renewed in 500.
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/quota
    """
    found = windowed_limits(headers, now)
    if found is not None:
        for family in ("requests", "tokens"):
            wait = duration(headers.get(b"x-ratelimit-reset-" + family.encode()))
            setattr(found, f"reset_{family}_s", None if wait is None else wait / 1000)
            period = whole(headers.get(b"x-ratelimit-renewalperiod-" + family.encode()))
            setattr(found, f"window_{family}_s", None if period is None else float(period))
    return found


_WINDOWED = re.compile(
    rb"x-ratelimit-(limit|remaining|reset)-"
    rb"(requests|req|tokens-prompt|tokens-generated|input-tokens|output-tokens|tokens)"
    rb"(?:-(?:per-)?(?:(\d{1,3})-)?(second|minute|hour|day|month))?"
)
_BY_SIZE = re.compile(rb"(?:x-)?ratelimitbysize-(limit|remaining|reset)()()(?:-(minute|month))?")
"""How Mistral named its limits of tokens before; the same groups."""
_FAMILIES = {
    b"": "tokens",
    b"requests": "requests",
    b"req": "requests",  # Mistral
    b"tokens": "tokens",
    b"input-tokens": "input_tokens",
    b"output-tokens": "output_tokens",
    b"tokens-prompt": "input_tokens",  # Fireworks
    b"tokens-generated": "output_tokens",
}
_SECONDS = {None: 0, b"second": 1, b"minute": 60, b"hour": 3600, b"day": 86_400, b"month": 30 * 86_400}


class Window:
    """What is said of one thing that is counted over one span of time."""

    __slots__ = ("limit", "remaining", "reset")

    def __init__(
        self, limit: bytes | None = None, remaining: bytes | None = None, reset: bytes | None = None
    ) -> None:
        self.limit = limit
        self.remaining = remaining
        self.reset = reset

    def left(self) -> float:
        """How much, at most; infinity where nothing is said."""
        remaining, limit = whole(self.remaining), whole(self.limit)
        known = limit if remaining is None else remaining
        return float("inf") if known is None else known


def windowed_limits(headers: Headers, now: float) -> RateLimit | None:
    """`x-ratelimit-{limit,remaining,reset}-<what>[-<window>]`, of which OpenAI's names are one case.

    Cerebras and Hugging Face: `requests-day`, `tokens-minute` (https://inference-docs.cerebras.ai/support/
    rate-limits). Mistral: `req-minute`, `req-10-second`, `tokens-month`. DigitalOcean: `tokens-per-day`
    (https://docs.digitalocean.com/products/inference/reference/quota-specific-response-headers/).
    Fireworks: `tokens-prompt`, `tokens-generated` (https://docs.fireworks.ai/serverless/rate-limits).
    """
    families: dict[str, dict[int, Window]] = {}
    for name, value in headers.items():
        named = _WINDOWED.fullmatch(name) or _BY_SIZE.fullmatch(name)
        if named is not None:
            figure, family, many, unit = named.groups()
            windows = families.setdefault(_FAMILIES[family], {})
            window = windows.setdefault(int(many or 1) * _SECONDS[unit], Window())
            setattr(window, figure.decode(), value)
    return _tightest(families, headers, now, by_seconds=True)


def _tightest(
    families: dict[str, dict[int, Window]], headers: Headers, now: float, *, by_seconds: bool = False
) -> RateLimit | None:
    """`by_seconds`: whether the windows of a family are told apart by their length, 0 being unknown."""
    found = RateLimit(retry_after_s=retry_after(headers, now))
    seen = found.retry_after_s is not None
    for family, windows in families.items():
        span = min(windows, key=lambda span: (windows[span].left(), span))
        window = windows[span]
        if window.limit is None and window.remaining is None:
            continue
        seen = True
        setattr(found, f"limit_{family}", whole(window.limit))
        setattr(found, f"remaining_{family}", whole(window.remaining))
        setattr(found, f"reset_{family}_s", until(window.reset, now))
        if by_seconds and span and window.left() != float("inf"):
            setattr(found, f"window_{family}_s", float(span))
    return found if seen else None


def bare_limits(headers: Headers, now: float) -> RateLimit | None:
    """Requests alone, as many web APIs count them: `x-ratelimit-limit`, `ratelimit-remaining`, …

    OpenRouter resets in milliseconds since the epoch (https://openrouter.ai/docs/api-reference/limits),
    Replicate in seconds from now (https://replicate.com/docs/topics/predictions/rate-limits).
    """
    windows = {
        number: Window(*(headers.get(prefix + what) for what in (b"limit", b"remaining", b"reset")))
        for number, prefix in enumerate((b"x-ratelimit-", b"ratelimit-"))
    }
    return _tightest({"requests": windows}, headers, now)


def together_limits(headers: Headers, now: float) -> RateLimit | None:
    """Requests under bare names, tokens under OpenAI's or `x-tokenlimit-*`. `x-ratelimit: false` says that
    nothing is limited at the moment. https://docs.together.ai/docs/rate-limits
    """
    found = bare_limits(headers, now)
    get = headers.get
    tokens = {
        0: Window(get(b"x-ratelimit-limit-tokens"), get(b"x-ratelimit-remaining-tokens")),
        1: Window(get(b"x-tokenlimit-limit"), get(b"x-tokenlimit-remaining"), get(b"x-tokenlimit-reset")),
    }
    return _filled(found, _tightest({"tokens": tokens}, headers, now))


def cohere_limits(headers: Headers, now: float) -> RateLimit | None:
    """Calls of an endpoint: per minute with a trial key, and per month. https://docs.cohere.com/docs/rate-limits"""
    get = headers.get
    windows = {
        60: Window(get(b"x-trial-endpoint-call-limit"), get(b"x-trial-endpoint-call-remaining")),
        _SECONDS[b"month"]: Window(
            get(b"x-endpoint-monthly-call-limit"), get(b"x-endpoint-monthly-call-remaining")
        ),
    }
    return _tightest({"requests": windows}, headers, now, by_seconds=True)


_OF_THE_PROVIDER = b"llm_provider-"
"""LiteLLM repeats under this prefix what the vendor behind it said."""


def compatible_limits(headers: Headers, now: float) -> RateLimit | None:
    """What a gateway or a server on an unknown host says: any of these dialects, the nearest to OpenAI's
    first. What it says itself counts before what it repeats of the vendor behind it.

    https://docs.litellm.ai/docs/proxy/response_headers
    """
    if b"x-ratelimit-renewalperiod-requests" in headers:
        return azure_limits(headers, now)
    found = _of_any_dialect(headers, now)
    behind = dict(_repeated(headers))
    return _filled(found, _of_any_dialect(behind, now)) if behind else found


def _of_any_dialect(headers: Headers, now: float) -> RateLimit | None:
    found = _filled(windowed_limits(headers, now), bare_limits(headers, now))
    return _filled(found, anthropic_limits(headers, now))


def _repeated(headers: Headers) -> Iterator[tuple[bytes, bytes]]:
    for name, value in headers.items():
        if name.startswith(_OF_THE_PROVIDER):
            yield name[len(_OF_THE_PROVIDER) :], value


def _filled(found: RateLimit | None, more: RateLimit | None) -> RateLimit | None:
    """`found`, and where it says nothing, `more`."""
    if found is None or more is None:
        return found or more
    for field in fields(RateLimit):
        if getattr(found, field.name) is None:
            setattr(found, field.name, getattr(more, field.name))
    return found


EPOCH = 1e9
"""More seconds than any window has: a point in time."""


def until(value: bytes | None, now: float) -> float | None:
    """Seconds from now until a reset, which is a duration, a point in seconds or milliseconds since the
    epoch, or a date of RFC 3339."""
    if value is None or len(value) > 64:
        return None
    if value.isdigit() and (at := float(value)) >= EPOCH:
        at = at / 1000 if at >= 1000 * EPOCH else at
        return min(max(0.0, at - now), MAX_SECONDS)
    wait = duration(value)
    return _until(value, now) if wait is None else wait


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
