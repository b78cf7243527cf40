"""Hearing of a process's end, also where a pool ends its workers without Python's own exit.

Workers of `multiprocessing` end with `os._exit` after its finalisers, those of Celery after one of its
signals.
Sources: docs.python.org/3/library/atexit.html (note), docs.celeryq.dev/en/stable/userguide/signals.html.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from typing import Any

from ._fork import on_fork_in_child

__all__ = ["at_process_end", "look_for_pools"]

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
