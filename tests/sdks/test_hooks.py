"""`before_request`: what a hook asks for is done, once per call, in every SDK and colour."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import openai
import pytest

from aden_transport import (
    AlertEvent,
    BeforeRequestContext,
    BeforeRequestResult,
    MetricEvent,
    RequestCancelledError,
)
from aden_transport.testing import FakeProvider, Reply

from .support import (
    CLAUDE,
    GEMINI,
    GEMINI_WAYS,
    HELLO,
    TLS,
    WAYS,
    Clients,
    Metered,
    Recorder,
    Way,
    async_client,
    openai_sync,
)

TRIO_WAYS = [way for way in WAYS if way.sdk != "gemini"]
SOON = {"retry-after-ms": "1", "retry-after": None}
AUDIO = ("speech.wav", bytes(64_000), "audio/wav")


class Hook:
    """Answers every call with `result` and remembers what it was asked."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.asked: list[tuple[Mapping[str, Any], BeforeRequestContext]] = []

    def __call__(self, params: Mapping[str, Any], context: BeforeRequestContext) -> Any:
        self.asked.append((params, context))
        return self.result


class AsyncHook(Hook):
    async def __call__(self, params: Mapping[str, Any], context: BeforeRequestContext) -> Any:
        await anyio.sleep(0)
        return super().__call__(params, context)


# -- cancel -------------------------------------------------------------------------------------


def check_blocked(
    raised: pytest.ExceptionInfo[RequestCancelledError], events: Recorder, way: Way, provider: FakeProvider
) -> None:
    error = raised.value
    assert type(error) is RequestCancelledError
    assert (error.reason, error.status_code) == ("too dear", 403)
    assert error.context is not None
    assert error.context.operation == way.operation
    event = events.only()
    assert (event.decision.action, event.decision.source, event.decision.reason) == (
        "block",
        "hook",
        "too dear",
    )
    assert (event.status_code, event.usage, event.cost_usd, event.billing) == (None, None, None, None)
    assert event.error == "too dear"
    assert event.latency_ms == 0
    assert provider.requests == []
    assert (provider.bytes_received, provider.connections_made) == (0, 0)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_cancel_reaches_the_caller_unwrapped_and_sends_nothing(
    way: Way, provider: FakeProvider, metered: Metered, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)  # SDKs that log a response read more of it
    hook = Hook(BeforeRequestResult.cancel("too dear"))
    events = metered(before_request=hook)
    clients = Clients(provider, max_retries=2)
    with pytest.raises(RequestCancelledError) as raised:
        way.sync(clients.of(way.sdk))
    clients.close()
    check_blocked(raised, events, way, provider)
    assert len(hook.asked) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("way", TRIO_WAYS, ids=lambda way: way.id)
async def test_cancel_reaches_the_async_caller_unwrapped_and_sends_nothing(
    way: Way, provider: FakeProvider, metered: Metered, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)  # SDKs that log a response read more of it
    hook = AsyncHook(BeforeRequestResult.cancel("too dear"))
    events = metered(before_request=hook)
    async with async_client(provider, way.sdk, max_retries=2) as client:
        with pytest.raises(RequestCancelledError) as raised:
            await way.asynchronous(client)
    check_blocked(raised, events, way, provider)
    assert len(hook.asked) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("way", GEMINI_WAYS, ids=lambda way: way.id)
async def test_cancel_reaches_google_genais_async_caller(
    way: Way, provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=AsyncHook(BeforeRequestResult.cancel("too dear")))
    async with async_client(provider, "gemini") as client:
        with pytest.raises(RequestCancelledError) as raised:
            await way.asynchronous(client)
    check_blocked(raised, events, way, provider)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancel_reaches_the_caller_of_openais_aiohttp_client(
    provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.cancel("too dear")))
    async with openai.AsyncOpenAI(
        base_url=provider.openai_base_url, api_key="any", http_client=openai.DefaultAioHttpClient()
    ) as client:
        with pytest.raises(RequestCancelledError) as raised:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    check_blocked(raised, events, WAYS[0], provider)


