"""The WebSocket: what has changed is told at once, in every process of the server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from socket import create_connection
from typing import Any

import httpx2
import pytest
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError

from aden_transport.control.messages import MAX_FRAME_BYTES

from .kit import wait_for
from .running import Running, connected, receive

BEAT = {"event_type": "heartbeat", "sdk_instance_id": "i1", "agent_name": "writer", "status": "healthy"}


@pytest.fixture(scope="module")
def pushing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One process for all tests here."""
    with Running(tmp_path_factory.mktemp("server")) as running:
        yield running


def put(server: Running, budgets: list[Any]) -> None:
    server.ask("PUT", "/v1/control/policies/default", {"budgets": budgets})


def test_the_policy_comes_at_once_and_at_every_change(pushing: Running) -> None:
    put(pushing, [{"limit": 1}])
    with connected(pushing) as socket:
        first = receive(socket, "policy")
        assert first["policy"]["budgets"][0]["limit"] == 1
        etag = {"If-None-Match": f'"{first["etag"]}"', "Authorization": f"Bearer {pushing.tokens['admin']}"}
        fetched = httpx2.get(f"{pushing.url}/v1/control/policy?spent=false", headers=etag)
        assert fetched.status_code == 304
        put(pushing, [{"limit": 2}])
        second = receive(socket, "policy")
        assert second["policy"]["budgets"][0]["limit"] == 2
        assert int(second["version"]) == int(first["version"]) + 1


def test_a_change_of_prices_is_told(pushing: Running) -> None:
    put(pushing, [{"limit": 1}])
    with connected(pushing) as socket:
        receive(socket, "pricing")
        own = {"input": 1, "output": 2}
        pushing.ask("PUT", "/tsdb/pricing", {"pricing": {"mine": own}})
        receive(socket, "pricing")
        pushing.ask("PUT", "/tsdb/pricing", {"pricing": {"mine": own}})
        put(pushing, [{"limit": 2}])
        # Nothing has changed since but the policy.
        message = json.loads(socket.receive_text(timeout=60))
        assert (message["type"], message["policy"]["budgets"][0]["limit"]) == ("policy", 2)
    pushing.ask("PUT", "/tsdb/pricing", {"pricing": {"mine": None}})


def test_sums_come_where_they_are_wanted(pushing: Running) -> None:
    put(pushing, [{"limit": 100}])
    with connected(pushing, "?sums=true") as socket:
        before = receive(socket, "sums")["budgets"][0]["spent"]
        body = {"amount_usd": 0.5, "reason": "test"}
        pushing.ask("POST", "/v1/control/budget/global/adjust", body)
        moved = receive(socket, "sums", lambda message: message["budgets"][0]["spent"] != before)
        assert moved["budgets"][0]["spent"] == before + 0.5


def test_events_and_heartbeats_are_taken(pushing: Running) -> None:
    cursor = pushing.ask("GET", "/v1/control/events/tail")["cursor"]
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with connected(pushing, **{"X-SDK-Instance-ID": "i1"}) as socket:
        socket.send_text(json.dumps({**BEAT, "timestamp": stamp}))
        assert receive(socket, "taken")["processed"] == 1
        event = {"event_type": "error", "event_id": "e1", "timestamp": stamp, "message": "x"}
        socket.send_text(json.dumps({"type": "events", "events": [event, 5]}))
        taken = receive(socket, "taken")
        assert (taken["processed"], taken["refused"]) == (1, 1)
        (agent,) = pushing.ask("GET", "/v1/control/agents")["agents"]
        assert (agent["agent_name"], agent["websocket_connected"]) == ("writer", True)
        socket.send_text('{"type": "ping"}')
        assert receive(socket, "pong") == {"type": "pong"}
    assert pushing.ask("GET", "/v1/control/events/tail", cursor=cursor)["events"][0]["event_id"] == "e1"

    def is_gone() -> bool:
        (agent,) = pushing.ask("GET", "/v1/control/agents")["agents"]
        return not agent["websocket_connected"]

    wait_for(is_gone)


@pytest.mark.parametrize("text", ["{", "5", "[]", '{"type": "events", "events": 5}'])
def test_what_cannot_be_read_is_answered(pushing: Running, text: str) -> None:
    with connected(pushing) as socket:
        socket.send_text(text)
        assert receive(socket, "error")["message"]


def test_a_frame_that_is_too_large_ends_the_socket(pushing: Running) -> None:
    with connected(pushing) as socket, pytest.raises(HTTPXWSException):
        socket.send_text("x" * (MAX_FRAME_BYTES + 1))
        while True:
            socket.receive_text(timeout=60)


def test_a_policy_larger_than_a_frame_is_to_be_fetched(pushing: Running) -> None:
    put(pushing, [{"type": "agent", "name": "x" * 200 + str(n), "limit": n} for n in range(5000)])
    with connected(pushing) as socket:
        told = receive(socket, "changed")
    assert "policy" not in told
    assert len(pushing.ask("GET", "/v1/control/policy", spent=False)["budgets"]) == 5000
    put(pushing, [])


def test_only_who_may_is_let_in(pushing: Running) -> None:
    cases: list[tuple[dict[str, str], str, int]] = [
        ({"Authorization": "Bearer no"}, "", 401),
        ({"Origin": "https://elsewhere.example"}, "", 403),
        ({}, "?policy_id=none", 404),
    ]
    for headers, path, status in cases:
        with pytest.raises(WebSocketUpgradeError) as refused, connected(pushing, path, **headers):
            pass
        assert refused.value.response.status_code == status
        assert refused.value.response.headers["x-aden-server"] == "aden-transport"
    with connected(pushing, **{"Origin": pushing.url}) as socket:
        receive(socket, "policy")


def test_a_revoked_key_is_shown_out(pushing: Running) -> None:
    key = pushing.ask("POST", "/v1/keys", {"name": "short"})
    pushing.tokens["short"] = key["token"]
    with connected(pushing, use="short") as socket, pytest.raises(HTTPXWSException):
        receive(socket, "policy")
        pushing.ask("DELETE", f"/v1/keys/{key['id']}")
        while True:
            socket.receive_text(timeout=60)


def test_frames_are_not_unpacked(pushing: Running) -> None:
    offered = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    head = {
        **{"Host": pushing.url.removeprefix("http://"), "Upgrade": "websocket", "Connection": "Upgrade"},
        **{"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"},
        **{"Authorization": f"Bearer {pushing.tokens['agents']}"},
    }
    lines = [f"{name}: {value}\r\n" for name, value in (head | offered).items()]
    with create_connection(("127.0.0.1", pushing.port), 60) as connection:
        connection.sendall(f"GET /v1/control/push HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"permessage-deflate" not in answer.partition(b"\r\n\r\n")[0]
