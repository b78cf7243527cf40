"""What a request's calls cost is settled, and their events are at the server, before its answer is over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import httpx2
import pytest

from aden_transport import (
    ConfigurationError,
    ControlOptions,
    MeterOptions,
    flush_on_return,
    instrument,
    uninstrument,
)
from aden_transport._threads import forbid_threads

from ..interop.original_server import KEY, OriginalServer

ANSWER = {
    "model": "gpt-4o",
    "choices": [],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
BODY = {"model": "gpt-4o", "messages": []}
URL = "https://api.openai.com/v1/chat/completions"


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    uninstrument()
    forbid_threads(forbidden=False)


@pytest.fixture
def server() -> Iterator[OriginalServer]:
    with OriginalServer() as running:
        control = ControlOptions(polling_interval_ms=60_000)
        instrument(MeterOptions(api_key=KEY, server_url=running.url, control=control))
        yield running
        uninstrument()


def answer(_: object) -> httpx2.Response:
    return httpx2.Response(200, json=ANSWER)


def call() -> None:
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        client.post(URL, json=BODY)


async def call_async() -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        await client.post(URL, json=BODY)


def told(server: OriginalServer) -> int:
    return len(server.of_type("metric"))


def test_a_handler(server: OriginalServer) -> None:
    @flush_on_return
    def handler(event: str, context: None) -> str:
        """Greets."""
        call()
        return event

    assert handler("hello", None) == "hello"
    assert told(server) == 1
    assert handler.__doc__ == "Greets."


def test_a_handler_that_raises(server: OriginalServer) -> None:
    def handler() -> None:
        call()
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        flush_on_return(handler)()
    assert told(server) == 1


def test_an_async_handler(server: OriginalServer) -> None:
    @flush_on_return
    async def handler() -> str:
        await call_async()
        return "hello"

    assert asyncio.run(handler()) == "hello"
    assert told(server) == 1


Sent = list[tuple[dict[str, Any], int]]


def asgi(app: Callable[..., Awaitable[None]], server: OriginalServer, kind: str = "http") -> Sent:
    """What is sent, and how many events the server had by then."""
    sent: Sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append((message, told(server)))

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    asyncio.run(flush_on_return(app, kind="asgi")({"type": kind}, receive, send))
    return sent


def test_an_asgi_application(server: OriginalServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await call_async()
        await send({"type": "http.response.body", "body": b"b"})
        await call_async()

    start, first, last = asgi(app, server)
    assert [message["type"] for message, _ in (start, first, last)] == ["http.response.start"] + [
        "http.response.body"
    ] * 2
    assert (first[0]["body"], last[0]["body"]) == (b"a", b"b")
    assert (first[1], last[1]) == (0, 1)
    assert told(server) == 2


def test_an_application_s_lifespan_is_left_alone(server: OriginalServer) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.complete"})

    assert asgi(app, server, "lifespan")[0][0] == {"type": "lifespan.startup.complete"}


def wsgi(app: Callable[..., Any]) -> Any:
    environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(environ)
    return flush_on_return(app, kind="wsgi")(environ, lambda *_: None)


def test_a_wsgi_application(server: OriginalServer) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        call()
        return [b"a"]

    assert wsgi(app) == [b"a"]
    assert told(server) == 1


def test_a_wsgi_answer_in_pieces(server: OriginalServer) -> None:
    closed = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            yield b"a"
            call()
            yield b"b"
        finally:
            closed.append(True)

    pieces = wsgi(app)
    assert next(pieces) == b"a"
    assert list(pieces) == [b"b"]
    assert told(server) == 1
    pieces.close()
    assert closed == [True]


def test_a_wsgi_application_that_raises_and_one_that_gives_a_file(
    server: OriginalServer, tmp_path: Path
) -> None:
    def raising(environ: Any, start_response: Any) -> None:
        call()
        raise KeyError("its own")

    with pytest.raises(KeyError):
        wsgi(raising)
    assert told(server) == 1
    (tmp_path / "file").write_bytes(b"a")
    with (tmp_path / "file").open("rb") as file:
        given = FileWrapper(file)
        assert wsgi(lambda *_: given) is given


def test_without_a_thread_it_is_the_flush_that_settles_and_delivers() -> None:
    with OriginalServer() as running:
        running.policy = {"budgets": [{"id": "b", "name": "b", "type": "global", "limit": 9.0, "spent": 0.0}]}

        def handler() -> None:
            call()

        before = set(threading.enumerate())
        wrapped = flush_on_return(handler, threads=False)
        instrument(MeterOptions(api_key=KEY, server_url=running.url))
        wrapped()
        wrapped()
        ours = {
            thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("aden")
        }
        assert ours == set()
        assert told(running) == 2
        uninstrument()


def test_what_cannot_be_wrapped_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="function or application"):
        flush_on_return(3)
    with pytest.raises(ConfigurationError, match="kind"):
        flush_on_return(call, kind="fastcgi")  # type: ignore[arg-type]
