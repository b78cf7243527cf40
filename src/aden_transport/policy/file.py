"""A policy in a file that may change: read once, and again when it looks different.

Replaced by a rename, as editors do it, or by another target of a symbolic link, as Kubernetes swaps the files
of a ConfigMap, it is always whole. One that is written in place may be seen half-written; so a change is read
when it has lain still, and what cannot be used is refused whole.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import ConfigurationError
from .document import MAX_BYTES, path_of, read, unreadable
from .values import Policy

__all__ = ["PolicyFile"]

STILL_S = 0.2
"""A file that has not changed for so long is taken to be whole."""
COARSE_S = 2.5
"""File systems may tell times in steps of two seconds: what is younger is read once more."""

_Stamp: TypeAlias = tuple[int, ...]


class PolicyFile:
    """The file at `path`, which is a fixed place whatever the working directory becomes. Not for several
    threads at once."""

    def __init__(self, path: Path, beside: Policy | None = None) -> None:
        self.path = path.absolute()
        self.beside = beside
        """Whose budgets hold beside those of the file, and alone where it cannot be used at first; None: it
        has to be usable."""
        self._read: _Stamp | None = None
        """Of the file that was read last."""
        self._digest = b""
        """Of what was read last, good or bad."""
        self._met: _Stamp | None = None
        """Of a file that differs, at the last look."""
        self._complaint = ""
        """The last fault, so that it is told once."""

    @classmethod
    def of(cls, source: Any) -> PolicyFile | None:
        """The file of `MeterOptions(policy=…)`; None where that is a document, or no regular file."""
        if isinstance(source, PolicyFile):
            return cls(source.path, source.beside)
        path = path_of(source)
        if path is None:
            return None
        try:
            return cls(path) if stat.S_ISREG(os.stat(path).st_mode) else None
        except (OSError, ValueError):
            return cls(path)

    def load(self, now: float) -> Policy:
        """The policy in it.

        Raises: ConfigurationError, with the path of each fault.
        """
        self._met = None
        try:
            return self._policy(self._bytes(now))
        except (OSError, ValueError) as exc:
            raise ConfigurationError(unreadable(self.path, exc)) from exc

    def look(self, now: float, *, most: int = MAX_BYTES) -> Policy | None:
        """The policy, where the file was changed since it was read; None where not, or not whole yet.

        Costs one `stat` where nothing has changed. `now`: seconds since the epoch. `most`: a larger file is
        left for a later look.

        Raises: ConfigurationError, once for each change, where it cannot be used, or is gone.
        """
        try:
            found = os.stat(self.path)
            stamp = _stamp(found)
            if stamp == self._read or most < found.st_size <= MAX_BYTES:
                return None
            if stamp != self._met and now - _changed_at(found) < STILL_S:
                self._met = stamp
                return None
            before = self._digest
            data = self._bytes(now)
            self._complaint = ""
            return None if self._digest == before else self._policy(data)
        except OSError as exc:
            if self._read is not None or self._met is not None:
                self._read = self._met = None
                return None  # Some editors take a file away before they put the new one there.
            self._complain(unreadable(self.path, exc), exc)
            return None

    def forget(self) -> None:
        """Have it read again, changed or not: a forked child cannot know how far its parent had got."""
        self._read = self._met = None
        self._digest = b""

    def _policy(self, data: bytes) -> Policy:
        policy = read(data, self.path)
        if self.beside is None:
            return policy
        return replace(policy, budgets=policy.budgets + self.beside.budgets)

    def _bytes(self, now: float) -> bytes:
        """What stands in it. Raises: OSError."""
        # A pipe that has taken its place would keep us waiting.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(self.path, flags), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(0, "it is no regular file")
            data = file.read(MAX_BYTES + 1)
        self._read = None if now - _changed_at(found) < COARSE_S else _stamp(found)
        self._met = _stamp(found)
        self._digest = hashlib.sha256(data, usedforsecurity=False).digest()
        return data

    def _complain(self, message: str, exc: OSError) -> None:
        if message != self._complaint:
            self._complaint = message
            raise ConfigurationError(message) from exc


def _stamp(found: os.stat_result) -> _Stamp:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _changed_at(found: os.stat_result) -> float:
    return max(found.st_mtime, found.st_ctime)
