"""What the worker processes of one server have counted: each writes a file, and whoever is asked adds up.

A process has the first place in the folder that no other has, by a lock that ends with it, and goes on from
what was counted there before. So no counter falls, and there are no more files than were processes at once.
"""

from __future__ import annotations

import logging
import os
import threading
from itertools import count
from pathlib import Path

import orjson

from .metrics import Figures, Metrics

__all__ = ["Workers"]

EVERY_S = 1.0
"""Between two writes of a process."""

log = logging.getLogger("aden.server")


class Workers:
    """The figures of all processes that share `folder`; without it, or without such locks, of this one."""

    def __init__(self, metrics: Metrics, folder: Path | None) -> None:
        self._metrics = metrics
        self._folder = folder
        self._lock = threading.Lock()
        self._place: tuple[int, Path] | None = None
        self._written: Figures | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aden-workers", daemon=True)

    def start(self) -> None:
        if self._folder is None:
            return
        try:
            descriptor, path = _place_in(self._folder)
        except (ImportError, OSError) as exc:
            log.warning("/metrics tells of one worker process at a time: %s", exc)
            return
        self._place = descriptor, path
        before = _read(path)
        before.under_way = before.connections = before.workers = 0
        self._metrics.counted.add(before)
        self._write()
        self._thread.start()

    def close(self) -> None:
        if self._place is None:
            return
        self._ended.set()
        self._thread.join()
        self._write()
        descriptor, _ = self._place
        self._place = None
        os.close(descriptor)

    def figures(self) -> Figures:
        """For any thread."""
        if self._place is None or self._folder is None:
            return self._metrics.figures()
        # Written first, so that what has been told is told by every process from then on.
        own = self._write()
        figures = own.copy()
        _, own_path = self._place
        for path in self._folder.glob("*.json"):
            if path != own_path:
                found = _read(path)
                if not _is_taken(path):
                    found.under_way = found.connections = found.workers = 0
                figures.add(found)
        return figures

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._write()

    def _write(self) -> Figures:
        with self._lock:
            figures = self._metrics.figures()
            if self._place is not None and figures != self._written:
                _, path = self._place
                fresh = path.with_suffix(".new")
                try:
                    fresh.write_bytes(orjson.dumps(figures.to_json()))
                    fresh.replace(path)
                    self._written = figures
                except OSError as exc:
                    log.warning("what this process has counted is not written: %s", exc)
            return figures


def _place_in(folder: Path) -> tuple[int, Path]:
    """A descriptor that holds a place, and the file of the place. Raises: ImportError, OSError."""
    import fcntl

    for number in count():
        path = folder / f"{number}.json"
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor, path
    raise AssertionError


def _is_taken(path: Path) -> bool:
    """Whether the process that has the place is there."""
    import fcntl

    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read(path: Path) -> Figures:
    """None yet: nothing."""
    try:
        return Figures.from_json(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return Figures()
