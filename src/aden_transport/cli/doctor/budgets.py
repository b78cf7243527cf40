"""Which ledger keeps the sums of budgets here, who shares it, where it lies, and what it may forget."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import AdenError, ConfigurationError
from ...ledger.base import Ledger
from ...ledger.memory import MemoryLedger
from ...ledger.opened import open_ledger
from ...ledger.sqlite import SqliteLedger
from ...policy import Policy, load
from ...policy.money import amount
from .findings import Finding

__all__ = ["budgets"]

SECTION = "Budgets"
MOUNTS = Path("/proc/self/mountinfo")
NETWORKED = ("nfs", "cifs", "smb", "9p", "afs", "lustre", "ceph", "gluster", "fuse.sshfs", "fuse.s3fs")
"""Beginnings of the names of file systems whose locks do not hold between machines, or at all."""
ELSEWHERE = 'MeterOptions(ledger="sqlite:////a/folder/of/yours/budgets.sqlite3")'


def budgets(policy: str | None, ledger: str | None) -> Iterator[Finding]:
    """`policy`: the path of one; `ledger`: an address; None: what a program is given that names none."""
    found = Policy()
    if policy is not None:
        try:
            found = load(policy)
        except ConfigurationError as exc:
            yield Finding(SECTION, policy, "fault", str(exc), f"aden-transport policy check {policy}")
            return
        count = len(found.budgets)
        text = f"{count} budget{'' if count == 1 else 's'}, {'some' if found.lasts else 'none'} with a period"
        yield Finding(SECTION, policy, "ok", text, None, {"budgets": count, "lasts": found.lasts})
    if ledger is not None and ledger.partition(":")[0] in ("redis", "rediss", "unix", "valkey", "valkeys"):
        from .redis import redis_server

        yield from redis_server(ledger)
        return
    if ledger is not None or policy is not None:
        yield from _examined(ledger, lasting=found.lasts)
        return
    for lasting in (True, False):
        for finding in _examined(None, lasting=lasting):
            # Nobody has said that this program has budgets.
            yield replace(finding, level="warning") if finding.level == "fault" else finding


def _examined(address: str | None, *, lasting: bool) -> Iterator[Finding]:
    why = _why(address, lasting=lasting)
    try:
        ledger: Ledger = open_ledger(address, lasting=lasting)
    except ConfigurationError as exc:
        yield Finding(SECTION, str(address).partition("@")[0], "fault", str(exc))
        return
    if isinstance(ledger, SqliteLedger):
        yield from _file(ledger, why)
    elif isinstance(ledger, MemoryLedger):
        yield _memory(why, wanted_file=address is None and lasting)


def _why(address: str | None, *, lasting: bool) -> str:
    if address is not None:
        return "named by ledger=…"
    return "for budgets with a period" if lasting else "where no budget has a period"


def _memory(why: str, *, wanted_file: bool) -> Finding:
    text = f"{why}: sums are the process's own and end with it"
    facts = {"kind": "memory", "shared": False}
    if not wanted_file:
        return Finding(SECTION, "memory", "ok", text, None, facts)
    text = f"{text}, since no file can be written in the user's state folder: a limit counts in each process"
    return Finding(SECTION, "memory", "warning", text, ELSEWHERE, facts)


def _file(ledger: SqliteLedger, why: str) -> Iterator[Finding]:
    path = ledger.path
    facts: dict[str, Any] = {"kind": "sqlite", "shared": True, "path": str(path), "exists": path.exists()}
    system = _file_system(path)
    text = f"{why}: a file that the processes of this machine share"
    if system.startswith(NETWORKED):
        more = f"; it lies on {system}, where several machines must not use one file"
        yield Finding(SECTION, str(path), "warning", text + more, 'MeterOptions(ledger="redis://…")', facts)
        return
    if not facts["exists"]:
        folder = next(parent for parent in path.parents if parent.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            yield Finding(SECTION, str(path), "ok", f"{text}, made at its first use", None, facts)
        else:
            more = f"; it cannot be made, as {folder} cannot be written to"
            yield Finding(SECTION, str(path), "fault", text + more, ELSEWHERE, facts)
        return
    yield _opened(ledger, text, facts)


def _opened(ledger: SqliteLedger, text: str, facts: dict[str, Any]) -> Finding:
    path = ledger.path
    mode = stat.S_IMODE(path.stat().st_mode)
    facts["mode"] = f"{mode:04o}"
    try:
        open_holds, disputed = ledger.open_holds(), sum(ledger.disputed().values())
    except AdenError as exc:
        return Finding(SECTION, str(path), "fault", str(exc), ELSEWHERE, facts)
    finally:
        ledger.close()
    facts |= {"open_holds": open_holds, "disputed_nano_usd": disputed}
    text = f"{text}, rights {mode:04o}, {open_holds} calls under way"
    if disputed:
        text += f", {amount(disputed)} taken for calls whose end nobody saw"
    if os.name == "posix" and mode & 0o077:
        return Finding(
            SECTION, str(path), "warning", f"{text}: others can read it", f"chmod 600 {path}", facts
        )
    return Finding(SECTION, str(path), "ok", text, None, facts)


def _file_system(path: Path) -> str:
    """Its type, `""` where that cannot be told. Source: proc_pid_mountinfo(5)."""
    best, kind = -1, ""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return kind
    for line in lines:
        before, _, after = line.partition(" - ")
        place = before.split()[4].replace("\\040", " ")
        if path.is_relative_to(place) and len(place) > best:
            best, kind = len(place), after.split()[0]
    return kind
