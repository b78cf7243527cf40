"""Operations of many requests in one transaction.

While a transaction is written to the disk, the next operations gather; then they are one transaction. So a
budget that all calls meet is locked once for all of them, and each answer is given when what it says is on
the disk: with PostgreSQL, `synchronous_commit` stays on. Each operation is as atomic as if it were alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from sqlalchemy import Connection

from .page import Charged, Operation
from .round_trip import work_off
from .rows import work_out
from .storage import Storage

__all__ = ["Answered", "Together"]

MOST = 200
"""Operations of a transaction."""

Answered: TypeAlias = "Future[Any]"
"""Of a `Reserve`: its `Outcome`; of an `End`: whether there was such a hold. Or what the database raised."""


class Together:
    """One thread that does what any thread asks for. `prepare` makes operations what they are to be, within
    the transaction; `charged` is told of what was charged, within it, too."""

    def __init__(
        self,
        storage: Storage,
        prepare: Callable[[Connection, Sequence[Operation]], Sequence[Operation]],
        *,
        charged: Callable[[Connection, Charged], None],
        clock: Callable[[], float],
    ) -> None:
        self._storage = storage
        self._prepare = prepare
        self._charged = charged
        self._clock = clock
        self._asked: SimpleQueue[tuple[Operation, Answered] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, operation: Operation) -> Answered:
        answered: Answered = Future()
        self._asked.put((operation, answered))
        if self._thread is None:
            self._start()
        return answered

    def close(self) -> None:
        """Do what was asked for so far, and let the thread end."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="aden-together", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            asked, goes_on = self._gather()
            # Whoever has asked may have left.
            asked = [each for each in asked if each[1].set_running_or_notify_cancel()]
            if asked:
                self._do(asked)

    def _gather(self) -> tuple[list[tuple[Operation, Answered]], bool]:
        asked = [self._asked.get()]
        try:
            while len(asked) < MOST and asked[-1] is not None:
                asked.append(self._asked.get_nowait())
        except Empty:
            pass
        return [each for each in asked if each is not None], asked[-1] is not None

    def _do(self, asked: Sequence[tuple[Operation, Answered]]) -> None:
        try:
            answers = self.work([operation for operation, _ in asked])
        except BaseException as exc:  # noqa: BLE001 - told to whoever asked
            if len(asked) == 1:
                asked[0][1].set_exception(exc)
            else:
                # One of them may be to blame.
                for each in asked:
                    self._do([each])
            return
        for (_, answered), answer in zip(asked, answers, strict=True):
            answered.set_result(answer)

    def work(self, operations: Sequence[Operation]) -> list[Any]:
        """The answers, when they are committed. On the caller's thread."""
        return self._storage.transact(lambda db: self.work_within(db, operations))

    def work_within(self, db: Connection, operations: Sequence[Operation]) -> list[Any]:
        """The same within a transaction that writes."""
        prepared = self._prepare(db, operations)
        work = work_out if self._storage.is_sqlite else work_off
        answers, charged = work(db, prepared, now=self._clock())
        if charged:
            self._charged(db, charged)
        return answers
