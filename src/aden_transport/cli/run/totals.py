"""What all processes of a run spent: each keeps its sums in a file, the root adds them up."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..._fork import on_fork_in_child

if TYPE_CHECKING:
    from ...events import MetricEvent

__all__ = ["Sums", "Tally", "Totals", "merge", "read_directory", "remove_directory"]

MODELS = 200
"""Rows that one process keeps; the calls of further models are one row."""
OTHERS = ("-", "other models")
ANSWERS = 1000
"""Answers that a poll is recognised by."""


@dataclass(slots=True)
class Sums:
    """Figures of some calls, added up."""

    calls: int = 0
    """As the program made them: attempts of one call, and the polls of one answer, count once."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_nano_usd: int = 0
    unpriced: int = 0
    """Attempts that used tokens at a price that is not known, or an unknown number of tokens."""
    estimated: int = 0
    failed: int = 0
    """Attempts that ended with an error."""
    blocked: int = 0
    """Calls that were refused before anything was sent."""

    def add(self, other: Sums) -> None:
        for name in _FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_FIGURES = tuple(figure.name for figure in fields(Sums))


@dataclass(slots=True)
class Totals:
    """The sums by provider and model, of one process or of many."""

    models: dict[tuple[str, str], Sums] = field(default_factory=dict[tuple[str, str], Sums])
    unwritten: int = 0
    """Events that did not get into the log."""
    processes: int = 1

    def add(self, provider: str, model: str, sums: Sums) -> tuple[str, str]:
        """Returns the row that was added to."""
        key = (provider, model)
        if key not in self.models and len(self.models) >= MODELS:
            key = OTHERS
        self.models.setdefault(key, Sums()).add(sums)
        return key

    @property
    def total(self) -> Sums:
        total = Sums()
        for sums in self.models.values():
            total.add(sums)
        return total


def merge(parts: Iterable[Totals]) -> Totals:
    """The sums of several processes."""
    merged = Totals(processes=0)
    for part in parts:
        merged.processes += part.processes
        merged.unwritten += part.unwritten
        for (provider, model), sums in part.models.items():
            merged.add(provider, model, sums)
    return merged


class Tally:
    """An emitter that adds up, and keeps its process's file up to date with every event.

    The file is replaced whole, so that however the process ends (a worker's `os._exit`, a signal) its
    sums are there, and however many calls it makes they stay small. It is opened anew each time, because a
    program that becomes a daemon closes what it does not know, and gives the number to a file of its own.
    """

    def __init__(self, directory: str | None) -> None:
        self.directory = directory
        self._begin()
        on_fork_in_child(self._begin)

    def _begin(self) -> None:
        """Also in a forked child, which has spent nothing yet."""
        self.totals = Totals()
        # A signal handler of the program may make a call while this thread is in here.
        self._lock = threading.RLock()
        self._rows: dict[tuple[str, str], str] = {}
        self._answers: deque[str] = deque(maxlen=ANSWERS)
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"

    def __call__(self, event: MetricEvent) -> None:
        with self._lock:
            key = self.totals.add(event.provider, event.model or "-", self._figures(event))
            # One row changes with an event; the others are written as they were.
            self._rows[key] = json.dumps([*key, asdict(self.totals.models[key])])
            self._write()

    def unwritten(self, event: MetricEvent, exc: BaseException) -> None:
        """The log could not take an event."""
        with self._lock:
            self.totals.unwritten += 1
            self._write()

    def _figures(self, event: MetricEvent) -> Sums:
        usage, failed = event.usage, bool(event.error_type or (event.status_code or 0) >= 400)
        blocked = event.decision.action == "block"
        polled = event.response_id is not None and event.response_id in self._answers
        if event.response_id is not None and not polled:
            self._answers.append(event.response_id)
        return Sums(
            calls=int(event.attempt == 0 and not polled),
            input_tokens=usage.input_tokens if usage else 0,
            output_tokens=usage.output_tokens if usage else 0,
            cached_tokens=usage.cached_tokens if usage else 0,
            cost_nano_usd=event.cost_nano_usd or 0,
            unpriced=int(event.cost_nano_usd is None and (usage is not None or not (failed or blocked))),
            estimated=int(event.usage_source == "estimated"),
            failed=int(failed and not blocked),
            blocked=int(blocked),
        )

    def _write(self) -> None:
        if self.directory is None:
            return
        path = os.path.join(self.directory, self._name)
        try:
            descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._document().encode())
            os.replace(path + ".new", path)
        except OSError:
            # The root has ended and taken the directory along: this process speaks for itself.
            self.directory = None

    def _document(self) -> str:
        return f'{{"models": [{", ".join(self._rows.values())}], "unwritten": {self.totals.unwritten}}}'


def read_directory(directory: str) -> Totals:
    """The sums of all processes that kept them in `directory`."""
    return merge(_read_each(directory))


def _read_each(directory: str) -> Iterator[Totals]:
    for entry in sorted(os.listdir(directory)):
        if entry.endswith(".new"):
            continue  # a process that was ended while it wrote
        with suppress(OSError, ValueError, TypeError, KeyError):
            with open(os.path.join(directory, entry), "rb") as file:
                document: Any = json.load(file)
            models = {(provider, model): Sums(**figures) for provider, model, figures in document["models"]}
            yield Totals(models, document["unwritten"])


def remove_directory(directory: str) -> None:
    """Take the directory and its files away, as far as that can be done."""
    with suppress(OSError):
        for entry in os.listdir(directory):
            with suppress(OSError):
                os.unlink(os.path.join(directory, entry))
        os.rmdir(directory)
