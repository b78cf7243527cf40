"""Bodies that are too large, too deep, too slow, or grow when they are unpacked."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server import wire
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.wire import MAX_BODY_BYTES
from aden_transport.framing import content_encoding

from .kit import Team
from .served import Served, served
from .test_events import fresh, post

pytestmark = pytest.mark.parametrize("address", ["sqlite"], indirect=True)

ROUTES = ["/v1/control/events", "/v1/control/content", "/v1/ledger/leases", "/v1/control/budget/validate"]


def refused(client: TestClient, path: str, body: bytes, status: int, **headers: str) -> None:
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == status, answer.text[:200]
    assert answer.json()["message"]


@pytest.mark.parametrize("path", ROUTES)
def test_large_bodies_are_refused(client: TestClient, path: str) -> None:
    refused(client, path, b" " * (MAX_BODY_BYTES + 1), 413)


def test_large_bodies_without_a_length_are_refused(client: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 2):
            yield b" " * 65536

    answer = client.post(ROUTES[0], content=pieces())
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"events":['])
def test_deep_bodies_are_refused(client: TestClient, path: str, opening: bytes) -> None:
    refused(client, path, opening * 200_000, 400)
    closing = b"}" if opening == b'{"a":' else b"]}" if opening.startswith(b'{"e') else b"]"
    body = opening * 100_000 + (b"1" if opening == b'{"a":' else b"") + closing * 100_000
    answer = client.post(path, content=body)
    assert 400 <= answer.status_code < 500


@cache
def bomb(size: int = 100 << 20) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    zeros = b" " * (1 << 20)
    return b"".join([packer.compress(zeros) for _ in range(size >> 20)]) + packer.flush()


@pytest.mark.parametrize("path", ROUTES)
def test_a_bomb_is_not_unpacked(client: TestClient, path: str) -> None:
    packed = bomb()
    tracemalloc.start()
    try:
        refused(client, path, packed, 413, **{"content-encoding": "gzip"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_a_bomb_in_a_bomb_and_one_of_zstd_are_not_unpacked(client: TestClient) -> None:
    twice = gzip.compress(bomb())
    refused(client, ROUTES[0], twice, 413, **{"content-encoding": "gzip, gzip"})
    zstd = pytest.importorskip("zstandard")
    packed = zstd.ZstdCompressor(level=3).compress(b" " * (16 << 20))
    refused(client, ROUTES[0], packed, 413, **{"content-encoding": "zstd"})


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (b"{}", "gzip", 400),
        (gzip.compress(b'{"events": []}', mtime=0)[:-4], "gzip", 400),
        (gzip.compress(b'{"events": []}', mtime=0) + b"more", "gzip", 400),
        (b"{}", "rot13", 415),
        (b"{}", ", ".join(["gzip"] * 9), 415),
        (b"\x00" * 100, "zstd", 400),
    ],
)
def test_what_is_not_packed_as_it_says_is_refused(
    client: TestClient, body: bytes, coding: str, status: int
) -> None:
    refused(client, ROUTES[0], body, status, **{"content-encoding": coding})


def test_a_coding_that_is_not_read_is_answered_with_those_that_are(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(content_encoding._STAGES, "zstd", lambda: None)
    monkeypatch.setitem(content_encoding._STAGES, "br", lambda: None)
    answer = client.post("/v1/control/events", content=b"x", headers={"Content-Encoding": "zstd"})
    assert answer.status_code == 415
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert "gzip, deflate" in answer.json()["message"]
    assert "Python 3.14" in answer.json()["message"]
    answer = client.post("/v1/control/events", content=b"x", headers={"Content-Encoding": "rot13"})
    assert "Python 3.14" not in answer.json()["message"]


def test_empty_members_without_end_are_not_read_for_ever(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 1 << 16)
    empty = gzip.compress(b"", mtime=0) * 1000

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield empty

    answer = client.post(ROUTES[0], content=pieces(), headers={"content-encoding": "gzip"})
    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_S", 0.1)

    async def ask() -> list[Any]:
        """The body never comes: what a connection looks like from within."""
        import anyio

        sent: list[Any] = []
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": ROUTES[0],
            "raw_path": ROUTES[0].encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(b"authorization", client.headers["authorization"].encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }

        async def receive() -> Any:
            await anyio.sleep_forever()

        async def send(message: Any) -> None:
            sent.append(message)

        with anyio.fail_after(30):
            await client.app(scope, receive, send)
        return sent

    assert client.portal is not None
    sent = client.portal.call(ask)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_server_answers_others_while_some_are_slow(
    storage: Storage, team: Team, address: str, tmp_path: Path
) -> None:
    with served(address, tmp_path) as server:
        slow = [_half_a_request(server, team) for _ in range(60)]
        with httpx.Client(base_url=server.url, headers=dict(team.headers), trust_env=False) as client:
            answer = client.post("/v1/control/events", json={"events": [fresh(event_id="e1")]})
            assert answer.json()["processed"] == 1
            assert client.get("/v1/control/agents").status_code == 200
        # Half a body that is cut off is nothing, and no fault of the server.
        for connection in slow:
            connection.close()
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    assert "Traceback" not in server.log


def _half_a_request(server: Served, team: Team) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    token = team.headers["Authorization"]
    head = f"POST {ROUTES[0]} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 1000\r\n\r\n"
    connection.sendall(head.encode() + b'{"events": [')
    return connection


def test_numbers_that_are_none_do_no_harm(client: TestClient) -> None:
    body = b'{"events": [{"event_id": "e1", "cost_usd": NaN, "latency_ms": Infinity, "usage": 1e999}]}'
    assert client.post(ROUTES[0], content=body).json()["processed"] == 1
    assert post(client, {"event_id": "e2", "n": 2**63, "m": -(2**63)})["processed"] == 1
    for path in ROUTES[1:]:
        assert 400 <= client.post(path, content=b'{"x": NaN}').status_code < 500
