"""Attempts of one logical call: a retry or a redirect hop carries on what the first attempt decided."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from opcode import opmap
from threading import get_ident
from types import FrameType, TracebackType
from typing import Any, Literal

from ..attributes import current_attributes
from ..errors import RequestCancelledError, find_cancelled
from ..events import Decision
from .wire import ModifiedRequest, WireRequest

__all__ = [
    "RETRYABLE",
    "LogicalCall",
    "Refusal",
    "begin",
    "forget",
    "left",
    "note_refused",
    "note_unfinished",
    "unfinished_call",
]

RETRYABLE = frozenset({408, 409, 429})
"""And every 5xx: what SDKs send again by themselves."""

MAX_PAUSE_S = 120.0
"""SDKs wait a minute at most before they try again; an equal request later is another call."""

_unfinished: ContextVar[LogicalCall | None] = ContextVar("aden_unfinished_call", default=None)


unfinished_call: Callable[[], LogicalCall | None] = _unfinished.get
"""The call whose attempt has ended in this context so that another may follow, or None."""

MAX_LEFT = 256
left: dict[tuple[int, str, bytes, int], LogicalCall] = {}
"""Failed calls whose context may have been a copy that is gone, by thread and what they sent."""


RETRIERS = frozenset(
    {
        *("tenacity", "backoff", "stamina", "retrying", "retry"),
        *("litellm", "langchain_core", "langgraph", "llama_index", "pydantic_ai", "instructor", "crewai"),
        *("dspy", "smolagents", "haystack"),
    }
)
"""Packages that catch what a call has raised in order to try it again, and raise it in the end."""


class LogicalCall:
    """What the attempts of one call share."""

    __slots__ = (
        "attempt",
        "attributes",
        "body_hash",
        "decision",
        "ended_at",
        "host",
        "modified",
        "money",
        "number",
        "paced_s",
        "redirected",
        "refusal",
        "refused",
        "target",
        "task",
        "waited_s",
        "waiting",
    )

    host: str
    target: bytes
    body_hash: int
    ended_at: float
    redirected: bool
    attributes: Mapping[str, Any] | None
    task: weakref.ref[Any] | None
    """Set, with the six above, when an attempt ends that another may follow."""
    waiting: bool
    """Until one request has taken it up: tasks that inherit the context do not all carry it on."""

    def __init__(self, number: int, attempt: int) -> None:
        self.number = number
        """192 random bits: the trace id and the call id."""
        self.attempt = attempt
        self.waited_s = 0.0
        """How long a policy has delayed it: once per logical call."""
        self.paced_s = 0.0
        """How long it has waited for the vendor's rate limits."""
        self.money: object = None
        """What is held, between a redirect and its next hop."""
        self.modified: bytes | Literal[False] | None = False
        """The body that `modify_params` made of the request's, None where it left it; False: not asked."""
        self.refusal: Refusal | None = None
        """Of the last time that it was refused, if ever: it has had its event."""
        self.refused = False
        """Whether that was its last attempt."""
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


class Refusal:
    """What becomes of a refusal: whether a framework that has caught it tries the call again.

    Where the application's own code has caught it, an equal request that follows is another call; so what
    tells the two apart is who has caught it. It is asked when the same request comes again.
    """

    __slots__ = ("_number", "_raised", "_repeats")

    def __init__(self, number: int) -> None:
        self._number = number
        """Of the call, which knows its refusal."""
        self._raised: weakref.ref[RequestCancelledError] | None = None
        self._repeats = False

    def watch(self, error: RequestCancelledError) -> None:
        """`error` is what is raised."""
        error._watcher = self
        self._raised = weakref.ref(error)

    def let_go(self, traceback: TracebackType | None) -> None:
        """Nobody holds the exception any more. Called in a finaliser: takes no lock."""
        self._repeats = _is_caught(traceback)

    def repeats(self) -> bool:
        """Whether the same request, made now, is the call again."""
        handled = find_cancelled(sys.exception())
        if handled is not None and isinstance(handled._watcher, Refusal):
            return handled._watcher._number == self._number
        raised = None if self._raised is None else self._raised()
        return self._repeats if raised is None else _is_caught(raised.__traceback__)


YIELDS = opmap["YIELD_VALUE"]


def _is_caught(traceback: TracebackType | None) -> bool:
    """Whether an exception was caught by a framework that is still at it.

    The first frame of a traceback is the one that caught it, or the outermost that it has left; one that was
    left neither runs nor waits.
    """
    if traceback is None:
        return False
    frame = traceback.tb_frame
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return package in RETRIERS and (_runs(frame) or _waits(frame))


