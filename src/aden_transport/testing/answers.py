"""Answers before they go on the wire, and the call they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .models import dated
from .received import ReceivedRequest
from .reply import NO_USAGE, REAL_USAGE, Reply

__all__ = ["Answer", "Call", "Memory", "ProviderError", "compact", "drop_omitted", "pretty", "sse"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers, and a body in its natural pieces (one per event in a stream)."""

    status: int
    content_type: str
    pieces: Iterable[bytes]
    headers: tuple[tuple[str, str], ...] = ()
    stream: bool = False
    error_event: bytes = b""
    """What this vendor sends when a stream breaks."""
    tokens: int = 0
    """Tokens taken from the rate limit."""


class ProviderError(Exception):
    """A request this vendor refuses. `kind` is one of `errors.KINDS`."""

    def __init__(
        self, kind: str, message: str = "", *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message or kind)
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code


@dataclass(slots=True)
class Memory:
    """What the provider remembers between requests, within bounds."""

    limit: int = 200
    responses: dict[str, Any] = field(default_factory=dict[str, Any])
    """Background and stored Responses by id."""
    prompts: dict[str, None] = field(default_factory=dict[str, None])
    """Digests of the prompts in the prompt cache."""

    def remember(self, where: dict[str, Any], key: str, value: Any) -> None:
        where[key] = value
        while len(where) > self.limit:
            del where[next(iter(where))]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read by a dialect."""

    request: ReceivedRequest
    body: Mapping[str, Any]
    reply: Reply
    now: float
    memory: Memory

    @property
    def created(self) -> int:
        return int(self.now)

    def id(self, prefix: str, length: int = 24, *, alphabet: str = _ALPHABET) -> str:
        """An id, the same for the same request number and prefix."""
        digest = hashlib.shake_256(f"{prefix}{self.request.number}".encode()).digest(length)
        return prefix + "".join(alphabet[byte % len(alphabet)] for byte in digest)

    def hex_id(self, prefix: str, length: int) -> str:
        return self.id(prefix, length, alphabet="0123456789abcdef")

    def model(self, asked: str) -> str:
        """The model name the answer carries."""
        return self.reply.model or dated(asked)

    def usage(self, counted: Any) -> Any:
        """The usage to send: `counted`, the test's own object, or `NO_USAGE`."""
        return counted if self.reply.usage is REAL_USAGE else self.reply.usage


def drop_omitted(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` without the keys whose value is `NO_USAGE`."""
    return {key: item for key, item in value.items() if item is not NO_USAGE}


def compact(value: Any) -> bytes:
    """One line of JSON; NaN and infinity as Python writes them, lone surrogates kept."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def pretty(value: Any) -> bytes:
    """JSON with an indent of two, as OpenAI and Google send it."""
    return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass") + b"\n"


def sse(events: Iterable[Any], *, done: bool = False, end: bytes = b"\n\n") -> Iterator[bytes]:
    """Events with only a `data:` line; `done` adds OpenAI's `[DONE]`."""
    for event in events:
        yield b"data: " + compact(event) + end
    if done:
        yield b"data: [DONE]" + end
