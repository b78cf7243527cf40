"""Files of this user that nobody else may read or put something in the place of.

Refused are symbolic links, files with a second hard link, whatever is no regular file, files and folders of
another user, and folders that others may write to. A folder that is shared, as a volume of containers often
is, has one of this user's made in it.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

__all__ = ["check_file", "host_file"]


def host_file(name: str, folder: Path | None = None) -> Path:
    """`name` in `folder`, or in the user's folder of programs' states. It need not be there yet.

    Raises: OSError, for people, where it cannot be written, or is not what it seems.
    Source: the XDG Base Directory Specification; on macOS `~/Library/Application Support`, on Windows
    `%LOCALAPPDATA%`.
    """
    if folder is None:
        try:
            folder = _state_folder() / "aden-transport"
        except RuntimeError as exc:
            raise OSError("the user has no home folder") from exc
    path = _private(folder.absolute()) / f"{name}.sqlite3"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return path
    try:
        check_file(found)
    except OSError as exc:
        raise OSError(f"{path} is not used: {exc}") from exc
    return path


def _state_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    return told if told.is_absolute() else Path.home() / ".local" / "state"


def _private(folder: Path) -> Path:
    """`folder`, made if it is not there; one of this user's within it, where others may write to it."""
    if not _is_private(folder):
        if stat.S_ISLNK(os.lstat(folder).st_mode) and os.lstat(folder).st_uid not in (0, os.geteuid()):
            raise OSError(f"{folder} is another user's symbolic link")
        folder = folder / f"aden-transport-{os.geteuid()}"
        if not _is_private(folder):
            raise OSError(f"{folder} is not this user's alone")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written to")
    return folder


def _is_private(folder: Path) -> bool:
    """Whether it is this user's alone, after it was made where it was not there.

    Raises: OSError where it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(folder)
    if os.name != "posix":
        return True
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def check_file(found: os.stat_result) -> None:
    """Raises: OSError where it is no regular file of this user under one name."""
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if os.name == "posix" and found.st_uid != os.geteuid():
        raise OSError("it belongs to another user")
    if os.name == "posix" and found.st_nlink > 1:
        raise OSError("it has a second hard link")
