"""Attempts of one logical call: a retry or a redirect hop carries on what the first attempt decided."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from ..events import Decision
from .wire import WireRequest

__all__ = ["RETRYABLE", "LogicalCall", "begin", "unfinished_call", "note_unfinished"]

RETRYABLE = frozenset({408, 409, 429})
"""And every 5xx: what SDKs send again by themselves."""

MAX_PAUSE_S = 120.0
"""SDKs wait a minute at most before they try again; an equal request later is another call."""

_unfinished: ContextVar[LogicalCall | None] = ContextVar("aden_unfinished_call", default=None)


unfinished_call: Callable[[], LogicalCall | None] = _unfinished.get
"""The call whose attempt has ended in this context so that another may follow, or None."""


class LogicalCall:
    """What the attempts of one call share."""

    __slots__ = ("attempt", "body_hash", "decision", "ended_at", "number", "redirected", "target")

    target: bytes
    body_hash: int
    ended_at: float
    redirected: bool
    """Set, with the three above, when an attempt ends that another may follow."""

    def __init__(self, number: int, attempt: int) -> None:
        self.number = number
        """192 random bits: the trace id and the call id."""
        self.attempt = attempt
        self.decision: Decision | None = None
        """Of the first attempt: hooks are asked, and waits are waited, once per logical call."""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return f"{self.number >> 64:032x}"

    @property
    def call_id(self) -> str:
        """16 hex digits."""
        return f"{self.number & 0xFFFFFFFFFFFFFFFF:016x}"


def begin(wire: WireRequest, bits: Callable[[int], int], clock: Callable[[], float]) -> LogicalCall:
    """The call that this request belongs to: one that has just failed or was redirected in this context,
    or a new one with an id of random `bits`.

    Stainless SDKs count in `x-stainless-retry-count`; the others repeat the same request.
    """
    call = _unfinished.get()
    count = wire.retry_count
    if call is None:
        return LogicalCall(bits(192), count or 0)
    _unfinished.set(None)
    same = (
        call.body_hash == hash(wire.body)
        and (call.redirected or call.target == wire.target)
        and clock() - call.ended_at <= MAX_PAUSE_S
    )
    if not same or (count == 0 and not call.redirected):
        return LogicalCall(bits(192), count or 0)
    if call.redirected:
        call.redirected = False
    else:
        call.attempt += 1
    return call


def note_unfinished(call: LogicalCall, wire: WireRequest, now: float, *, redirected: bool = False) -> None:
    """Remember in this context that `call` may be sent again."""
    call.ended_at = now
    call.target = wire.target
    call.body_hash = hash(wire.body)
    call.redirected = redirected
    _unfinished.set(call)
