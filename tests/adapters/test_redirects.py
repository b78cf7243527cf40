"""Redirects that repeat a call are that call; the others end it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from aden_transport.events import BeforeRequestResult
from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, CHAT, STREAM, Metering, Variant


def moved(status: int, to: str = CHAT) -> Reply:
    return Reply(status=status, raw=b"moved", headers={"location": to, "content-type": "text/plain"})


def statuses(metering: Metering, url: str, *, client: bool, call: bool | None, body: Any = BODY) -> list[Any]:
    """The events' statuses, of a client that follows or not, told otherwise per call or not."""

    async def scenario() -> None:
        caller = metering.caller(follow_redirects=client)
        arguments = {} if call is None else {"follow_redirects": call}
        with suppress(metering.variant.module.HTTPError, metering.variant.module.InvalidURL):
            await caller.post(url, json=body, **arguments)
        await caller.end()

    metering.variant.run(scenario)
    return [event.status_code for event in metering.events]


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(("client", "call"), [(True, None), (False, True), (True, True)])
def test_a_hop_that_is_followed_is_no_event(
    metering: Metering, provider: FakeProvider, url: str, status: int, client: bool, call: bool | None
) -> None:
    metering.start()
    provider.push(moved(status), moved(status, "/other" + CHAT))
    assert statuses(metering, url, client=client, call=call) == [200]
    assert [request.body for request in provider.requests] == [provider.requests[0].body] * 3


@pytest.mark.parametrize(("client", "call"), [(False, None), (True, False), (False, False)])
def test_a_hop_that_is_not_followed_is_the_event(
    metering: Metering, provider: FakeProvider, url: str, client: bool, call: bool | None
) -> None:
    metering.start()
    provider.push(moved(307))
    assert statuses(metering, url, client=client, call=call) == [307]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_drops_the_body_ends_the_call(
    metering: Metering, provider: FakeProvider, url: str, status: int
) -> None:
    metering.start()
    provider.push(moved(status))
    assert statuses(metering, url, client=True, call=None) == [status]
    assert [request.method for request in provider.requests] == ["POST", "GET"]


@pytest.mark.parametrize("to", ["ftp://127.0.0.1/x", "http://[nonsense"], ids=["scheme", "no-url"])
def test_a_hop_that_leads_nowhere_gives_one_event(
    metering: Metering, provider: FakeProvider, url: str, to: str
) -> None:
    metering.start()
    provider.push(moved(307, to))
    assert len(statuses(metering, url, client=True, call=None)) == 1


def test_too_many_hops_give_one_event(
    variant: Variant, metering: Metering, provider: FakeProvider, url: str
) -> None:
    metering.start()
    provider.script(moved(308))
    assert len(statuses(metering, url, client=True, call=None)) == 1
    assert len(provider.requests) == 21


def test_a_hop_that_fails_is_the_event(metering: Metering, provider: FakeProvider, url: str) -> None:
    metering.start()
    provider.push(moved(307), Reply(status=503))
    assert statuses(metering, url, client=True, call=None) == [503]


def test_a_changed_model_goes_to_every_hop(metering: Metering, provider: FakeProvider, url: str) -> None:
    asked: list[Any] = []

    def hook(params: Any, context: Any) -> BeforeRequestResult:
        asked.append(params["model"])
        return BeforeRequestResult.degrade("gpt-4o-mini", "test")

    metering.start(before_request=hook)
    provider.push(moved(307))
    assert statuses(metering, url, client=True, call=None, body=STREAM) == [200]
    assert [request.json()["model"] for request in provider.requests] == ["gpt-4o-mini"] * 2
    assert asked == ["gpt-4o"]
    [event] = metering.events
    assert (event.degraded_from, event.request_model, event.attempt) == ("gpt-4o", "gpt-4o-mini", 0)
