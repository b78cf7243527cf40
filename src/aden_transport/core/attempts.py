"""Attempts of one logical call: a retry or a redirect hop carries on what the first attempt decided."""

from __future__ import annotations

from contextvars import ContextVar

from ..events import Decision
from .wire import WireRequest

__all__ = ["RETRYABLE", "LogicalCall", "begin", "note_unfinished"]

RETRYABLE = frozenset({408, 409, 429})
"""And every 5xx: what SDKs send again by themselves."""

_unfinished: ContextVar[LogicalCall | None] = ContextVar("aden_unfinished_call", default=None)


class LogicalCall:
    """What the attempts of one call share."""

    __slots__ = ("attempt", "body_hash", "call_id", "decision", "model", "redirected", "target", "trace_id")

    def __init__(self, trace_id: str, call_id: str) -> None:
        self.trace_id = trace_id
        self.call_id = call_id
        self.attempt = 0
        self.decision: Decision | None = None
        """Of the first attempt: hooks are asked, and waits are waited, once per logical call."""
        self.model: str | None = None
        self.target = b""
        self.body_hash = 0
        self.redirected = False


def begin(wire: WireRequest, ids: str) -> LogicalCall:
    """The call that this request belongs to: one that has just failed or was redirected in this context,
    or a new one with the 48 hex digits `ids`.

    Stainless SDKs count in `x-stainless-retry-count`; the others repeat the same request.
    """
    call = _unfinished.get()
    if call is None:
        return _fresh(wire, ids)
    _unfinished.set(None)
    count = wire.headers.get(b"x-stainless-retry-count")
    same = call.body_hash == hash(wire.body) and (call.redirected or call.target == wire.target)
    if not same or (count == b"0" and not call.redirected):
        return _fresh(wire, ids)
    if call.redirected:
        call.redirected = False
    else:
        call.attempt += 1
    return call


def _fresh(wire: WireRequest, ids: str) -> LogicalCall:
    call = LogicalCall(ids[:32], ids[32:])
    count = wire.headers.get(b"x-stainless-retry-count")
    if count is not None and count != b"0" and count.isdigit() and len(count) < 4:
        call.attempt = int(count)
    return call


def note_unfinished(call: LogicalCall, wire: WireRequest, *, redirected: bool = False) -> None:
    """Remember in this context that `call` may be sent again."""
    call.target = wire.target
    call.body_hash = hash(wire.body)
    call.redirected = redirected
    _unfinished.set(call)
