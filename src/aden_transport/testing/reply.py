"""What the fake provider shall answer: one value, everything optional."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

__all__ = ["NO_USAGE", "REAL_USAGE", "Chunking", "Encoding", "EncodingFault", "Reply", "ToolCall", "Transfer"]

Chunking = Literal["event", "whole", "byte"]
Encoding = Literal["identity", "accept", "gzip", "deflate", "br", "zstd"]
EncodingFault = Literal["truncated", "corrupt", "mislabelled"]
Transfer = Literal["auto", "chunked", "length", "close"]


class UsageRule(Enum):
    """What to do with the usage object when the test gives none of its own."""

    REAL = "real"
    OMITTED = "omitted"


REAL_USAGE = UsageRule.REAL
"""Usage counted from the request and the answer."""
NO_USAGE = UsageRule.OMITTED
"""No usage field at all, in a stream as in a single answer."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the request's tools. `arguments`: a JSON object, or a string sent verbatim."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict[str, Any])

    @property
    def arguments_json(self) -> str:
        """The arguments as the JSON text that OpenAI's dialects carry."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One scripted answer. `Reply()` is the ordinary answer of the vendor that was asked."""

    # What is said
    text: str | None = None
    """The answer's text."""
    text_mb: float | None = None
    """Instead of `text`: that many 10⁶ bytes of filler, generated while sending."""
    events: int | None = None
    """Number of text deltas in a stream. Without `text` also the number of words in the answer."""
    tool_calls: Sequence[ToolCall] | None = None
    """Tool calls to answer with; `()` keeps the answer from calling any."""
    thinking: str | None = None
    """Thinking text (Anthropic, Gemini) or reasoning summary (OpenAI Responses)."""
    finish_reason: str | None = None
    """The vendor's word for why the answer ended."""
    model: str | None = None
    """The model named in the answer; by default the dated name of the one asked for."""

    # What it cost
    usage: Any = REAL_USAGE
    """`REAL_USAGE`, `NO_USAGE`, or any value to put in the place of the usage object (NaN, strings, …)."""
    input_tokens: int | None = None
    """Input tokens, cached ones included, in place of the counted ones."""
    output_tokens: int | None = None
    """Tokens of visible output, reasoning excluded, in place of the counted ones."""
    reasoning_tokens: int | None = None
    """Tokens of reasoning."""
    cached_tokens: int | None = None
    """How many of the input tokens were read from a prompt cache."""
    cache_write_tokens: int | None = None
    """How many of the input tokens were written to a prompt cache (Anthropic, OpenAI Responses)."""

    # Failures
    status: int | None = None
    """HTTP status. From 400 on, the body is that vendor's error object."""
    error: str | Mapping[str, Any] | None = None
    """Kind of error ("rate_limit", "insufficient_quota", …: `errors.KINDS`) or a whole error body."""
    retry_after_s: float | None = None
    """Seconds for a `retry-after` header."""
    error_after_events: int | None = None
    """After that many stream events, an error event in the vendor's shape ends the stream."""
    disconnect_before_headers: bool = False
    """Close the connection in place of an answer."""
    disconnect_after_events: int | None = None
    """Reset the connection after that many stream events."""
    disconnect_after_bytes: int | None = None
    """Reset the connection after that many bytes of the (encoded) body."""

    # The wire
    headers: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    """Response headers to add or replace; None removes one."""
    raw: bytes | None = None
    """The body, verbatim; status, headers, encoding and chunking still apply."""
    delay_ms: float = 0.0
    """Wait before the headers."""
    event_delay_ms: float = 0.0
    """Wait before each piece of the body but the first."""
    chunking: Chunking | int = "event"
    """Pieces in which the body is written: one per event, all at once, byte by byte, or N bytes each."""
    transfer: Transfer = "auto"
    """How the body's end is told. "auto": content-length for one-piece bodies, else chunked."""
    encoding: Encoding = "identity"
    """Content-encoding; "accept" is gzip where the request accepts it."""
    encoding_fault: EncodingFault | None = None
    """"truncated": the second half is missing; "corrupt": bytes flipped; "mislabelled": sent unencoded."""
    gzip_bomb_mib: int | None = None
    """The answer follows that many MiB of white space, which gzip makes a thousand times smaller."""

    times: int = 1
    """How many requests a pushed reply answers."""


def _number_of_bytes(value: str) -> Chunking | int:
    match value:
        case "event" | "whole" | "byte":
            return value
        case _:
            return max(1, int(value))


def _usage(value: str) -> Any:
    return NO_USAGE if value == "omit" else json.loads(value)


# Header name after `x-fake-` → how its value becomes the field of the same name.
HEADER_FIELDS: Mapping[str, Callable[[str], Any]] = {
    "text": str,
    "text-mb": float,
    "events": int,
    "thinking": str,
    "finish-reason": str,
    "model": str,
    "usage": _usage,
    "input-tokens": int,
    "output-tokens": int,
    "reasoning-tokens": int,
    "cached-tokens": int,
    "cache-write-tokens": int,
    "status": int,
    "error": str,
    "retry-after-s": float,
    "error-after-events": int,
    "disconnect-after-events": int,
    "disconnect-after-bytes": int,
    "delay-ms": float,
    "event-delay-ms": float,
    "chunking": _number_of_bytes,
    "transfer": str,
    "encoding": str,
    "encoding-fault": str,
    "gzip-bomb-mib": int,
}


def apply_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    """`reply` changed by the request's `x-fake-…` headers (names in lower case).

    Raises: ValueError for an unknown name or a value that does not fit.
    """
    changes: dict[str, Any] = {}
    for name, value in headers.items():
        if not name.startswith("x-fake-"):
            continue
        convert = HEADER_FIELDS.get(name[len("x-fake-") :])
        if convert is None:
            raise ValueError(f"unknown header {name}")
        changes[name[len("x-fake-") :].replace("-", "_")] = convert(value)
    return replace(reply, **changes) if changes else reply
