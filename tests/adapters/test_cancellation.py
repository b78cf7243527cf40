"""A call cancelled wherever it waits: one event, and no connection lost that the bare client keeps.

The pool is the library's own; the network below it is in memory and waits exactly once per operation,
so that the points are the same in every run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import httpcore
import httpcore2
import pytest
import trio

from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, STREAM, VARIANTS, Caller, Metering, Variant, consume, open_exchanges

# The library's own generators, left by a cancellation; trio names them.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")

URL = "http://llm.example/v1/chat/completions"
CORES: dict[str, Any] = {"httpx": httpcore, "httpx2": httpcore2}
EVENT = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"word"},"finish_reason":null}]}\n\n'
LAST = b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
JSON = b'{"id":"1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAMED = [
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    chunk(EVENT),
    chunk(EVENT),
    chunk(LAST),
    chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
]
WHOLE = [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(JSON), JSON]


async def once() -> None:
    """Wait once, in asyncio or trio."""
    import sniffio

    if sniffio.current_async_library() == "trio":
        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


class Wire:
    """A connection that answers each request with the same pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._coming: list[bytes] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await once()
        return self._coming.pop(0) if self._coming else b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await once()
        if buffer.startswith(b"POST"):
            self._coming = list(self._pieces)

    async def aclose(self) -> None:
        await once()

    def get_extra_info(self, info: str) -> Any:
        return None


class Network:
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def connect_tcp(self, *_: Any, **__: Any) -> Wire:
        await once()
        return Wire(self._pieces)

    async def sleep(self, seconds: float) -> None:
        await once()


class Counted:
    """Awaits `work`, and calls `cancel` at its suspensions of these numbers (from 1)."""

    def __init__(self, work: Any, cancel: Callable[[], object], at: frozenset[int] = frozenset()) -> None:
        self._work = work
        self._cancel = cancel
        self._at = at
        self.points = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._work.send, None
        while True:
            try:
                waited_for = step(value)
            except StopIteration as stop:
                return stop.value
            self.points += 1
            if self.points in self._at:
                self._cancel()
            try:
                step, value = self._work.send, (yield waited_for)
            except BaseException as exc:
                step, value = self._work.throw, exc


def transport(variant: Variant, pieces: list[bytes]) -> Any:
    made = variant.transport()
    made._pool = CORES[variant.library].AsyncConnectionPool(
        max_connections=1, network_backend=Network(pieces)
    )
    return made


async def streamed(caller: Caller) -> None:
    async with caller.client.stream("POST", URL, json=dict(STREAM)) as response:
        await consume(response.aiter_raw())


async def whole(caller: Caller) -> None:
    await caller.post(URL, json=BODY)


CALLS = {"stream": (streamed, STREAMED), "json": (whole, WHOLE)}


async def asyncio_cancelled(work: Any, at: frozenset[int]) -> int:
    task = asyncio.current_task()
    assert task is not None
    counted = Counted(work, task.cancel, at)

    async def body() -> None:
        await counted

    task = asyncio.ensure_future(body())
    counted._cancel = task.cancel
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
    return counted.points


async def trio_cancelled(work: Any, at: frozenset[int]) -> int:
    scope = trio.CancelScope()
    counted = Counted(work, scope.cancel, at)
    with scope:
        await counted
    return counted.points


async def stuck(caller: Caller) -> bool:
    """Whether the only slot of the pool is lost."""
    timeout = caller.variant.module.Timeout(10, pool=0.02)
    try:
        await caller.post(URL, json=BODY, timeout=timeout)
    except caller.variant.module.PoolTimeout:
        return True
    except caller.variant.module.HTTPError:
        return False
    return False


class Outcome:
    """What became of one call, cancelled at some points."""

    def __init__(self, points: int, lost: bool) -> None:
        self.points = points
        self.lost = lost


