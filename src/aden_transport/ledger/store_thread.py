"""The one thread of a process that talks to a store which does I/O.

Ends of holds are put here, so that no call waits for them: they are tried again while the store is away,
in their order, and counted where they are given up. Questions of calls that wait on an event loop come here,
too: the threads of a loop are the application's, who may be using all of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias
from weakref import WeakSet

from .._fork import on_fork_in_child
from .._guard import internal_fault
from .._threads import may_start_threads
from ..errors import LedgerUnavailable
from .hold_end import EndsMany, HoldEnd

__all__ = ["Question", "StoreThread"]

LIMIT = 10_000
"""Ends that wait. One more is given up: its hold is settled at its amount when it expires."""
PAUSES_S = (0.1, 0.3, 1.0, 3.0, 5.0)
"""Between two tries of an end while the store is away; the last for ever."""
TRIED_S = 3600.0
"""For so long; then its hold has expired in the store."""
MANY = 32
"""Ends of holds that are told in one step, where the store can: others have their turn between."""
IDLE_S = 0.1
"""After so long without anything to do the thread is idle."""
LIVELY = 10
"""Questions answered within a call's patience by which a store counts as answering: the call then waits for
those before it, and not for the store."""

End: TypeAlias = Callable[[], object]


class GivenUp(Exception):
    """The end of a hold was not told to the store."""


class Question:
    """What a call asks of a store, and waits for on its loop."""

    __slots__ = ("_answer", "_context", "_hand_over", "_late", "_mine", "_run")

    def __init__(self, run: Callable[[], Any], late: Callable[[Any], object]) -> None:
        self._run = run
        self._late = late
        """Told the answer that nobody waits for any more."""
        self._context: Context = copy_context()
        self._hand_over: Callable[[], object] | None = None
        self._answer: tuple[Any, BaseException | None] = (None, None)
        self._mine = [True]
        """Taken out by whoever is first: the thread with the answer, or the caller who gives up."""

    def give_up(self) -> bool:
        """Whether the answer will come too late, if at all; False where it is there."""
        return _first(self._mine)

    def result(self) -> Any:
        """The answer, once it is handed over. Raises: what asking raised."""
        value, error = self._answer
        if error is not None:
            raise error
        return value

    def ask(self) -> None:
        """On the store's thread."""
        hand_over, self._hand_over = self._hand_over, None  # which knows this question
        if not self._mine:
            return
        try:
            self._answer = (self._context.run(self._run), None)
        except BaseException as exc:  # noqa: BLE001 - handed to the caller
            self._answer = (None, exc)
        if not _first(self._mine):
            self._late(self._answer[0])
            return
        assert hand_over is not None
        try:
            hand_over()
        except RuntimeError:  # The caller's loop was closed meanwhile.
            self._late(self._answer[0])


def _first(token: list[bool]) -> bool:
    try:
        token.pop()
    except IndexError:
        return False
    return True


