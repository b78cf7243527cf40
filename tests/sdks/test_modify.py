"""`modify_params`: what it returns is sent, once asked per logical call, in every SDK and colour."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from aden_transport import BeforeRequestContext, RequestCancelledError
from aden_transport.testing import FakeProvider, Reply

from .support import HELLO, WAYS, Clients, Metered, Way, async_client, openai_sync

SOON = {"retry-after-ms": "1", "retry-after": None}
BODIES = [way for way in WAYS if way.sdk != "gemini"]
"""Gemini's body has other members; see below."""


class Modifier:
    def __init__(self) -> None:
        self.asked: list[BeforeRequestContext] = []

    def __call__(self, params: dict[str, Any], context: BeforeRequestContext) -> dict[str, Any] | None:
        self.asked.append(context)
        params["user"] = "by the hook"  # its own copy
        params.pop("temperature", None)
        return params


class AsyncModifier:
    def __init__(self) -> None:
        self._modifier = Modifier()
        self.asked = self._modifier.asked

    async def __call__(self, params: Any, context: Any) -> Any:
        await anyio.sleep(0)
        return self._modifier(params, context)


def check(provider: FakeProvider, way: Way, modifier: Modifier | AsyncModifier) -> None:
    [request] = provider.requests
    assert request.json()["user"] == "by the hook"
    assert int(request.headers["content-length"]) == len(request.body)
    [context] = modifier.asked
    assert (context.provider, context.operation, context.stream) == (way.sdk, way.operation, way.stream)


@pytest.mark.parametrize("kind", [Modifier, AsyncModifier])
@pytest.mark.parametrize("way", BODIES, ids=lambda way: way.id)
def test_what_it_returns_is_sent(
    way: Way, kind: type[Modifier | AsyncModifier], provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    modifier = kind()
    events = metered(modify_params=modifier)
    way.sync(clients.of(way.sdk))
    check(provider, way, modifier)
    assert events.only().usage_source in ("reported", "estimated")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Modifier, AsyncModifier])
@pytest.mark.parametrize("way", BODIES, ids=lambda way: way.id)
async def test_what_it_returns_is_sent_of_async_calls(
    way: Way, kind: type[Modifier | AsyncModifier], provider: FakeProvider, metered: Metered
) -> None:
    modifier = kind()
    events = metered(modify_params=modifier)
    async with async_client(provider, way.sdk) as client:
        await way.asynchronous(client)
    check(provider, way, modifier)
    events.only()


def test_geminis_model_stays_in_its_path(provider: FakeProvider, clients: Clients, metered: Metered) -> None:
    metered(modify_params=lambda params, _: {**params, "generationConfig": {"maxOutputTokens": 7}})
    next(way for way in WAYS if way.sdk == "gemini").sync(clients.of("gemini"))
    [request] = provider.requests
    assert request.json()["generationConfig"] == {"maxOutputTokens": 7}


def test_the_applications_own_request_stays_as_it_was(provider: FakeProvider, metered: Metered) -> None:
    messages: Any = [{"role": "user", "content": "hello"}]

    def modify(params: dict[str, Any], _: BeforeRequestContext) -> dict[str, Any]:
        params["messages"].append({"role": "user", "content": "more"})
        return params

    metered(modify_params=modify)
    with openai_sync(provider) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=messages)
    assert len(messages) == 1
    assert b"more" not in raw.http_request.content
    assert len(provider.requests[0].json()["messages"]) == 2


def test_it_is_asked_once_per_logical_call(provider: FakeProvider, metered: Metered) -> None:
    provider.push(Reply(status=500, headers=SOON, times=2))
    modifier = Modifier()
    events = metered(modify_params=modifier)
    with openai_sync(provider, max_retries=2) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert len(modifier.asked) == 1
    assert [request.json()["user"] for request in provider.requests] == ["by the hook"] * 3
    assert [event.attempt for event in events.events] == [0, 1, 2]


def test_holds_are_of_what_is_sent(provider: FakeProvider, metered: Metered) -> None:
    """The limit covers the call as it is modified, not as it was asked for."""
    events = metered(
        modify_params=lambda params, _: {**params, "model": "gpt-4o-mini", "max_tokens": 10},
        policy={"type": "global", "limit": 0.001, "limitAction": "block"},
        ledger="memory",
    )
    with openai_sync(provider) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=5000)
    event = events.only()
    assert (event.request_model, event.degraded_from) == ("gpt-4o-mini", None)
    assert 0 < (event.hold_nano_usd or 0) < 1_000_000
    assert provider.requests[0].json()["max_tokens"] == 10