def test_the_same_client_goes_on_after_a_refusal(provider: FakeProvider, metered: Metered) -> None:
    answers = iter([BeforeRequestResult.cancel("once"), BeforeRequestResult.proceed()])
    events = metered(before_request=lambda params, context: next(answers))
    with openai_sync(provider) as client:
        with pytest.raises(RequestCancelledError):
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    blocked, sent = events.events
    assert (blocked.decision.action, sent.decision.action) == ("block", "allow")
    assert (sent.attempt, sent.call_id == blocked.call_id) == (0, False)


# -- what a hook is told ------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_a_hook_is_told_of_the_call(
    way: Way, provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    hook = Hook(BeforeRequestResult.proceed())
    events = metered(before_request=hook, request_metadata={"team": "blue"})
    way.sync(clients.of(way.sdk))
    event = events.only()
    [(params, context)] = hook.asked
    assert (context.provider, context.operation, context.stream) == (way.sdk, way.operation, way.stream)
    assert context.model == event.request_model
    assert (context.trace_id, context.span_id) == (event.trace_id, event.span_id)
    assert context.timestamp == event.timestamp
    assert context.metadata == {"team": "blue"}
    assert context.estimated_cost_usd is not None
    assert context.estimated_cost_usd > 0
    assert "hello there" in str(params)


# -- degrade ------------------------------------------------------------------------------------


def check_degraded(event: MetricEvent, *, old: str, new: str) -> None:
    assert (event.request_model, event.degraded_from) == (new, old)
    assert (event.decision.action, event.decision.to_model) == ("degrade", new)
    assert event.status_code == 200
    assert event.usage_source in ("reported", "estimated")


@pytest.mark.parametrize("way", [way for way in WAYS if way.sdk != "gemini"], ids=lambda way: way.id)
def test_degrade_rewrites_the_model_in_the_body(
    way: Way, provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.degrade("smaller-model", "thrift")))
    way.sync(clients.of(way.sdk))
    [request] = provider.requests
    assert request.json()["model"] == "smaller-model"
    assert int(request.headers["content-length"]) == len(request.body)
    old = {"anthropic": CLAUDE}.get(way.sdk, "gpt-4o" if way.operation != "embeddings" else "")
    check_degraded(events.only(), old=old or "text-embedding-3-small", new="smaller-model")


@pytest.mark.anyio
@pytest.mark.parametrize("way", TRIO_WAYS, ids=lambda way: way.id)
async def test_degrade_rewrites_the_model_of_an_async_call(
    way: Way, provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.degrade("smaller-model")))
    async with async_client(provider, way.sdk) as client:
        await way.asynchronous(client)
    assert provider.requests[0].json()["model"] == "smaller-model"
    assert events.only().request_model == "smaller-model"


@pytest.mark.parametrize("way", GEMINI_WAYS, ids=lambda way: way.id)
def test_degrade_rewrites_the_model_in_geminis_path(
    way: Way, provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.degrade("gemini-2.5-flash-lite")))
    way.sync(clients.of("gemini"))
    assert "/models/gemini-2.5-flash-lite:" in provider.requests[0].path
    assert ("alt=sse" in provider.requests[0].target) is way.stream
    check_degraded(events.only(), old=GEMINI, new="gemini-2.5-flash-lite")


def test_degrade_rewrites_azures_path_and_body(provider: FakeProvider, metered: Metered) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.degrade("small-deployment")))
    with openai.AzureOpenAI(
        azure_endpoint=provider.azure_endpoint,
        api_key="any",
        api_version="2024-10-21",
        http_client=openai.DefaultHttpxClient(verify=TLS),
    ) as client:
        client.chat.completions.create(model="big-deployment", messages=HELLO)
    [request] = provider.requests
    assert request.path == "/openai/deployments/small-deployment/chat/completions"
    assert request.query == {"api-version": "2024-10-21"}
    assert request.json()["model"] == "small-deployment"
    check_degraded(events.only(), old="big-deployment", new="small-deployment")


