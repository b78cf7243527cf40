"""A request as bytes on the wire, and what may be changed about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Rewrite", "WireRequest"]

SIGNATURE_HEADERS = frozenset({b"x-amz-content-sha256", b"x-amz-date", b"signature"})
SIGNATURE_SCHEMES = (b"AWS4-", b"Signature ", b"OCI")


class WireRequest:
    """What an adapter saw of one request. Headers have lower-case names; `target` is path and query."""

    __slots__ = ("body", "form", "headers", "host", "method", "target")

    def __init__(
        self,
        method: str,
        host: bytes,
        target: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes | None = None,
        form: Mapping[str, Any] | None = None,
    ) -> None:
        self.method = method
        self.host = host
        self.target = target
        self.headers = headers
        self.body = body
        """None where the body is a stream that only the transport may read."""
        self.form = form
        """The text fields of a multipart body."""

    @property
    def path(self) -> str:
        return self.target.partition(b"?")[0].decode("ascii", "replace")

    @property
    def signed(self) -> bool:
        """Whether a signature covers path, headers or body, so that nothing may change."""
        headers = self.headers
        return headers.get(b"authorization", b"").startswith(SIGNATURE_SCHEMES) or not (
            SIGNATURE_HEADERS.isdisjoint(headers)
        )


class Rewrite:
    """Changes that an adapter makes on a copy of the request. None = leave as it is."""

    __slots__ = ("body", "drop_headers", "form", "set_headers", "target")

    def __init__(self) -> None:
        self.body: bytes | None = None
        self.target: bytes | None = None
        self.form: Mapping[str, str | None] | None = None
        """Multipart fields to replace; a None value removes the field."""
        self.set_headers: dict[bytes, bytes] = {}
        self.drop_headers: frozenset[bytes] = frozenset()

    def __bool__(self) -> bool:
        return bool(
            self.body is not None or self.target or self.form or self.set_headers or self.drop_headers
        )
