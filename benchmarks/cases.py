"""What is measured: one line per case, and how a case is run with and without metering."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from types import ModuleType, TracebackType
from typing import Any

from . import payloads

SHORT, LONG = 100, 500
"""Events of the two streams whose difference is the cost of an event."""
GATE_BATCH = 100
"""Requests between two looks at the clock, where one takes less than a look."""


@dataclass(frozen=True, slots=True)
class Case:
    """A call or a stream, and its bars."""

    name: str
    title: str
    library: str = "httpx2"
    vendor: str = "openai"
    asynchronous: bool = False
    stream: bool = False
    gzip: bool = False
    asks_usage: bool = True
    """Streams: the application asks for usage itself, so that nothing is injected."""
    degrades: bool = False
    aden_header: bool = False
    sdk: bool = False
    policy: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    """Enforced with the ledger in memory, and compared with the same call metered without it."""
    reads_event: bool = False
    """The emitter reads the event in the call, so that what is put off until then is paid as well."""
    gate: bool = False
    """The patched method alone, around one that does nothing: a whole call would drown it."""
    max_instructions: float | None = None
    max_us: float | None = None


def _case(name: str, title: str, instructions: float | None, us: float | None, **more: Any) -> Case:
    return Case(name, title, max_instructions=instructions, max_us=us, **more)


CALL, REWRITTEN, ENFORCED = (80_000, 25.0), (350_000, 120.0), (30_000, 8.0)
BLOCKING = {"type": "global", "limit": 100_000, "limitAction": "block"}
LADDER = {
    **BLOCKING,
    "period": "monthly",
    "thresholds": [
        {"percent": 50, "action": "alert"},
        {"percent": 80, "action": "degrade", "degradeTo": "gpt-4o-mini"},
        {"percent": 95, "action": "throttle", "delayMs": 2000},
    ],
}
PERSONAL = [BLOCKING, {**LADDER, "type": "customer", "name": "*"}]
EVENT, GZIPPED = (1_000, 0.3), (None, 1.0)

CASES = (
    _case("json", "JSON call, httpx2", *CALL),
    _case("json-async", "JSON call, httpx2, async", *CALL, asynchronous=True),
    _case("json-httpx", "JSON call, httpx", *CALL, library="httpx"),
    _case("json-httpx-async", "JSON call, httpx, async", *CALL, library="httpx", asynchronous=True),
    _case("json-gzip", "JSON call, gzipped answer", *CALL, gzip=True),
    _case("json-read", "JSON call, its event read in the call", None, None, reads_event=True),
    _case("degrade", "JSON call, model degraded by a hook", *REWRITTEN, degrades=True),
    _case("degrade-async", "the same, async", *REWRITTEN, degrades=True, asynchronous=True),
    _case("header", "JSON call, x-aden-* header taken out", *REWRITTEN, aden_header=True),
    _case("budget", "one budget that blocks, beside metering", *ENFORCED, policy=BLOCKING),
    _case("ladder", "one budget with a ladder, beside metering", *ENFORCED, policy=LADDER),
    _case("budgets", "two budgets, one made by a template", None, None, policy=PERSONAL),
    _case("gate", "request to a host that is no vendor", None, 1.0, vendor="none", gate=True),
    _case("stream", "stream, httpx2", *EVENT, stream=True),
    _case("stream-async", "stream, httpx2, async", *EVENT, stream=True, asynchronous=True),
    _case("stream-httpx", "stream, httpx", *EVENT, stream=True, library="httpx"),
    _case("stream-gzip", "stream, gzipped", *GZIPPED, stream=True, gzip=True),
    _case("stream-gzip-async", "stream, gzipped, async", *GZIPPED, stream=True, gzip=True, asynchronous=True),
    _case("hidden", "stream, usage asked for and hidden", None, None, stream=True, asks_usage=False),
    _case("hidden-async", "the same, async", None, None, stream=True, asks_usage=False, asynchronous=True),
    _case("anthropic", "stream, Anthropic", *EVENT, stream=True, vendor="anthropic"),
    _case("gemini", "stream, Gemini", *EVENT, stream=True, vendor="gemini"),
    _case("openai-sdk", "JSON call through the openai SDK", *CALL, sdk=True),
)

Measure = Callable[[int, int], int]
"""`measure(calls, events)` makes so many calls; nanoseconds of the fastest one."""
Check = Callable[[int], None]
"""`check(calls)` sees that so many calls were metered as they should, and forgets their events."""


# -- the server, in memory --------------------------------------------------------------------------


class _Pieces:
    """A response body, sync and async."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    async def __aiter__(self) -> Any:
        for piece in self._pieces:
            yield piece