def test_degrade_rewrites_the_form_of_a_transcription(provider: FakeProvider, metered: Metered) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.degrade("gpt-4o-mini-transcribe")))
    with openai_sync(provider) as client:
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=AUDIO, language="en")
    [request] = provider.requests
    assert b"gpt-4o-mini-transcribe" in request.body
    assert b"gpt-4o-transcribe" not in request.body
    assert AUDIO[1] in request.body
    assert int(request.headers["content-length"]) == len(request.body)
    check_degraded(events.only(), old="gpt-4o-transcribe", new="gpt-4o-mini-transcribe")


def test_degrade_leaves_the_sdks_request_as_it_was(provider: FakeProvider, metered: Metered) -> None:
    metered(before_request=Hook(BeforeRequestResult.degrade("smaller-model")))
    with openai_sync(provider) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert b'"gpt-4o"' in raw.http_request.content
    assert b"smaller-model" not in raw.http_request.content
    assert raw.parse().model == "smaller-model"


@pytest.mark.usefixtures("known_openai")
def test_degrade_and_asking_for_usage_go_together(provider: FakeProvider, metered: Metered) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.degrade("gpt-4o-mini")))
    with openai_sync(provider) as client:
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    body = provider.requests[0].json()
    assert (body["model"], body["stream_options"]) == ("gpt-4o-mini", {"include_usage": True})
    assert all(chunk.choices for chunk in chunks)
    event = events.only()
    check_degraded(event, old="gpt-4o", new="gpt-4o-mini")
    assert event.usage_source == "reported"


# -- throttle -----------------------------------------------------------------------------------


def check_throttled(events: list[MetricEvent]) -> None:
    assert [event.attempt for event in events] == [0, 1, 2]
    assert [event.decision.action for event in events] == ["throttle"] * 3
    assert events[0].throttle_ms >= 5
    assert [event.throttle_ms for event in events[1:]] == [0, 0]


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_throttle_waits_once_per_call(sdk: str, provider: FakeProvider, metered: Metered) -> None:
    provider.push(Reply(status=500, headers=SOON, times=2))
    hook = Hook(BeforeRequestResult.throttle(5))
    events = metered(before_request=hook)
    clients = Clients(provider, max_retries=2)
    next(way for way in WAYS if way.sdk == sdk).sync(clients.of(sdk))
    clients.close()
    check_throttled(events.events)
    assert len(hook.asked) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_throttle_waits_once_per_async_call(sdk: str, provider: FakeProvider, metered: Metered) -> None:
    provider.push(Reply(status=500, headers=SOON, times=2))
    hook = AsyncHook(BeforeRequestResult.throttle(5))
    events = metered(before_request=hook)
    way = next(way for way in WAYS if way.sdk == sdk)
    async with async_client(provider, sdk, max_retries=2) as client:
        await way.asynchronous(client)
    check_throttled(events.events)
    assert len(hook.asked) == 1


