"""Hearing of a process's end, also where a pool ends its workers without Python's own exit.

Workers of `multiprocessing` end with `os._exit` after its finalisers, those of Celery after one of its
signals. SIGTERM ends a process at once where the application does not handle it.
Sources: docs.python.org/3/library/atexit.html (note), docs.celeryq.dev/en/stable/userguide/signals.html.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from ._fork import on_fork_in_child

__all__ = ["at_process_end", "forget_sigterm", "look_for_pools", "look_for_sigterm"]

LAST = -100
"""After the finalisers of everybody else."""

_functions: list[Callable[[], object]] = []
_seen: set[str] = set()


class _Anchor:
    """What `multiprocessing` keeps a callback for."""


_anchor = _Anchor()


def at_process_end(function: Callable[[], object]) -> None:
    """Call `function` at the end of this process and of each that is forked from it, perhaps twice."""
    atexit.register(function)
    _functions.append(function)
    on_fork_in_child(look_for_pools)


def look_for_pools() -> None:
    """Have the pools tell that are imported by now. A child is looked at right after its fork."""
    pool: Any = sys.modules.get("multiprocessing.util")
    if pool is not None and "multiprocessing" not in _seen:
        _seen.add("multiprocessing")
        # Run in a forked worker once it has forgotten the finalisers of its parent.
        pool.register_after_fork(_anchor, lambda _: _finalize(pool))
        process: Any = sys.modules.get("multiprocessing.process")
        if process.parent_process() is not None:
            _finalize(pool)
    signals: Any = sys.modules.get("celery.signals")
    if signals is not None and "celery" not in _seen:
        _seen.add("celery")
        signals.worker_process_shutdown.connect(_end, weak=False, dispatch_uid="aden-transport")


def _finalize(pool: Any) -> None:
    pool.Finalize(None, _end, exitpriority=LAST)


def _end(*_: object, **__: object) -> None:
    for function in _functions:
        function()


def look_for_sigterm() -> None:
    """Hear of SIGTERM where nobody else does: what is set up before or after this keeps to itself, and
    children of `exec` begin with the default. Does nothing outside the main thread."""
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return
    try:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _on_sigterm)
    except ValueError:  # a main thread of a subinterpreter
        pass


def forget_sigterm() -> None:
    """Put the default back, where nobody else has put something else there."""
    if os.name == "posix" and threading.current_thread() is threading.main_thread():
        try:
            if signal.getsignal(signal.SIGTERM) is _on_sigterm:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
        except ValueError:
            pass


def _on_sigterm(number: int, frame: object) -> None:
    """Have the last words said, then end as it would have ended."""
    signal.signal(number, signal.SIG_DFL)
    try:
        _end()
    finally:
        os.kill(os.getpid(), number)
