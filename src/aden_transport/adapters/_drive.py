"""Sending a request as its exchange says, on the caller's own thread or loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

from .._fork import on_fork_in_child
from .._guard import internal_fault
from ..core.exchange import Exchange
from ..core.steps import SEND, Ask, Consult, Modify, Refuse, Send, Step, Wait
from ..core.wire import Rewrite

__all__ = ["Driver", "in_hook", "inside"]

MAX_BLOCK_S = 0.25
"""The longest that a sync client may hold up an event loop whose thread it runs on."""

inside: ContextVar[Exchange | None] = ContextVar("aden_inside", default=None)
"""The exchange whose request is on its way to the wire, so that no deeper layer counts it again."""

_in_hook: ContextVar[bool] = ContextVar("aden_in_hook", default=False)
_warned_loop = False

Hook = Callable[..., Any]
Take = Callable[[object], Step]
Fail = Callable[[BaseException], Step]
Answer = Callable[[Take, Fail], Step]
"""What a hook said, to be taken by one of the two."""


in_hook: Callable[[], bool] = _in_hook.get
"""Whether this code was called by a hook. Its LLM calls are metered but never asked about."""


class Driver:
    """A request decided, sent and observed: the same for every library, once for each colour."""

    sync_tee: Any = None
    async_tee: Any = None
    """What `observe` is given to pass the answer's body through."""

    def rewritten(self, request: Any, change: Rewrite) -> Any:
        """A copy of `request` with the changes."""
        raise NotImplementedError

    def refuse(self, step: Refuse, request: Any) -> Any:
        """Raise the refusal, or return it as a response."""
        raise NotImplementedError

    def observe(self, response: Any, request: Any, exchange: Exchange, tee: Any, client: Any) -> None:
        """Have the exchange told of the answer and its body. Does not raise."""
        raise NotImplementedError

    def send(
        self, exchange: Exchange, request: Any, transport: Callable[..., Any], client: Any = None
    ) -> Any:
        """Decide, send through `transport`, and observe. `client`, of the seam, is passed to it."""
        sent = request
        try:
            try:
                step = exchange.start(judged=not in_hook())
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                step = exchange.decide_failed(exc)
            if step is not SEND:
                sent, step = self._decided(exchange, step, request)
                if isinstance(step, Refuse):
                    return self.refuse(step, request)
            token = inside.set(exchange)
            try:
                response = transport(sent) if client is None else transport(client, sent)
            finally:
                inside.reset(token)
        except BaseException as exc:
            exchange.fail(exc)
            raise
        self.observe(response, request, exchange, self.sync_tee, client)
        return response

    async def send_async(
        self, exchange: Exchange, request: Any, transport: Callable[..., Any], client: Any = None
    ) -> Any:
        sent = request
        try:
            try:
                step = exchange.start(judged=not in_hook())
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                step = exchange.decide_failed(exc)
            if step is not SEND:
                sent, step = await self._decided_async(exchange, step, request)
                if isinstance(step, Refuse):
                    return self.refuse(step, request)
            token = inside.set(exchange)
            try:
                response = await (transport(sent) if client is None else transport(client, sent))
            finally:
                inside.reset(token)
        except BaseException as exc:
            exchange.fail(exc)
            raise
        self.observe(response, request, exchange, self.async_tee, client)
        return response

    def _decided(self, exchange: Exchange, step: Step, request: Any) -> tuple[Any, Send | Refuse]:
        """The request to send, changed on a copy, or a refusal."""
        while True:
            step = drive(exchange, step)
            if isinstance(step, Refuse) or step.rewrite is None:
                return request, step
            try:
                return self.rewritten(request, step.rewrite), step
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                step = _go_on(exchange, partial(exchange.rewrite_failed, exc))

    async def _decided_async(self, exchange: Exchange, step: Step, request: Any) -> tuple[Any, Send | Refuse]:
        while True:
            step = await drive_async(exchange, step)
            if isinstance(step, Refuse) or step.rewrite is None:
                return request, step
            try:
                return self.rewritten(request, step.rewrite), step
            except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
                step = _go_on(exchange, partial(exchange.rewrite_failed, exc))


# The two loops below say the same, once for each colour.


def drive(exchange: Exchange, step: Step) -> Send | Refuse:
    settings = exchange.settings
    while True:
        match step:
            case Ask():
                assert settings.hook is not None
                result = _ask(step, settings.hook, settings.hook_timeout_s)
                step = _go_on(exchange, partial(result, exchange.answer, exchange.answer_failed))
            case Modify():
                assert settings.modify is not None
                result = _ask(step, settings.modify, settings.hook_timeout_s)
                step = _go_on(exchange, partial(result, exchange.modify, exchange.modify_failed))
            case Consult():
                step = _go_on(exchange, _consulted(exchange, step))
            case Wait():
                slept = _sleep(step.seconds, exchange.throttled_s)
                step = _go_on(exchange, partial(exchange.waited, slept))
            case Send() | Refuse():
                return step