def test_throttle_waits_on_the_callers_thread(provider: FakeProvider, metered: Metered) -> None:
    events = metered(before_request=Hook(BeforeRequestResult.throttle(5)))
    with openai_sync(provider) as client:
        threads = [
            threading.Thread(target=lambda: client.chat.completions.create(model="gpt-4o", messages=HELLO))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(events.events) == 4
    assert all(event.throttle_ms >= 5 for event in events.events)
    assert len({event.call_id for event in events.events}) == 4


@pytest.mark.anyio
async def test_a_throttled_async_call_leaves_the_loop_free(provider: FakeProvider, metered: Metered) -> None:
    """The wait ends because another task of the loop cancels it: it would be 30 s long."""
    asked = anyio.Event()

    def hook(params: Any, context: Any) -> BeforeRequestResult:
        asked.set()
        return BeforeRequestResult.throttle(30_000)

    events = metered(before_request=hook)
    async with async_client(provider, "openai") as client, anyio.create_task_group() as group:
        group.start_soon(WAYS[0].asynchronous, client)
        await asked.wait()
        group.cancel_scope.cancel()
    event = events.only()
    assert event.error is not None
    assert (event.status_code, event.billing) == (None, None)
    assert provider.requests == []


@pytest.mark.parametrize("action", ["degrade", "alert"])
def test_a_delay_rides_along(action: str, provider: FakeProvider, metered: Metered) -> None:
    results = {
        "degrade": BeforeRequestResult.degrade("gpt-4o-mini", delay_ms=5),
        "alert": BeforeRequestResult.alert("look", delay_ms=5),
    }
    events = metered(before_request=Hook(results[action]))
    with openai_sync(provider) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    event = events.only()
    assert event.decision.action == action
    assert event.throttle_ms >= 5


# -- alert --------------------------------------------------------------------------------------


def test_an_alert_reaches_on_alert_and_the_call_goes_on(provider: FakeProvider, metered: Metered) -> None:
    alerts: list[AlertEvent] = []
    events = metered(
        before_request=Hook(BeforeRequestResult.alert("80 % spent", level="critical")),
        on_alert=alerts.append,
        async_emit=False,
        get_context_id=lambda: "session-7",
    )
    with openai_sync(provider) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    event = events.only()
    assert (event.decision.action, event.status_code) == ("alert", 200)
    [alert] = alerts
    assert (alert.level, alert.message, alert.provider) == ("critical", "80 % spent", "openai")
    assert (alert.model, alert.context_id) == ("gpt-4o", "session-7")


@pytest.mark.anyio
async def test_an_async_on_alert_is_awaited(provider: FakeProvider, metered: Metered) -> None:
    told = anyio.Event()

    async def on_alert(alert: AlertEvent) -> None:
        told.set()

    metered(before_request=Hook(BeforeRequestResult.alert("look")), on_alert=on_alert)
    async with async_client(provider, "openai") as client:
        await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        with anyio.fail_after(10):
            await told.wait()


# -- hooks that fail ----------------------------------------------------------------------------


def raising(params: Any, context: Any) -> Any:
    raise KeyError("a slip of the hook")


async def raising_async(params: Any, context: Any) -> Any:
    raise KeyError("a slip of the hook")


async def too_slow(params: Any, context: Any) -> Any:
    await anyio.sleep(60)


def rubbish(params: Any, context: Any) -> Any:
    return "yes"


def bad_delay(params: Any, context: Any) -> Any:
    return BeforeRequestResult.throttle(float("nan"))


FAILING: tuple[tuple[Callable[..., Any], str], ...] = (
    (raising, "KeyError"),
    (raising_async, "KeyError"),
    (too_slow, "TimeoutError"),
    (rubbish, "TypeError"),
    (bad_delay, "ValueError"),
)
each_failing = pytest.mark.parametrize(("hook", "error"), FAILING, ids=[hook.__name__ for hook, _ in FAILING])


@each_failing
@pytest.mark.parametrize("fail_open", [True, False], ids=["fail_open", "fail_closed"])
def test_a_failing_hook_leaves_it_to_fail_open(
    hook: Any, error: str, fail_open: bool, provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=hook, fail_open=fail_open, hook_timeout_s=0.01)
    events.faults = {f"before_request:{error}": 1}
    with openai_sync(provider, max_retries=2) as client:
        if fail_open:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
        else:
            with pytest.raises(RequestCancelledError, match=error):
                client.chat.completions.create(model="gpt-4o", messages=HELLO)
    event = events.only()
    assert event.decision.action == ("allow" if fail_open else "block")
    assert len(provider.requests) == int(fail_open)


@pytest.mark.anyio
@each_failing
@pytest.mark.parametrize("fail_open", [True, False], ids=["fail_open", "fail_closed"])
async def test_a_failing_hook_of_an_async_call_leaves_it_to_fail_open(
    hook: Any, error: str, fail_open: bool, provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=hook, fail_open=fail_open, hook_timeout_s=0.01)
    events.faults = {f"before_request:{error}": 1}
    async with async_client(provider, "openai", max_retries=2) as client:
        if fail_open:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
        else:
            with pytest.raises(RequestCancelledError, match=error):
                await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert events.only().decision.action == ("allow" if fail_open else "block")
    assert len(provider.requests) == int(fail_open)


@pytest.mark.parametrize("fail_open", [True, False], ids=["fail_open", "fail_closed"])
def test_none_means_proceed(fail_open: bool, provider: FakeProvider, metered: Metered) -> None:
    events = metered(before_request=Hook(None), fail_open=fail_open)
    with openai_sync(provider) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert events.only().decision.action == "allow"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_an_async_hook_works_under_a_sync_client(
    way: Way, provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    hook = AsyncHook(BeforeRequestResult.alert("look"))
    events = metered(before_request=hook)
    way.sync(clients.of(way.sdk))
    assert events.only().decision.action == "alert"
    assert len(hook.asked) == 1


def test_an_async_hook_works_under_a_sync_client_inside_a_running_loop(
    provider: FakeProvider, metered: Metered
) -> None:
    events = metered(before_request=AsyncHook(BeforeRequestResult.alert("look")))

    async def main() -> None:
        with openai_sync(provider) as client:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)

    asyncio.run(main())
    assert events.only().decision.action == "alert"


@pytest.mark.anyio
async def test_cancelling_a_call_in_its_hook_makes_one_event(
    provider: FakeProvider, metered: Metered
) -> None:
    asked = anyio.Event()

    async def hook(params: Any, context: Any) -> None:
        asked.set()
        await anyio.sleep_forever()

    events = metered(before_request=hook)
    async with async_client(provider, "openai", max_retries=2) as client, anyio.create_task_group() as group:
        group.start_soon(WAYS[0].asynchronous, client)
        await asked.wait()
        group.cancel_scope.cancel()
    assert events.only().status_code is None
    assert provider.requests == []


# -- calls that a hook makes --------------------------------------------------------------------


def test_a_call_that_a_hook_makes_is_metered_but_not_judged(provider: FakeProvider, metered: Metered) -> None:
    asked: list[str | None] = []

    def hook(params: Any, context: BeforeRequestContext) -> BeforeRequestResult:
        asked.append(context.model)
        judge.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        return BeforeRequestResult.proceed()

    events = metered(before_request=hook)
    with openai_sync(provider) as judge, openai_sync(provider) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert asked == ["gpt-4o"]
    assert [event.request_model for event in events.events] == ["gpt-4o-mini", "gpt-4o"]
    assert len({event.call_id for event in events.events}) == 2


@pytest.mark.anyio
async def test_an_async_call_that_a_hook_makes_is_metered_but_not_judged(
    provider: FakeProvider, metered: Metered
) -> None:
    asked: list[str | None] = []

    async with async_client(provider, "openai") as judge, async_client(provider, "openai") as client:

        async def hook(params: Any, context: BeforeRequestContext) -> BeforeRequestResult:
            asked.append(context.model)
            await judge.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
            return BeforeRequestResult.cancel("judged")

        events = metered(before_request=hook)
        with suppress(RequestCancelledError):
            await client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert asked == ["gpt-4o"]
    assert [(event.request_model, event.decision.action) for event in events.events] == [
        ("gpt-4o-mini", "allow"),
        ("gpt-4o", "block"),
    ]
    assert len(provider.requests) == 1
