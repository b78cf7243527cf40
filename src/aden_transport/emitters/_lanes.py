"""Async emitters on the loop of the call where there is one, else on a loop of our own.

One `Lane` per running event loop starts the jobs of that loop, at most `CONCURRENT` at once so that a
slow receiver cannot use up the application's sockets; the rest wait in order. Lanes live as long as
they have jobs.

A loop that ends takes its tasks along: `asyncio.run()` cancels them once the main coroutine returns,
often right after the last call. Such a job is begun once more, on our own loop (asyncio) or shielded
for `GRACE_S` (trio, whose emitters cannot run elsewhere): the event goes out at least once, and
`event_id` is the key to tell a repetition.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from .._guard import internal_fault
from ..events import MetricEvent
from ._reentry import emitting_context
from ._renew import renew_in_child
from ._tally import Tally
from .base import Emitter, Fault

if TYPE_CHECKING:
    import asyncio

__all__ = ["CONCURRENT", "GRACE_S", "Lanes", "running_host"]

CONCURRENT = 64
"""Async emitters that run at the same time on one loop."""

GRACE_S = 2.0
"""How long a trio run that ends is kept by an emitter that was cut short."""


class Job:
    """One event on its way through one async emitter."""

    __slots__ = ("awaitable", "emit", "event", "host")

    def __init__(self, event: MetricEvent, emit: Emitter | None, awaitable: Awaitable[object] | None) -> None:
        self.event = event
        self.emit = emit
        self.awaitable = awaitable
        self.host: object = None
        """The asyncio loop or trio token where it runs."""

    async def perform(self) -> None:
        result = self.awaitable if self.emit is None else self.emit(self.event)
        if inspect.isawaitable(result):
            await result

    def discard(self) -> None:
        """Give it up; a coroutine that was handed over and never ran must not warn."""
        close = getattr(self.awaitable, "close", None)
        if close is not None:
            with suppress(Exception):
                close()


_inherited: list[object] = []
"""What a forked child must keep alive of its parent's loops."""