async def drive_async(exchange: Exchange, step: Step) -> Send | Refuse:
    settings = exchange.settings
    while True:
        match step:
            case Ask():
                assert settings.hook is not None
                result = await _ask_async(step, settings.hook, settings.hook_timeout_s)
                step = _go_on(exchange, partial(result, exchange.answer, exchange.answer_failed))
            case Modify():
                assert settings.modify is not None
                result = await _ask_async(step, settings.modify, settings.hook_timeout_s)
                step = _go_on(exchange, partial(result, exchange.modify, exchange.modify_failed))
            case Consult():
                step = _go_on(exchange, await _consulted_async(exchange, step))
            case Wait():
                slept = await _sleep_async(step.seconds)
                step = _go_on(exchange, partial(exchange.waited, slept))
            case Send() | Refuse():
                return step


def _go_on(exchange: Exchange, answer: Callable[[], Step]) -> Step:
    """The next step; where ours fails to make it, what `fail_open` says."""
    try:
        return answer()
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        return exchange.decide_failed(exc)


def _consulted(exchange: Exchange, step: Consult) -> Callable[[], Step]:
    """Ask a store on this thread; what it says is taken on the caller's."""
    try:
        answer = step.run()
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        return partial(exchange.decide_failed, exc)
    return partial(step.then, answer)


async def _consulted_async(exchange: Exchange, step: Consult) -> Callable[[], Step]:
    """The same on the store's thread, while the caller's loop goes on."""
    from ._store import answer_of

    try:
        answer = await answer_of(step)
    except Exception as exc:  # noqa: BLE001 - a fault of ours is not the application's
        return partial(exchange.decide_failed, exc)
    return partial(step.then, answer)


def _answered(result: object, take: Take, fail: Fail) -> Step:
    return take(result)


def _failed(exc: BaseException, take: Take, fail: Fail) -> Step:
    return fail(exc)


def _ask(step: Ask | Modify, hook: Hook, timeout: float) -> Answer:
    token = _in_hook.set(True)
    try:
        result = hook(step.params, step.context)
        if inspect.isawaitable(result):
            result = _on_our_loop(result, timeout)
    except Exception as exc:  # noqa: BLE001 - a user's hook: `fail_open` decides
        return partial(_failed, exc)
    finally:
        _in_hook.reset(token)
    return partial(_answered, result)


async def _ask_async(step: Ask | Modify, hook: Hook, timeout: float) -> Answer:
    import anyio

    token = _in_hook.set(True)
    try:
        result = hook(step.params, step.context)
        if inspect.isawaitable(result):
            with anyio.fail_after(timeout):
                result = await result
    except Exception as exc:  # noqa: BLE001 - a user's hook: `fail_open` decides
        return partial(_failed, exc)
    finally:
        _in_hook.reset(token)
    return partial(_answered, result)


def _sleep(seconds: float, before: float = 0.0) -> float:
    """Sleep on this thread; says for how long. `before`: how long the call has slept already."""
    if _on_a_loop():
        _warn_of_loop()
        seconds = max(0.0, min(seconds, MAX_BLOCK_S - before))
    start = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - start


async def _sleep_async(seconds: float) -> float:
    import anyio

    start = time.monotonic()
    await anyio.sleep(seconds)
    return time.monotonic() - start


def _on_a_loop() -> bool:
    """Whether an event loop runs on this thread, so that sleeping would hold up its other tasks."""
    if "asyncio" in sys.modules:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            return True
    # Another thread may be importing it just now.
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    return lowlevel is not None and lowlevel.in_trio_run()


def _warn_of_loop() -> None:
    global _warned_loop
    if not _warned_loop:
        _warned_loop = True
        internal_fault(
            "throttle",
            RuntimeWarning(
                "a sync client was throttled on an event loop's thread; waits there are cut to 250 ms. "
                "Use the SDK's async client inside a loop."
            ),
        )


# An async hook under a sync client runs on one loop of ours, in the caller's context.

_loop: asyncio.AbstractEventLoop | None = None
_loop_lock = threading.Lock()


def _on_our_loop(awaitable: Awaitable[Any], timeout: float) -> Any:
    context = contextvars.copy_context()
    loop = _our_loop()
    done: Any = _Outcome()

    def begin() -> None:
        async def run() -> None:
            try:
                done.set(await asyncio.wait_for(awaitable, timeout), None)
            except BaseException as exc:  # noqa: BLE001 - handed to the caller's thread
                done.set(None, exc)

        task = loop.create_task(run(), context=context)
        done.task = task

    loop.call_soon_threadsafe(begin)
    return done.result(timeout)


class _Outcome:
    """A result that another thread waits for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self.task: object = None

    def set(self, value: Any, error: BaseException | None) -> None:
        self._value, self._error = value, error
        self._event.set()

    def result(self, timeout: float) -> Any:
        # Half a second more than the hook has: a hook that blocks our loop must not hold the call.
        if not self._event.wait(timeout + 0.5):
            raise TimeoutError(f"a hook took longer than {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value


def _our_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _loop_lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="aden-hooks", daemon=True).start()
        return _loop


def _forget_loop() -> None:
    global _loop, _loop_lock
    _loop = None
    _loop_lock = threading.Lock()


on_fork_in_child(_forget_loop)
