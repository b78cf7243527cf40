"""One way to write a scenario for both libraries, three colours and both ways to be metered.

A scenario is an async function of a `Caller`. Under "sync" nothing in it ever suspends, so that it is
run by hand; under asyncio and trio it runs on the loop.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypeVar

import httpx
import httpx2
import trio

from aden_transport import MeterOptions, create_memory_emitter, flush, instrument, uninstrument
from aden_transport.adapters import httpx as bound_httpx
from aden_transport.adapters import httpx2 as bound_httpx2
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.events import MetricEvent
from aden_transport.meter import meters

__all__ = [
    "BODY",
    "CHAT",
    "LIBRARIES",
    "STREAM",
    "VARIANTS",
    "Caller",
    "Colour",
    "Metering",
    "Variant",
    "Way",
    "collect",
    "consume",
    "in_thread",
    "open_exchanges",
    "run",
]

CHAT = "/v1/chat/completions"
BODY: Mapping[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Mapping[str, Any] = {**BODY, "stream": True}

Colour = Literal["sync", "asyncio", "trio"]
Way = Literal["bare", "patched", "by hand"]
LIBRARIES: Mapping[str, ModuleType] = {"httpx": httpx, "httpx2": httpx2}
BOUND: Mapping[str, ModuleType] = {"httpx": bound_httpx, "httpx2": bound_httpx2}
COLOURS: tuple[Colour, ...] = ("sync", "asyncio", "trio")
WAYS: tuple[Way, ...] = ("patched", "by hand")
VERIFY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Made once: reading the certificates takes longer than most tests. Nothing here speaks TLS."""
T = TypeVar("T")


def run(colour: Colour, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `scenario` in its colour."""
    if colour == "asyncio":
        return asyncio.run(scenario())
    if colour == "trio":
        return trio.run(scenario)
    coroutine = scenario()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a sync scenario suspended")


class Pieces:
    """A sync iterator for scenarios; the iterator below is the library's own."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self.iterator)
        except StopIteration:
            raise StopAsyncIteration from None


@dataclass(frozen=True)
class Variant:
    """A library, a colour and a way."""

    library: str
    colour: Colour
    way: Way

    def __str__(self) -> str:
        return f"{self.library}-{self.colour}-{self.way.replace(' ', '-')}"

    @property
    def module(self) -> Any:
        return LIBRARIES[self.library]

    @property
    def bare(self) -> Variant:
        return Variant(self.library, self.colour, "bare")

    @property
    def is_sync(self) -> bool:
        return self.colour == "sync"

    def transport(self, **arguments: Any) -> Any:
        """The library's own HTTP transport."""
        kind = self.module.HTTPTransport if self.is_sync else self.module.AsyncHTTPTransport
        return kind(**({"verify": VERIFY} | arguments))

    def by_hand(self, options: MeterOptions | None, inner: Any = None) -> Any:
        """A transport that meters, around `inner`."""
        bound = BOUND[self.library]
        kind = bound.MeterTransport if self.is_sync else bound.AsyncMeterTransport
        return kind(options, inner)

    def mock(self, handler: Callable[[Any], Any]) -> Any:
        return self.module.MockTransport(handler)

    def client(self, **arguments: Any) -> Any:
        kind = self.module.Client if self.is_sync else self.module.AsyncClient
        return kind(**({"timeout": 10.0, "trust_env": False, "verify": VERIFY} | arguments))

    def run(self, scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return run(self.colour, scenario)


VARIANTS = [Variant(library, colour, way) for library in LIBRARIES for colour in COLOURS for way in WAYS]


class Caller:
    """A client in either colour, with the same async face."""

    def __init__(self, variant: Variant, client: Any) -> None:
        self.variant = variant
        self.client = client

    async def _done(self, result: Any) -> Any:
        return result if self.variant.is_sync else await result

    async def send(self, request: Any, **arguments: Any) -> Any:
        return await self._done(self.client.send(request, **arguments))

    async def post(self, url: str, **arguments: Any) -> Any:
        return await self._done(self.client.post(url, **arguments))

    async def open(self, url: str, json: Any = STREAM, **arguments: Any) -> Any:
        """The response of a POST, its body still to come."""
        request = self.client.build_request("POST", url, json=json, **arguments)
        return await self.send(request, stream=True)

    async def read(self, response: Any) -> bytes:
        read = response.read if self.variant.is_sync else response.aread
        content: bytes = await self._done(read())
        return content

    async def close(self, response: Any) -> None:
        await self._done(response.close() if self.variant.is_sync else response.aclose())

    def raw(self, response: Any) -> Any:
        """The body's pieces as they came."""
        return Pieces(response.iter_raw()) if self.variant.is_sync else response.aiter_raw()

    def lines(self, response: Any) -> Any:
        return Pieces(response.iter_lines()) if self.variant.is_sync else response.aiter_lines()

    def stream(self, response: Any) -> Any:
        """A new iteration of `response.stream`, as SDKs do it beside the response's own."""
        if self.variant.is_sync:
            return Pieces(iter(response.stream))
        return aiter(response.stream)

    async def end(self) -> None:
        await self._done(self.client.close() if self.variant.is_sync else self.client.aclose())


class Metering:
    """What is metered of one variant, and the events it gave."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.emitter: MemoryEmitter = create_memory_emitter()
        self.changes: dict[str, Any] = {}

    @property
    def events(self) -> list[MetricEvent]:
        """All events so far, those of answers that were garbage too."""
        flush(5.0)
        return self.emitter.events

    def options(self, **changes: Any) -> MeterOptions:
        given: dict[str, Any] = {"emit_metric": self.emitter}
        return MeterOptions(**(given | self.changes | changes))

    def start(self, **changes: Any) -> None:
        """Meter from here on, where it is not done by hand."""
        self.changes = changes
        if self.variant.way == "patched":
            instrument(self.options())

    def caller(self, *, transport: Any = None, **arguments: Any) -> Caller:
        """A client that is metered in the variant's way; `transport` defaults to the library's own."""
        variant = self.variant
        if variant.way == "by hand":
            if transport is None:
                transport = variant.transport()
            transport = variant.by_hand(self.options(), transport)
        if transport is not None:
            arguments["transport"] = transport
        return Caller(variant, variant.client(**arguments))

    def stop(self) -> None:
        uninstrument()


def open_exchanges() -> int:
    """Calls that any meter takes for unfinished."""
    return sum(len(meter.settings.open) for meter in meters.each())


async def consume(pieces: Any) -> list[bytes]:
    return [piece async for piece in pieces]


def collect() -> None:
    """Garbage, and what became of it."""
    for _ in range(3):
        gc.collect()


def in_thread(work: Callable[[], T], timeout: float = 60.0) -> T:
    """`work()` on a thread of its own, so that a deadlock fails the test instead of holding it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work())
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        faulthandler.dump_traceback()
        raise AssertionError("deadlock")
    if failures:
        raise failures[0]
    return results[0]
