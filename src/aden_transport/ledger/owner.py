"""Who made a hold, told so that the end of its process can be seen from another.

A process id alone is given to another process sooner or later; with the time its process began and the id of
the machine's boot it is not. Sources: proc_pid_stat(5) (field 22), random(4) (`boot_id`), pid_namespaces(7).
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path

__all__ = ["boot_id", "host_name", "is_gone", "owner_of"]

PROC = Path("/proc")
ENDED = frozenset({"Z", "X", "x"})
"""States of a process that has ended; a zombie only waits for its parent."""


def owner_of(pid: int) -> str:
    """A process of this host: `"pid:start:boot:namespace"`; the last three are empty where none are told."""
    return f"{pid}:{_started(pid) or ''}:{boot_id()}:{_namespace(os.getpid())}"


def host_name() -> str:
    """What processes must have in common to tell of each other whether they are gone."""
    boot = boot_id()
    return f"{boot}:{_namespace(os.getpid())}" if boot else socket.gethostname()


def is_gone(owner: str) -> bool:
    """Whether the process has ended for certain. Where that cannot be told, its holds wait until they expire.

    A process of another boot has ended; so owners on other machines are not to be asked about.
    """
    pid, start, boot, namespace = owner.split(":")
    if boot != boot_id():
        return bool(boot)
    if namespace != _namespace(os.getpid()):
        return False  # Another container's process ids mean nothing here.
    now = _started(int(pid))
    return not _exists(int(pid)) if now is None else now != start


def _started(pid: int) -> str | None:
    """In clock ticks since boot; `"ended"` for a zombie; None where there is no such process, or no /proc."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold spaces and brackets; fields are counted from the state that follows it.
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in ENDED else fields[19]


def _exists(pid: int) -> bool:
    if os.name != "posix":
        return True  # On Windows, signal 0 ends a process.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Of the machine since it was started; empty where none is told."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _namespace(pid: int) -> str:
    """Of this process, whose id is `pid`: `pid:[4026531836]`, of which the number."""
    try:
        return os.readlink(PROC / str(pid) / "ns/pid").strip("pid:[]")
    except OSError:
        return ""
