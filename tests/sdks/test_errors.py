"""HTTP errors and retries: each attempt makes one event, and the attempts of a call share its id."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import openai
import pytest
from google.genai import errors, types

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply

from .support import (
    CLAUDE,
    GEMINI,
    HELLO,
    OPENAI_WAYS,
    WAYS,
    Clients,
    Recorder,
    Way,
    anthropic_sync,
    async_client,
    openai_sync,
)

# Both Stainless SDKs wait this long before they try again, and no longer.
SOON = {"retry-after-ms": "1", "retry-after": None}


class Failure(NamedTuple):
    """What the server answers, and the event's error type."""

    reply: Reply
    status: int
    error_type: str
    anthropic_type: str | None = None


FAILURES = {
    "bad_request": Failure(Reply(error="invalid_request"), 400, "invalid_request_error"),
    "context_length": Failure(
        Reply(error="context_length_exceeded"), 400, "context_length_exceeded", "context_length_exceeded"
    ),
    "content_filter": Failure(
        Reply(error="content_filter"), 400, "content_filter_error", "invalid_request_error"
    ),
    "authentication": Failure(Reply(error="authentication"), 401, "authentication_error"),
    "permission": Failure(Reply(error="permission"), 403, "permission_error"),
    "not_found": Failure(Reply(error="not_found"), 404, "not_found_error"),
    "unprocessable": Failure(Reply(error="unprocessable"), 422, "invalid_request_error"),
    "rate_limit": Failure(Reply(error="rate_limit", retry_after_s=7), 429, "rate_limit_error"),
    "quota": Failure(Reply(error="insufficient_quota"), 429, "insufficient_quota"),
    "server_error": Failure(Reply(error="server_error"), 500, "server_error"),
    "overloaded": Failure(Reply(error="overloaded"), 503, "service_unavailable"),
}