class Lanes:
    """Runs async emitters for one `Delivery`; at most `limit` jobs at a time, further ones are dropped."""

    def __init__(self, fault: Fault, limit: int = 10_000) -> None:
        self._fault = fault
        self._limit = limit
        self._drops = Tally("async emitters are too slow, or their loop ended", "flush first, or batch")
        self._fresh()
        renew_in_child(self)

    def _fresh(self) -> None:
        # Reentrant, because a signal handler may emit while its thread is in here.
        self._changed = threading.Condition(threading.RLock())
        self._jobs: set[Job] = set()
        self._flushes: list[set[Job]] = []
        self._afters: dict[Job, tuple[set[Job], Callable[[], object]]] = {}
        self._lanes: dict[object, Lane] = {}
        self._own: OwnLoop | None = None

    def renew(self) -> None:
        # Kept, not closed: closing the parent's loop here would take its sockets out of the epoll set
        # that both share, and ending its tasks would run the emitters' clean-up on shared connections.
        lanes = [*self._lanes.values(), *([] if self._own is None else [self._own.lane])]
        for lane in lanes:
            _inherited.append((lane, lane.disown()))
        self._fresh()

    @property
    def dropped(self) -> int:
        """Events that did not reach their async emitter."""
        return self._drops.value

    def send(self, emit: Emitter, event: MetricEvent) -> None:
        """Have `emit(event)` awaited."""
        self._admit(Job(event, emit, None))

    def adopt(self, awaitable: Awaitable[object], event: MetricEvent) -> None:
        """Have what a plain function returned awaited."""
        self._admit(Job(event, None, awaitable))

    def _admit(self, job: Job) -> None:
        with self._changed:
            room = len(self._jobs) < self._limit
            if room:
                self._jobs.add(job)
        if not room:
            job.discard()
            self._drops.add()
            return
        lane = self._lane_here()
        if lane is None:
            self.run_elsewhere(job)
        else:
            job.host = lane.host
            lane.add(job)

    def _lane_here(self) -> Lane | None:
        host, kind = running_host()
        if kind is None:
            return None
        with self._changed:
            lane = self._lanes.get(host)
            if lane is None:
                self._rescue()
                lane = self._lanes[host] = kind(self, host)
            return lane

    def run_elsewhere(self, job: Job) -> None:
        """Run `job` on our own loop."""
        with self._changed:
            if self._own is None:
                try:
                    self._own = OwnLoop(self)
                except RuntimeError as exc:  # no more threads, or the interpreter is ending
                    internal_fault("emit thread", exc)
                    self.drop(job)
                    return
            job.host = self._own.lane.host
            self._own.submit(job)

    def again(self, job: Job) -> None:
        """The loop of `job` ended before it did."""
        if job.emit is None:
            self.drop(job)  # what it awaited belonged to that loop
        else:
            self.run_elsewhere(job)

    def drop(self, job: Job) -> None:
        """Give `job` up."""
        job.discard()
        self._drops.add()
        self.settle(job)

    def settle(self, job: Job) -> None:
        """`job` is over, well or not."""
        with self._changed:
            self._jobs.discard(job)
            for waited in self._flushes:
                waited.discard(job)
            if self._flushes:
                self._changed.notify_all()
            left, then = self._afters.pop(job, (None, None))
            if left is not None:
                left.discard(job)
        if then is not None and not left:
            then()

    def after(self, event: MetricEvent, then: Callable[[], object]) -> None:
        """Have `then()` called once no job of `event` is left."""
        with self._changed:
            jobs = {job for job in self._jobs if job.event is event}
            self._afters.update(dict.fromkeys(jobs, (jobs, then)))
        if not jobs:
            then()

    def fault(self, event: MetricEvent, exc: BaseException) -> None:
        self._fault(event, exc)

    def forget(self, lane: Lane) -> None:
        """`lane` is idle."""
        with self._changed:
            if self._lanes.get(lane.host) is lane:
                del self._lanes[lane.host]

    def _rescue(self) -> None:
        """Take back the jobs of loops that were closed, or never run again, around them."""
        for lane in [lane for lane in self._lanes.values() if lane.is_dead()]:
            del self._lanes[lane.host]
            for job in lane.disown():
                self.again(job)

    def flush(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the jobs there are now; whether all of them ended.

        Jobs of the loop that this thread is running cannot go on meanwhile and are not waited for;
        they make the answer False.
        """
        here, _ = running_host()
        with self._changed:
            self._rescue()
            waited = {job for job in self._jobs if here is None or job.host is not here}
            held_up = len(waited) < len(self._jobs)
            self._flushes.append(waited)
            try:
                done = self._changed.wait_for(lambda: not waited, max(0.0, timeout))
            finally:
                self._flushes.remove(waited)
        return done and not held_up

    def close(self, timeout: float) -> bool:
        """Flush, then stop our own loop. A later event starts another."""
        deadline = time.monotonic() + timeout
        done = self.flush(timeout)
        with self._changed:
            own, self._own = self._own, None
        if own is not None:
            own.stop(max(0.0, deadline - time.monotonic()))
        return done


class Lane:
    """The jobs of one event loop. Everything here runs on that loop's thread."""

    def __init__(self, lanes: Lanes, host: Any) -> None:
        self.lanes = lanes
        self.host = host
        self.waiting: deque[Job] = deque()
        self.running = 0

    def add(self, job: Job) -> None:
        self.waiting.append(job)
        self.advance()

    def advance(self) -> None:
        while self.waiting and self.running < CONCURRENT:
            self.running += 1
            self.start(self.waiting.popleft())
        if self.running == 0:
            self.lanes.forget(self)

    def start(self, job: Job) -> None:
        raise NotImplementedError

    def is_dead(self) -> bool:
        """Whether its jobs can never go on."""
        return False

    def disown(self) -> list[Job]:
        """Leave all jobs to the caller and finish none of them."""
        jobs = list(self.waiting)
        self.waiting.clear()
        return jobs


class AsyncioLane(Lane):
    host: asyncio.AbstractEventLoop
    own = False
    """Whether the loop is ours, so that a cancelled job has nowhere else to go."""

    def __init__(self, lanes: Lanes, host: Any) -> None:
        super().__init__(lanes, host)
        self.tasks: dict[asyncio.Task[None], Job] = {}

    def start(self, job: Job) -> None:
        import asyncio

        # Not loop.create_task: the application's task factory may run the first step at once, in the
        # middle of its call, or may not take a context.
        coroutine = self.run(job)
        task = asyncio.Task(coroutine, loop=self.host, name="aden-emit", context=emitting_context())
        self.tasks[task] = job
        task.add_done_callback(self.finished)

    async def run(self, job: Job) -> None:
        import asyncio

        try:
            await job.perform()
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this task: what the emitter awaited was cancelled, a fault of its own.
            self.fault(job, exc)
        except GeneratorExit:
            raise
        except BaseException as exc:
            # Ctrl-C ends the application's loop as it would without us; ours goes on.
            if isinstance(exc, (KeyboardInterrupt, SystemExit)) and not self.own:
                raise
            self.fault(job, exc)

    def fault(self, job: Job, exc: BaseException) -> None:
        if self.own:
            quiet_fault(self.lanes, job, exc)
        else:
            self.lanes.fault(job.event, exc)

    def finished(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not log it as never retrieved
        job = self.tasks.pop(task, None)
        if job is None:
            return  # disowned: a forked child goes on with its parent's loop
        self.running -= 1
        if not task.cancelled():
            self.lanes.settle(job)
        elif self.own:
            self.lanes.drop(job)
        else:
            # The loop is ending: what waits would be cancelled in turn.
            for lost in (job, *super().disown()):
                self.lanes.again(lost)
        self.advance()

    def is_dead(self) -> bool:
        return self.host.is_closed()

    def disown(self) -> list[Job]:
        jobs = [*self.tasks.values(), *super().disown()]
        tasks, self.tasks = self.tasks, {}
        for task in tasks:
            # What asyncio.gather sets, for the same reason: its end is no news.
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            coroutine: Any = task.get_coro()
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
        if self.host.is_closed():
            return jobs
        _inherited.append(tasks)  # in a forked child
        return jobs


class TrioLane(Lane):
    grace_ends = inf
    """When the run that is ending goes on without us, on trio's clock."""

    def start(self, job: Job) -> None:
        import trio

        try:
            trio.lowlevel.spawn_system_task(self.run, job, name="aden-emit", context=emitting_context())
        except RuntimeError:  # the run is past taking new tasks
            self.running -= 1
            self.lanes.again(job)

    async def run(self, job: Job) -> None:
        # Whatever leaves a system task ends the application's whole run: nothing may.
        try:
            await self._perform(job)
        finally:
            self.running -= 1
            self.advance()

    async def _perform(self, job: Job) -> None:
        import trio

        try:
            await job.perform()
        except BaseException as exc:  # noqa: BLE001 - see above
            cancelled = trio.current_effective_deadline() == -inf
            if cancelled and not isinstance(exc, Exception):
                await self._perform_shielded(job)
                return
            quiet_fault(self.lanes, job, exc)
        self.lanes.settle(job)

    async def _perform_shielded(self, job: Job) -> None:
        """The run is ending: once more from the start, while the grace of the whole lane lasts."""
        import trio

        if job.emit is None:
            self.lanes.drop(job)
            return
        self.grace_ends = min(self.grace_ends, trio.current_time() + GRACE_S)
        with trio.CancelScope(deadline=self.grace_ends, shield=True) as scope:
            try:
                await job.perform()
            except trio.Cancelled:
                raise
            except BaseException as exc:  # noqa: BLE001 - see above
                quiet_fault(self.lanes, job, exc)
        if scope.cancelled_caught:
            self.lanes.drop(job)
        else:
            self.lanes.settle(job)


def quiet_fault(lanes: Lanes, job: Job, exc: BaseException) -> None:
    """Report where not even the exit that `on_emit_error` may ask for can be let through."""
    try:
        lanes.fault(job.event, exc)
    except BaseException as second:  # noqa: BLE001 - see above
        internal_fault("on_emit_error", second)


class OwnLoop:
    """An asyncio loop on a daemon thread, for async emitters of calls made without a loop.

    Raises: RuntimeError where no thread can be started.
    """

    def __init__(self, lanes: Lanes) -> None:
        import asyncio

        loop = asyncio.new_event_loop()
        self.lane = AsyncioLane(lanes, loop)
        self.lane.own = True
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="aden-emit-async", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            loop.close()
            raise

    def submit(self, job: Job) -> None:
        self._loop.call_soon_threadsafe(self.lane.add, job)

    def stop(self, timeout: float) -> None:
        """Cancel what still runs, and wait at most `timeout` seconds for the thread to end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout)

    def _run(self) -> None:
        import asyncio

        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            for job in Lane.disown(self.lane):
                self.lane.lanes.drop(job)
            tasks = list(self.lane.tasks)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


def running_host() -> tuple[object, type[Lane] | None]:
    """The event loop that runs in this thread and its kind of lane; asks only libraries in use."""
    trio = sys.modules.get("trio")
    asyncio = sys.modules.get("asyncio")
    # RuntimeError: it is not running here. AttributeError: it is being imported by another thread.
    if trio is not None:
        try:
            trio.lowlevel.current_task()
            return trio.lowlevel.current_trio_token(), TrioLane
        except (RuntimeError, AttributeError):
            pass
    if asyncio is not None:
        try:
            return asyncio.get_running_loop(), AsyncioLane
        except (RuntimeError, AttributeError):
            pass
    return None, None
