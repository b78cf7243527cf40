"""The last good policy and prices, on disk: what a program begins with before the server has answered.

One file per server and key, in the user's folder of states, for its owner alone. It holds no key.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ... import _json

__all__ = ["PREFIX", "Kept", "name_of"]

PREFIX = "server-"
"""Of the names of files."""
MAX_BYTES = 64 << 20


def name_of(url: str, key: str) -> str:
    """What files of this server and key are called; neither can be read from it."""
    digest = hashlib.blake2b(key.encode(), key=url.encode()[:64], digest_size=12, person=b"aden.kept")
    digest.update(url.encode())
    return f"{PREFIX}{digest.hexdigest()}"


class Kept:
    """A JSON object in a file. Where it cannot be read or written there is none; nothing raises."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> Mapping[str, Any]:
        """What was kept last; empty where nothing was, or nothing of this user's alone."""
        if self._path is None:
            return {}
        with suppress(OSError, ValueError):
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            with open(os.open(self._path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or not _is_own(found) or found.st_size > MAX_BYTES:
                    return {}
                value = _json.loads(file.read(MAX_BYTES))
            return value if isinstance(value, dict) else {}
        return {}

    def write(self, value: Mapping[str, Any]) -> bool:
        """Keep `value` in the place of what was kept, whole or not at all; whether it is kept."""
        if self._path is None:
            return False
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            with suppress(FileNotFoundError):
                os.unlink(beside)  # of a process that ended while it wrote, and had our id
            with open(os.open(beside, flags | getattr(os, "O_BINARY", 0), 0o600), "wb") as file:
                file.write(_json.dumps(value))
            os.replace(beside, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(beside)
            return False
        return True


def _is_own(found: os.stat_result) -> bool:
    if os.name != "posix":
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022
