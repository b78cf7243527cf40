"""Which requests are attempts of one call."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from aden_transport import attributes
from aden_transport.core import attempts
from aden_transport.core.attempts import MAX_LEFT, MAX_PAUSE_S, LogicalCall, begin, note_unfinished
from aden_transport.core.wire import WireRequest
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
