"""Appending records to a private file, so that neither other users nor other processes get in between.

The file is created with mode 0600, its directory (where missing) with 0700. Refused are symbolic
links, files with a second hard link, files of another user or writable for others, anything that is
no regular file, and directories that everybody may write to without the sticky bit, or that are
reached through another user's symbolic link. Each record is one `write` with O_APPEND, which keeps
the records of several processes whole on local file systems. The file is opened for each record
(some 10 µs, on the emitter thread), so it may be rotated or removed at any time and a fork shares
nothing.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

__all__ = ["append_record"]

_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    # Opening a FIFO that nobody reads would block for ever.
    | getattr(os, "O_NONBLOCK", 0)
)


def append_record(path: Path, record: bytes) -> None:
    """Append `record` and a line end to `path`, in one write.

    A record that an earlier fault left unfinished is closed by a line end first, so that at most that
    one line is torn.

    Raises: OSError where the file cannot be used or the record does not fit.
    """
    descriptor = _open(path)
    try:
        size = _check_file(descriptor, path)
        data = (b"\n" if _is_torn(descriptor, size) else b"") + record + b"\n"
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written to {path}: is the disk full?")
    finally:
        os.close(descriptor)


if sys.platform == "win32":  # pragma: no cover - neither links nor owners are like this on Windows

    def _open(path: Path) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, _FLAGS | os.O_BINARY, 0o600)

    def _check_file(descriptor: int, path: Path) -> int:
        return os.fstat(descriptor).st_size

    def _is_torn(descriptor: int, size: int) -> bool:
        if size == 0:
            return False
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        return os.read(descriptor, 1) != b"\n"

else:

    def _open(path: Path) -> int:
        directory = _open_directory(path.parent)
        try:
            return os.open(path.name, _FLAGS, 0o600, dir_fd=directory)
        finally:
            os.close(directory)

    def _open_directory(path: Path) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            path.mkdir(0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, flags)
        mode = os.fstat(descriptor).st_mode
        link = os.lstat(path)
        trusted = not stat.S_ISLNK(link.st_mode) or link.st_uid in (0, os.geteuid())
        if not trusted or (mode & stat.S_IWOTH and not mode & stat.S_ISVTX):
            os.close(descriptor)
            problem = "everybody may write to it" if trusted else "it is another user's symbolic link"
            raise PermissionError(f"the directory {path} is not used, because {problem}")
        return descriptor

    def _check_file(descriptor: int, path: Path) -> int:
        """The size of the file, where it is ours alone."""
        status = os.fstat(descriptor)
        problem = ""
        if not stat.S_ISREG(status.st_mode):
            problem = "it is no regular file"
        elif status.st_uid != os.geteuid():
            problem = "it belongs to another user"
        elif status.st_nlink > 1:
            problem = "it has a second hard link"
        elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            problem = "others may write to it"
        if problem:
            raise PermissionError(f"{path} is not written to, because {problem}")
        return status.st_size

    def _is_torn(descriptor: int, size: int) -> bool:
        if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
            return False
        # Or another process is in the middle of a write. Changing the mode (to what it is) waits for
        # the inode's lock, which a write holds; a size that has grown by then was that other write.
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode))
        return os.fstat(descriptor).st_size == size
