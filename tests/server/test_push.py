"""The WebSocket: what has changed is told at once, in every process of the server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2.websockets import HTTPXWSException, WebSocketUpgradeError

from aden_transport.control.messages import MAX_FRAME_BYTES

from .kit import wait_for
from .postgres import new_database
from .running import Running

BEAT = {"event_type": "heartbeat", "sdk_instance_id": "i1", "agent_name": "writer", "status": "healthy"}


@pytest.fixture(scope="module")
def pushing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One process for all tests here."""
    with Running(tmp_path_factory.mktemp("server")) as running:
        yield running


@contextmanager
def connected(server: Running, path: str = "", use: str = "agents", **headers: str) -> Iterator[Any]:
    """A socket, and all that comes through it is JSON."""
    address = server.url.replace("http", "ws", 1) + "/v1/control/push" + path
    asked = {"Authorization": f"Bearer {server.tokens[use]}", **headers}
    with httpx2.Client() as client, client.websocket(address, headers=asked) as socket:
        yield socket


def receive(socket: Any, kind: str, met: Callable[[Any], bool] = lambda _: True) -> Any:
    """The next message of a kind that `met` is true for."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        message = json.loads(socket.receive_text(timeout=60))
        if message["type"] == kind and met(message):
            return message
    raise AssertionError(f"no {kind} came")


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


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_change_in_one_process_is_told_by_another(kind: str, tmp_path: Path) -> None:
    database = new_database() if kind == "postgresql" else f"sqlite:///{tmp_path}/shared.sqlite3"
    with Running(tmp_path / "one", database) as one:
        other = Running(tmp_path / "other", database)
        other.tokens = one.tokens
        with other, connected(other) as socket:
            receive(socket, "policy")
            put(one, [{"limit": 7}])
            assert receive(socket, "policy")["policy"]["budgets"][0]["limit"] == 7


def test_the_end_of_the_server_ends_the_sockets(tmp_path: Path) -> None:
    with Running(tmp_path / "server") as server, connected(server) as socket:
        receive(socket, "policy")
        assert server.stop() == 0
        with pytest.raises(HTTPXWSException):
            socket.receive_text(timeout=60)