def _runs(frame: FrameType) -> bool:
    """Whether the code that asks was called, through whatever, by `frame`."""
    caller: FrameType | None = sys._getframe(1)
    while caller is not None:
        if caller is frame:
            return True
        caller = caller.f_back
    return False


def _waits(frame: FrameType) -> bool:
    """Whether `frame`, of a coroutine, is suspended at an `await`."""
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == YIELDS


def begin(wire: WireRequest, bits: Callable[[int], int], clock: Callable[[], float]) -> LogicalCall:
    """The call that this request belongs to: one that has just failed or was redirected here, or a new
    one with an id of random `bits`.

    Stainless SDKs count in `x-stainless-retry-count`, the others repeat the same request. A framework that
    tries the same again begins to count anew: its repetition is a further attempt, and judged anew.
    """
    call, count = _unfinished.get(), wire.retry_count
    anew = count == 0
    if call is not None:
        _unfinished.set(None)
    elif left:
        call, anew = _left_by_another(wire, clock()), True
    if call is None or not call.waiting or not _repeats(call, wire, clock()):
        return LogicalCall(bits(192), count or 0)
    if call.refused:
        if call.refusal is None or not call.refusal.repeats():
            return LogicalCall(bits(192), count or 0)
        anew = True
    call.waiting = False
    if call.redirected:
        call.redirected = False
        return call
    call.attempt += 1
    if anew:
        call.decision, call.modified = None, False
    return call


def _repeats(call: LogicalCall, wire: WireRequest, now: float) -> bool:
    return (
        call.body_hash == hash(wire.body)
        and (call.redirected or (call.target == wire.target and call.host == wire.host))
        and now - call.ended_at <= MAX_PAUSE_S
    )


def _left_by_another(wire: WireRequest, now: float) -> LogicalCall | None:
    """The equal call that failed on this thread in a context that is not ours, given up since."""
    key = (get_ident(), wire.host, wire.target, hash(wire.body))
    call = left.get(key)
    if call is None:
        _forget_old(now)
        return None
    task = call.task() if call.task is not None else None
    # Of a refusal it is known who has caught it, wherever that waits.
    waits = task is not None and not task.done() and not call.refused
    if call.attributes != current_attributes() or waits:
        return None  # another's, or it waits to be sent again where it failed
    return left.pop(key, None)


def _forget_old(now: float) -> None:
    for key, call in list(left.items()):
        if now - call.ended_at <= MAX_PAUSE_S:
            return
        left.pop(key, None)


def _current_task() -> Any:
    """The asyncio or trio task that runs here, or None."""
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)  # None while it is being imported
    if lowlevel is not None and lowlevel.in_trio_run():
        return lowlevel.current_task()
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio.current_task() if asyncio is not None else None
    except RuntimeError:
        return None


def note_unfinished(call: LogicalCall, wire: WireRequest, now: float, *, redirected: bool = False) -> None:
    """Remember here that `call` may be sent again.

    In the context, and, for frameworks that run each attempt in a copy of theirs, in the thread.
    """
    _note(call, wire, now)
    call.refused = False
    call.redirected = redirected
    if not redirected:
        _leave_to_thread(call)


def note_refused(call: LogicalCall, wire: WireRequest, now: float) -> Refusal:
    """Remember here that `call` was refused; what is raised tells the refusal who has caught it."""
    _note(call, wire, now)
    call.refused, call.redirected = True, False
    call.refusal = refusal = Refusal(call.number)
    _leave_to_thread(call)
    return refusal


def _note(call: LogicalCall, wire: WireRequest, now: float) -> None:
    if isinstance(wire, ModifiedRequest):
        wire = wire.original
    call.ended_at = now
    call.host = wire.host
    call.target = wire.target
    call.body_hash = hash(wire.body)
    call.waiting = True
    _unfinished.set(call)


def _leave_to_thread(call: LogicalCall) -> None:
    task = _current_task()
    if task is not None and not hasattr(task, "done"):  # trio does not say when a task has ended
        return
    call.task = None if task is None else weakref.ref(task)
    call.attributes = current_attributes()
    if len(left) >= MAX_LEFT:
        left.clear()
    key = (get_ident(), call.host, call.target, call.body_hash)
    left.pop(key, None)
    left[key] = call


def forget() -> None:
    """Let what follows be calls of their own, whatever has failed before."""
    _unfinished.set(None)
    left.clear()