class StoreThread:
    """Started by the first thing that is put; a daemon. A forked child begins with nothing."""

    def __init__(self) -> None:
        self._renew()
        self.given_up = 0
        """Ends that the store was never told."""
        self.when_idle: Callable[[], object] | None = None
        """Called once each time that the thread becomes idle."""
        _threads.add(self)

    def _renew(self) -> None:
        self._queue: SimpleQueue[End | Question | _Passed] = SimpleQueue()
        self._ends: deque[End | _Passed] = deque()
        self._questions: deque[Question] = deque()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()  # A signal handler may put something while its thread is in here.
        self._has_worked = False
        """Since it was last idle."""
        self._singly = 0
        """So many of the first ends are told each by itself: one of them cannot be told."""
        self._rides = False
        """Whether a question is being asked with ends beside it."""
        self._tries = 0
        self._first_tried_at = 0.0
        self._again_at = 0.0
        self.answered = 0
        """Questions so far."""

    # -- for callers --------------------------------------------------------------------------------

    @property
    def is_used(self) -> bool:
        """Whether anything was ever put, in this process."""
        return self._thread is not None or not self._queue.empty()

    @property
    def is_behind(self) -> bool:
        """Whether anything that was put waits, or is being told."""
        return bool(self._ends) or not self._queue.empty()

    def put(self, end: End) -> None:
        """Have `end()` called, until it does not raise LedgerUnavailable. Does not wait."""
        if self._queue.qsize() + len(self._ends) >= LIMIT:
            self._give_up(GivenUp(f"{LIMIT} settlements wait for a store that does not answer"))
            return
        self._put(end)

    def ask(self, question: Question, hand_over: Callable[[], object]) -> None:
        """Have it asked, and `hand_over()` called on the thread once its answer is there."""
        question._hand_over = hand_over
        self._put(question)

    def is_lively(self, answered: int) -> bool:
        """Whether enough questions were answered since `answered` that one which still waits does so for
        others before it, rather than for the store."""
        return self.answered - answered >= LIVELY

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put so far is done, for at most `timeout` seconds; whether it is."""
        if self._thread is None and (self._queue.empty() or not self._start()):
            return self._work_off(timeout)
        if self._thread is threading.current_thread():
            return False
        passed = _Passed()
        self._put(passed)
        return passed.wait(max(0.0, timeout))

    def catch_up(self, timeout: float) -> bool:
        """`flush`, also of who is asked on the thread itself, where the ends before are told at once; False
        where they are told along with what it asks."""
        if self._thread is not threading.current_thread():
            return self.flush(timeout)
        return not self._rides and self._work_off(timeout, insists=False)

    def _put(self, item: End | Question | _Passed) -> None:
        self._queue.put(item)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._start()

    def _start(self) -> bool:
        if not may_start_threads():
            return False
        thread = threading.Thread(target=self._run, name="aden-ledger", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as exc:
            # No more threads, or the interpreter is ending: tried again with the next thing that is put.
            self._thread = None
            internal_fault("ledger thread", exc)
            return False
        return True

    def _work_off(self, timeout: float, *, insists: bool = True) -> bool:
        """Tell all ends here: at the interpreter's end, where no thread can be started any more, or on the
        thread itself. `insists`: also while the store is away."""
        deadline = time.monotonic() + timeout
        while not self._queue.empty():
            self._sort(self._queue.get())
        while self._ends and (now := time.monotonic()) < deadline and (insists or now >= self._again_at):
            self._end_first()
        return not self._ends

    # -- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                self._receive()
                if self._questions:
                    self._ask_first()
                    self.answered += 1
                # One of each, so that neither keeps the other waiting.
                if self._ends and time.monotonic() >= self._again_at:
                    self._end_first()
            except BaseException as exc:  # noqa: BLE001 - the thread goes on, whatever an emitter raises
                internal_fault("ledger", exc)

    def _receive(self) -> None:
        """Take in what was put; wait for it where nothing else is to be done."""
        if self._questions:
            timeout: float | None = 0.0
        elif self._ends:
            timeout = max(0.0, self._again_at - time.monotonic())
        else:
            timeout = IDLE_S if self._has_worked and self.when_idle is not None else None
        try:
            self._sort(self._queue.get(timeout=timeout))
            self._has_worked = True
            while True:
                self._sort(self._queue.get_nowait())
        except Empty:
            pass
        if not self._questions and not self._ends and self.when_idle is not None:
            self._has_worked = False
            self.when_idle()

    def _sort(self, item: End | Question | _Passed) -> None:
        if isinstance(item, Question):
            self._questions.append(item)
        else:
            self._ends.append(item)

    def _ask_first(self) -> None:
        """Ask the first question; ends of holds that were put before go along, in the same step."""
        question = self._questions.popleft()
        ends, many = self._together()
        if many is None or time.monotonic() < self._again_at:
            question.ask()
            return
        try:
            told = [end.told() for end in ends]
        except Exception:  # noqa: BLE001 - given up by itself
            self._singly = len(ends)
            question.ask()
            return
        self._rides = True
        try:
            with many.riding(told) as ride:
                question.ask()
        finally:
            self._rides = False
        if ride.ended is not None:
            self._were_told(ends, ride.ended)

    def _together(self) -> tuple[Sequence[HoldEnd], EndsMany | None]:
        """The first ends, as far as their ledger takes them in one step; it, or None where it does not."""
        first = self._ends[0] if self._ends else None
        many = first.many if isinstance(first, HoldEnd) and not self._singly else None
        found: list[HoldEnd] = []
        if isinstance(first, HoldEnd) and many is not None:
            for end in islice(self._ends, MANY):
                if not isinstance(end, HoldEnd) or end.ledger is not first.ledger:
                    break
                found.append(end)
        return found, many

    def _were_told(self, ends: Sequence[HoldEnd], ended: Sequence[bool]) -> None:
        for end, was_held in zip(ends, ended, strict=True):
            self._ends.popleft()
            end.ended(was_held)
        self._tries, self._first_tried_at, self._again_at = 0, 0.0, 0.0

    def _end_first(self) -> None:
        ends, many = self._together()
        try:
            if many is not None:
                self._were_told(ends, many.end_many([end.told() for end in ends]))
                return
            self._ends[0]()
        except LedgerUnavailable as exc:
            internal_fault("ledger", exc)
            now = time.monotonic()
            self._first_tried_at = self._first_tried_at or now
            if now - self._first_tried_at < TRIED_S:
                self._again_at = now + PAUSES_S[min(self._tries, len(PAUSES_S) - 1)]
                self._tries += 1
                return
            self._give_up(exc)
        except BaseException as exc:  # noqa: BLE001 - what cannot be told at all is not tried again
            if len(ends) > 1:
                self._singly = len(ends)
                return
            self._give_up(exc)
        self._singly = max(0, self._singly - 1)
        self._ends.popleft()
        self._tries, self._first_tried_at, self._again_at = 0, 0.0, 0.0

    def _give_up(self, exc: BaseException) -> None:
        self.given_up += 1
        internal_fault("settlement", exc)


class _Passed(threading.Event):
    """Goes through the queue and says when all before it is done."""

    def __call__(self) -> None:
        self.set()


_threads: WeakSet[StoreThread] = WeakSet()


def _renew_all() -> None:
    for thread in list(_threads):
        thread._renew()


on_fork_in_child(_renew_all)
