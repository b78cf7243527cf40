"""The application gets what it would get without us: the same bytes, pieces, headers and exceptions.

Each scenario runs with a bare client against one provider and with a metered client against its twin.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, CHAT, STREAM, Caller, Metering, Variant, consume

# What a client leaves behind where decoding fails half-way is the library's own: trio names its generators.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")

DATED: Mapping[str, str | None] = {"date": "Thu, 01 Jan 1970 00:00:00 GMT"}


def fingerprint(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


async def observe(caller: Caller, url: str, body: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    """All that an application can see of one call."""
    seen: dict[str, Any] = {}
    request = caller.client.build_request("POST", url, json=body, **arguments)
    before = (request.method, str(request.url), request.headers.raw, request.content, request.stream)
    try:
        response = await caller.send(request, stream=True)
        seen["head"] = (response.status_code, response.reason_phrase, response.http_version)
        seen["headers"] = response.headers.raw
        seen["flags"] = (response.is_closed, response.is_stream_consumed, response.is_success)
        seen["extensions"] = sorted(response.extensions)
        seen["url"] = response.url.path
        assert response.request is request
        pieces = seen["pieces"] = []
        async for piece in caller.raw(response):
            pieces.append(piece)
        seen["end"] = (response.is_closed, response.is_stream_consumed, response.num_bytes_downloaded)
        assert isinstance(response.elapsed, timedelta)
        assert response.elapsed > timedelta(0)
    except Exception as exc:
        seen["error"] = (type(exc), str(exc), type(exc.__cause__), type(exc.__context__))
        seen["its request"] = getattr(exc, "request", None) is request
    after = (request.method, str(request.url), request.headers.raw, request.content, request.stream)
    assert after == before
    return seen


async def decoded(caller: Caller, url: str, body: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    """The same of a call whose answer is read at once."""
    seen: dict[str, Any] = {}
    try:
        response = await caller.post(url, json=body, **arguments)
    except Exception as exc:
        seen["error"] = (type(exc), str(exc), type(exc.__cause__), type(exc.__context__))
        return seen
    seen["head"] = (response.status_code, response.headers.raw, response.encoding, response.charset_encoding)
    seen["content"] = response.content
    seen["lines"] = list(response.iter_lines())
    seen["elapsed"] = response.elapsed > timedelta(0)
    seen["request"] = (response.request.content, response.history, response.next_request)
    return seen


Look = Callable[..., Any]


def with_and_without(
    variant: Variant,
    metering: Metering,
    bare_url: str,
    url: str,
    looks: Iterable[Look] = (observe,),
    bodies: Iterable[Mapping[str, Any]] = (BODY, STREAM),
    **arguments: Any,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each look sees of each body, without us and with us."""
    pairs = [(look, body) for look in looks for body in bodies]

    async def scenario(caller: Caller, target: str) -> list[dict[str, Any]]:
        try:
            return [await look(caller, target, body, **arguments) for look, body in pairs]
        finally:
            await caller.end()

    bare = variant.run(lambda: scenario(Metering(variant.bare).caller(), bare_url))
    metering.start()
    metered = variant.run(lambda: scenario(metering.caller(), url))
    return bare, metered


def received(provider: FakeProvider) -> list[Any]:
    """What the provider saw, but for the port."""
    return [
        (r.method, r.target, [(n, v) for n, v in r.raw_headers if n.lower() != "host"], r.body)
        for r in provider.requests
    ]


ENCODINGS = ("identity", "gzip", "deflate")
CHUNKINGS = ("event", "byte", 7, "whole")
FAULTS: Mapping[str, Reply] = {
    "400": Reply(status=400),
    "401": Reply(status=401),
    "429": Reply(status=429, retry_after_s=1.5),
    "500": Reply(status=500),
    "error in the stream": Reply(error_after_events=2),
    "no answer": Reply(disconnect_before_headers=True),
    "reset after an event": Reply(disconnect_after_events=1, transfer="chunked"),
    "cut in the body": Reply(disconnect_after_bytes=20, transfer="chunked"),
    "truncated gzip": Reply(encoding="gzip", encoding_fault="truncated"),
    "corrupt gzip": Reply(encoding="gzip", encoding_fault="corrupt"),
    "mislabelled": Reply(encoding="gzip", encoding_fault="mislabelled"),
    "unknown coding": Reply(headers={"content-encoding": "rot13"}),
    "no JSON": Reply(raw=b'{"id": "x", "choices": [', headers={"content-type": "application/json"}),
    "no events": Reply(raw=b"nonsense\n\n\x00\xff", headers={"content-type": "text/event-stream"}),
    "nothing": Reply(raw=b""),
    "no usage": Reply(usage=None),
    "until close": Reply(transfer="close"),
}


