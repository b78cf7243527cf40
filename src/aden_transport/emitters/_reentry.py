"""Knowing that an emitter is at work, so that the LLM calls it makes are not emitted in turn."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context

__all__ = ["emitting", "emitting_context", "in_emitter"]

emitting: ContextVar[bool] = ContextVar("aden_emitting", default=False)
"""True in code that an emitter runs; tasks and `contextvars`-aware threads started there inherit it."""


in_emitter: Callable[[], bool] = emitting.get
"""Whether this code was called by an emitter, a batch handler or `on_emit_error`.

Calls made here are the application's bookkeeping: metering them would emit events about emitting
events, without end.
"""


def emitting_context() -> Context:
    """A copy of the caller's context in which `in_emitter()` is True."""
    context = copy_context()
    context.run(emitting.set, True)
    return context
