"""Anthropic Messages, through Anthropic's SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest

from aden_transport.testing import NO_USAGE, FakeProvider, Reply

MODEL = "claude-haiku-4-5"
HELLO: Any = [{"role": "user", "content": "hello there"}]
TOOL: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo"]}}},
}


def ask(client: anthropic.Anthropic, **extra: Any) -> anthropic.types.Message:
    message: anthropic.types.Message = client.messages.create(
        **{"model": MODEL, "max_tokens": 100, "messages": HELLO, **extra}
    )
    return message


def test_the_answer_carries_text_dated_model_and_usage(anthropic_client: anthropic.Anthropic) -> None:
    message = ask(anthropic_client)
    assert message.model == "claude-haiku-4-5-20251001"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 18)
    assert message.usage.cache_read_input_tokens == 0


def test_the_stream_says_the_same_as_the_whole_answer(anthropic_client: anthropic.Anthropic) -> None:
    whole = ask(anthropic_client)
    with anthropic_client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        kinds = [event.type for event in stream if event.type not in {"text", "input_json"}]
        final = stream.get_final_message()
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_and_tools_come_as_blocks(anthropic_client: anthropic.Anthropic, stream: bool) -> None:
    asked: Any = {
        "model": MODEL,
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": "ask get weather"}],
        "tools": [TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    if stream:
        with anthropic_client.messages.stream(**asked) as opened:
            message: Any = opened.get_final_message()
    else:
        message = anthropic_client.messages.create(**asked)
    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    assert message.content[1].input == {"city": "Oslo"}
    assert message.stop_reason == "tool_use"
    assert message.usage.output_tokens_details.thinking_tokens > 0


def test_a_marked_prompt_is_written_to_the_cache_and_then_read(anthropic_client: anthropic.Anthropic) -> None:
    marked: Any = [
        {"type": "text", "text": "Long " * 40, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    written, read = (ask(anthropic_client, system=marked).usage for _ in range(2))
    assert written.cache_creation is not None
    assert written.cache_creation.ephemeral_1h_input_tokens == written.cache_creation_input_tokens != 0
    assert read.cache_read_input_tokens == written.cache_creation_input_tokens
    assert read.cache_creation_input_tokens == read.input_tokens == 0


def test_input_tokens_leave_out_the_cached_ones(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic
) -> None:
    provider.push(Reply(input_tokens=100, cached_tokens=60, cache_write_tokens=30))
    usage = ask(anthropic_client).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (
        10,
        60,
        30,
    )


@pytest.mark.parametrize(
    "extra", [{"metadata": {"agent": "a"}}, {"stream_options": {}}, {"max_tokens": None}, {"messages": {}}]
)
def test_what_anthropic_refuses_is_refused(anthropic_client: anthropic.Anthropic, extra: Any) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(anthropic_client, extra_body=extra)
    assert caught.value.type == "invalid_request_error"


def test_the_user_id_is_taken(anthropic_client: anthropic.Anthropic) -> None:
    assert ask(anthropic_client, metadata={"user_id": "u"})


def test_max_tokens_cut_the_answer(anthropic_client: anthropic.Anthropic) -> None:
    message = ask(anthropic_client, max_tokens=2)
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 2)


def test_usage_can_be_left_out_and_overridden(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic
) -> None:
    provider.push(Reply(usage=NO_USAGE), Reply(usage={"output_tokens": "x"}))
    raw = anthropic_client.messages.with_raw_response
    assert "usage" not in raw.create(model=MODEL, max_tokens=9, messages=HELLO).http_response.json()
    answer = raw.create(model=MODEL, max_tokens=9, messages=HELLO).http_response.json()
    assert answer["usage"] == {"output_tokens": "x"}


def test_an_overload_ends_the_stream(provider: FakeProvider, anthropic_client: anthropic.Anthropic) -> None:
    provider.push(Reply(error_after_events=4))
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(anthropic_client.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True))
    assert caught.value.type == "overloaded_error"


def test_counting_and_models(anthropic_client: anthropic.Anthropic) -> None:
    assert anthropic_client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens == 9
    assert "claude-haiku-4-5-20251001" in [model.id for model in anthropic_client.models.list()]


@pytest.mark.parametrize("stream", [False, True])
def test_vertex_takes_the_model_from_the_path(provider: FakeProvider, raw: Any, stream: bool) -> None:
    method = "streamRawPredict" if stream else "rawPredict"
    path = f"/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929:{method}"
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": HELLO, "stream": stream}
    answer = raw.post(path, json=body)
    assert '"model":"claude-sonnet-4-5-20250929"' in answer.text
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


def test_async(provider: FakeProvider) -> None:
    async def answer() -> str | None:
        async with (
            anthropic.AsyncAnthropic(base_url=provider.anthropic_base_url, api_key="any") as client,
            client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream,
        ):
            return (await stream.get_final_message()).stop_reason

    assert asyncio.run(answer()) == "end_turn"
