"""What goes over the wire: boundaries, transfer-codings, pace, and broken connections."""

from __future__ import annotations

import json
import time
from typing import Any, Literal

import httpx2
import pytest

from aden_transport.testing import FakeProvider, Reply

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM: Any = {**BODY, "stream": True}


def chunks(raw: httpx2.Client, body: Any = STREAM, path: str = CHAT) -> list[bytes]:
    with raw.stream("POST", path, json=body) as response:
        return list(response.iter_raw())


def test_each_event_is_one_chunk(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(events=3))
    got = chunks(raw)
    assert len(got) == 1 + 3 + 1 + 1
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in got)
    assert got[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize("body", [BODY, STREAM])
@pytest.mark.parametrize("chunking", ["whole", "byte", 1, 7, 10_000])
def test_the_boundaries_are_those_asked_for(
    provider: FakeProvider, raw: httpx2.Client, body: Any, chunking: Literal["whole", "byte"] | int
) -> None:
    provider.script(Reply(events=2, chunking=chunking))
    got = chunks(raw, body)
    if chunking == "whole":
        assert len(got) == 1
        return
    size = 1 if chunking == "byte" else chunking
    assert {len(piece) for piece in got[:-1]} <= {size}
    assert 0 < len(got[-1]) <= size
    assert b"".join(got).endswith(b"}\n" if body is BODY else b"[DONE]\n\n")


def test_a_single_answer_tells_its_length(raw: httpx2.Client) -> None:
    response = raw.post(CHAT, json=BODY)
    assert int(response.headers["content-length"]) == len(response.content)
    assert "transfer-encoding" not in response.headers


def test_transfer_can_be_chosen(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(transfer="chunked"), Reply(transfer="close"), Reply(transfer="close"))
    assert raw.post(CHAT, json=BODY).headers["transfer-encoding"] == "chunked"
    closing = raw.post(CHAT, json=STREAM)
    assert "transfer-encoding" not in closing.headers
    assert closing.headers["connection"] == "close"
    assert closing.text.endswith("data: [DONE]\n\n")
    assert raw.post(CHAT, json=BODY).json()["object"] == "chat.completion"


def test_a_length_for_a_stream_is_refused(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(transfer="length"))
    response = raw.post(CHAT, json=STREAM)
    assert response.status_code == 500
    assert "transfer='length'" in response.text


def test_connections_are_kept_alive(provider: FakeProvider, raw: httpx2.Client) -> None:
    for _ in range(3):
        raw.post(CHAT, json=STREAM)
    assert {request.connection for request in provider.requests} == {1}
    raw.post(CHAT, json=BODY, headers={"connection": "close"})
    raw.post(CHAT, json=BODY)
    assert provider.requests[-1].connection == 2


def test_delays_come_before_the_headers_and_between_the_events(
    provider: FakeProvider, raw: httpx2.Client
) -> None:
    provider.push(Reply(delay_ms=60, event_delay_ms=20, events=2))
    started = time.perf_counter()
    with raw.stream("POST", CHAT, json=STREAM) as response:
        headers_after = time.perf_counter() - started
        arrivals = [time.perf_counter() - started for _ in response.iter_raw()]
    assert headers_after >= 0.06
    assert arrivals[-1] - arrivals[0] >= 4 * 0.02 * 0.9


def test_status_and_headers_can_be_set_and_removed(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(status=202, headers={"X-Request-Id": "mine", "openai-version": None, "extra": "1"}))
    response = raw.post(CHAT, json=BODY)
    assert response.status_code == 202
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert "openai-version" not in response.headers
    assert response.headers["extra"] == "1"


def test_a_raw_body_is_sent_verbatim_whatever_the_path(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.script(Reply(raw=b"\xff{not json", status=200, headers={"content-type": "x/y"}))
    for path in (CHAT, "/model/some-model/invoke"):
        response = raw.post(path, json=BODY)
        assert response.content == b"\xff{not json"
        assert response.headers["content-type"] == "x/y"


def test_a_raw_body_goes_with_an_error_status(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(status=502, raw=b"<html>"))
    response = raw.post(CHAT, json=BODY)
    assert (response.status_code, response.content) == (502, b"<html>")


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(provider: FakeProvider, raw: httpx2.Client, status: int) -> None:
    provider.push(Reply(status=status))
    empty = raw.post(CHAT, json=STREAM)
    assert empty.content == b""
    assert not {"content-length", "transfer-encoding"} & set(empty.headers)
    assert raw.post(CHAT, json=BODY).status_code == 200


@pytest.mark.parametrize("events", [0, 2, 1000])
def test_a_stream_can_break_after_some_events(
    provider: FakeProvider, raw: httpx2.Client, events: int
) -> None:
    provider.push(Reply(disconnect_after_events=events, events=4))
    got: list[bytes] = []
    with pytest.raises(httpx2.RemoteProtocolError), raw.stream("POST", CHAT, json=STREAM) as response:
        got.extend(response.iter_raw())
    assert len(got) == min(events, 7)


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_body_can_break_after_some_bytes(provider: FakeProvider, raw: httpx2.Client, body: Any) -> None:
    provider.push(Reply(disconnect_after_bytes=50))
    got: list[bytes] = []
    with pytest.raises(httpx2.RemoteProtocolError), raw.stream("POST", CHAT, json=body) as response:
        got.extend(response.iter_raw())
    assert len(b"".join(got)) == 50


def test_the_connection_can_break_before_the_headers(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(disconnect_before_headers=True))
    with pytest.raises(httpx2.RemoteProtocolError):
        raw.post(CHAT, json=BODY)


def test_an_openai_stream_breaks_with_an_error_event(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(error_after_events=2))
    got = chunks(raw)
    assert len(got) == 3
    assert json.loads(got[-1].removeprefix(b"data: "))["error"]["type"] == "server_error"


def test_a_gemini_stream_breaks_with_bare_json(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(error_after_events=1))
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    got = chunks(raw, body, "/v1beta/models/m:streamGenerateContent?alt=sse")
    assert json.loads(got[-1])["error"]["status"] == "INTERNAL"


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages", "/v1beta/models/m:generateContent"])
def test_a_large_answer_is_made_while_it_is_sent(
    provider: FakeProvider, raw: httpx2.Client, path: str
) -> None:
    provider.push(Reply(text_mb=3))
    body = {**BODY, "input": "x", "contents": [], "max_tokens": 9}
    if "models" in path:
        body = {"contents": []}
    response = raw.post(path, json=body)
    assert response.headers["transfer-encoding"] == "chunked"
    assert 3_000_000 < len(response.content) < 3_010_000
    assert isinstance(response.json(), dict)


def test_a_large_stream(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(text_mb=2.5))
    events = b"".join(chunks(raw)).split(b"\n\n")[:-2]
    deltas = [json.loads(event.removeprefix(b"data: "))["choices"][0]["delta"] for event in events]
    assert sum(len(delta.get("content", "")) for delta in deltas) == 2_500_000
