"""A request as bytes on the wire, and what may be changed about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from ..attributes import HEADER_PREFIX

__all__ = ["LOWER_NAME", "ModifiedRequest", "Pairs", "Rewrite", "WireRequest", "names_of"]

SIGNATURE_HEADERS = frozenset({b"x-amz-content-sha256", b"x-amz-date", b"signature"})
CREDENTIAL_HEADERS = (
    b"authorization",
    b"x-api-key",
    b"api-key",
    b"x-goog-api-key",
    b"openai-organization",
    b"openai-project",
)
SIGNATURE_SCHEMES = (b"AWS4-", b"Signature ", b"OCI")


Pairs = Sequence[tuple[bytes, bytes, bytes]]
"""Headers as `(as sent, lower-case, value)`: what httpx and httpx2 keep."""
LOWER_NAME = itemgetter(1)


class RequestNames:
    """What the names of a request's headers tell. An application's requests have the same ones each time,
    so that this is found out once."""

    __slots__ = (
        "agent_at",
        "authorization_at",
        "client_id_at",
        "credentials_at",
        "has_signature",
        "ours",
        "retries_at",
        "size",
    )

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.size = len(names)
        self.ours = frozenset(name for name in names if name.startswith(HEADER_PREFIX))
        """The `x-aden-*` headers, which never leave."""
        self.has_signature = not SIGNATURE_HEADERS.isdisjoint(names)
        self.authorization_at = [at for at, name in enumerate(names) if name == b"authorization"]
        self.agent_at = _position(names, b"user-agent")
        self.client_id_at = _position(names, b"x-client-request-id")
        self.retries_at = _position(names, b"x-stainless-retry-count")
        self.credentials_at = [names.index(name) for name in CREDENTIAL_HEADERS if name in names]
        """Where it stands who calls, and for whom."""


def _position(names: tuple[bytes, ...], name: bytes) -> int | None:
    return names.index(name) if name in names else None


MAX_KNOWN = 512
_known: dict[bytes, RequestNames] = {}


def names_of(pairs: Pairs) -> RequestNames:
    """What the names in `pairs` tell."""
    # Joined, since to hash and compare one string is a fifth of the work that a tuple of names makes.
    key = b"\n".join(map(LOWER_NAME, pairs))
    found = _known.get(key)
    if found is None or found.size != len(pairs):
        names = tuple(map(LOWER_NAME, pairs))
        found = RequestNames(names)
        if are_plain(names):
            if len(_known) >= MAX_KNOWN:
                _known.clear()
            _known[key] = found
    return found


def are_plain(names: tuple[bytes, ...]) -> bool:
    """Whether no name has a line feed, so that what is remembered of the joined names holds for all others
    of the same number that are joined alike."""
    return not any(b"\n" in name for name in names)


class WireRequest:
    """What an adapter saw of one request."""

    __slots__ = ("_target", "body", "form", "hides_events", "host", "known", "method", "pairs", "path")

    def __init__(
        self,
        method: str,
        host: str,
        target: bytes,
        pairs: Pairs,
        body: bytes | None = None,
        form: Mapping[str, Any] | None = None,
        hides_events: bool = True,
    ) -> None:
        """`host` with its port where that is not the scheme's own; `pairs` of the headers: as sent, in
        lower case, value."""
        self.method = method
        self.host = host
        self._target = target
        self.path = target.partition(b"?")[0].decode("ascii", "replace")
        self.pairs = pairs
        self.known = names_of(pairs)
        self.body = body
        """None where the body is a stream that only the transport may read."""
        self.form = form
        """The text fields of a multipart body."""
        self.hides_events = hides_events
        """Whether the adapter can take an event out of the answer."""

    @property
    def target(self) -> bytes:
        """Path and query."""
        return self._target

    @property
    def headers(self) -> dict[bytes, bytes]:
        """By lower-case name."""
        return {name: value for _, name, value in self.pairs}

    @property
    def user_agent(self) -> bytes | None:
        at = self.known.agent_at
        return None if at is None else self.pairs[at][2]

    @property
    def client_request_id(self) -> bytes | None:
        """`x-client-request-id`, the caller's own id."""
        at = self.known.client_id_at
        return None if at is None else self.pairs[at][2]

    @property
    def retry_count(self) -> int | None:
        """What `x-stainless-retry-count` says; None without that header."""
        at = self.known.retries_at
        if at is None:
            return None
        value = self.pairs[at][2]
        return 0 if value == b"0" else int(value) if value.isdigit() and len(value) < 4 else None

    @property
    def our_headers(self) -> dict[bytes, bytes]:
        """The `x-aden-*` headers, by lower-case name."""
        ours = self.known.ours
        return {name: value for _, name, value in self.pairs if name in ours}

    @property
    def signed(self) -> bool:
        """Whether a signature covers path, headers or body, so that nothing may change."""
        known = self.known
        if known.has_signature:
            return True
        for at in known.authorization_at:  # noqa: SIM110 - `any` takes twice as long
            if self.pairs[at][2].startswith(SIGNATURE_SCHEMES):
                return True
        return False


class ModifiedRequest(WireRequest):
    """A request whose body `modify_params` has changed; the rest is that of the `original`."""

    __slots__ = ("original",)

    def __init__(self, original: WireRequest, body: bytes) -> None:
        self.original = original
        self.method, self.host, self.path = original.method, original.host, original.path
        self.pairs, self.known = original.pairs, original.known
        self.form, self.hides_events = original.form, original.hides_events
        self.body = body

    @property
    def target(self) -> bytes:
        return self.original.target


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
