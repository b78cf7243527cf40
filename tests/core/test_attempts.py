"""Which requests are attempts of one call."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aden_transport import attributes
from aden_transport.core import attempts
from aden_transport.core.attempts import (
    MAX_LEFT,
    MAX_PAUSE_S,
    LogicalCall,
    begin,
    note_refused,
    note_unfinished,
)
from aden_transport.core.steps import Refuse
from aden_transport.core.wire import WireRequest
from aden_transport.errors import RequestCancelledError
from aden_transport.events import ALLOW

from .kit import CHAT, wire

HELLO = wire({"model": "m"})


def counted(retry: str | None, path: str = CHAT, body: object = None) -> WireRequest:
    names = {} if retry is None else {"X-Stainless-Retry-Count": retry}
    return wire(body or {"model": "m"}, path, names=names)


def bits() -> Callable[[int], int]:
    made = iter(range(1, 100))
    return lambda size: next(made) if size == 192 else 0


def started(request: WireRequest, now: float = 0.0) -> LogicalCall:
    return begin(request, bits(), lambda: now)


def failed(request: WireRequest) -> LogicalCall:
    call = started(request)
    note_unfinished(call, request, 0.0)
    return call


def test_ids_have_the_lengths_of_trace_context() -> None:
    call = LogicalCall((0xABC << 64) | 0xDEF, 0)
    assert call.trace_id == f"{0xABC:032x}"
    assert call.call_id == f"{0xDEF:016x}"
    assert LogicalCall((1 << 192) - 1, 0).trace_id == "f" * 32


@pytest.fixture(autouse=True)
def no_failure_before() -> None:
    """Whatever failed on this thread in other tests."""
    attempts.forget()


@pytest.mark.parametrize(
    ("retry", "attempt"), [(None, 0), ("0", 0), ("2", 2), ("", 0), ("x", 0), ("-1", 0), ("9999", 0)]
)
def test_a_first_request_begins_where_its_header_says(retry: str | None, attempt: int) -> None:
    assert started(counted(retry)).attempt == attempt


@pytest.mark.parametrize(
    ("first", "second", "attempt"),
    [
        (None, None, 1),
        ("0", "1", 1),
        (None, "1", 1),
        ("1", "2", 2),
        ("0", "x", 1),
        ("0", "0", 1),
    ],
)
def test_the_same_request_after_a_failure_is_the_next_attempt(
    first: str | None, second: str | None, attempt: int
) -> None:
    call = failed(counted(first))
    again = started(counted(second))
    assert again is call
    assert again.attempt == attempt


@pytest.mark.parametrize(
    ("second", "attempt"),
    [
        (counted(None, "/v1/embeddings"), 0),
        (counted(None, body={"model": "other"}), 0),
        (counted("2", body={"model": "other"}), 2),
    ],
    ids=["another path", "another body", "another body, counted"],
)
def test_another_request_is_another_call(second: WireRequest, attempt: int) -> None:
    call = failed(counted(None))
    other = started(second)
    assert other is not call
    assert other.attempt == attempt


def test_a_failure_is_carried_on_once() -> None:
    call = failed(HELLO)
    assert started(HELLO) is call
    assert started(HELLO) is not call


def test_an_equal_request_long_after_is_another_call() -> None:
    call = failed(HELLO)
    assert started(HELLO, MAX_PAUSE_S) is call
    call = failed(HELLO)
    assert started(HELLO, MAX_PAUSE_S + 0.001) is not call


def test_a_redirect_hop_is_the_same_attempt_wherever_it_leads() -> None:
    call = started(counted("1"))
    note_unfinished(call, counted("1"), 0.0, redirected=True)
    hop = started(counted("1", "/elsewhere"))
    assert hop is call
    assert hop.attempt == 1
    assert not hop.redirected


def test_a_hop_of_a_first_attempt_repeats_its_count_of_0() -> None:
    call = started(counted("0"))
    note_unfinished(call, counted("0"), 0.0, redirected=True)
    assert started(counted("0", "/elsewhere")) is call


def test_a_hop_with_another_body_is_another_call() -> None:
    call = started(HELLO)
    note_unfinished(call, HELLO, 0.0, redirected=True)
    assert started(wire({"model": "other"}, "/elsewhere")) is not call


def test_a_framework_that_begins_to_count_anew_is_judged_anew() -> None:
    call = failed(counted("0"))
    call.decision = ALLOW
    assert started(counted("1")) is call
    assert call.decision is ALLOW
    note_unfinished(call, counted("1"), 0.0)
    assert started(counted("0")) is call
    assert call.attempt == 2
    assert call.decision is None


def test_of_tasks_that_inherit_a_failure_one_carries_it_on() -> None:
    call = failed(HELLO)
    copies = [contextvars.copy_context() for _ in range(3)]
    assert [copy.run(started, HELLO) is call for copy in copies] == [True, False, False]


def test_a_failure_in_a_copy_of_the_context_is_carried_on_by_the_thread() -> None:
    call = contextvars.copy_context().run(failed, HELLO)
    assert contextvars.copy_context().run(started, HELLO) is call
    assert started(HELLO) is not call


def test_another_thread_has_calls_of_its_own() -> None:
    call = contextvars.copy_context().run(failed, HELLO)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(started, HELLO).result() is not call


def test_a_failed_call_of_another_customer_is_not_carried_on() -> None:
    with attributes.context(customer="a"):
        call = contextvars.copy_context().run(failed, HELLO)
    with attributes.context(customer="b"):
        assert contextvars.copy_context().run(started, HELLO) is not call
    with attributes.context(customer="a"):
        assert contextvars.copy_context().run(started, HELLO) is call


async def fails() -> LogicalCall:
    return failed(HELLO)


async def begins() -> LogicalCall:
    return started(HELLO)


def test_a_task_carries_on_what_a_task_that_has_ended_left() -> None:
    async def main() -> None:
        call = await asyncio.create_task(fails())
        assert await asyncio.create_task(begins()) is call
        assert await asyncio.create_task(begins()) is not call

    asyncio.run(main())


def test_a_task_does_not_take_over_the_call_of_one_that_may_send_it_again() -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def fails_and_waits() -> LogicalCall:
            call = failed(HELLO)
            await over.wait()
            assert started(HELLO) is call
            return call

        task = asyncio.create_task(fails_and_waits())
        await asyncio.sleep(0)
        other = await asyncio.create_task(begins())
        over.set()
        assert await task is not other

    asyncio.run(main())


def test_what_a_thread_remembers_is_bounded() -> None:
    for number in range(MAX_LEFT + 10):
        contextvars.copy_context().run(failed, wire({"model": str(number)}))
    assert len(attempts.left) <= MAX_LEFT


# -- refusals ----------------------------------------------------------------------------------------

FRAMEWORK = """
def catch(call):
    for _ in range(2):
        try:
            call()
        except Exception as exc:
            keep(exc)

