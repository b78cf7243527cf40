"""Events as JSON lines in files."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from .. import _json
from ..errors import ConfigurationError
from ..events import MetricEvent
from ._append import append_record
from ._tally import Tally
from .base import BaseEmitter

__all__ = ["DailyFileEmitter", "FileEmitter", "create_file_emitter", "create_jsonl_emitter"]

# What JSON leaves as it is and a terminal obeys: DEL and C1, bidi marks, Unicode's line ends.
_UNSAFE = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf"
)


class FileEmitter(BaseEmitter):
    """Appends each event to one file, as one line of JSON; see `_append` for what it refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._failures = Tally("a metrics file cannot be written", "see the fault logged beside this")

    @property
    def dropped(self) -> int:
        """Events that could not be written."""
        return self._failures.value

    def path_for(self, event: MetricEvent) -> Path:
        """The file that `event` goes to."""
        return self._path

    def __call__(self, event: MetricEvent) -> None:
        try:
            append_record(self.path_for(event), _line(event))
        except Exception as exc:  # noqa: BLE001 - called by hand as well, where nobody else would catch it
            self._failures.add()
            self.tell(event, exc)


class DailyFileEmitter(FileEmitter):
    """Appends each event to `metrics-YYYY-MM-DD.jsonl` in one directory."""

    def path_for(self, event: MetricEvent) -> Path:
        day = datetime.fromtimestamp(event.timestamp_s, UTC)
        return self._path / f"metrics-{day:%Y-%m-%d}.jsonl"


def _line(event: MetricEvent) -> bytes:
    return _UNSAFE.sub(_escape, _json.dumps(event.to_dict()))


def _escape(match: re.Match[bytes]) -> bytes:
    return rb"\u%04x" % ord(match[0].decode())


def create_file_emitter(log_dir: str | os.PathLike[str]) -> DailyFileEmitter:
    """Write events to `log_dir/metrics-YYYY-MM-DD.jsonl`, by the UTC date of each event.

    The directory is made (mode 0700) when the first event comes, the files have mode 0600. An event
    that cannot be written is counted in `.dropped` and told to `on_emit_error`; the next one tries
    anew.

    Raises: ConfigurationError where `log_dir` is no path, or is a file.
    """
    path = _path(log_dir, "create_file_emitter: log_dir")
    if path.is_file():
        raise ConfigurationError(f"create_file_emitter: log_dir={str(path)!r} is a file: give a directory")
    return DailyFileEmitter(path)


def create_jsonl_emitter(path: str | os.PathLike[str]) -> FileEmitter:
    """Write events to the file `path`, one line of JSON each; otherwise like `create_file_emitter`.

    Raises: ConfigurationError where `path` is no path, or is a directory.
    """
    file = _path(path, "create_jsonl_emitter: path")
    if file.is_dir():
        raise ConfigurationError(
            f"create_jsonl_emitter: path={str(file)!r} is a directory: "
            "give a file, or use create_file_emitter"
        )
    return FileEmitter(file)


def _path(value: object, what: str) -> Path:
    if isinstance(value, (str, os.PathLike)) and (text := os.fspath(value)) and isinstance(text, str):
        if "\0" not in text:
            # Absolute, so that an application that changes its directory keeps one file.
            return Path(text).expanduser().absolute()
        raise ConfigurationError(f"{what} contains a NUL character: give a path")
    raise ConfigurationError(f"{what}={str(value)[:64]!r}: give a path")
