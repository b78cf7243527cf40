"""A ledger by its address, and which one is taken where none is named."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError
from .base import Ledger
from .memory import MemoryLedger
from .prefork import family
from .private import host_file

__all__ = ["Choice", "check_address", "choose", "choose_for_run", "open_ledger", "opened"]

ALONE = 'give MeterOptions(ledger="sqlite:///path") a folder that can be written, or use Redis'


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the sums of budgets are kept, and why there."""

    address: str
    """`"memory"`, `"sqlite:///path"`, `"redis://…"` or `"https://…"`."""
    reason: str
    """One line for people."""
    shared: bool
    """Whether all processes of the program see the same sums."""
    of_run: bool = False
    """Whether the sums end with the run of the program."""
    warning: str | None = None
    """What is not as it should be, and what to change."""


def choose(
    address: str | None, *, lasting: bool, server: str | None = None, folder: Path | None = None
) -> Choice:
    """`"memory"`, `"sqlite:///path/to/file"`, `"redis://host"`, `"https://server"`; None takes the user's own
    file where sums have to outlast the process, and else a ledger of this run: memory, or a file that its
    workers share. `server`: the name of this host's file for a control server, which is taken instead where
    it can be written. `folder`: instead of the user's folder of states.

    Opens nothing. Raises: ConfigurationError for an address that is none.
    """
    if address is None:
        if server is not None:
            return _of_server(server, folder)
        if not lasting:
            return choose_for_run()
        try:
            path = host_file("budgets", folder)
            return Choice(f"sqlite:///{path}", "a budget has a period: its sums outlast the program", True)
        except OSError as exc:
            why = f"no file can be written ({exc}), so sums are lost at the end; {ALONE}"
        run = choose_for_run()
        return Choice(run.address, run.reason, run.shared, run.of_run, run.warning or why)
    if address == "memory":
        return _memory_as_told()
    kind, _, rest = address.partition(":")
    if kind == "sqlite" and rest.startswith("///") and len(rest) > 3:
        return Choice(address, "the options name this file", True)
    if kind in ("redis", "rediss", "unix", "valkey") and rest.startswith("//"):
        return Choice(address, "the options name this server", True)
    if kind in ("https", "http"):
        from ..control.options import server_address

        server_address(address)
        return Choice(address, "the options name this control server", True)
    raise ConfigurationError(
        f'MeterOptions(ledger={address.partition("@")[0]!r}) is none of "memory", '
        '"sqlite:///path/to/file", "sqlite:////absolute/path", "redis://host:6379/0" and "https://server".'
    )


def check_address(address: str, api_key: str | None) -> None:
    """Open nothing. Raises: ConfigurationError for an address that is none, or that needs a key."""
    kind = choose(address, lasting=False).address.partition(":")[0]
    if kind in ("https", "http") and not api_key:
        _key_of_environment()


def choose_for_run(*, has_workers: bool = False) -> Choice:
    """Where this run's sums are kept: in memory, or in a file as soon as there are workers."""
    from .run_files import run_path

    kin = family()
    if not (kin.is_worker or kin.has_workers or has_workers):
        return Choice("memory", "no budget has a period, and this process is alone", False, of_run=True)
    path = run_path(kin.root)
    if path is None:
        why = "no file can be written for this run"
        return Choice(
            "memory", why, False, of_run=True, warning=f"{why}: each worker has the whole limit; {ALONE}"
        )
    root = kin.root.partition(":")[0]
    reason = f"no budget has a period; the workers of process {root} share this run's sums"
    return Choice(f"sqlite:///{path}", reason, True, of_run=True, warning=_uwsgi_without_threads())


def _of_server(name: str, folder: Path | None) -> Choice:
    try:
        path = host_file(name, folder)
    except OSError as exc:
        why = f"no file can be written ({exc}): each process spends for itself, and events wait in memory"
        return Choice("memory", why, False, warning=f"{why}; MeterOptions(spool_dir=…) names another folder")
    reason = "the processes of this host share what its server lets them spend"
    return Choice(f"sqlite:///{path}", reason, True)


def _memory_as_told() -> Choice:
    kin = family()
    warning = None
    if kin.is_worker or kin.has_workers:
        warning = (
            'MeterOptions(ledger="memory"): each worker has the whole limit; leave ledger=… out to share it'
        )
    return Choice("memory", "the options say so", False, warning=warning)


def _uwsgi_without_threads() -> str | None:
    """uWSGI runs no thread but its own unless it is asked to."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return None
    given = getattr(uwsgi, "opt", {})
    if any(name in given or name.encode() in given for name in ("enable-threads", "threads")):
        return None
    return "uWSGI runs without --enable-threads: what calls cost is settled only at the worker's end"


def open_ledger(
    address: str | None, *, lasting: bool, timeout_s: float = 0.25, api_key: str | None = None
) -> Ledger:
    """The ledger that `choose` takes.

    Raises: ConfigurationError for an address that is none, or a library that is missing.
    """
    return opened(choose(address, lasting=lasting), timeout_s=timeout_s, api_key=api_key)


def opened(choice: Choice, *, timeout_s: float = 0.25, api_key: str | None = None) -> Ledger:
    """`api_key`: of a control server; None takes ADEN_API_KEY.

    Raises: ConfigurationError for a library or a key that is missing.
    """
    address = choice.address
    kind, _, rest = address.partition(":")
    if address == "memory":
        return MemoryLedger()
    if kind == "sqlite":
        from .sqlite import SqliteLedger

        return SqliteLedger(rest[3:], timeout_s=timeout_s)
    if kind in ("https", "http"):
        from .http import HttpLedger

        return HttpLedger(address, api_key or _key_of_environment(), timeout_s=timeout_s)
    from .redis import RedisLedger

    url = address.replace("valkey", "redis", 1) if kind == "valkey" else address
    return RedisLedger(url, timeout_s=timeout_s)


def _key_of_environment() -> str:
    key = os.environ.get("ADEN_API_KEY", "").strip()
    if not key:
        raise ConfigurationError(
            'MeterOptions(ledger="https://…") needs a key of that server: give api_key=…, or set ADEN_API_KEY'
        )
    return key
