"""The files that the processes of one run share, in a private folder that nobody backs up.

A file bears the id and the start of the run's first process. Who ends last in order removes it; one that is
left by what was killed is looked through and removed by a later run of the same user.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .owner import is_gone

__all__ = ["left_behind", "remove", "run_path"]

UNTOUCHED_S = 3600.0
"""After so long without a write, the file of a run whose first process is gone is removed: others of its
processes may have outlived that."""
ENDS = ("", "-wal", "-shm")


def run_path(root: str) -> Path | None:
    """The file of the run whose first process is `root`; None where none can be written."""
    folder = _folder()
    return None if folder is None else folder / f"run-{_written(root)}.sqlite3"


def left_behind() -> Iterator[Path]:
    """Files of runs whose first process is gone."""
    for folder in _folders():
        for path in sorted(folder.glob("run-*.sqlite3")):
            root = _read(path.name)
            if root is not None and is_gone(root) and _is_private(folder):
                yield path


def remove(path: Path, *, untouched: bool = False) -> bool:
    """Remove a run's file; `untouched`: only where nobody has written to it of late. Whether it is gone."""
    if untouched:
        with suppress(OSError):
            newest = max(
                Path(f"{path}{end}").stat().st_mtime for end in ENDS if Path(f"{path}{end}").exists()
            )
            if time.time() - newest < UNTOUCHED_S:
                return False
    for end in ENDS:
        with suppress(OSError):
            os.unlink(f"{path}{end}")
    with suppress(OSError):
        path.parent.rmdir()  # where it was the last one
    return True


def _written(root: str) -> str:
    """An owner's name as part of a file's."""
    pid, start, boot, namespace = root.split(":")
    return "_".join((pid, start, boot.replace("-", ""), namespace))


def _read(name: str) -> str | None:
    parts = name.removeprefix("run-").removesuffix(".sqlite3").split("_")
    if len(parts) != 4 or not parts[0].isdecimal():
        return None
    pid, start, boot, namespace = parts
    if len(boot) == 32:  # a UUID
        boot = "-".join((boot[:8], boot[8:12], boot[12:16], boot[16:20], boot[20:]))
    return ":".join((pid, start, boot, namespace))


def _folder() -> Path | None:
    """A folder of this user that nobody else may enter: of the session, else among the temporary files.

    Source: the XDG Base Directory Specification (`XDG_RUNTIME_DIR`).
    """
    return next((folder for folder in _folders() if _is_made(folder)), None)


def _folders() -> list[Path]:
    told = os.environ.get("XDG_RUNTIME_DIR", "")
    user = str(os.geteuid()) if hasattr(os, "geteuid") else _user()
    return [
        *([Path(told) / "aden-transport"] if told.startswith("/") else []),
        Path(tempfile.gettempdir()) / f"aden-transport-{user}",
    ]


def _user() -> str:
    return hashlib.sha256(str(Path.home()).encode()).hexdigest()[:12]


def _is_made(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    return _is_private(folder)


def _is_private(folder: Path) -> bool:
    """Whether `folder` is there, is this user's alone, and can be written to."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    if os.name == "posix" and (
        not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077
    ):
        return False
    return os.access(folder, os.W_OK | os.X_OK)
