"""OpenAI Responses, through OpenAI's SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from aden_transport.testing import NO_USAGE, FakeProvider, Reply, ToolCall

TOOL: Any = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
}


class Sum(BaseModel):
    total: int


def test_a_response_carries_text_and_usage(openai_client: openai.OpenAI) -> None:
    response = openai_client.responses.create(model="gpt-4.1", input="hello")
    assert response.output_text
    assert response.model == "gpt-4.1-2025-04-14"
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert openai_client.responses.retrieve(response.id).usage == response.usage


def test_the_stream_has_the_real_order_of_events(
    provider: FakeProvider, openai_client: openai.OpenAI
) -> None:
    provider.push(Reply(text="one two", events=2))
    events = list(openai_client.responses.create(model="gpt-4.1", input="hello", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[-1].type == "response.completed"
    assert events[-1].response.usage is not None


def test_the_helper_puts_a_reasoned_tool_call_together(
    provider: FakeProvider, openai_client: openai.OpenAI
) -> None:
    provider.push(Reply(thinking="Adding.", tool_calls=[ToolCall("add", {"a": 2})]))
    with openai_client.responses.stream(model="gpt-5", input="x", tools=[TOOL]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "function_call"]
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 2


def test_parse_returns_a_value_of_the_schema(openai_client: openai.OpenAI) -> None:
    response = openai_client.responses.parse(model="gpt-4.1", input="hello", text_format=Sum)
    assert response.output_parsed == Sum(total=1)


def test_a_background_run_is_queued_then_in_progress_then_completed(openai_client: openai.OpenAI) -> None:
    queued = openai_client.responses.create(model="gpt-4.1", input="hello", background=True)
    assert (queued.status, queued.usage) == ("queued", None)
    running = openai_client.responses.retrieve(queued.id)
    assert (running.status, running.usage) == ("in_progress", None)
    done, again = (openai_client.responses.retrieve(queued.id) for _ in range(2))
    assert done.status == "completed"
    assert done.usage is not None
    assert again == done


def test_the_stream_of_a_background_run_can_be_taken_up_again(openai_client: openai.OpenAI) -> None:
    run = openai_client.responses.create(model="gpt-4.1", input="hello", background=True)
    events = list(openai_client.responses.retrieve(run.id, stream=True, starting_after=1))
    assert events[0].type == "response.in_progress"
    assert events[0].sequence_number == 2
    assert events[-1].type == "response.completed"


def test_a_run_can_be_cancelled_and_deleted(openai_client: openai.OpenAI) -> None:
    run = openai_client.responses.create(model="gpt-4.1", input="hello", background=True)
    assert openai_client.responses.cancel(run.id).status == "cancelled"
    openai_client.responses.delete(run.id)
    with pytest.raises(openai.NotFoundError):
        openai_client.responses.retrieve(run.id)


def test_too_few_tokens_make_it_incomplete(openai_client: openai.OpenAI) -> None:
    events = list(openai_client.responses.create(model="x", input="hi", max_output_tokens=2, stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details is not None
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options.include_usage"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"background": True, "store": False}, "background"),
        ({"model": None}, "model"),
    ],
)
def test_what_openai_refuses_is_refused(openai_client: openai.OpenAI, extra: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.responses.create(model="gpt-4.1", input="hello", stream=True, extra_body=extra)
    assert caught.value.param == param


def test_metadata_and_obfuscation_are_taken(openai_client: openai.OpenAI) -> None:
    assert list(
        openai_client.responses.create(
            model="x",
            input="hi",
            metadata={"a": "b"},
            stream=True,
            stream_options={"include_obfuscation": False},
        )
    )


def test_an_error_ends_the_stream(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    provider.push(Reply(error_after_events=3))
    with pytest.raises(openai.APIError, match="The server had an error"):
        list(openai_client.responses.create(model="gpt-4.1", input="hello", stream=True))


def test_usage_can_be_left_out_and_overridden(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    provider.push(Reply(usage=NO_USAGE), Reply(usage={"input_tokens": "3"}))
    assert openai_client.responses.create(model="x", input="hi").usage is None
    response = openai_client.responses.with_raw_response.create(model="x", input="hi")
    assert response.http_response.json()["usage"] == {"input_tokens": "3"}
    provider.push(Reply(usage=5))
    fetched = openai_client.responses.with_raw_response.retrieve(response.http_response.json()["id"])
    assert fetched.http_response.json()["usage"] == 5


def test_counting_tokens_is_no_usage(openai_client: openai.OpenAI) -> None:
    assert openai_client.responses.input_tokens.count(model="x", input="hello").input_tokens == 5


def test_async(provider: FakeProvider) -> None:
    async def answer() -> str:
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            stream = await client.responses.create(model="x", input="hi", stream=True)
            return [event async for event in stream][-1].type

    assert asyncio.run(answer()) == "response.completed"