def cancelled_call(metering: Metering, name: str, at: frozenset[int]) -> Outcome:
    variant = metering.variant
    call, pieces = CALLS[name]
    cancelled: Callable[[Any, frozenset[int]], Awaitable[int]] = (
        asyncio_cancelled if variant.colour == "asyncio" else trio_cancelled
    )

    async def scenario() -> Outcome:
        caller = metering.caller(transport=transport(variant, pieces))
        before = len(metering.events)
        points = await cancelled(call(caller), at)
        if variant.way != "bare":
            assert len(metering.events) == before + 1, at
            assert open_exchanges() == 0, at
        lost = await stuck(caller)
        metering.emitter.clear()
        return Outcome(points, lost)

    return variant.run(scenario)


def lost_points(metering: Metering, name: str, width: int) -> tuple[int, list[int]]:
    """Cancel at n … n+width-1 for each n; how many n there are, and which of them lose the connection."""
    points = cancelled_call(metering, name, frozenset()).points
    assert points > 4
    lost = [
        n for n in range(1, points + 1) if cancelled_call(metering, name, frozenset(range(n, n + width))).lost
    ]
    return points, lost


ASYNC = [variant for variant in VARIANTS if not variant.is_sync]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("variant", "width"),
    # A cancelled trio scope stays cancelled: once is often enough.
    [
        (variant, width)
        for variant in ASYNC
        for width in (1, 2, 3)
        if width == 1 or variant.colour == "asyncio"
    ],
    ids=str,
)
def test_cancellation_loses_nothing_that_the_bare_client_keeps(
    variant: Variant, metering: Metering, name: str, width: int
) -> None:
    bare_points, bare_lost = lost_points(Metering(variant.bare), name, width)
    metering.start()
    points, lost = lost_points(metering, name, width)
    print(f"{name} {width}x: {len(lost)} of {points} points lose it, bare {len(bare_lost)} of {bare_points}")
    assert points == bare_points
    assert lost == bare_lost
    if variant.library == "httpx2" and width == 1:
        assert lost == []


@pytest.mark.parametrize("name", ["stream", "json"])
@pytest.mark.parametrize("variant", ASYNC, ids=str)
def test_cancellation_on_a_real_connection_gives_one_event(
    variant: Variant, metering: Metering, provider: FakeProvider, url: str, name: str
) -> None:
    """The same on sockets, where points come and go: at each that there is."""
    metering.start()
    provider.script(Reply(events=3, event_delay_ms=1))
    cancelled = asyncio_cancelled if variant.colour == "asyncio" else trio_cancelled

    async def call(caller: Caller) -> None:
        if name == "json":
            await caller.post(url, json=BODY)
            return
        async with caller.client.stream("POST", url, json=dict(STREAM)) as response:
            await consume(response.aiter_raw())

    async def scenario() -> None:
        for n in range(1, 40):
            caller = metering.caller()
            points = await cancelled(call(caller), frozenset({n}))
            assert len(metering.events) == n
            assert open_exchanges() == 0
            await caller.end()
            if points < n:
                return
        raise AssertionError("a call has no end")

    variant.run(scenario)


@pytest.mark.parametrize("variant", ASYNC, ids=str)
def test_a_call_cancelled_in_its_hook_is_an_event_and_sends_nothing(
    variant: Variant, metering: Metering, provider: FakeProvider, url: str
) -> None:
    reached: list[str] = []

    async def hook(params: Any, context: Any) -> Any:
        reached.append(context.model)
        await once()
        raise AssertionError("not reached")

    metering.start(before_request=hook)
    cancelled = asyncio_cancelled if variant.colour == "asyncio" else trio_cancelled

    async def scenario() -> None:
        caller = metering.caller()
        await cancelled(caller.post(url, json=BODY), frozenset({1}))
        await caller.end()

    variant.run(scenario)
    [event] = metering.events
    assert reached == ["gpt-4o"]
    assert event.error is not None
    assert event.status_code is None
    assert provider.requests == []
