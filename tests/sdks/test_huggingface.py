"""Hugging Face's SDK: chat through OpenAI's format, and the tasks of servers of one's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply, ToolCall

from .support import HELLO, WEATHER_SCHEMA, Recorder

hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
ANSWER = Reply(text="One two three four five.", input_tokens=23, output_tokens=11)
WEATHER: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_SCHEMA}}
DETAILS = {"finish_reason": "length", "generated_tokens": 2, "input_length": 5, "seed": None}
TOKENS: Any = (
    {"index": 1, "token": {"id": 1, "text": " a", "logprob": -1.0, "special": False}},
    {"index": 2, "token": {"id": 2, "text": " b", "logprob": -1.0, "special": False}},
)


class TaskServer(BaseHTTPRequestHandler):
    """Answers as Text Generation Inference and Text Embeddings Inference do."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/embed":
            self._answer("application/json", b"[[0.5, 0.25]]", ("x-compute-tokens", "4"))
        elif asked.get("stream"):
            last = {**TOKENS[-1], "generated_text": " a b", "details": DETAILS}
            sent = [{**TOKENS[0], "generated_text": None, "details": None}, last]
            body = b"".join(b"data:" + json.dumps(event).encode() + b"\n\n" for event in sent)
            self._answer("text/event-stream", body)
        else:
            details = {**DETAILS, "prefill": [], "tokens": []}
            body = json.dumps([{"generated_text": " a b", "details": details}]).encode()
            self._answer("application/json", body)

    def _answer(self, kind: str, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in (("content-type", kind), ("content-length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def own_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), TaskServer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def anyio_backend() -> str:
    """On trio the SDK leaves a generator of its own unfinished."""
    return "asyncio"


@pytest.fixture
def client(provider: FakeProvider) -> Any:
    return hub.InferenceClient(base_url=provider.base_url("huggingface"), api_key="any")


def told(event: MetricEvent) -> tuple[Any, ...]:
    usage = (event.usage_source, event.input_tokens, event.output_tokens)
    return event.provider, event.operation, event.stream, *usage


def test_chat(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    client.chat_completion(model=LLAMA, messages=HELLO)
    event = events.only()
    assert told(event) == ("huggingface", "chat", False, "reported", 23, 11)
    assert event.request_model == LLAMA


def test_chat_stream(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    asked = {"include_usage": True}
    chunks = list(client.chat_completion(model=LLAMA, messages=HELLO, stream=True, stream_options=asked))
    assert chunks[-1].usage.prompt_tokens == 23
    event = events.only()
    assert told(event) == ("huggingface", "chat", True, "reported", 23, 11)
    assert event.finish_reasons == ("stop",)


def test_a_stream_without_usage_is_estimated(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(ANSWER)
    list(client.chat_completion(model=LLAMA, messages=HELLO, stream=True))
    assert events.only().usage_source == "estimated"


def test_tools(provider: FakeProvider, client: Any, events: Recorder) -> None:
    provider.push(Reply(tool_calls=(ToolCall("get_weather", {"city": "Paris"}),)))
    client.chat_completion(model=LLAMA, messages=HELLO, tools=[WEATHER])
    tools = events.only().tool_calls
    assert tools is not None
    assert [tool.name for tool in tools] == ["get_weather"]


def test_an_error_of_the_server(provider: FakeProvider, client: Any, events: Recorder) -> None:
    body = {"error": "Model is overloaded", "error_type": "overloaded"}
    provider.push(Reply(status=429, raw=json.dumps(body).encode()))
    with pytest.raises(Exception, match="overloaded"):
        client.chat_completion(model=LLAMA, messages=HELLO)
    event = events.only()
    assert (event.status_code, event.error) == (429, "Model is overloaded")


def test_text_generation_by_a_server_of_ones_own(own_server: str, events: Recorder) -> None:
    hub.InferenceClient(model=f"{own_server}/generate").text_generation("hello there", details=True)
    event = events.only()
    assert told(event) == ("huggingface", "text_completion", False, "reported", 5, 2)
    assert event.finish_reasons == ("length",)


def test_text_generation_as_a_stream(own_server: str, events: Recorder) -> None:
    client = hub.InferenceClient(model=f"{own_server}/generate")
    assert list(client.text_generation("hello there", stream=True)) == [" a", " b"]
    event = events.only()
    assert told(event) == ("huggingface", "text_completion", True, "reported", 5, 2)
    assert event.finish_reasons == ("length",)


def test_embeddings_are_counted_by_a_header(own_server: str, events: Recorder) -> None:
    pytest.importorskip("numpy")
    hub.InferenceClient(model=f"{own_server}/embed").feature_extraction("hello there")
    assert told(events.only()) == ("huggingface", "embeddings", False, "reported", 4, 0)


@pytest.mark.anyio
async def test_the_asynchronous_colour(provider: FakeProvider, events: Recorder) -> None:
    provider.push(ANSWER, ANSWER)
    asked = {"include_usage": True}
    async with hub.AsyncInferenceClient(base_url=provider.base_url("huggingface"), api_key="any") as client:
        await client.chat_completion(model=LLAMA, messages=HELLO)
        stream = await client.chat_completion(model=LLAMA, messages=HELLO, stream=True, stream_options=asked)
        assert [chunk async for chunk in stream]
    assert [told(event) for event in events.events] == [
        ("huggingface", "chat", stream, "reported", 23, 11) for stream in (False, True)
    ]
