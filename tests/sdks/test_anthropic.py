"""Anthropic messages: helpers, raw responses, tools, the prompt cache, Vertex."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic.lib.vertex import AnthropicVertex

from aden_transport import ToolCallMetric
from aden_transport.testing import FakeProvider, Reply, ToolCall

from .support import CLAUDE, HELLO, TLS, WEATHER_SCHEMA, Recorder, anthropic_async, anthropic_sync

ANSWER = Reply(text="One two three.", input_tokens=23, output_tokens=11)
WEATHER: Any = {"name": "get_weather", "input_schema": WEATHER_SCHEMA}


def test_the_helper_gives_text_and_final_message(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder
) -> None:
    provider.push(ANSWER)
    with anthropic_client.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "One two three."
    event = events.only()
    assert (event.usage_source, event.stream) == ("reported", True)
    assert (event.input_tokens, event.output_tokens) == (23, 11)
    assert (event.response_id, event.response_model) == (final.id, final.model)
    assert event.finish_reasons == ("end_turn",)
    assert event.service_tier == "standard"


@pytest.mark.anyio
async def test_the_async_helper_gives_text_and_final_message(
    provider: FakeProvider, events: Recorder
) -> None:
    provider.push(ANSWER)
    async with (
        anthropic_async(provider) as client,
        client.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == "One two three."
    event = events.only()
    assert (event.usage_source, event.output_tokens, event.response_id) == ("reported", 11, final.id)


def test_the_beta_stream_is_a_call_like_any(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder
) -> None:
    provider.push(ANSWER)
    with anthropic_client.beta.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO) as stream:
        stream.until_done()
    event = events.only()
    assert (event.operation, event.usage_source, event.output_tokens) == ("chat", "reported", 11)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_tool_use_is_figures_without_arguments(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder, streamed: bool
) -> None:
    provider.push(Reply(tool_calls=[ToolCall("get_weather", {"city": "Rome"})]))
    asked: Any = {"model": CLAUDE, "max_tokens": 64, "messages": HELLO, "tools": [WEATHER]}
    if streamed:
        with anthropic_client.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = anthropic_client.messages.create(**asked)
    block: Any = message.content[0]
    event = events.only()
    assert event.finish_reasons == ("tool_use",)
    assert event.tool_calls == [ToolCallMetric(block.id, "get_weather", 0, len(b'{"city":"Rome"}'))]
    assert "Rome" not in repr(event)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_input_includes_cache_reads_and_writes(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder, streamed: bool
) -> None:
    provider.push(Reply(input_tokens=3000, output_tokens=11, cached_tokens=2000, cache_write_tokens=600))
    asked: Any = {"model": CLAUDE, "max_tokens": 64, "messages": HELLO}
    if streamed:
        with anthropic_client.messages.stream(**asked) as stream:
            usage: Any = stream.get_final_message().usage
    else:
        usage = anthropic_client.messages.create(**asked).usage
    assert usage.input_tokens == 400
    event = events.only()
    assert event.usage is not None
    assert (event.input_tokens, event.output_tokens) == (3000, 11)
    assert (event.cached_tokens, event.usage.cache_write_tokens) == (2000, 600)
    assert event.usage.cache_write_1h_tokens == 0


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_cache_writes_for_an_hour_are_told_apart(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder, streamed: bool
) -> None:
    cached: Any = {"type": "ephemeral", "ttl": "1h"}
    system: Any = [{"type": "text", "text": "Be brief. " * 50, "cache_control": cached}]
    for _ in range(2):
        if streamed:
            with anthropic_client.messages.stream(
                model=CLAUDE, max_tokens=64, messages=HELLO, system=system
            ) as stream:
                stream.until_done()
        else:
            anthropic_client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO, system=system)
    written, read = (event.usage for event in events.events)
    assert written is not None
    assert read is not None
    assert written.cache_write_tokens == written.cache_write_1h_tokens == written.input_tokens > 0
    assert read.cached_tokens == read.input_tokens == written.input_tokens
    assert read.cache_write_tokens == 0


def test_thinking_is_part_of_the_output(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder
) -> None:
    provider.push(Reply(output_tokens=11, thinking="Hm.", reasoning_tokens=40))
    with anthropic_client.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO) as stream:
        stream.until_done()
    event = events.only()
    assert (event.output_tokens, event.reasoning_tokens) == (51, 40)


def test_counting_tokens_and_listing_models_make_no_event(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder
) -> None:
    assert anthropic_client.messages.count_tokens(model=CLAUDE, messages=HELLO).input_tokens > 0
    assert list(anthropic_client.models.list())
    assert events.events == []
    assert len(provider.requests) == 2


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_raw_response_has_its_headers_and_one_event(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder, streamed: bool
) -> None:
    raw = anthropic_client.messages.with_raw_response.create(
        model=CLAUDE, max_tokens=64, messages=HELLO, stream=streamed
    )
    parsed: Any = raw.parse()
    if streamed:
        assert [event.type for event in parsed][-1] == "message_stop"
    event = events.only()
    assert event.request_id == raw.headers["request-id"]
    assert event.organization == raw.headers["anthropic-organization-id"]
    assert event.rate_limit is not None
    assert event.rate_limit.limit_input_tokens == 2_000_000
    assert event.rate_limit.limit_output_tokens == 400_000


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("chunking", ["event", "byte", "whole", 7])
def test_a_stream_is_read_however_it_is_cut(
    provider: FakeProvider,
    anthropic_client: anthropic.Anthropic,
    events: Recorder,
    encoding: Any,
    chunking: Any,
) -> None:
    provider.push(
        Reply(text="One two.", input_tokens=23, output_tokens=11, encoding=encoding, chunking=chunking)
    )
    with anthropic_client.messages.stream(model=CLAUDE, max_tokens=64, messages=HELLO) as stream:
        stream.until_done()
    event = events.only()
    assert (event.usage_source, event.input_tokens, event.output_tokens) == ("reported", 23, 11)
    assert event.faults == ()


# -- Vertex -------------------------------------------------------------------------------------


def vertex(provider: FakeProvider) -> AnthropicVertex:
    return AnthropicVertex(
        region="us-east5",
        project_id="project",
        access_token="any",
        base_url=f"{provider.url}/v1",
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(verify=TLS, trust_env=False),
    )


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_claude_on_vertex_has_the_model_in_its_path(
    provider: FakeProvider, events: Recorder, streamed: bool
) -> None:
    provider.push(ANSWER)
    with vertex(provider) as client:
        asked: Any = {"model": CLAUDE, "max_tokens": 64, "messages": HELLO}
        if streamed:
            with client.messages.stream(**asked) as stream:
                stream.until_done()
        else:
            client.messages.create(**asked)
    verb = "streamRawPredict" if streamed else "rawPredict"
    assert provider.requests[0].path.endswith(f"/publishers/anthropic/models/{CLAUDE}:{verb}")
    event = events.only()
    assert (event.provider, event.operation, event.stream) == ("vertex", "chat", streamed)
    assert (event.request_model, event.usage_source) == (CLAUDE, "reported")
    assert (event.input_tokens, event.output_tokens) == (23, 11)


def test_counting_tokens_on_vertex_makes_no_event(provider: FakeProvider, events: Recorder) -> None:
    with vertex(provider) as client:
        assert client.messages.count_tokens(model=CLAUDE, messages=HELLO).input_tokens > 0
    assert events.events == []


@pytest.mark.parametrize("name", ["sdk", "with_options"])
def test_clients_made_before_and_after_are_both_seen(
    provider: FakeProvider, anthropic_client: anthropic.Anthropic, events: Recorder, name: str
) -> None:
    client = anthropic_client if name == "sdk" else anthropic_client.with_options(timeout=5)
    client.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO)
    with anthropic_sync(provider) as later:
        later.messages.create(model=CLAUDE, max_tokens=64, messages=HELLO)
    assert len(events.events) == 2
