"""The provider as tests use it: start and stop, scripts, what arrived, many clients."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from typing import Any

import httpx2
import pytest

import aden_transport.testing as testing
from aden_transport.testing import FakeProvider, Reply

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Any = {**BODY, "stream": True}


def text_of(response: httpx2.Response) -> Any:
    return response.json()["choices"][0]["message"]["content"]


def open_socket(provider: FakeProvider) -> socket.socket:
    return socket.create_connection(("127.0.0.1", provider.port), timeout=5)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "aden-fake-provider"]


def test_every_public_name_can_be_imported() -> None:
    assert {name for name in testing.__all__ if getattr(testing, name) is not None} == set(testing.__all__)
    assert set(testing.__all__) <= set(dir(testing))
    with pytest.raises(AttributeError):
        _ = testing.Nonsense


def test_start_and_stop_leave_nothing_behind() -> None:
    provider, before = FakeProvider(), len(threads())
    for _ in range(2):
        provider.start()
        with httpx2.Client() as client:
            assert client.post(provider.openai_base_url + "/chat/completions", json=BODY).status_code == 200
        with pytest.raises(RuntimeError):
            provider.start()
        assert len(threads()) == before + 1
        provider.stop()
        provider.stop()
        assert len(threads()) == before
        assert provider.connections_open == 0
    with pytest.raises(OSError):
        open_socket(provider)


def test_stop_drops_clients_that_wait() -> None:
    with FakeProvider(reply=Reply(delay_ms=60_000)) as provider:
        sockets = [open_socket(provider) for _ in range(20)]
        for one in sockets[:10]:
            one.sendall(b"POST /v1/models HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        provider.wait_for_requests(10)
        started = time.perf_counter()
    assert time.perf_counter() - started < 2
    assert provider.connections_open == 0
    for one in sockets:
        one.close()


def test_a_wanted_port_is_taken_or_refused() -> None:
    with FakeProvider() as first:
        with pytest.raises(OSError):
            FakeProvider(port=first.port).start()
        port = first.port
    with FakeProvider(port=port) as second:
        assert second.url == f"http://127.0.0.1:{port}"


def test_pushed_replies_are_used_in_order_and_then_the_default(
    provider: FakeProvider, raw: httpx2.Client
) -> None:
    provider.push(Reply(text="one", times=2), Reply(text="two"))
    assert provider.pending == 3
    assert [text_of(raw.post(CHAT, json=BODY)) for _ in range(3)] == ["one", "one", "two"]
    assert provider.pending == 0
    assert "short sentence" in text_of(raw.post(CHAT, json=BODY))


def test_pushed_replies_wait_for_their_request(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(text="mine"), match=lambda request: request.json()["model"] == "mine")
    provider.push(Reply(status=500), match="/embeddings")
    assert "short sentence" in text_of(raw.post(CHAT, json=BODY))
    assert text_of(raw.post(CHAT, json={**BODY, "model": "mine"})) == "mine"
    assert provider.pending == 1


def test_scripts_stand_until_reset(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.script(Reply(text="all"))
    provider.script(lambda request: Reply(text=request.json()["model"]) if request.number > 1 else None)
    provider.script(Reply(text="never"), match="/elsewhere")
    assert [text_of(raw.post(CHAT, json=BODY)) for _ in range(3)] == ["all", "gpt-4o", "gpt-4o"]
    provider.push(Reply(text="first"))
    assert text_of(raw.post(CHAT, json=BODY)) == "first"
    provider.reset()
    assert provider.requests == []
    assert "short sentence" in text_of(raw.post(CHAT, json=BODY))


def test_a_script_that_fails_answers_500(
    provider: FakeProvider, raw: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(request: Any) -> Reply:
        raise LookupError("no such thing")

    provider.script(broken)
    with caplog.at_level(logging.ERROR, "aden.testing"):
        response = raw.post(CHAT, json=BODY)
    assert response.status_code == 500
    assert "no such thing" in response.text
    assert caplog.records


def test_headers_change_single_fields(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.script(Reply(text="kept"))
    failed = raw.post(CHAT, json=BODY, headers={"x-fake-status": "429", "x-fake-retry-after-s": "1.5"})
    assert (failed.status_code, failed.headers["retry-after"]) == (429, "1.5")
    omitted = raw.post(CHAT, json=BODY, headers={"x-fake-usage": "omit", "x-fake-chunking": "5"})
    assert "usage" not in omitted.json()
    assert text_of(omitted) == "kept"
    assert raw.post(CHAT, json=BODY, headers={"x-fake-usage": '{"a": 1}'}).json()["usage"] == {"a": 1}


@pytest.mark.parametrize("header", ["x-fake-nonsense", "x-fake-events"])
def test_wrong_headers_are_refused(raw: httpx2.Client, header: str) -> None:
    assert raw.post(CHAT, json=BODY, headers={header: "x"}).status_code == 400


def test_what_arrived_is_kept(provider: FakeProvider, raw: httpx2.Client) -> None:
    raw.post(f"{CHAT}?a=1&b=%20", json=BODY, headers=[("X-Twice", "1"), ("X-Twice", "2")])
    [request] = provider.wait_for_requests(1)
    assert (request.number, request.connection, request.method) == (1, 1, "POST")
    assert (request.path, request.query) == (CHAT, {"a": "1", "b": " "})
    assert request.headers["x-twice"] == "1, 2"
    assert ("X-Twice", "2") in request.raw_headers
    assert request.json() == BODY
    assert (request.complete, request.disconnected, request.answered_status) == (True, False, 200)
    assert provider.bytes_received > len(request.body)


def test_what_is_kept_is_bounded() -> None:
    with (
        FakeProvider(max_requests=3, max_recorded_mib=1) as provider,
        httpx2.Client(base_url=provider.url) as raw,
    ):
        for _ in range(5):
            raw.post(CHAT, json=BODY)
        assert [request.number for request in provider.requests] == [3, 4, 5]
        raw.post(CHAT, content=bytes(600_000))
        raw.post(CHAT, content=bytes(600_000))
        assert [request.number for request in provider.requests] == [7]


def test_waiting_ends(provider: FakeProvider) -> None:
    with pytest.raises(TimeoutError, match="no 1 requests"):
        provider.wait_for_requests(1, timeout=0.05)


def test_no_call_means_no_bytes(provider: FakeProvider) -> None:
    assert (provider.bytes_received, provider.connections_made, provider.requests) == (0, 0, [])


def test_a_client_that_leaves_a_stream_is_noticed(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(events=1000, event_delay_ms=5))
    with raw.stream("POST", CHAT, json=STREAM) as response:
        next(response.iter_raw())
    request = provider.wait_for_disconnect()
    assert request.complete
    assert 0 < request.answered_bytes < 100_000


def test_a_client_that_leaves_while_it_waits_is_noticed(provider: FakeProvider) -> None:
    provider.push(Reply(delay_ms=60_000))
    with pytest.raises(httpx2.ReadTimeout), httpx2.Client(timeout=0.1) as client:
        client.post(provider.url + CHAT, json=BODY)
    assert provider.wait_for_disconnect().answered_status is None


@pytest.mark.parametrize(
    "sent",
    [b"POST /v1/x HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf", b"POST /v1", b"", b"GET / HTTP/1.1\r\n\r\n"],
)
def test_a_client_may_leave_at_any_moment(provider: FakeProvider, raw: httpx2.Client, sent: bytes) -> None:
    with open_socket(provider) as one:
        one.sendall(sent)
    if b"half" in sent:
        assert not provider.wait_for_disconnect().complete
        assert provider.requests[0].body == b"half"
    assert raw.post(CHAT, json=BODY).status_code == 200


def test_a_slow_reader_holds_the_server_back(provider: FakeProvider) -> None:
    provider.push(Reply(text_mb=50))
    with open_socket(provider) as one:
        body = b'{"model":"m","messages":[],"stream":true}'
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        provider.wait_for_requests(1)
        time.sleep(0.3)
        assert provider.requests[0].answered_bytes < 20_000_000
    provider.wait_for_disconnect()


def test_hundreds_of_calls_at_once(provider: FakeProvider) -> None:
    async def call(client: httpx2.AsyncClient, number: int) -> str:
        response = await client.post(provider.url + CHAT, json={**BODY, "model": str(number)})
        return str(response.json()["model"])

    async def main() -> list[str]:
        limits = httpx2.Limits(max_connections=300)
        async with httpx2.AsyncClient(limits=limits, timeout=30) as client:
            return await asyncio.gather(*(call(client, number) for number in range(300)))

    provider.script(Reply(delay_ms=200))
    assert asyncio.run(main()) == [str(number) for number in range(300)]
    assert provider.connections_made > 200


def test_events_of_different_streams_come_side_by_side(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(events=100_000), match=lambda request: request.json()["model"] == "long")
    with raw.stream("POST", CHAT, json={**STREAM, "model": "long"}) as response:
        next(response.iter_raw())
        assert raw.post(CHAT, json=BODY).status_code == 200