@pytest.mark.parametrize("chunking", CHUNKINGS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_bytes_pieces_and_headers(
    variant: Variant,
    metering: Metering,
    provider: FakeProvider,
    twin: FakeProvider,
    encoding: Any,
    chunking: Any,
) -> None:
    reply = Reply(encoding=encoding, chunking=chunking, events=3, headers=DATED)
    provider.script(reply)
    twin.script(reply)
    bare, metered = with_and_without(variant, metering, twin.url + CHAT, provider.url + CHAT)
    assert fingerprint(metered) == fingerprint(bare), (metered, bare)
    for seen in metered:
        assert len(seen["pieces"]) > 1 or chunking in ("whole", "event")
    assert received(provider) == received(twin)
    assert len(metering.events) == 2


@pytest.mark.parametrize("name", FAULTS)
def test_the_same_failures(
    variant: Variant, metering: Metering, provider: FakeProvider, twin: FakeProvider, name: str
) -> None:
    reply = replace(FAULTS[name], headers={**DATED, **FAULTS[name].headers})
    provider.script(reply)
    twin.script(reply)
    bare, metered = with_and_without(
        variant, metering, twin.url + CHAT, provider.url + CHAT, (observe, decoded)
    )
    if name == "until close":  # pieces are then what the socket gave
        for seen in bare[:2] + metered[:2]:
            seen["pieces"] = b"".join(seen["pieces"])
    assert metered == bare
    assert received(provider) == received(twin)
    assert len(metering.events) == 4
    assert all(event.status_code or event.error for event in metering.events)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_the_same_error_where_nobody_listens(variant: Variant, metering: Metering) -> None:
    url = f"http://127.0.0.1:{free_port()}{CHAT}"
    bare, metered = with_and_without(variant, metering, url, url, bodies=[BODY])
    assert metered == bare
    assert issubclass(metered[0]["error"][0], variant.module.ConnectError)
    [event] = metering.events
    assert event.status_code is None
    assert event.error is not None
    assert event.error.startswith("ConnectError")


def test_the_same_read_timeout(
    variant: Variant, metering: Metering, provider: FakeProvider, twin: FakeProvider
) -> None:
    for reply in (Reply(delay_ms=60_000), Reply(event_delay_ms=60_000, headers=DATED)):
        provider.push(reply)
        twin.push(reply)
    timeout = variant.module.Timeout(10.0, read=0.2)
    bare, metered = with_and_without(
        variant, metering, twin.url + CHAT, provider.url + CHAT, bodies=[STREAM, STREAM], timeout=timeout
    )
    assert metered == bare
    for seen in metered:
        assert issubclass(seen["error"][0], variant.module.ReadTimeout)
    before, within = metering.events
    assert (before.status_code, before.error_type, before.billing) == (None, "timeout_error", "unknown")
    assert (within.status_code, within.error_type) == (200, "timeout_error")
    assert "stream.abandoned" in within.faults


@contextmanager
def speaking(answer: bytes) -> Iterator[str]:
    """A server that says `answer` to whatever is asked, and closes."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    while b"\r\n\r\n" not in client.recv(65536):
                        pass
                    client.sendall(answer)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}{CHAT}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"content-length: 100\r\n\r\nshort",
        HEAD + b"content-length: nonsense\r\n\r\n",
        b"",
    ],
    ids=["no-http", "no-header", "no-chunk", "short", "bad-length", "nothing"],
)
def test_the_same_protocol_errors(variant: Variant, metering: Metering, answer: bytes) -> None:
    with speaking(answer) as url:
        bare, metered = with_and_without(variant, metering, url, url, bodies=[BODY])
    assert metered == bare
    assert issubclass(metered[0]["error"][0], variant.module.RemoteProtocolError)
    assert len(metering.events) == 1


def test_an_application_that_reads_nothing_but_text(
    variant: Variant, metering: Metering, provider: FakeProvider, twin: FakeProvider
) -> None:
    async def lines(caller: Caller, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        response = await caller.open(url, body, headers={"accept-encoding": "gzip"})
        found = await consume(caller.lines(response))
        return {"lines": found, "closed": response.is_closed}

    reply = Reply(encoding="accept", chunking=5, text="Grüße aus Köln, 你好", headers=DATED)
    provider.script(reply)
    twin.script(reply)
    bare, metered = with_and_without(
        variant, metering, twin.url + CHAT, provider.url + CHAT, [lines], [STREAM]
    )
    assert metered == bare
    assert metered[0]["lines"][-2] == "data: [DONE]"
    [event] = metering.events
    assert event.finish_reasons == ("stop",)


def test_other_hosts_are_left_alone(variant: Variant, metering: Metering, provider: FakeProvider) -> None:
    """What is no call to a model is not even wrapped."""
    metering.start()

    async def scenario() -> tuple[type, type]:
        bare, metered = Metering(variant.bare).caller(), metering.caller()
        try:
            streams = []
            for caller in (bare, metered):
                response = await caller.open(provider.url + "/v1/files/upload")
                streams.append(type(response.stream))
                await caller.read(response)
            return streams[0], streams[1]
        finally:
            await bare.end()
            await metered.end()

    expected, found = variant.run(scenario)
    assert found is expected
    assert metering.events == []


def test_request_bodies_that_are_streams_pass_unread(
    variant: Variant, metering: Metering, provider: FakeProvider
) -> None:
    sent = b'{"model": "gpt-4o", "messages": []}'
    metering.start()
    pulled: list[int] = []

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(sent), 10):
            pulled.append(at)
            yield sent[at : at + 10]

    async def async_pieces() -> Any:
        for piece in pieces():
            yield piece

    async def scenario() -> int:
        caller = metering.caller()
        try:
            content = pieces() if variant.is_sync else async_pieces()
            response = await caller.post(provider.url + CHAT, content=content)
            status: int = response.status_code
            return status
        finally:
            await caller.end()

    assert variant.run(scenario) == 200
    assert provider.requests[-1].body == sent
    assert pulled == list(range(0, len(sent), 10))
    [event] = metering.events
    assert event.request_model is None
    assert event.usage_source == "reported"
