"""Who a call belongs to: through which channel it is said, what the event says, and what the server sees."""

from __future__ import annotations

import threading
from typing import Any

import openai
import pytest

from aden_transport import context, track_source
from aden_transport.testing import FakeProvider, ReceivedRequest, Reply

from .support import (
    CLAUDE,
    GEMINI,
    HELLO,
    WAYS,
    Clients,
    Metered,
    Recorder,
    Way,
    async_client,
    openai_sync,
)

AUDIO = ("speech.wav", bytes(64_000), "audio/wav")


def leaked(request: ReceivedRequest) -> list[str]:
    """Our headers that reached the server."""
    return [name for name in request.headers if name.startswith("x-aden-")]


# -- the channels -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_a_context_block_attributes_every_way(
    way: Way, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    with context(agent="writer", tenant="acme", tags=["beta"], order=7), track_source("extraction"):
        way.sync(clients.of(way.sdk))
    event = events.only()
    assert event.metadata == {"agent": "writer", "tenant": "acme", "tags": ("beta",), "order": 7}
    assert event.source == "extraction"
    assert b"acme" not in provider.requests[0].body
    assert leaked(provider.requests[0]) == []


@pytest.mark.anyio
@pytest.mark.parametrize("way", [way for way in WAYS if way.sdk != "gemini"], ids=lambda way: way.id)
async def test_a_context_block_attributes_every_async_way(
    way: Way, provider: FakeProvider, events: Recorder
) -> None:
    async with async_client(provider, way.sdk) as client, context(agent="writer"):
        await way.asynchronous(client)
    assert events.only().metadata == {"agent": "writer"}


@pytest.mark.anyio
async def test_tasks_side_by_side_keep_their_own_context(provider: FakeProvider, events: Recorder) -> None:
    import anyio

    async with async_client(provider, "openai") as client:

        async def call(agent: str) -> None:
            with context(agent=agent):
                await client.chat.completions.create(model="gpt-4o", messages=HELLO)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(call, f"agent-{number}")
    agents = sorted(str((event.metadata or {})["agent"]) for event in events.events)
    assert agents == [f"agent-{number}" for number in range(8)]


def test_threads_take_the_context_that_they_are_handed(provider: FakeProvider, events: Recorder) -> None:
    with openai_sync(provider) as client:

        def call() -> None:
            client.chat.completions.create(model="gpt-4o", messages=HELLO)

        with context(agent="writer"):
            for target in (context.wrap(call), call):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
    assert [event.metadata for event in events.events] == [{"agent": "writer"}, None]


HEADERS = {
    "x-aden-agent": "writer",
    "x-aden-tenant-id": "acme",
    "X-Aden-Tags": "beta, gold",
    "x-aden-order": "7",
}
FROM_HEADERS = {"agent": "writer", "tenant": "acme", "tags": ("beta", "gold"), "order": "7"}


