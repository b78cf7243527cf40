"""Where the agent runs: on a daemon thread of ours, or as a task of the loop that is running."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio

from ..._guard import internal_fault
from ..._threads import may_start_threads
from ...emitters._reentry import emitting_context
from .session import Task

__all__ = ["Loop", "Work", "running_loop"]

FINISH_S = 0.1
"""Of the time there is to end in, for closing connections."""


class Work(Protocol):
    """What the loop carries out. All of it is called on the loop."""

    async def open(self) -> None:
        """Get ready to speak to the server."""
        ...

    def due(self) -> list[Task]:
        """What to begin now."""
        ...

    def pause(self) -> float:
        """Seconds until something is due."""
        ...

    async def carry_out(self, task: Task) -> None:
        """Raises nothing but the loop's cancellation."""
        ...

    async def finish(self) -> None:
        """The last word, for as long as there is time; may be cancelled."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...

    def ended(self) -> None:
        """Nothing runs any more."""
        ...


class Loop:
    """Runs `work`, at most once at a time; it can be started anew after it has ended."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._task: object = None
        self._set: Callable[[], object] | None = None
        """Wakes the loop, from any thread."""
        self._host: object = None
        self._host_thread: int | None = None
        self._is_woken = False
        self._finish_by: float | None = None
        """By when it has to have ended, on the monotonic clock; None: it goes on."""
        self._over = threading.Event()
        self._over.set()

    def after_fork_in_child(self) -> None:
        """What runs, runs in the parent."""
        self._renew()

    @property
    def is_running(self) -> bool:
        return not self._over.is_set()

    @property
    def is_threaded(self) -> bool:
        """Whether it runs on a thread of ours, where waiting for a file holds up nobody."""
        return self._thread is not None

    @property
    def is_here(self) -> bool:
        """Whether it is a task of this thread's loop, and so does nothing while this thread waits."""
        return self._host_thread == threading.get_ident()

    @property
    def left_s(self) -> float:
        """Seconds in which it has to have ended; infinity where it goes on."""
        return math.inf if self._finish_by is None else self._finish_by - time.monotonic()

    # -- starting -----------------------------------------------------------------------------------

    def start_thread(self) -> bool:
        """Run on a thread of ours, unless it runs already; whether it does now."""
        with self._lock:
            if self.is_running:
                return True
            if not may_start_threads():
                return False
            self._begin()
            thread = threading.Thread(target=self._run_thread, name="aden-control", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError as exc:  # no thread to be had, or the interpreter is ending
                self._end()
                internal_fault("control thread", exc)
                return False
            return True

    def run_here(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run` on a loop of this thread, where nothing else runs."""
        with self._lock:
            if self.is_running:
                return
            self._begin()
        try:
            emitting_context().run(anyio.run, run)
        except BaseException as exc:  # noqa: BLE001 - the caller's own work is over, and has succeeded or not
            internal_fault("control", exc)
        finally:
            self._end()

    def start_task(self) -> bool:
        """Run as a task of the loop that this thread is running; whether it does. False without a loop."""
        host, spawn = running_loop()
        if spawn is None:
            return False
        with self._lock:
            if self.is_running:
                return True
            self._begin()
            self._host, self._host_thread = host, threading.get_ident()
            self._task = spawn(self._run_task)
            return True

    def _begin(self) -> None:
        self._over.clear()
        self._finish_by = None
        self._is_woken = False

    def _run_thread(self) -> None:
        try:
            emitting_context().run(anyio.run, self._run)
        except BaseException as exc:  # noqa: BLE001 - on our own thread there is nobody to tell
            internal_fault("control", exc)
        finally:
            self._end()

    async def _run_task(self) -> None:
        try:
            await self._run()
        except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
            internal_fault("control", exc)
        finally:
            self._end()

    def _end(self) -> None:
        self._thread = self._task = self._set = self._host = self._host_thread = None
        self._work.ended()
        self._over.set()

    # -- from other threads -------------------------------------------------------------------------

    def wake(self) -> None:
        """Have it look for what is due. Costs next to nothing where it is awake already."""
        if self._is_woken:
            return
        wake = self._set
        if wake is not None:
            self._is_woken = True
            try:
                wake()
            except RuntimeError:  # its loop was closed
                self._is_woken = False

    def stop(self, timeout: float) -> bool:
        """Have it say its last word and end, for at most `timeout` seconds; whether it has ended."""
        if not self.is_running:
            return True
        self.end(timeout)
        if self._host_thread == threading.get_ident():
            return False  # It goes on when this thread lets it.
        return self._over.wait(timeout + FINISH_S)

    async def stop_async(self, timeout: float) -> bool:
        """`stop`, without holding up the loop."""
        self.end(timeout)
        with anyio.move_on_after(timeout + FINISH_S):
            while self.is_running:
                await anyio.sleep(0.005)
        return not self.is_running

    def end(self, timeout: float) -> None:
        """Have it say its last word and end within `timeout` seconds."""
        self._finish_by = time.monotonic() + timeout
        self._is_woken = False
        self.wake()

    # -- on the loop --------------------------------------------------------------------------------

    async def _run(self) -> None:
        work = self._work
        self._event = anyio.Event()
        self._set = _waker(self._awake)
        try:
            await work.open()
            async with anyio.create_task_group() as group:
                while self._finish_by is None:
                    for task in work.due():
                        group.start_soon(self._carry_out, task)
                    with anyio.move_on_after(max(0.0, work.pause())):
                        await self._event.wait()
                    self._event = anyio.Event()
                    self._is_woken = False
                with anyio.move_on_after(max(0.0, self._finish_by - time.monotonic())):
                    await work.finish()
                group.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(FINISH_S, shield=True):
                await work.close()

    async def _carry_out(self, task: Task) -> None:
        await self._work.carry_out(task)
        self._event.set()

    def _awake(self) -> None:
        self._event.set()


def _waker(wake: Callable[[], None]) -> Callable[[], object]:
    """`wake`, to be called from any thread."""
    host, spawn = running_loop()
    assert spawn is not None
    call: Any = getattr(host, "call_soon_threadsafe", None) or getattr(host, "run_sync_soon")  # noqa: B009
    return lambda: call(wake)


def running_loop() -> tuple[Any, Callable[[Callable[[], Awaitable[None]]], object] | None]:
    """The loop that runs on this thread, and what starts a task on it that nobody has to wait for; of
    libraries in use only."""
    trio: Any = sys.modules.get("trio")
    if trio is not None:
        try:
            trio.lowlevel.current_task()
        except (RuntimeError, AttributeError):
            pass
        else:
            return trio.lowlevel.current_trio_token(), _spawn_in_trio
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            return asyncio.get_running_loop(), _spawn_in_asyncio
        except (RuntimeError, AttributeError):
            pass
    return None, None


def _spawn_in_asyncio(run: Callable[[], Any]) -> object:
    import asyncio

    # Not loop.create_task: the application's task factory may not take a context.
    return asyncio.Task(run(), name="aden-control", context=emitting_context())


def _spawn_in_trio(run: Callable[[], Any]) -> object:
    import trio

    return trio.lowlevel.spawn_system_task(run, name="aden-control", context=emitting_context())
