"""What an exchange asks its adapter to do next, before the request leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import RequestCancelledError
from ..events import BeforeRequestContext
from .attempts import Refusal
from .wire import Rewrite

if TYPE_CHECKING:
    from ..ledger.store_thread import StoreThread

__all__ = ["SEND", "Ask", "Consult", "Modify", "Refuse", "Send", "Step", "Wait"]


class Ask:
    """Call the hook with `params` and `context`, then `exchange.answer(result)` or `answer_failed(exc)`."""

    __slots__ = ("context", "params")

    def __init__(self, params: Mapping[str, Any], context: BeforeRequestContext) -> None:
        self.params = params
        self.context = context


class Modify:
    """Call `modify_params` with `params` and `context`, then `exchange.modify(result)` or
    `modify_failed(exc)`."""

    __slots__ = ("context", "params")

    def __init__(self, params: dict[str, Any], context: BeforeRequestContext) -> None:
        self.params = params
        self.context = context


class Consult:
    """Call `run()` where waiting for a store holds up nobody else, then `then(result)`.

    On a loop, that is on `thread`; after `timeout_s` in vain, `otherwise()` is the result, and what comes
    later is for `late`.
    """

    __slots__ = ("late", "otherwise", "run", "then", "thread", "timeout_s")

    def __init__(
        self,
        run: Callable[[], Any],
        then: Callable[[Any], Step],
        *,
        otherwise: Callable[[], Any],
        late: Callable[[Any], object],
        thread: StoreThread,
        timeout_s: float,
    ) -> None:
        self.run = run
        self.then = then
        self.otherwise = otherwise
        self.late = late
        self.thread = thread
        self.timeout_s = timeout_s


class Wait:
    """Sleep `seconds` on the caller's own loop or thread, then `exchange.waited(slept)`."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Send:
    """Send the request, changed on a copy as `rewrite` says, or as it is."""

    __slots__ = ("rewrite",)

    def __init__(self, rewrite: Rewrite | None) -> None:
        self.rewrite = rewrite


class Refuse:
    """Send nothing, and raise `refused()`. The exchange has ended."""

    __slots__ = ("_refusal", "error")

    def __init__(self, error: RequestCancelledError, refusal: Refusal) -> None:
        self.error = error
        self._refusal = refusal

    def refused(self) -> RequestCancelledError:
        """A copy of `error` to raise.

        What is raised holds the frames that it passes; were one of them to hold it in turn, only the garbage
        collector would know when it is let go.
        """
        made = copy(self.error)
        self._refusal.watch(made)
        return made


SEND = Send(None)
"""Send the request as it is."""

Step: TypeAlias = Ask | Modify | Consult | Wait | Send | Refuse
