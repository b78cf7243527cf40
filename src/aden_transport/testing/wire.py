"""HTTP/1.1 messages: requests parsed from a buffer, heads and chunks as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

__all__ = ["Head", "HttpError", "chunk", "parse_head", "response_head"]

MAX_HEAD_BYTES = 64 * 1024
LAST_CHUNK = b"0\r\n\r\n"


class HttpError(Exception):
    """The request cannot be served; `status` is what to answer before closing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first line and headers."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """The first value of header `name` (lower case), or ""."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    @property
    def chunked(self) -> bool:
        return "chunked" in self.get("transfer-encoding").lower()

    @property
    def content_length(self) -> int:
        value = self.get("content-length") or "0"
        if not value.isdecimal():
            raise HttpError(400, "content-length is not a number")
        return int(value)

    @property
    def keep_alive(self) -> bool:
        wish = self.get("connection").lower()
        return "close" not in wish and (self.version == "HTTP/1.1" or "keep-alive" in wish)


_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) (HTTP/1\.[01])")


def parse_head(data: bytes) -> Head:
    """Parse a head without its final blank line.

    Raises: HttpError.
    """
    first, *lines = data.decode("latin-1").split("\r\n")
    matched = _REQUEST_LINE.fullmatch(first)
    if matched is None:
        raise HttpError(400, "not an HTTP/1.1 request line")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise HttpError(400, "not a header line")
        headers.append((name, value.strip()))
    method, target, version = matched.groups()
    return Head(method, target, version, tuple(headers))


def response_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Status line and headers, blank line included."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Overloaded" if status == 529 else "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of the chunked transfer coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)
