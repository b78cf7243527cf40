"""OpenAI chat completions: usage asked for and hidden, helpers, raw responses, tools, choices."""

from __future__ import annotations

import gzip
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from aden_transport import ToolCallMetric
from aden_transport.testing import NO_USAGE, FakeProvider, Reply, ToolCall

from .support import HELLO, WEATHER_SCHEMA, Metered, Recorder, openai_async, tokens_of

ANSWER = Reply(text="One two three four five.", input_tokens=23, output_tokens=11)
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
ASKED: Any = {"include_usage": True}


class Verdict(BaseModel):
    ok: bool
    reason: str


def stream_dumps(client: openai.OpenAI, **extra: Any) -> list[Any]:
    with client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, **extra) as stream:
        return [chunk.model_dump() for chunk in stream]


@pytest.mark.usefixtures("known_openai")
def test_usage_that_the_app_did_not_ask_for_is_asked_for_and_hidden(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(ANSWER)
    chunks = stream_dumps(openai_client)
    assert provider.requests[0].json()["stream_options"] == {"include_usage": True}
    assert provider.requests[0].headers["accept-encoding"] == "identity"
    assert all(chunk["choices"] for chunk in chunks)
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.finish_reasons == ("stop",)


@pytest.mark.usefixtures("known_openai")
def test_usage_that_the_app_asked_for_stays(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(ANSWER)
    chunks = stream_dumps(openai_client, stream_options=ASKED)
    assert provider.requests[0].headers["accept-encoding"] != "identity"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] == 23
    assert events.only().usage_source == "reported"


@pytest.mark.usefixtures("known_openai")
def test_other_stream_options_of_the_app_are_kept(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    stream_dumps(openai_client, stream_options={"include_obfuscation": False})
    assert provider.requests[0].json()["stream_options"] == {
        "include_obfuscation": False,
        "include_usage": True,
    }
    assert events.only().usage_source == "reported"


def test_an_unknown_host_is_asked_for_nothing_and_usage_is_estimated(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(ANSWER)
    chunks = stream_dumps(openai_client)
    assert "stream_options" not in provider.requests[0].json()
    event = events.only()
    assert event.usage_source == "estimated"
    assert event.output_tokens == tokens_of("One two three four five.")
    assert event.input_tokens is not None
    assert event.input_tokens > 0
    assert event.faults == ()
    assert len(chunks) > 5


@pytest.mark.usefixtures("known_openai")
def test_stream_usage_false_asks_for_nothing(
    provider: FakeProvider, openai_client: openai.OpenAI, metered: Metered
) -> None:
    events = metered(stream_usage=False)
    stream_dumps(openai_client)
    assert "stream_options" not in provider.requests[0].json()
    assert events.only().usage_source == "estimated"


@pytest.mark.usefixtures("known_openai")
def test_a_server_that_ignores_the_wish_for_usage_hides_nothing(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(text="One two three.", usage=NO_USAGE))
    chunks = stream_dumps(openai_client)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert events.only().usage_source == "estimated"


@pytest.mark.usefixtures("known_openai")
@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize("chunking", ["event", "byte", "whole", 7])
def test_hidden_usage_is_read_however_the_stream_is_cut(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder, encoding: Any, chunking: Any
) -> None:
    provider.push(
        Reply(text="One two.", input_tokens=23, output_tokens=11, encoding=encoding, chunking=chunking)
    )
    chunks = stream_dumps(openai_client)
    assert all(chunk["choices"] for chunk in chunks)
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.faults == ()


@pytest.mark.usefixtures("known_openai")
def test_the_stream_helper_sees_its_final_completion(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(ANSWER)
    with openai_client.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion()
    assert text == final.choices[0].message.content == "One two three four five."
    assert final.usage is None
    event = events.only()
    assert (event.usage_source, event.stream, event.output_tokens) == ("reported", True, 11)


def test_parse_makes_one_event(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    answer = openai_client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)
    assert answer.usage is not None
    assert events.only().input_tokens == answer.usage.prompt_tokens


def test_a_raw_response_has_its_headers_and_one_event(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
    assert raw.parse().choices[0].message.content
    assert raw.elapsed.total_seconds() >= 0
    event = events.only()
    assert event.request_id == raw.headers["x-request-id"]
    assert event.organization == "org-fake"
    assert event.server_latency_ms == float(raw.headers["openai-processing-ms"])
    assert event.rate_limit is not None
    assert event.rate_limit.remaining_requests == 9999


@pytest.mark.usefixtures("known_openai")
@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes", "iter_text", "parse"])
def test_a_streamed_response_hides_usage_from_every_reader(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder, reader: str
) -> None:
    provider.push(ANSWER)
    method = openai_client.chat.completions.with_streaming_response.create
    with method(model="gpt-4o", messages=HELLO, stream=True) as response:
        match reader:
            case "iter_lines":
                text = "\n".join(response.iter_lines())
            case "iter_bytes":
                pieces = list(response.iter_bytes(7))
                assert {len(piece) for piece in pieces[:-1]} == {7}
                text = b"".join(pieces).decode()
            case "iter_text":
                text = "".join(response.iter_text())
            case _:
                text = "\n".join(chunk.model_dump_json() for chunk in response.parse()) + "[DONE]"
    assert text.rstrip().endswith("[DONE]")
    assert '"prompt_tokens"' not in text
    event = events.only()
    assert (event.usage_source, event.output_tokens) == ("reported", 11)


@pytest.mark.anyio
@pytest.mark.usefixtures("known_openai")
@pytest.mark.parametrize("reader", ["iter_lines", "iter_bytes", "parse"])
async def test_an_async_streamed_response_hides_usage_from_every_reader(
    provider: FakeProvider, events: Recorder, reader: str
) -> None:
    provider.push(ANSWER)
    async with openai_async(provider) as client:
        method = client.chat.completions.with_streaming_response.create
        async with method(model="gpt-4o", messages=HELLO, stream=True) as response:
            match reader:
                case "iter_lines":
                    text = "\n".join([line async for line in response.iter_lines()])
                case "iter_bytes":
                    text = b"".join([piece async for piece in response.iter_bytes(7)]).decode()
                case _:
                    stream = await response.parse()
                    text = "\n".join([chunk.model_dump_json() async for chunk in stream]) + "[DONE]"
    assert text.rstrip().endswith("[DONE]")
    assert '"prompt_tokens"' not in text
    assert events.only().usage_source == "reported"


@pytest.mark.usefixtures("known_openai")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_tool_calls_are_figures_without_arguments(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder, streamed: bool
) -> None:
    calls = [ToolCall("get_weather", {"city": "Zürich"}), ToolCall("get_weather", {"city": "Rome"})]
    provider.push(Reply(tool_calls=calls))
    if streamed:
        with openai_client.chat.completions.stream(model="gpt-4o", messages=HELLO, tools=[WEATHER]) as stream:
            message: Any = stream.get_final_completion().choices[0].message
    else:
        answer = openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=[WEATHER])
        message = answer.choices[0].message
    assert message.tool_calls is not None
    event = events.only()
    assert event.finish_reasons == ("tool_calls",)
    assert event.tool_calls == [
        ToolCallMetric(seen.id, "get_weather", index, len(sent.arguments_json.encode()))
        for index, (seen, sent) in enumerate(zip(message.tool_calls, calls, strict=True))
    ]
    assert "Rome" not in repr(event)


@pytest.mark.usefixtures("known_openai")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_two_choices_have_two_finish_reasons(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder, streamed: bool
) -> None:
    provider.push(ANSWER)
    if streamed:
        stream_dumps(openai_client, n=2)
    else:
        openai_client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2)
    event = events.only()
    assert event.finish_reasons == ("stop", "stop")
    assert event.output_tokens == 22
    assert event.operation_details == {"n": 2}


def test_cached_and_reasoning_tokens_are_parts_of_the_totals(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(input_tokens=2000, output_tokens=10, cached_tokens=1024, reasoning_tokens=64))
    openai_client.chat.completions.create(model="o3", messages=HELLO)
    event = events.only()
    assert (event.input_tokens, event.cached_tokens) == (2000, 1024)
    assert (event.output_tokens, event.reasoning_tokens) == (74, 64)


def test_a_compressed_whole_answer_is_read(
    provider: FakeProvider, openai_client: openai.OpenAI, events: Recorder
) -> None:
    provider.push(Reply(input_tokens=23, output_tokens=11, encoding="gzip"))
    method = openai_client.chat.completions.with_streaming_response.create
    with method(model="gpt-4o", messages=HELLO) as response:
        packed = b"".join(response.http_response.iter_raw())
    assert b'"prompt_tokens": 23' in gzip.decompress(packed)
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
