"""HTTP/1.1 as clients really and wrongly send it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx2
import pytest

from aden_transport.testing import FakeProvider


def talk(provider: FakeProvider, sent: bytes) -> bytes:
    """Send, say that nothing more comes, and read to the end."""
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as one:
        one.sendall(sent)
        got = b""
        while piece := one.recv(65536):
            got += piece
        return got


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/3\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n", 413),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000, 431),
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_closed(
    provider: FakeProvider, sent: bytes, status: int
) -> None:
    assert talk(provider, sent).startswith(b"HTTP/1.1 %d " % status)


def test_http_1_0_is_answered_and_closed(provider: FakeProvider) -> None:
    got = talk(provider, b"GET /v1/models HTTP/1.0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" in got


def test_pipelined_requests_are_answered_in_order(provider: FakeProvider) -> None:
    got = talk(
        provider,
        b"GET /v1/models/a HTTP/1.1\r\n\r\nGET /v1/models/b HTTP/1.1\r\nconnection: close\r\n\r\n",
    )
    assert got.index(b'"id": "a"') < got.index(b'"id": "b"')


def test_chunked_bodies_are_put_together(provider: FakeProvider, raw: httpx2.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"input": "a",'
        yield b'"model": "m", "dimensions": 1}'

    assert raw.post("/v1/embeddings", content=pieces()).json()["model"] == "m"
    assert provider.requests[0].body == b'{"input": "a","model": "m", "dimensions": 1}'


def test_trailers_are_dropped(provider: FakeProvider) -> None:
    got = talk(
        provider,
        b"POST /v1/moderations HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        b"2;x=y\r\n{}\r\n0\r\ntrailer: 1\r\n\r\n",
    )
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert provider.requests[0].body == b"{}"


def test_expect_continue_is_met(provider: FakeProvider) -> None:
    got = talk(
        provider,
        b"POST /v1/moderations HTTP/1.1\r\nexpect: 100-continue\r\n"
        b"content-length: 2\r\nconnection: close\r\n\r\n{}",
    )
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_head_has_no_body(raw: httpx2.Client) -> None:
    response = raw.head("/v1/models")
    assert response.status_code == 404
    assert response.content == b""
    assert raw.get("/v1/models").status_code == 200


def test_large_bodies_arrive_whole(provider: FakeProvider, raw: httpx2.Client) -> None:
    body = b'{"input": "%b"}' % (b"a" * 3_000_000)
    assert raw.post("/v1/moderations", content=body).status_code == 200
    assert len(provider.requests[0].body) == len(body)
