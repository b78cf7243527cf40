"""The cap on its output that a call is given where it names none and a budget has `max_output_tokens`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .rewrite import MAX_PARSED_REQUEST, edited

if TYPE_CHECKING:
    from .classify import Call
    from .exchange import Exchange
    from .wire import WireRequest

__all__ = ["Cap", "cap_of", "with_cap", "written_with_cap"]

CHAT_CAP, OLD_CHAT_CAP = "max_completion_tokens", "max_tokens"
REASONING = re.compile(r"(?:^|/)(?:o\d|gpt-5)")
"""Models that refuse the older name: https://platform.openai.com/docs/api-reference/chat/create"""
LEAST = {"responses": 16}
"""What the vendor takes at least."""


class Cap(NamedTuple):
    """`name`, with dots where it stands deeper in the body, and how many tokens."""

    name: str
    tokens: int


def cap_of(exchange: Exchange, tokens: int | None) -> Cap | None:
    """What to set, None where the call names a cap, or where none can be set: the vendor has no member for
    it, the request is signed, its body is no JSON or too large to edit."""
    call, wire, body = exchange.call, exchange.wire, exchange.body
    name = call.operation.cap
    if tokens is None or not name or not body or wire.body is None or wire.signed:
        return None
    if exchange.fixed is not None:
        return None
    if len(wire.body) > MAX_PARSED_REQUEST or not wire.body.rstrip().endswith(b"}"):
        return None
    for known in call.operation.output_cap:
        value: Any = body
        for part in known.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            return None
        if "." in known and isinstance(body.get(known.partition(".")[0]), Mapping):
            name = known  # the spelling that the caller began with
    if name == CHAT_CAP and not _takes_new_name(call, wire, exchange.model or ""):
        name = OLD_CHAT_CAP
    outer = name.partition(".")[0]
    if outer != name and not isinstance(body.get(outer, {}), Mapping):
        return None
    return Cap(name, max(tokens, LEAST.get(call.operation.name, 1)))


def _takes_new_name(call: Call, wire: WireRequest, model: str) -> bool:
    if REASONING.search(model):
        return True
    if not (call.known_host and call.vendor.completion_cap):
        return False
    since: str = call.vendor.quirks.get("completion_cap_since", "")
    version = re.search(rb"api-version=(\d{4}-\d\d-\d\d)", wire.target) if since else None
    return version is None or version[1].decode() >= since


def with_cap(body: Mapping[str, Any], cap: Cap) -> dict[str, Any]:
    """A copy of a request's members with the cap among them."""
    outer, dot, inner = cap.name.partition(".")
    if not dot:
        return {**body, outer: cap.tokens}
    return {**body, outer: {**(body.get(outer) or {}), inner: cap.tokens}}


def written_with_cap(raw: bytes, body: Mapping[str, Any], cap: Cap) -> bytes:
    """The bytes `raw` of `body` with the cap in them.

    Raises: ValueError for a body of which `cap_of` gives none.
    """
    outer, dot, inner = cap.name.partition(".")
    if outer not in body:
        value = json.dumps({inner: cap.tokens} if dot else cap.tokens, separators=(",", ":"))
        before = raw.rstrip()[:-1].rstrip()
        comma = "" if before.endswith(b"{") else ","
        return before + f'{comma}"{outer}":{value}}}'.encode()
    written = edited(raw, lambda whole: whole.update(with_cap(whole, cap)))
    if written is None:
        raise ValueError("a body that cannot be capped")
    return written
