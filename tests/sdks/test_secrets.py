"""Keys and prompts never show: in no event, no log record, no repr, also where a vendor quotes them."""

from __future__ import annotations

import json
import logging
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from aden_transport import BeforeRequestResult, RequestCancelledError, get_options
from aden_transport.meter import state
from aden_transport.testing import FakeProvider, Reply

from .support import HELLO, TLS, WAYS, Metered, Recorder, Way

CANARIES = {
    "openai": "sk-proj-c4n4ryC4N4RYc4n4ry-0123456789",
    "anthropic": "sk-ant-c4n4ryC4N4RYc4n4ry-0123456789",
    "gemini": "AIzaC4n4ryC4N4RYc4n4ry0123456789012",
    "odd": "no-shape-of-a-key-c4n4ry",
}
PROMPT = "canary-prompt-text"
WAYS_AND_KEYS = [(way, CANARIES[way.sdk]) for way in WAYS] + [(WAYS[0], CANARIES["odd"])]
each_way = pytest.mark.parametrize(
    ("way", "key"), WAYS_AND_KEYS, ids=[f"{way.id}-{key[:6]}" for way, key in WAYS_AND_KEYS]
)


def client_of(way: Way, provider: FakeProvider, key: str) -> Any:
    match way.sdk:
        case "openai":
            http_client = openai.DefaultHttpxClient(verify=TLS)
            return openai.OpenAI(
                base_url=provider.openai_base_url, api_key=key, max_retries=0, http_client=http_client
            )
        case "anthropic":
            other = anthropic.DefaultHttpxClient(verify=TLS)
            return anthropic.Anthropic(base_url=provider.url, api_key=key, max_retries=0, http_client=other)
        case _:
            options: Any = {"base_url": provider.url, "client_args": {"verify": TLS}}
            return genai.Client(api_key=key, http_options=options)


def quoting(key: str) -> Reply:
    """A vendor that names the key it refuses."""
    message = f"Incorrect API key provided: {key}. Bearer {key} is not known."
    error = {"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}
    return Reply(status=401, error={"type": "error", "error": error})


def nothing_shows(key: str, events: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    assert events.events
    shown = [repr(events.events), json.dumps([event.to_dict() for event in events.events], default=str)]
    shown += [repr(event.decision) for event in events.events]
    shown += [repr(get_options()), repr(state.everything), repr(vars(state.everything))]
    for record in caplog.records:
        if record.name == "aden" or record.name.startswith("aden."):
            shown += [record.getMessage(), repr(record.args), str(record.exc_text), repr(record.exc_info)]
    for text in shown:
        assert key not in text
        assert PROMPT not in text


@each_way
def test_a_key_shows_nowhere(
    way: Way, key: str, provider: FakeProvider, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aden")
    with client_of(way, provider, key) as client:
        way.sync(client)
    assert any(key in value for value in provider.requests[0].headers.values())
    nothing_shows(key, events, caplog)


@each_way
def test_a_key_that_the_server_quotes_shows_nowhere(
    way: Way, key: str, provider: FakeProvider, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aden")
    provider.push(quoting(key))
    with client_of(way, provider, key) as client, pytest.raises(Exception, match="API key"):
        way.sync(client)
    event = events.only()
    assert event.error_type == "authentication_error"
    assert event.error is not None
    assert event.error.startswith("Incorrect API key provided: [redacted]")
    nothing_shows(key, events, caplog)


def test_a_key_shows_nowhere_when_a_hook_fails(
    provider: FakeProvider, metered: Metered, caplog: pytest.LogCaptureFixture
) -> None:
    def slip(params: Any, context: Any) -> BeforeRequestResult:
        raise KeyError("slip")

    caplog.set_level(logging.DEBUG, "aden")
    events = metered(before_request=slip, fail_open=False)
    events.faults = {"before_request:KeyError": 1}
    key = CANARIES["openai"]
    messages: Any = [{"role": "user", "content": PROMPT}]
    with client_of(WAYS[0], provider, key) as client, pytest.raises(RequestCancelledError) as raised:
        client.chat.completions.create(model="gpt-4o", messages=messages)
    nothing_shows(key, events, caplog)
    assert key not in repr(raised.value) + repr(vars(raised.value)) + str(raised.value)
    assert PROMPT not in repr(vars(raised.value))


@pytest.mark.parametrize("reply", [Reply(disconnect_before_headers=True), Reply(disconnect_after_bytes=20)])
def test_a_key_shows_nowhere_when_the_connection_breaks(
    reply: Reply, provider: FakeProvider, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aden")
    provider.push(reply)
    key = CANARIES["openai"]
    with client_of(WAYS[0], provider, key) as client, pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    nothing_shows(key, events, caplog)


def test_prompt_and_answer_are_in_no_event(
    provider: FakeProvider, events: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aden")
    provider.push(Reply(text="canary-answer-text"))
    messages: Any = [{"role": "user", "content": PROMPT}]
    with client_of(WAYS[0], provider, "any") as client:
        client.chat.completions.create(model="gpt-4o", messages=messages)
    event = events.only()
    assert event.content is None
    assert PROMPT not in repr(event)
    assert "canary-answer-text" not in repr(event)