async def catch_async(call):
    for _ in range(2):
        try:
            await call()
        except Exception as exc:
            keep(exc)
        await sleep()
    return "caught"
"""


def framework(name: str, keep: Callable[[BaseException], object] = lambda exc: None) -> Any:
    """Loops that catch what a call raises, in a module of that name."""
    module: dict[str, Any] = {"__name__": name, "keep": keep, "sleep": lambda: asyncio.sleep(0)}
    exec(compile(FRAMEWORK, name, "exec"), module)
    return module


def refused(found: list[LogicalCall]) -> None:
    """A call that is refused: what is raised is watched."""
    found.append(started(HELLO))
    raise Refuse(RequestCancelledError("no"), note_refused(found[-1], HELLO, 0.0)).refused()


@pytest.mark.parametrize(
    ("module", "same"), [("tenacity", True), ("langchain_core.retry", True), ("app.main", False)]
)
@pytest.mark.parametrize("cycle", [False, True], ids=["dropped", "in a cycle"])
def test_who_catches_a_refusal_says_whether_the_next_is_the_same_call(
    module: str, same: bool, cycle: bool
) -> None:
    found: list[LogicalCall] = []

    def keep(exc: BaseException) -> None:
        if cycle:
            exc.itself = exc  # type: ignore[attr-defined]

    framework(module, keep)["catch"](lambda: refused(found))
    assert (found[0] is found[1]) is same
    assert found[1].attempt == int(same)
    gc.collect()


@pytest.mark.parametrize(("module", "same"), [("tenacity", True), ("app.main", False)])
@pytest.mark.parametrize("collected", [False, True])
def test_a_coroutine_that_waits_to_try_again_has_caught_it(module: str, same: bool, collected: bool) -> None:
    """The refusal is in a cycle, and the collector may take it while the framework waits."""
    found: list[LogicalCall] = []

    def keep(exc: BaseException) -> None:
        exc.itself = exc  # type: ignore[attr-defined]

    async def call() -> None:
        if found and collected:
            gc.collect()
        await asyncio.create_task(inner())

    async def inner() -> None:
        refused(found)

    async def main() -> None:
        task = asyncio.create_task(framework(module, keep)["catch_async"](call))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await task

    asyncio.run(main())
    assert (found[0] is found[1]) is same
    gc.collect()


def test_a_framework_that_a_refusal_has_left_does_not_try_again() -> None:
    found: list[LogicalCall] = []
    source = {"__name__": "langchain_core.base"}
    exec("async def ainvoke(call):\n    await call()", source)
    invoke: Any = source["ainvoke"]

    async def call() -> None:
        refused(found)

    async def main() -> None:
        await asyncio.gather(invoke(call), invoke(call), return_exceptions=True)

    asyncio.run(main())
    assert found[0] is not found[1]


def test_a_call_that_is_made_while_its_refusal_is_handled_is_that_call() -> None:
    found: list[LogicalCall] = []
    try:
        refused(found)
    except RequestCancelledError as exc:
        try:
            raise ValueError("wrapped") from exc
        except ValueError:
            assert started(HELLO) is found[0]


def test_a_refusal_of_another_call_that_is_handled_says_nothing() -> None:
    found: list[LogicalCall] = []
    try:
        refused(found)
    except RequestCancelledError:
        assert started(wire({"model": "other"})) is not found[0]


def test_what_was_modified_and_decided_is_asked_anew_after_a_refusal() -> None:
    found: list[LogicalCall] = []
    try:
        refused(found)
    except RequestCancelledError:
        found[0].decision, found[0].modified = ALLOW, b"{}"
        again = started(HELLO)
        assert again is found[0]
        assert (again.decision, again.modified) == (None, False)


def test_a_refusal_crosses_processes_without_its_watcher() -> None:
    found: list[LogicalCall] = []
    with pytest.raises(RequestCancelledError) as raised:
        refused(found)
    assert raised.value._watcher is not None
    assert pickle.loads(pickle.dumps(raised.value))._watcher is None