class _Server:
    """Answers every request with the pieces in `pieces`; no socket, no copy."""

    def __init__(self, module: ModuleType, case: Case) -> None:
        self._response = module.Response
        bases = (_Pieces, module.SyncByteStream, module.AsyncByteStream)
        self._stream = type("Pieces", bases, {})
        kind = "text/event-stream; charset=utf-8" if case.stream else "application/json"
        self._headers = payloads.answer_headers(kind, gzip=case.gzip)
        self.pieces: list[bytes] = []
        self.pieces_with_usage: list[bytes] = []
        self._always = case.asks_usage

    def handle_request(self, request: Any) -> Any:
        usage = self._always or b'"include_usage":true' in request.content
        stream = self._stream(self.pieces_with_usage if usage else self.pieces)
        return self._response(
            200, headers=self._headers, stream=stream, extensions={"http_version": b"HTTP/1.1"}
        )

    async def handle_async_request(self, request: Any) -> Any:
        return self.handle_request(request)

    def __enter__(self) -> _Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def close(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def server_for(module: ModuleType, case: Case) -> Any:
    """The server as a transport of `module`, for both colours."""
    bases = (_Server, module.BaseTransport, module.AsyncBaseTransport)
    return type("Server", bases, {})(module, case)


def answer(case: Case, events: int, *, usage: bool) -> list[bytes]:
    """The pieces of an answer: `events` events, or one JSON object."""
    if case.stream:
        found = payloads.stream_pieces(case.vendor, events, usage=usage)
    else:
        found = [payloads.answer_body()]
    return payloads.gzipped(found) if case.gzip else found


# -- a case, made ready to run ----------------------------------------------------------------------


def prepare(case: Case, *, metered: bool) -> tuple[Measure, Check]:
    """Set everything up in this process, `instrument()` included."""
    module = importlib.import_module(case.library)
    if case.gate:
        module.Client._send_single_request = _nothing
    enforced = case.policy if metered else None
    events = _instrumented(case, enforced) if metered or case.policy is not None else None

    def check(calls: int) -> None:
        if events is not None:
            _check(case, events, calls, enforced=enforced is not None)
            events.clear()

    return _measure(case, module), check


def _nothing(self: Any, request: Any) -> None:
    """In place of `Client._send_single_request`, whose parameters it must have."""


def _instrumented(case: Case, policy: Any) -> list[Any]:
    from aden_transport import BeforeRequestResult, MeterOptions, create_memory_emitter, instrument

    kept = create_memory_emitter()
    result = BeforeRequestResult.degrade("gpt-4o-mini", "benchmark")
    hook = (lambda params, context: result) if case.degrades else None
    emitter = _reading(kept) if case.reads_event else kept
    attributes = None if case.policy is None else {"customer": "acme"}
    instrument(
        MeterOptions(
            emit_metric=emitter,
            before_request=hook,
            async_emit=not case.reads_event,
            request_metadata=attributes,
            policy=policy,
            ledger="memory",
        )
    )
    return kept.events


def _reading(kept: Callable[[Any], None]) -> Callable[[Any], None]:
    def emitter(event: Any) -> None:
        assert event.cost_nano_usd is not None
        assert event.headers
        kept(event)

    return emitter


def _check(case: Case, events: list[Any], calls: int, *, enforced: bool) -> None:
    """A benchmark of what was not metered, or metered wrongly, is none."""
    expected = 0 if case.gate else calls
    if len(events) != expected:
        raise SystemExit(f"{case.name}: {len(events)} events of {expected} calls")
    for event in events:
        if event.usage is None or event.usage_source != "reported" or event.cost_nano_usd is None:
            raise SystemExit(f"{case.name}: an event lacks usage or price: {event}")
        if case.degrades and event.degraded_from is None:
            raise SystemExit(f"{case.name}: not degraded")
        if enforced and event.charged_nano_usd != event.cost_nano_usd:
            raise SystemExit(f"{case.name}: not charged")


def _measure(case: Case, module: ModuleType) -> Measure:
    server = server_for(module, case)
    client = (module.AsyncClient if case.asynchronous else module.Client)(transport=server)
    headers = payloads.request_headers(case.vendor)
    if case.aden_header:
        headers = {**headers, "x-aden-agent": "summariser"}
    url = payloads.URLS[case.vendor]
    body = payloads.request_body(case.vendor, stream=case.stream, asks_usage=case.stream and case.asks_usage)
    arguments = {"content": body, "headers": headers}
    loaded: dict[int, tuple[list[bytes], list[bytes]]] = {}

    def load(length: int) -> None:
        """Have the server answer with `length` events, or with JSON."""
        if length not in loaded:
            loaded[length] = (answer(case, length, usage=False), answer(case, length, usage=True))
        server.pieces, server.pieces_with_usage = loaded[length]

    if case.gate:
        return _gate_calls(client, client.build_request("POST", url, **arguments))
    if case.sdk:
        return _sync_calls(_sdk_call(client), load)
    if case.asynchronous:
        one = _async_stream if case.stream else _async_json
        return _async_calls(lambda: one(client, url, arguments), load)
    if case.stream:
        return _sync_calls(lambda: _stream(client, url, arguments), load)
    return _sync_calls(lambda: client.post(url, **arguments), load)


def _sdk_call(client: Any) -> Callable[[], Any]:
    openai = importlib.import_module("openai")
    create = openai.OpenAI(api_key="sk-benchmark", http_client=client).chat.completions.create
    arguments = payloads.params("openai", stream=False, asks_usage=False)
    return lambda: create(**arguments)


def _gate_calls(client: Any, request: Any) -> Measure:
    send = type(client)._send_single_request

    def measure(calls: int, _length: int) -> int:
        fastest = 10**12
        for _ in range(calls):
            start = perf_counter_ns()
            for _ in range(GATE_BATCH):
                send(client, request)
            fastest = min(fastest, perf_counter_ns() - start)
        return fastest // GATE_BATCH

    return measure


# The two colours, one below the other.


def _stream(client: Any, url: str, arguments: Any) -> None:
    with client.stream("POST", url, **arguments) as response:
        for _ in response.iter_bytes():
            pass


async def _async_stream(client: Any, url: str, arguments: Any) -> None:
    async with client.stream("POST", url, **arguments) as response:
        async for _ in response.aiter_bytes():
            pass


async def _async_json(client: Any, url: str, arguments: Any) -> None:
    await client.post(url, **arguments)


def _sync_calls(call: Callable[[], Any], load: Callable[[int], None]) -> Measure:
    def measure(calls: int, length: int) -> int:
        load(length)
        fastest = 10**12
        for _ in range(calls):
            start = perf_counter_ns()
            call()
            fastest = min(fastest, perf_counter_ns() - start)
        return fastest

    return measure


def _async_calls(call: Callable[[], Coroutine[Any, Any, None]], load: Callable[[int], None]) -> Measure:
    async def measure(calls: int, length: int) -> int:
        load(length)
        fastest = 10**12
        for _ in range(calls):
            start = perf_counter_ns()
            await call()
            fastest = min(fastest, perf_counter_ns() - start)
        return fastest

    loop = asyncio.Runner()
    return lambda calls, length: loop.run(measure(calls, length))
