"""Which dialect answers, the shapes of its errors, and its headers."""

from __future__ import annotations

import re
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from aden_transport.testing import FakeProvider, Reply
from aden_transport.testing.errors import KINDS

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}


@pytest.mark.parametrize("kind", KINDS)
def test_errors_raise_the_exception_of_their_status(
    provider: FakeProvider, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, kind: str
) -> None:
    provider.script(Reply(error=kind))
    with pytest.raises(openai.APIStatusError) as at_openai:
        openai_client.chat.completions.create(model="gpt-4o", messages=[])
    assert at_openai.value.status_code == KINDS[kind].status
    assert (at_openai.value.type, at_openai.value.code) == KINDS[kind].openai
    with pytest.raises(anthropic.APIStatusError) as at_anthropic:
        anthropic_client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=[])
    assert at_anthropic.value.status_code == (529 if kind == "overloaded" else KINDS[kind].status)
    assert at_anthropic.value.type == KINDS[kind].anthropic


@pytest.mark.parametrize(
    ("status", "code"), [(401, "invalid_api_key"), (429, "rate_limit_exceeded"), (503, None), (418, None)]
)
def test_a_bare_status_gets_a_fitting_error(
    provider: FakeProvider, raw: httpx2.Client, status: int, code: str | None
) -> None:
    provider.push(Reply(status=status))
    response = raw.post(CHAT, json=BODY)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code


def test_an_error_body_can_be_given(provider: FakeProvider, raw: httpx2.Client) -> None:
    provider.push(Reply(status=422, error={"detail": "mine"}), Reply(error="nonsense"))
    response = raw.post(CHAT, json=BODY)
    assert (response.status_code, response.json()) == (422, {"detail": "mine"})
    assert "Reply.error is none of" in raw.post(CHAT, json=BODY).text


def test_the_sdk_retries_as_the_headers_tell_it(provider: FakeProvider) -> None:
    provider.push(Reply(status=429, retry_after_s=0.01), Reply(status=500, retry_after_s=0.01))
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any", max_retries=2) as client:
        assert client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    retries = [request.headers["x-stainless-retry-count"] for request in provider.requests]
    assert retries == ["0", "1", "2"]


def test_anthropics_client_is_told_not_to_retry(provider: FakeProvider) -> None:
    provider.script(Reply(status=400))
    client = anthropic.Anthropic(base_url=provider.url, api_key="any", max_retries=2)
    with client, pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(model="m", max_tokens=9, messages=[])
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request_id == caught.value.response.headers["request-id"]


@pytest.mark.parametrize("path", ["/nothing", "/v1/chat/completions/x"])
def test_unknown_paths_are_not_found(raw: httpx2.Client, path: str) -> None:
    response = raw.post(path, json=BODY)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"'])
def test_bodies_that_are_no_object_are_refused(raw: httpx2.Client, content: bytes) -> None:
    assert raw.post(CHAT, content=content).status_code == 400


def test_openai_limits_count_down_and_resets_are_durations(raw: httpx2.Client) -> None:
    first, second = (raw.post(CHAT, json=BODY).headers for _ in range(2))
    assert int(first["x-ratelimit-remaining-requests"]) == int(second["x-ratelimit-remaining-requests"]) + 1
    assert int(first["x-ratelimit-remaining-tokens"]) > int(second["x-ratelimit-remaining-tokens"])
    assert (first["x-ratelimit-reset-requests"], second["x-ratelimit-reset-requests"]) == ("6ms", "12ms")
    assert re.fullmatch("req_[0-9a-f]{32}", first["x-request-id"])
    assert first["openai-processing-ms"].isdecimal()


def test_anthropic_limits_have_four_families_and_times(provider: FakeProvider, raw: httpx2.Client) -> None:
    headers = raw.post("/v1/messages", json=BODY).headers
    for family in ("input-tokens", "output-tokens", "requests", "tokens"):
        limit, left = (
            int(headers[f"anthropic-ratelimit-{family}-{part}"]) for part in ("limit", "remaining")
        )
        assert 0 < left < limit
        assert headers[f"anthropic-ratelimit-{family}-reset"] == "2027-01-15T08:00:00Z"


def test_google_sends_no_limits(raw: httpx2.Client) -> None:
    headers = raw.post("/v1beta/models/m:generateContent", json={"contents": []}).headers
    assert not [name for name in headers if "ratelimit" in name]
    assert headers["server-timing"].startswith("gfet4t7; dur=")