def test_a_call_that_is_blocked_was_modified_before(provider: FakeProvider, metered: Metered) -> None:
    modifier = Modifier()
    events = metered(modify_params=modifier, policy={"type": "global", "limit": 0}, ledger="memory")
    with openai_sync(provider) as client, pytest.raises(RequestCancelledError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert len(modifier.asked) == 1
    assert events.only().decision.action == "block"
    assert provider.requests == []


def test_it_goes_together_with_a_degrade_and_metadata(provider: FakeProvider, metered: Metered) -> None:
    events = metered(
        modify_params=lambda params, _: {**params, "user": "me"},
        policy={"degradations": [{"from_model": "gpt-4o", "to_model": "gpt-4o-mini"}]},
        ledger="memory",
    )
    with openai_sync(provider) as client:
        client.chat.completions.create(
            model="gpt-4o", messages=HELLO, extra_body={"metadata": {"tenant": "acme"}}
        )
    body = provider.requests[0].json()
    assert (body["model"], body["user"], "metadata" in body) == ("gpt-4o-mini", "me", False)
    event = events.only()
    assert (event.degraded_from, event.metadata) == ("gpt-4o", {"tenant": "acme"})


@pytest.mark.usefixtures("known_openai")
def test_the_usage_of_a_modified_stream_is_asked_for(provider: FakeProvider, metered: Metered) -> None:
    events = metered(modify_params=Modifier())
    with openai_sync(provider) as client:
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    body = provider.requests[0].json()
    assert (body["user"], body["stream_options"]) == ("by the hook", {"include_usage": True})
    assert all(chunk.choices for chunk in chunks)
    assert events.only().usage_source == "reported"


def test_a_redirected_call_is_modified_once(provider: FakeProvider, metered: Metered) -> None:
    modifier = Modifier()
    metered(modify_params=modifier)
    with FakeProvider() as other:
        there = f"{other.url}/v1/chat/completions"
        provider.push(Reply(status=307, raw=b"", headers={"location": there}))
        with openai_sync(provider) as client:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
        assert [request.json()["user"] for request in other.requests] == ["by the hook"]
    assert len(modifier.asked) == 1


def test_a_signed_request_is_sent_as_it_is(provider: FakeProvider, metered: Metered) -> None:
    events = metered(modify_params=Modifier())
    events.faults = {"modify_params:RuntimeWarning": 1}
    with httpx2.Client() as client:
        client.post(
            f"{provider.openai_base_url}/chat/completions",
            json={"model": "gpt-4o", "messages": HELLO},
            headers={"authorization": "AWS4-HMAC-SHA256 Credential=x"},
        )
    assert "user" not in provider.requests[0].json()


def fails(params: Any, context: Any) -> Any:
    params.clear()
    raise KeyError("a slip of the hook")


async def fails_async(params: Any, context: Any) -> Any:
    params.clear()
    raise KeyError("a slip of the hook")


async def too_slow(params: Any, context: Any) -> Any:
    await anyio.sleep(60)


def rubbish(params: Any, context: Any) -> Any:
    return "yes"


FAILING = [(fails, "KeyError"), (fails_async, "KeyError"), (too_slow, "TimeoutError"), (rubbish, "TypeError")]


@pytest.mark.parametrize(("hook", "error"), FAILING, ids=[hook.__name__ for hook, _ in FAILING])
@pytest.mark.parametrize("fail_open", [True, False], ids=["fail_open", "fail_closed"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_failing_hook_leaves_it_to_fail_open(
    hook: Any, error: str, fail_open: bool, asynchronous: bool, provider: FakeProvider, metered: Metered
) -> None:
    events = metered(modify_params=hook, fail_open=fail_open, hook_timeout_s=0.01)
    events.faults = {f"modify_params:{error}": 1}

    async def call() -> None:
        async with async_client(provider, "openai", max_retries=2) as client:
            await WAYS[0].asynchronous(client)

    def make_the_call() -> None:
        if asynchronous:
            anyio.run(call)
            return
        with openai_sync(provider, max_retries=2) as client:
            WAYS[0].sync(client)

    if fail_open:
        make_the_call()
        assert provider.requests[0].json()["messages"]
    else:
        with pytest.raises(RequestCancelledError, match=f"modify_params failed: {error}"):
            make_the_call()
        assert provider.requests == []
    assert events.only().decision.action == ("allow" if fail_open else "block")
