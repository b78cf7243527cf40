"""The exceptions of aden-transport.

::

    AdenError
    ├── RequestCancelledError      a call was refused before any byte was sent
    │   └── BudgetExceededError    ... because a budget does not cover it
    ├── ConfigurationError         an option, policy or argument cannot be used as given
    └── LedgerUnavailable          the store of a budget's sums does not answer, or cannot be used

Only `RequestCancelledError` and its subclasses ever reach code that makes LLM calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from .events import BeforeRequestContext, Decision

__all__ = [
    "AdenError",
    "BudgetExceededError",
    "ConfigurationError",
    "LedgerUnavailable",
    "RequestCancelledError",
    "find_cancelled",
]


class AdenError(Exception):
    """Base of every exception that aden-transport raises."""


class ConfigurationError(AdenError):
    """An option or argument cannot be used; the message says what to change."""


class LedgerUnavailable(AdenError):
    """A ledger did not answer in time or cannot be used; the message says which and what to do.

    What becomes of the call is for `on_unknown["store"]` to say.
    """


class _Watcher(Protocol):
    def let_go(self, traceback: TracebackType | None) -> None: ...


class RequestCancelledError(AdenError):
    """The call was refused before it was sent: the vendor saw no byte of it.

    Not an HTTP library's error, so that no SDK takes it for a network fault and retries.
    """

    status_code: int = 403
    """What gateways and frameworks that map exceptions to HTTP should answer."""
    _watcher: _Watcher | None = None
    """Told when nobody holds this exception any more, with the frames that tell who has caught it."""

    def __init__(
        self,
        reason: str,
        context: BeforeRequestContext | None = None,
        *,
        decision: Decision | None = None,
        budget_id: str | None = None,
        budget_name: str | None = None,
        spent_usd: float | None = None,
        limit_usd: float | None = None,
        resets_at: datetime | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = reason
        self.context = context
        self.decision = decision
        self.budget_id = budget_id
        self.budget_name = budget_name
        self.spent_usd = spent_usd
        self.limit_usd = limit_usd
        self.resets_at = resets_at

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "_watcher"}
        return (_rebuild, (type(self), self.reason, state))

    def __del__(self) -> None:
        watcher = self._watcher
        if watcher is not None:
            try:
                watcher.let_go(self.__traceback__)
            except Exception:  # noqa: BLE001 - at the interpreter's end anything may be gone
                pass


class BudgetExceededError(RequestCancelledError):
    """The call does not fit what is left of a budget."""


def _rebuild(kind: type[RequestCancelledError], reason: str, state: dict[str, Any]) -> RequestCancelledError:
    """Unpickle: process pools and task queues carry this exception across processes."""
    error = kind(reason)
    error.__dict__.update(state)
    return error


def find_cancelled(exc: BaseException | None) -> RequestCancelledError | None:
    """The `RequestCancelledError` that `exc` is, wraps or groups, else None.

    Frameworks wrap what an SDK raises; this walks `__cause__`, `__context__` and exception groups.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [exc]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        if isinstance(current, RequestCancelledError):
            return current
        seen.add(id(current))
        pending += [current.__context__, current.__cause__]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
    return None
