"""Every way in which a client reaches its transport, counted once, for clients older and younger than us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aden_transport import MeterOptions, create_memory_emitter
from aden_transport.testing import FakeProvider, Reply

from .kit import BODY, CHAT, STREAM, VARIANTS, Caller, Metering, Variant, consume

PATCHED = [variant for variant in VARIANTS if variant.way == "patched"]
ANSWER: Any = {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
Make = Callable[[Variant, FakeProvider], Any]


def base(variant: Variant) -> Any:
    return variant.module.BaseTransport if variant.is_sync else variant.module.AsyncBaseTransport


def plain(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client()


def with_transport(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(transport=variant.transport())


def with_mounts(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(mounts={"http://": variant.transport()})


def with_proxy(variant: Variant, provider: FakeProvider) -> Any:
    # The provider is its own proxy: it reads the path of an absolute target as well.
    return variant.client(proxy=provider.url)


def in_own_transport(variant: Variant, inner: Any) -> Any:
    """`inner` in a transport of the application's own."""

    class Wrapper(base(variant)):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            return inner.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            return await inner.handle_async_request(request)

        def close(self) -> None:
            inner.close()

        async def aclose(self) -> None:
            await inner.aclose()

    return Wrapper()


def with_wrapper(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(transport=in_own_transport(variant, variant.transport()))


def with_slots(variant: Variant, provider: FakeProvider) -> Any:
    class Slotted(base(variant)):  # type: ignore[misc]
        __slots__ = ("inner",)

        def __init__(self) -> None:
            self.inner = variant.transport()

        def handle_request(self, request: Any) -> Any:
            return self.inner.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            return await self.inner.handle_async_request(request)

        def close(self) -> None:
            self.inner.close()

        async def aclose(self) -> None:
            await self.inner.aclose()

    return variant.client(transport=Slotted())


def with_mock(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(transport=variant.mock(lambda _: variant.module.Response(200, json=ANSWER)))


def with_application(variant: Variant, provider: FakeProvider) -> Any:
    """WSGI and ASGI."""
    import json

    body = json.dumps(ANSWER).encode()
    headers = [("content-type", "application/json")]

    def wsgi(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return [body]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    module = variant.module
    return variant.client(
        transport=module.WSGITransport(wsgi) if variant.is_sync else module.ASGITransport(asgi)
    )


def with_inner_client(variant: Variant, provider: FakeProvider) -> Any:
    inner = variant.client()

    class Delegating(base(variant)):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            answer = inner.send(inner.build_request("POST", request.url, content=request.read()))
            return variant.module.Response(answer.status_code, content=answer.content)

        async def handle_async_request(self, request: Any) -> Any:
            answer = await inner.send(inner.build_request("POST", request.url, content=await request.aread()))
            return variant.module.Response(answer.status_code, content=answer.content)

        def close(self) -> None:
            inner.close()

        async def aclose(self) -> None:
            await inner.aclose()

    return variant.client(transport=Delegating())


def overriding_send(variant: Variant, provider: FakeProvider) -> Any:
    class Sync(variant.module.Client):  # type: ignore[misc, name-defined]
        def send(self, request: Any, **arguments: Any) -> Any:
            return super().send(request, **arguments)

    class Async(variant.module.AsyncClient):  # type: ignore[misc, name-defined]
        async def send(self, request: Any, **arguments: Any) -> Any:
            return await super().send(request, **arguments)

    kind: Any = Sync if variant.is_sync else Async
    return kind(trust_env=False)


def overriding_transport_for_url(variant: Variant, provider: FakeProvider) -> Any:
    own = variant.transport()
    parent: Any = variant.module.Client if variant.is_sync else variant.module.AsyncClient

    class Chooser(parent):  # type: ignore[misc]
        def _transport_for_url(self, url: Any) -> Any:
            return own

    return Chooser(trust_env=False, transport=own)


def with_hooks(variant: Variant, provider: FakeProvider) -> Any:
    def sync(_: Any) -> None:
        return

    async def asynchronous(_: Any) -> None:
        return

    hook = sync if variant.is_sync else asynchronous
    return variant.client(event_hooks={"request": [hook], "response": [hook]})


def by_hand_without_options(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(transport=variant.by_hand(None))


def by_hand_in_a_mount(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(mounts={"http://": variant.by_hand(None, variant.transport())})


def by_hand_around_by_hand(variant: Variant, provider: FakeProvider) -> Any:
    return variant.client(transport=variant.by_hand(None, variant.by_hand(None, variant.transport())))


SCENARIOS: list[Make] = [
    plain,
    with_transport,
    with_mounts,
    with_proxy,
    with_wrapper,
    with_slots,
    with_mock,
    with_application,
    with_inner_client,
    overriding_send,
    overriding_transport_for_url,
    with_hooks,
    by_hand_without_options,
    by_hand_in_a_mount,
    by_hand_around_by_hand,
]


@pytest.mark.parametrize("made", ["before", "after"])
@pytest.mark.parametrize("make", SCENARIOS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("variant", PATCHED, ids=str)
def test_every_way_is_counted_once(
    variant: Variant, metering: Metering, provider: FakeProvider, make: Make, made: str
) -> None:
    async def scenario() -> None:
        if made == "before":
            caller = Caller(variant, make(variant, provider))
            metering.start()
        else:
            metering.start()
            caller = Caller(variant, make(variant, provider))
        response = await caller.post(provider.url + CHAT, json=BODY)
        assert response.status_code == 200
        await caller.end()

    variant.run(scenario)
    [event] = metering.events
    assert event.status_code == 200
    assert event.usage_source == "reported"


@pytest.mark.parametrize("wrapped", [False, True], ids=["direct", "inside a wrapper"])
@pytest.mark.parametrize("variant", PATCHED, ids=str)
def test_options_given_by_hand_win(
    variant: Variant, metering: Metering, provider: FakeProvider, url: str, wrapped: bool
) -> None:
    metering.start()
    own = create_memory_emitter()
    inner = variant.by_hand(MeterOptions(emit_metric=own, agent_name="by hand"), variant.transport())

    async def scenario() -> None:
        caller = Caller(
            variant, variant.client(transport=in_own_transport(variant, inner) if wrapped else inner)
        )
        await caller.post(url, json=BODY)
        await consume(caller.raw(await caller.open(url)))
        await caller.end()

    variant.run(scenario)
    assert [event.agent_name for event in own.events] == ["by hand"] * 2
    assert metering.events == []


@pytest.mark.parametrize("variant", PATCHED, ids=str)
def test_a_hook_is_asked_once_however_many_layers_see_the_call(
    variant: Variant, metering: Metering, url: str
) -> None:
    from aden_transport.events import BeforeRequestResult

    asked: list[Any] = []

    def hook(params: Any, context: Any) -> BeforeRequestResult:
        asked.append(params)
        return BeforeRequestResult.proceed()

    metering.start(before_request=hook)

    async def scenario() -> None:
        caller = Caller(variant, variant.client(transport=variant.by_hand(None, variant.transport())))
        await caller.post(url, json=BODY)
        await caller.end()

    variant.run(scenario)
    assert len(asked) == 1
    assert len(metering.events) == 1


def test_each_request_of_an_auth_flow_is_an_event(
    variant: Variant, metering: Metering, provider: FakeProvider
) -> None:
    """Two requests go over the wire, and two may be billed."""
    metering.start()
    provider.push(Reply(status=401))

    class TwoSteps(variant.module.Auth):  # type: ignore[misc, name-defined]
        def auth_flow(self, request: Any) -> Any:
            response = yield request
            assert response.status_code == 401
            request.headers["authorization"] = "Bearer two"
            yield request

    async def scenario() -> None:
        caller = metering.caller(auth=TwoSteps())
        assert (await caller.post(provider.url + CHAT, json=BODY)).status_code == 200
        await caller.end()

    variant.run(scenario)
    assert [event.status_code for event in metering.events] == [401, 200]
    assert len({event.event_id for event in metering.events}) == 2


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["json", "stream"])
def test_the_same_request_sent_twice_is_two_events(
    variant: Variant, metering: Metering, url: str, body: Any
) -> None:
    """Mistral's SDK retries with one request object."""
    metering.start()

    async def scenario() -> None:
        caller = metering.caller()
        request = caller.client.build_request("POST", url, json=body)
        for _ in range(2):
            response = await caller.send(request)
            assert response.request is request
        await caller.end()

    variant.run(scenario)
    assert len({event.event_id for event in metering.events}) == 2
