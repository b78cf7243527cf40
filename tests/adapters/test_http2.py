"""HTTP/2, without TLS: the same as of the bare client, and one event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .h2server import EVENTS, JSON, H2Server
from .kit import BODY, CHAT, STREAM, Caller, Metering, Variant

pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")


@pytest.fixture(scope="module")
def server() -> Iterator[H2Server]:
    running = H2Server()
    yield running
    running.stop()


async def observe(caller: Caller, url: str, body: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {"pieces": []}
    request = caller.client.build_request("POST", url, json=body)
    try:
        response = await caller.send(request, stream=True)
        assert response.request is request
        seen["head"] = (response.status_code, response.http_version, response.headers.raw)
        async for piece in caller.raw(response):
            seen["pieces"].append(piece)
        seen["closed"] = response.is_closed
    except Exception as exc:
        seen["error"] = (type(exc), str(exc))
    seen["body"] = b"".join(seen["pieces"])
    return seen


def call(metering: Metering, url: str, body: Any) -> dict[str, Any]:
    variant: Variant = metering.variant

    async def scenario() -> dict[str, Any]:
        inner = variant.transport(http1=False, http2=True)
        caller = metering.caller(transport=inner)
        try:
            return await observe(caller, url, body)
        finally:
            await caller.end()

    return variant.run(scenario)


@pytest.mark.parametrize("kind", ["json", "stream", "reset", "goaway", "lost"])
def test_http2_is_the_same_with_us(metering: Metering, server: H2Server, kind: str) -> None:
    url, body = f"{server.url}/{kind}{CHAT}", BODY if kind == "json" else STREAM
    bare = call(Metering(metering.variant.bare), url, body)
    metering.start()
    metered = call(metering, url, body)
    assert metered["head"] == bare["head"]
    assert metered["head"][1] == "HTTP/2"
    assert metered.get("error") == bare.get("error")
    assert metered.get("closed") == bare.get("closed")
    [event] = metering.events
    assert event.status_code == 200
    match kind:
        case "json":
            assert metered["pieces"] == bare["pieces"] == [JSON]
            assert (event.total_tokens, event.faults) == (7, ())
        case "stream":
            assert metered["pieces"] == bare["pieces"] == EVENTS
            assert (event.finish_reasons, event.faults) == (("stop",), ())
        case _:
            # How much of what was sent arrived before the end is the network's.
            assert EVENTS[0].startswith(metered["body"])
            assert issubclass(metered["error"][0], metering.variant.module.RemoteProtocolError)
            assert event.error is not None
            assert event.error.startswith(metered["error"][0].__name__)
            assert event.faults == ("stream.abandoned",)


def test_calls_side_by_side_on_one_connection(metering: Metering, server: H2Server) -> None:
    metering.start()
    variant = metering.variant

    async def scenario() -> None:
        caller = metering.caller(transport=variant.transport(http1=False, http2=True))
        first = await caller.open(f"{server.url}/stream{CHAT}")
        second = await caller.open(f"{server.url}/stream{CHAT}")
        await caller.post(f"{server.url}/json{CHAT}", json=BODY)
        assert await caller.read(second) == await caller.read(first) == b"".join(EVENTS)
        await caller.end()

    variant.run(scenario)
    assert [event.stream for event in metering.events] == [False, True, True]
    assert [event.faults for event in metering.events] == [()] * 3
