"""OpenAI chat completions, through OpenAI's SDK."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import openai
import pytest
import trio
from pydantic import BaseModel

from aden_transport.testing import NO_USAGE, FakeProvider, Reply, ToolCall

HELLO: Any = [{"role": "user", "content": "hello there"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


class Verdict(BaseModel):
    ok: bool
    reason: str
    scores: list[int]


def test_the_answer_carries_text_dated_model_and_usage(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.model == "gpt-4o-2024-08-06"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 2
    assert answer.created == 1_800_000_000


def test_the_same_request_is_answered_with_the_same_counts(openai_client: openai.OpenAI) -> None:
    first, second = (openai_client.chat.completions.create(model="x", messages=HELLO) for _ in range(2))
    assert first.usage == second.usage
    assert first.choices == second.choices
    assert first.id != second.id
    assert first.model == "x"


def test_a_stream_without_include_usage_has_no_usage_key(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=HELLO, stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert not any('"usage"' in line for line in lines)


def test_include_usage_adds_null_to_each_chunk_and_one_chunk_without_choices(
    openai_client: openai.OpenAI,
) -> None:
    stream = openai_client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert [len(chunk.choices) for chunk in chunks] == [1] * (len(chunks) - 1) + [0]
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
    whole = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert chunks[-1].usage == whole.usage
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == whole.choices[0].message.content


def test_a_named_tool_is_called_whole_and_streamed(openai_client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "What does get_weather say?"}]
    whole = openai_client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    [call] = whole.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.arguments == '{"city": "text", "days": 1}'
    assert whole.choices[0].finish_reason == "tool_calls"

    with openai_client.chat.completions.stream(model="gpt-4o", messages=messages, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments


@pytest.mark.parametrize(
    ("choice", "called"),
    [("auto", False), ("none", False), ("required", True), ({"name": "get_weather"}, True)],
)
def test_tool_choice_decides_where_the_prompt_names_no_tool(
    openai_client: openai.OpenAI, choice: Any, called: bool
) -> None:
    if isinstance(choice, dict):
        choice = {"type": "function", "function": choice}
    answer = openai_client.chat.completions.create(
        model="gpt-4o", messages=HELLO, tools=[WEATHER], tool_choice=choice
    )
    assert bool(answer.choices[0].message.tool_calls) is called


def test_a_tool_result_is_answered_with_text(openai_client: openai.OpenAI) -> None:
    messages: Any = [
        {"role": "user", "content": "call get_weather"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "get_weather: sun"},
    ]
    answer = openai_client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content


def test_scripted_tool_calls_may_carry_broken_arguments(
    provider: FakeProvider, openai_client: openai.OpenAI
) -> None:
    provider.push(Reply(tool_calls=[ToolCall("a", '{"x": '), ToolCall("b", {"y": 1})]))
    answer = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.arguments for call in calls if call.type == "function"] == ['{"x": ', '{"y": 1}']


def test_parse_returns_a_value_of_the_schema(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(ok=True, reason="text", scores=[1])


def test_max_tokens_cuts_the_answer(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_reasoning_models_count_reasoning_in_the_output(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(model="o3", messages=HELLO, reasoning_effort="low")
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert (
        answer.usage.completion_tokens > (answer.usage.completion_tokens_details.reasoning_tokens or 0) == 64
    )


def test_n_choices_multiply_the_output(openai_client: openai.OpenAI) -> None:
    one = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO)
    two = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2)
    assert one.usage is not None
    assert two.usage is not None
    assert len(two.choices) == 2
    assert two.usage.completion_tokens == 2 * one.usage.completion_tokens


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": 3}, "messages"),
        ({"response_format": [1]}, None),
    ],
)
def test_what_openai_refuses_is_refused(openai_client: openai.OpenAI, extra: Any, param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, extra_body=extra)
    assert caught.value.param == param


def test_metadata_is_taken_with_store(openai_client: openai.OpenAI) -> None:
    assert openai_client.chat.completions.create(
        model="gpt-4o", messages=HELLO, store=True, metadata={"a": "b"}
    )


@pytest.mark.parametrize("usage", [None, "many", {"prompt_tokens": -1}, {"total_tokens": 10**30}, [1]])
def test_any_usage_can_be_sent(provider: FakeProvider, openai_client: openai.OpenAI, usage: Any) -> None:
    provider.push(Reply(usage=usage))
    answer = openai_client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert answer.http_response.json()["usage"] == usage


def test_nan_is_sent_as_python_writes_it(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    provider.push(Reply(usage={"prompt_tokens": math.nan}))
    answer = openai_client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert b'"prompt_tokens": NaN' in answer.content


def test_usage_can_be_left_out(provider: FakeProvider, openai_client: openai.OpenAI) -> None:
    provider.script(Reply(usage=NO_USAGE))
    assert openai_client.chat.completions.create(model="gpt-4o", messages=HELLO).usage is None
    stream = openai_client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    assert all(chunk.choices and "usage" not in chunk.model_fields_set for chunk in stream)


def test_scripted_counts_replace_the_counted_ones(
    provider: FakeProvider, openai_client: openai.OpenAI
) -> None:
    provider.push(Reply(input_tokens=1000, output_tokens=50, reasoning_tokens=7, cached_tokens=900))
    usage = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 57, 1057)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 900


def test_legacy_completions_whole_and_streamed(openai_client: openai.OpenAI) -> None:
    whole = openai_client.completions.create(model="davinci-002", prompt="hello")
    chunks = list(
        openai_client.completions.create(
            model="davinci-002", prompt="hello", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage
    assert whole.model == "davinci:2023-07-21-v2"


def test_azure_answers_with_filter_results_and_an_empty_first_chunk(provider: FakeProvider) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=provider.azure_endpoint, api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        whole = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))
    assert whole.headers["x-ms-deployment-name"] == "gpt-4o"
    assert "prompt_filter_results" in whole.http_response.json()
    assert (chunks[0].choices, chunks[0].id, chunks[0].model) == ([], "", "")
    assert provider.requests[0].path == "/openai/deployments/gpt-4o/chat/completions"
    assert provider.requests[0].query == {"api-version": "2024-10-21"}


def test_async_streams(provider: FakeProvider) -> None:
    async def chunks() -> int:
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            return len([chunk async for chunk in stream])

    provider.push(Reply(events=5))
    assert asyncio.run(chunks()) == 7


def test_trio(provider: FakeProvider) -> None:
    async def words() -> str | None:
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            answer = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
            return answer.choices[0].message.content

    provider.push(Reply(text="from trio"))
    assert trio.run(words) == "from trio"