def check_failure(event: MetricEvent, failure: Failure, sdk: str) -> None:
    status = 529 if failure.status == 503 and sdk == "anthropic" else failure.status
    assert event.status_code == status
    assert event.error
    assert (event.usage, event.usage_source, event.cost_usd) == (None, None, None)
    assert event.finish_reasons == ()
    assert event.attempt == 0
    expected = failure.error_type if sdk == "openai" else failure.anthropic_type or failure.error_type
    if sdk == "gemini" and expected == "insufficient_quota":
        expected = "rate_limit_error"  # Google says RESOURCE_EXHAUSTED, and the same words, of both
    assert event.error_type == expected
    if failure.reply.retry_after_s is not None:
        assert event.rate_limit is not None
        assert event.rate_limit.retry_after_s == failure.reply.retry_after_s


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
@pytest.mark.parametrize("sdk", ["openai", "anthropic", "gemini"])
def test_an_error_has_its_type_and_no_usage(
    sdk: str, failure: Failure, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(failure.reply)
    way = next(way for way in WAYS if way.sdk == sdk)
    with pytest.raises(Exception, match=r"."):
        way.sync(clients.of(sdk))
    check_failure(events.only(), failure, sdk)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_every_way_reports_an_error_once(
    way: Way, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(Reply(status=400))
    with pytest.raises(Exception, match=r"400|not valid"):
        way.sync(clients.of(way.sdk))
    event = events.only()
    assert (event.status_code, event.error_type) == (400, "invalid_request_error")
    assert event.stream is way.stream
    assert event.faults == ()


@pytest.mark.anyio
@pytest.mark.parametrize("way", [way for way in WAYS if way.sdk != "gemini"], ids=lambda way: way.id)
async def test_every_async_way_reports_an_error_once(
    way: Way, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(status=400))
    async with async_client(provider, way.sdk) as client:
        with pytest.raises(Exception, match=r"400|not valid"):
            await way.asynchronous(client)
    event = events.only()
    assert (event.status_code, event.error_type) == (400, "invalid_request_error")


def test_anthropics_resets_ride_on_a_rate_limit_error(
    provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(Reply(error="rate_limit", headers={"retry-after-ms": "1500"}))
    with pytest.raises(Exception, match="429"):
        clients.of("anthropic").messages.create(model=CLAUDE, max_tokens=64, messages=HELLO)
    limit = events.only().rate_limit
    assert limit is not None
    assert limit.retry_after_s == 1.5
    assert limit.limit_requests == 10_000


# -- retries ------------------------------------------------------------------------------------

RETRIED = [way for way in WAYS if way.sdk != "gemini"]
STATUSES = (429, 500)


def failing(status: int, times: int) -> Reply:
    return Reply(status=status, headers=SOON, times=times)


def check_attempts(events: list[MetricEvent], *, status: int, ok: bool) -> None:
    assert [event.attempt for event in events] == [0, 1, 2]
    assert len({event.call_id for event in events}) == 1
    assert len({event.trace_id for event in events}) == 1
    assert len({event.event_id for event in events}) == 3
    assert len({event.span_id for event in events}) == 3
    assert [event.status_code for event in events] == [status, status, 200 if ok else status]
    assert [event.usage is not None for event in events] == [False, False, ok]
    for event in events[:2]:
        assert event.error_type == ("rate_limit_error" if status == 429 else "server_error")
        assert event.rate_limit is not None
        assert event.rate_limit.retry_after_s == 0.001


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("way", RETRIED, ids=lambda way: way.id)
def test_attempts_of_one_call_are_numbered_and_share_its_id(
    way: Way, status: int, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(failing(status, 2))
    clients = Clients(provider, max_retries=2)
    way.sync(clients.of(way.sdk))
    clients.close()
    check_attempts(events.events, status=status, ok=True)
    assert len(provider.requests) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("way", RETRIED, ids=lambda way: way.id)
async def test_async_attempts_of_one_call_are_numbered_and_share_its_id(
    way: Way, provider: FakeProvider, events: Recorder
) -> None:
    provider.push(failing(500, 2))
    async with async_client(provider, way.sdk, max_retries=2) as client:
        await way.asynchronous(client)
    check_attempts(events.events, status=500, ok=True)


def test_a_call_that_is_given_up_has_an_event_per_attempt(provider: FakeProvider, events: Recorder) -> None:
    provider.push(failing(500, 3))
    with openai_sync(provider, max_retries=2) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    check_attempts(events.events, status=500, ok=False)


def test_what_is_tried_again_after_the_sdk_gave_up_counts_on_and_the_next_call_is_another(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.push(failing(500, 3))
    with openai_sync(provider, max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="gpt-4o", messages=HELLO)
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert [event.attempt for event in events.events] == [0, 1, 2, 3, 0]
    assert len({event.call_id for event in events.events[:4]}) == 1
    assert events.events[4].call_id != events.events[0].call_id


@pytest.mark.anyio
async def test_equal_calls_side_by_side_are_different_calls(provider: FakeProvider, events: Recorder) -> None:
    import anyio

    provider.push(failing(500, 3))
    async with async_client(provider, "openai", max_retries=3) as client, anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(OPENAI_WAYS[0].asynchronous, client)
    assert len({event.call_id for event in events.events}) == 3
    by_call: dict[str, list[int]] = {}
    for event in events.events:
        by_call.setdefault(event.call_id, []).append(event.attempt)
    assert len(events.events) == 6
    assert all(attempts == list(range(len(attempts))) for attempts in by_call.values())


def test_google_genais_own_retries_are_attempts_of_one_call(provider: FakeProvider, events: Recorder) -> None:
    from google import genai

    from .support import TLS

    provider.push(Reply(status=503, times=2))
    retry = types.HttpRetryOptions(attempts=3, initial_delay=0.001, max_delay=0.002, jitter=0.001)
    options = types.HttpOptions(
        base_url=provider.gemini_base_url, retry_options=retry, client_args={"verify": TLS}
    )
    with genai.Client(api_key="any", http_options=options) as client:
        client.models.generate_content(model=GEMINI, contents="hello")
    assert [event.attempt for event in events.events] == [0, 1, 2]
    assert len({event.call_id for event in events.events}) == 1


def test_a_connection_lost_before_the_headers_is_an_attempt(
    provider: FakeProvider, events: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This SDK waits half a second before it repeats a call that had no answer.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    provider.push(Reply(disconnect_before_headers=True, times=2))
    with openai_sync(provider, max_retries=2) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert [event.attempt for event in events.events] == [0, 1, 2]
    assert [event.status_code for event in events.events] == [None, None, 200]
    assert len({event.call_id for event in events.events}) == 1
    assert [event.billing for event in events.events] == ["unknown", "unknown", None]


# -- no connection ------------------------------------------------------------------------------


@pytest.fixture
def nobody(provider: FakeProvider) -> FakeProvider:
    """A provider that has stopped, so that nobody listens at its address."""
    provider.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", provider.port))
    return provider


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "gemini"])
def test_a_refused_connection_makes_one_event_that_bills_nothing(
    sdk: str, nobody: FakeProvider, events: Recorder
) -> None:
    clients = Clients(nobody)
    way = next(way for way in WAYS if way.sdk == sdk)
    with pytest.raises(Exception, match="onnect"):
        way.sync(clients.of(sdk))
    clients.close()
    event = events.only()
    assert (event.status_code, event.usage, event.billing) == (None, None, None)
    assert event.error is not None
    assert event.error.startswith("ConnectError")
    assert event.error_type is None


@pytest.mark.anyio
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_an_async_refused_connection_makes_one_event(
    sdk: str, nobody: FakeProvider, events: Recorder
) -> None:
    way = next(way for way in WAYS if way.sdk == sdk)
    async with async_client(nobody, sdk) as client:
        with pytest.raises(Exception, match="onnect"):
            await way.asynchronous(client)
    assert events.only().status_code is None


@pytest.mark.parametrize("make", [openai_sync, anthropic_sync], ids=["openai", "anthropic"])
def test_a_timeout_is_a_timeout_error_that_may_have_been_billed(
    make: Callable[[FakeProvider], Any], provider: FakeProvider, events: Recorder
) -> None:
    provider.push(Reply(delay_ms=60_000))
    way = next(way for way in WAYS if way.sdk == ("openai" if make is openai_sync else "anthropic"))
    with make(provider) as client, pytest.raises(Exception, match="timed out"):
        way.sync(client.with_options(timeout=0.2))
    event = events.only()
    assert (event.error_type, event.billing, event.status_code) == ("timeout_error", "unknown", None)


def test_geminis_errors_keep_their_status(provider: FakeProvider, clients: Clients, events: Recorder) -> None:
    provider.push(Reply(error="rate_limit", retry_after_s=3))
    with pytest.raises(errors.ClientError):
        clients.of("gemini").models.generate_content(model=GEMINI, contents="hello")
    assert events.only().error_type == "rate_limit_error"
