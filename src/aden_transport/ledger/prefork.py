"""Which processes are workers of one program, so that they share one limit.

A process belongs to its parent's program where it was forked from it and executed nothing since, or was
spawned by `multiprocessing` and its like. The first process up the line that is neither is the program's
root; its id and start name the run. So gunicorn, uvicorn, hypercorn, Celery, uWSGI and pools are told alike,
wherever `instrument()` is called; what a shell, a service manager or `subprocess` starts is its own root.
Sources: proc_pid_stat(5) (fields 4 and 9), `PF_FORKNOEXEC` in the kernel's include/linux/sched.h.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any, NamedTuple

from . import owner
from .owner import owner_of

__all__ = ["Family", "before_children", "family"]

FORKED_ONLY = 0x40
"""Of a process's flags: forked, and has executed nothing since."""
SPAWNERS = ("popen_spawn_posix", "popen_spawn_win32", "popen_forkserver", "popen_loky_posix")
"""Modules that are imported when a process is spawned for the first time."""
SPAWNED = (
    b"multiprocessing.spawn import",
    b"multiprocessing.forkserver import",
    b"billiard.spawn",
    b"popen_loky",
)
"""In the command lines of processes that go on with their parent's program."""
SERVERS = ("gunicorn.arbiter", "billiard.pool", "uwsgi")
"""Loaded in the processes of servers that fork; for systems without /proc."""
MOST_DEEP = 32


class Family(NamedTuple):
    """Where this process stands."""

    root: str
    """The owner's name of the program's first process; see `owner.py`."""
    is_worker: bool
    """Whether the root is another process."""
    has_workers: bool
    """Whether this process is known to make others that go on with its program."""


_root: str | None = None
"""Of this process; a forked child has it of its parent."""
_has_workers = False
"""Whether this process, or one that it was forked from, has made others."""


def family() -> Family:
    """Where this process stands; the same answer in all processes of a program as to its root."""
    global _root
    if _root is None:
        _root = _find_root(os.getpid())
    is_worker = int(_root.partition(":")[0]) != os.getpid()
    spawned = any(name.rpartition(".")[2] in SPAWNERS for name in list(sys.modules))
    # uWSGI forks in C, where Python's hooks before a fork are not called.
    return Family(_root, is_worker, _has_workers or spawned or "uwsgi" in sys.modules)


def _find_root(pid: int) -> str:
    if not (owner.PROC / str(pid) / "stat").exists():
        return owner_of(_told_root(pid))
    for _ in range(MOST_DEEP):
        parent = _goes_on_from(pid)
        if parent is None:
            break
        pid = parent
    return owner_of(pid)


def _goes_on_from(pid: int) -> int | None:
    """The parent of a process that goes on with its parent's program."""
    try:
        fields = (owner.PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        command = (owner.PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    parent, flags = int(fields[1]), int(fields[6])
    if not (flags & FORKED_ONLY or any(sign in command for sign in SPAWNED)):
        return None
    # A process that has lost its parent is the child of another, which runs something else.
    return parent if parent > 0 and _same_program(pid, parent) else None


def _same_program(pid: int, other: int) -> bool:
    try:
        theirs = os.readlink(owner.PROC / str(other) / "exe")
    except FileNotFoundError:
        return False
    except OSError:
        return other != 1  # Of another user, as the parent of workers that gave up its rights.
    return theirs == os.readlink(owner.PROC / str(pid) / "exe")


def _told_root(pid: int) -> int:
    """Without /proc: as far as `multiprocessing` and the names of servers tell."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    parent = multiprocessing.parent_process() if multiprocessing is not None else None
    if parent is not None and parent.pid is not None:
        return int(parent.pid)
    if multiprocessing is not None and getattr(multiprocessing.current_process(), "_inheriting", False):
        return os.getppid()  # The program's main module is being imported for it.
    if any(name in sys.modules for name in SERVERS) and hasattr(os, "getpgrp"):
        return os.getpgrp()  # Servers and their workers are one process group.
    return pid


# -- before there are workers -----------------------------------------------------------------------

_callbacks: list[Callable[[], None]] = []


def before_children(callback: Callable[[], None]) -> None:
    """Call `callback` in this process before each fork by Python and before the first spawn."""
    if _callbacks:
        _callbacks.append(callback)
        return
    _callbacks.append(callback)
    sys.meta_path.insert(0, _Spawns())
    if hasattr(os, "register_at_fork"):  # pragma: no branch - absent on Windows, where nothing forks
        os.register_at_fork(before=_call_back)


def _call_back() -> None:
    global _has_workers
    _has_workers = True
    for callback in _callbacks:
        callback()


class _Spawns(MetaPathFinder):
    """Finds nothing; hears what is looked for."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.rpartition(".")[2] in SPAWNERS:
            _call_back()