@pytest.mark.parametrize("way", [way for way in WAYS if way.sdk != "gemini"], ids=lambda way: way.id)
def test_our_headers_arrive_in_the_event_and_never_at_the_server(
    way: Way, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    way.sync(clients.of(way.sdk), extra_headers={**HEADERS, "x-other": "stays"})
    assert events.only().metadata == FROM_HEADERS
    [request] = provider.requests
    assert leaked(request) == []
    assert request.headers["x-other"] == "stays"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_our_headers_of_google_genai_never_arrive_at_the_server(
    provider: FakeProvider, clients: Clients, events: Recorder, streamed: bool
) -> None:
    models = clients.of("gemini").models
    config: Any = {"http_options": {"headers": HEADERS}}
    if streamed:
        list(models.generate_content_stream(model=GEMINI, contents="hello", config=config))
    else:
        models.generate_content(model=GEMINI, contents="hello", config=config)
    assert events.only().metadata == FROM_HEADERS
    assert leaked(provider.requests[0]) == []


def test_our_headers_of_a_form_never_arrive_at_the_server(
    provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    clients.of("openai").audio.transcriptions.create(model="whisper-1", file=AUDIO, extra_headers=HEADERS)
    assert events.only().metadata == FROM_HEADERS
    assert leaked(provider.requests[0]) == []
    assert AUDIO[1] in provider.requests[0].body


def test_request_metadata_and_context_id_are_asked_for_each_call(
    provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    numbers = iter(range(10))
    events = metered(
        request_metadata=lambda: {"team": "blue", "number": next(numbers)},
        get_context_id=lambda: "session-7",
        agent_name="planner",
    )
    for _ in range(2):
        clients.of("openai").chat.completions.create(model="gpt-4o", messages=HELLO)
    assert [event.metadata for event in events.events] == [
        {"team": "blue", "number": number, "context_id": "session-7"} for number in range(2)
    ]
    assert {event.agent_name for event in events.events} == {"planner"}


def test_metadata_that_cannot_be_had_costs_nothing(
    provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    def slip() -> dict[str, str]:
        raise LookupError("no request here")

    events = metered(request_metadata=slip)
    events.faults = {"request_metadata:LookupError": 1}
    clients.of("openai").chat.completions.create(model="gpt-4o", messages=HELLO)
    assert events.only().status_code == 200


# -- the body -----------------------------------------------------------------------------------

OURS = {"agent": "writer", "tenant": "acme"}


def chat(client: openai.OpenAI, metadata: Any, **extra: Any) -> None:
    client.chat.completions.create(model="gpt-4o", messages=HELLO, extra_body={"metadata": metadata}, **extra)


def test_routing_keys_in_a_chats_body_are_recorded_and_taken_out(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    chat(openai_client, OURS)
    assert events.only().metadata == OURS
    assert "metadata" not in provider.requests[0].json()


def test_a_stored_chat_keeps_its_metadata(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    chat(openai_client, {**OURS, "order": "7"}, store=True)
    assert events.only().metadata == {**OURS, "order": "7"}
    assert provider.requests[0].json()["metadata"] == {**OURS, "order": "7"}


def test_responses_keep_their_metadata(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    openai_client.responses.create(model="gpt-4o", input="hello", metadata=OURS)
    assert events.only().metadata == OURS
    assert provider.requests[0].json()["metadata"] == OURS


def test_embeddings_lose_the_routing_keys(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    openai_client.embeddings.create(
        model="text-embedding-3-small", input="hello", extra_body={"metadata": OURS}
    )
    assert events.only().metadata == OURS
    assert "metadata" not in provider.requests[0].json()


@pytest.mark.parametrize(
    ("metadata", "sent"), [(OURS, None), ({**OURS, "user_id": "u-1"}, {"user_id": "u-1"})]
)
def test_anthropic_keeps_only_the_user_id(
    provider: FakeProvider, clients: Clients, events: Recorder, metadata: Any, sent: Any
) -> None:
    clients.of("anthropic").messages.create(
        model=CLAUDE, max_tokens=64, messages=HELLO, extra_body={"metadata": metadata}
    )
    assert events.only().metadata == metadata
    assert provider.requests[0].json().get("metadata") == sent


def test_gemini_loses_the_routing_keys(provider: FakeProvider, clients: Clients, events: Recorder) -> None:
    config: Any = {"http_options": {"extra_body": {"metadata": OURS}}}
    clients.of("gemini").models.generate_content(model=GEMINI, contents="hello", config=config)
    assert events.only().metadata == OURS
    assert "metadata" not in provider.requests[0].json()


def test_a_forms_metadata_fields_are_recorded_and_taken_out(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    openai_client.audio.transcriptions.create(model="whisper-1", file=AUDIO, extra_body={"metadata": OURS})
    assert events.only().metadata == OURS
    body = provider.requests[0].body
    assert b"metadata[" not in body
    assert b"acme" not in body
    assert AUDIO[1] in body


@pytest.mark.parametrize(("forward", "sent"), [("always", OURS), ("never", None)])
def test_forward_metadata_decides(
    provider: FakeProvider, openai_client: openai.OpenAI, metered: Metered, forward: str, sent: Any
) -> None:
    events = metered(forward_metadata=forward)
    openai_client.responses.create(model="gpt-4o", input="hello", metadata=OURS)
    assert events.only().metadata == OURS
    assert provider.requests[0].json().get("metadata") == sent


def test_every_other_byte_of_a_body_stays(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    extra: dict[str, Any] = {"seed": 2**63 + 1, "user": "Zoë"}
    openai_client.chat.completions.create(
        model="gpt-4o", messages=HELLO, extra_body={**extra, "metadata": OURS}
    )
    body = provider.requests[0].json()
    assert {name: body[name] for name in extra} == extra
    assert body["messages"] == HELLO
    events.only()


# -- precedence ---------------------------------------------------------------------------------


def test_the_more_trusted_channel_wins_key_by_key(
    provider: FakeProvider, openai_client: openai.OpenAI, metered: Metered
) -> None:
    events = metered(
        request_metadata={"tenant": "option", "feature": "option", "customer": "option"},
        get_context_id=lambda: "option",
    )
    body = {"agent": "body", "tenant": "body", "feature": "body", "customer": "body", "context_id": "body"}
    with context(customer="context"):
        openai_client.chat.completions.create(
            model="gpt-4o",
            messages=HELLO,
            extra_headers={"x-aden-feature": "header", "x-aden-customer": "header"},
            extra_body={"metadata": body},
            store=True,
        )
    assert events.only().metadata == {
        "agent": "body",
        "tenant": "option",
        "context_id": "option",
        "feature": "header",
        "customer": "context",
    }


@pytest.mark.usefixtures("known_openai")
def test_attribution_and_asking_for_usage_go_together(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(input_tokens=23))
    with openai_client.chat.completions.create(
        model="gpt-4o",
        messages=HELLO,
        stream=True,
        extra_headers=HEADERS,
        extra_body={"metadata": OURS},
    ) as stream:
        assert all(chunk.choices for chunk in stream)
    [request] = provider.requests
    assert leaked(request) == []
    assert request.json()["stream_options"] == {"include_usage": True}
    assert "metadata" not in request.json()
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.metadata) == ("reported", 23, FROM_HEADERS)
