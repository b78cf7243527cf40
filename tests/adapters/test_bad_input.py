"""Answers that are not what they should be, and emitters that misbehave: never the application's concern."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from aden_transport import MetricEvent, _guard, flush
from aden_transport.testing import NO_USAGE, FakeProvider, Reply

from .kit import BODY, CHAT, STREAM, VARIANTS, Metering, Variant, consume, open_exchanges

pytestmark = pytest.mark.filterwarnings("ignore:Async generator .* was garbage collected:ResourceWarning")
EVENT_STREAM: Mapping[str, str | None] = {"content-type": "text/event-stream"}


def raw_of(metering: Metering, url: str, body: Any, **arguments: Any) -> bytes:
    """The body as it came over the wire, which nothing can keep from coming."""

    async def scenario() -> bytes:
        caller = metering.caller()
        response = await caller.open(url, body, **arguments)
        pieces = await consume(caller.raw(response))
        await caller.end()
        return b"".join(pieces)

    return metering.variant.run(scenario)


JSON_CASES: Mapping[str, tuple[Reply, str]] = {
    "cut": (Reply(raw=b'{"id": "1", "usage": {"prompt'), "body"),
    "no JSON at all": (Reply(raw=b"<html>busy</html>", headers={"content-type": "application/json"}), "body"),
    "bad UTF-8": (Reply(raw=b'{"id": "\xff\xfe"}'), "body"),
    "deep": (Reply(raw=b"[" * 200_000), "body"),
    "truncated gzip": (Reply(encoding="gzip", encoding_fault="truncated"), "encoding"),
    "corrupt gzip": (Reply(encoding="gzip", encoding_fault="corrupt"), "encoding"),
    "not gzip": (Reply(encoding="gzip", encoding_fault="mislabelled"), "encoding"),
    "unknown coding": (Reply(headers={"content-encoding": "rot13"}), "encoding"),
}
STREAM_CASES: Mapping[str, tuple[Reply, str]] = {
    "malformed event": (Reply(raw=b"data: {nonsense\n\ndata: [DONE]\n\n", headers=EVENT_STREAM), "stream"),
    "no event": (Reply(raw=b"nonsense", headers=EVENT_STREAM), "stream"),
    "cut event": (Reply(raw=b'data: {"id":"1","choices":[', headers=EVENT_STREAM), "stream"),
    "truncated gzip": (Reply(encoding="gzip", encoding_fault="truncated"), "encoding"),
    "corrupt deflate": (Reply(encoding="deflate", encoding_fault="corrupt"), "encoding"),
    "not gzip": (Reply(encoding="gzip", encoding_fault="mislabelled"), "encoding"),
}


def event_with_fault(
    metering: Metering, provider: FakeProvider, url: str, body: Any, reply: Reply, fault: str
) -> MetricEvent:
    """The event of a call that is answered with `reply`, which has to name `fault`."""
    metering.start()
    provider.script(reply)
    raw_of(metering, url, body)
    [event] = metering.events
    assert event.status_code == 200
    assert any(fault in name for name in event.faults), event.faults
    return event


@pytest.mark.parametrize("case", JSON_CASES)
def test_a_bad_body_is_named_in_the_event(
    metering: Metering, provider: FakeProvider, url: str, case: str
) -> None:
    event = event_with_fault(metering, provider, url, BODY, *JSON_CASES[case])
    assert event.usage is None


@pytest.mark.parametrize("case", STREAM_CASES)
def test_a_bad_stream_is_named_in_the_event(
    metering: Metering, provider: FakeProvider, url: str, case: str
) -> None:
    event = event_with_fault(metering, provider, url, STREAM, *STREAM_CASES[case])
    assert event.usage_source == "estimated"


USAGES: Mapping[str, Any] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": 3},
    "NaN": {"prompt_tokens": float("nan"), "completion_tokens": 3},
    "infinite": {"prompt_tokens": float("inf"), "completion_tokens": 3},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 3},
    "a word": {"prompt_tokens": "twelve", "completion_tokens": 3},
    "a list": [1, 2],
    "a flag": {"prompt_tokens": True, "completion_tokens": 3},
}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("case", USAGES)
def test_figures_that_cannot_be_are_named_and_not_billed(
    metering: Metering, provider: FakeProvider, url: str, case: str, stream: bool
) -> None:
    metering.start()
    provider.script(Reply(usage=USAGES[case]))
    body = {**STREAM, "stream_options": {"include_usage": True}} if stream else BODY
    raw_of(metering, url, body)
    [event] = metering.events
    assert event.faults
    for count in (event.input_tokens, event.output_tokens):
        assert count is None or 0 <= count < 10**12
    assert event.cost_usd is None or 0 <= event.cost_usd < 10**6
    json.dumps(event.to_dict(), allow_nan=False)


def test_no_usage_is_no_fault_and_no_cost(metering: Metering, provider: FakeProvider, url: str) -> None:
    metering.start()
    provider.script(Reply(usage=NO_USAGE))
    raw_of(metering, url, BODY)
    [event] = metering.events
    assert (event.usage, event.cost_usd) == (None, None)


REQUESTS: Mapping[str, bytes] = {
    "no JSON": b"nonsense",
    "empty": b"",
    "a list": b"[1,2,3]",
    "bad UTF-8": b'{"model":"\xff"}',
    "model no string": b'{"model":{"a":1},"stream":"yes","n":"many","messages":7}',
    "deep": b'{"model":"gpt-4o","x":' + b"[" * 100_000,
    "NaN": b'{"model":"gpt-4o","temperature":NaN}',
    "twice": b'{"model":"gpt-4o","model":"gpt-4o-mini"}',
}


@pytest.mark.parametrize("case", REQUESTS)
def test_bad_requests_leave_as_they_are(
    metering: Metering, provider: FakeProvider, url: str, case: str
) -> None:
    metering.start()
    provider.script(Reply(raw=b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}'))

    async def scenario() -> None:
        caller = metering.caller()
        await caller.post(url, content=REQUESTS[case])
        await caller.end()

    metering.variant.run(scenario)
    assert [request.body for request in provider.requests] == [REQUESTS[case]]
    assert len(metering.events) == 1


SYNC = [variant for variant in VARIANTS if variant.is_sync]


class Broken(Exception):
    pass


def with_own_metering(variant: Variant, **changes: Any) -> Metering:
    metering = Metering(variant)
    metering.start(**changes)
    return metering


@pytest.mark.parametrize("in_call", [True, False], ids=["in the call", "on the thread"])
def test_an_emitter_that_raises_is_counted_and_logged_once(
    variant: Variant, provider: FakeProvider, url: str, caplog: pytest.LogCaptureFixture, in_call: bool
) -> None:
    told: list[Any] = []

    def broken(event: Any) -> None:
        raise Broken("emitter")

    metering = with_own_metering(
        variant,
        emit_metric=broken,
        async_emit=not in_call,
        on_emit_error=lambda event, exc: told.append((event.status_code, type(exc))),
    )

    async def scenario() -> None:
        caller = metering.caller()
        for _ in range(3):
            assert (await caller.post(url, json=BODY)).status_code == 200
            assert b"[DONE]" in await caller.read(await caller.open(url))
        assert flush(5.0)
        await caller.end()

    with caplog.at_level(logging.WARNING, "aden"):
        variant.run(scenario)
    metering.stop()
    assert told == [(200, Broken)] * 6
    assert _guard.fault_counts() == {"emit:Broken": 6}
    assert len([record for record in caplog.records if record.name.startswith("aden")]) == 1


def test_an_emitter_that_blocks_holds_up_no_call(variant: Variant, provider: FakeProvider, url: str) -> None:
    let_go = threading.Event()
    entered = threading.Event()
    emitted: list[Any] = []

    def blocking(event: Any) -> None:
        entered.set()
        assert let_go.wait(30)
        emitted.append(event)

    metering = with_own_metering(variant, emit_metric=blocking)

    async def scenario() -> None:
        caller = metering.caller()
        for _ in range(3):
            await caller.post(url, json=BODY)
            await caller.read(await caller.open(url))
        assert entered.wait(10)
        assert emitted == []
        let_go.set()
        assert flush(10.0)
        await caller.end()

    try:
        variant.run(scenario)
    finally:
        let_go.set()
    metering.stop()
    assert len(emitted) == 6


@pytest.mark.parametrize("where", ["look", "receive_response", "__init__"])
def test_a_fault_of_ours_is_counted_and_the_call_goes_on(
    variant: Variant,
    provider: FakeProvider,
    url: str,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever breaks in the core, the bytes pass."""
    from aden_transport.core.exchange import Exchange
    from aden_transport.core.observe import StreamObserver

    def broken(*_: Any, **__: Any) -> None:
        raise Broken("core")

    provider.script(Reply(events=3))
    expected = raw_of(Metering(variant.bare), url, STREAM)
    metering = with_own_metering(variant)
    monkeypatch.setattr(StreamObserver if where == "look" else Exchange, where, broken)
    with caplog.at_level(logging.WARNING, "aden"):
        found = [raw_of(metering, url, STREAM) for _ in range(2)]
    metering.stop()
    # The id is the request's number.
    assert [len(body) for body in found] == [len(expected)] * 2
    part = {"look": "observe", "receive_response": "observe", "__init__": "open"}[where]
    assert _guard.fault_counts() == {f"{part}:Broken": 2}
    assert len(caplog.records) == 1
    assert open_exchanges() == 0
    if where == "look":
        assert [event.faults[0] for event in metering.events] == ["observe.failed"] * 2


@pytest.mark.parametrize("variant", SYNC, ids=str)
@pytest.mark.parametrize("host", ["example.com", "localhost", "127.0.0.1:1", "xn--nxasmq6b.example"])
def test_other_hosts_and_paths_are_not_seen(variant: Variant, metering: Metering, host: str) -> None:
    metering.start()
    seen: list[Any] = []

    def handler(request: Any) -> Any:
        seen.append(request)
        return variant.module.Response(200, content=b"x")

    with suppress(AttributeError), metering.caller(transport=variant.mock(handler)).client as client:
        for path in ("/", "/v1/models", "/chat", "/api/embeddingsx"):
            client.post(f"http://{host}{path}", json=BODY)
            client.get(f"http://{host}{path}")
    assert len(seen) == 8
    assert metering.events == []
    assert CHAT not in {request.url.path for request in seen}
