"""Waiting for a store's answer on the caller's own loop, asyncio or trio."""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.steps import Consult
from ..ledger.store_thread import Question

__all__ = ["answer_of"]


async def answer_of(step: Consult) -> Any:
    """What `step.run` gives, or `step.otherwise` where it takes longer than `step.timeout_s`.

    Raises: what asking raised; the loop's own cancellation. Of an answer that comes too late, or to nobody,
    `step.late` is told.
    """
    question = Question(step.run, step.late)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        in_time = await _in_trio(step, question)
    else:
        in_time = await _in_asyncio(step, question, loop)
    return question.result() if in_time else step.otherwise()


async def _in_asyncio(step: Consult, question: Question, loop: asyncio.AbstractEventLoop) -> bool:
    waiting = _Waiting(step, question, loop)
    step.thread.ask(question, waiting.hand_over)
    try:
        return await waiting.done
    except BaseException:
        _abandon(question, step)
        raise
    finally:
        waiting.timer.cancel()


class _Waiting:
    """A call that waits on asyncio's loop. Once its timer is cancelled nothing in it points back at it, so
    that no call leaves work to the garbage collector."""

    __slots__ = ("_answered", "_loop", "_question", "_step", "done", "timer")

    def __init__(self, step: Consult, question: Question, loop: asyncio.AbstractEventLoop) -> None:
        self._step = step
        self._question = question
        self._loop = loop
        self._answered = step.thread.answered
        self.done: asyncio.Future[bool] = loop.create_future()
        """Whether the answer came in time."""
        self.timer = loop.call_later(step.timeout_s, self._expire)

    def hand_over(self) -> None:
        """On the store's thread."""
        self._loop.call_soon_threadsafe(self._finish, True)

    def _finish(self, in_time: bool) -> None:
        if not self.done.done():
            self.done.set_result(in_time)

    def _expire(self) -> None:
        thread = self._step.thread
        if thread.is_lively(self._answered):
            self._answered = thread.answered
            self.timer = self._loop.call_later(self._step.timeout_s, self._expire)
        elif self._question.give_up():
            self._finish(False)


async def _in_trio(step: Consult, question: Question) -> bool:
    import trio

    thread, answered = step.thread, step.thread.answered
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()
    thread.ask(question, lambda: token.run_sync_soon(done.set))
    try:
        while not done.is_set():
            with trio.move_on_after(step.timeout_s):
                await done.wait()
                return True
            if thread.is_lively(answered):
                answered = thread.answered
            elif question.give_up():
                return False
            else:
                await done.wait()  # It is on its way.
        return True
    except BaseException:
        _abandon(question, step)
        raise


def _abandon(question: Question, step: Consult) -> None:
    """The caller was cancelled: what is held for it is given back, now or when it is there."""
    if not question.give_up():
        step.late(None)
