"""Anthropic's and OpenAI's Bedrock clients, against a local server that answers as Bedrock does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import anthropic
import openai
import pytest
from anthropic.lib.bedrock import AnthropicBedrock, AnthropicBedrockMantle, AsyncAnthropicBedrock

from aden_transport import BeforeRequestResult
from aden_transport.core.classify import region_of
from aden_transport.vendors.bedrock import BEDROCK

from ..framing.frames import chunk, exception
from .support import HELLO, TLS, Metered, Recorder

pytest.importorskip("botocore", reason="the SDKs' Bedrock clients sign and read streams with botocore")

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
USAGE = {"input_tokens": 1000, "cache_read_input_tokens": 2000, "output_tokens": 1}
COST = (1000 * 3.3 + 2000 * 0.33 + 500 * 16.5) / 1e6
MESSAGE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello there."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {**USAGE, "output_tokens": 500},
}
MEASURED = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1000, "outputTokenCount": 499}}
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": USAGE}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there."}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 500},
    },
    {"type": "message_stop", **MEASURED},
)
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "openai.gpt-oss-120b-1:0",
    "status": "completed",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 72,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 45,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 117,
    },
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "openai.gpt-oss-120b-1:0",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}],
    "usage": {"prompt_tokens": 72, "completion_tokens": 56, "total_tokens": 128},
}


@dataclass
class Bedrock:
    """The server: what it was asked, and how it answers streams."""

    port: int
    pieces: list[bytes]
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list[Any])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            running.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if self.path.endswith("/invoke-with-response-stream"):
                self.stream("application/vnd.amazon.eventstream", running.pieces)
            elif self.path.endswith("/responses") and body.get("stream"):
                # `data:` comes before `event:` there.
                done = {"type": "response.completed", "sequence_number": 1, "response": RESPONSE}
                event = f"data: {json.dumps(done)}\nevent: response.completed\n\n"
                self.stream("text/event-stream", [event.encode()])
            else:
                self.whole(
                    RESPONSE if "/responses" in self.path else CHAT if "/chat/" in self.path else MESSAGE
                )

        def whole(self, answer: Any) -> None:
            raw = json.dumps(answer).encode()
            self.begin("application/json")
            self.send_header("content-length", str(len(raw)))
            self.send_header("x-amzn-bedrock-input-token-count", "1000")
            self.end_headers()
            self.wfile.write(raw)

        def stream(self, kind: str, pieces: list[bytes]) -> None:
            self.begin(kind)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def begin(self, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("x-amzn-requestid", "r-1")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = Bedrock(server.server_address[1], [chunk(event) for event in EVENTS])
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield running
        server.shutdown()
        thread.join()


KEYED: dict[str, Any] = {"api_key": "bedrock-key"}
SIGNED: dict[str, Any] = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "secret"}


def claude(bedrock: Bedrock, credentials: dict[str, Any] = KEYED) -> AnthropicBedrock:
    return AnthropicBedrock(
        base_url=bedrock.url,
        aws_region="us-east-1",
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(verify=TLS, trust_env=False),
        **credentials,
    )


def claude_async(bedrock: Bedrock, credentials: dict[str, Any] = KEYED) -> AsyncAnthropicBedrock:
    return AsyncAnthropicBedrock(
        base_url=bedrock.url,
        aws_region="us-east-1",
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(verify=TLS, trust_env=False),
        **credentials,
    )


ASKED: dict[str, Any] = {"model": CLAUDE, "max_tokens": 64, "messages": HELLO}


def check(events: Recorder, *, stream: bool) -> None:
    event = events.only()
    assert (event.provider, event.operation, event.request_model) == ("bedrock", "chat", CLAUDE)
    assert (event.response_model, event.response_id) == ("claude-sonnet-4-5-20250929", "msg_bdrk_1")
    assert (event.input_tokens, event.cached_tokens, event.output_tokens) == (3000, 2000, 500)
    assert (event.usage_source, event.stream, event.finish_reasons) == ("reported", stream, ("end_turn",))
    assert (event.request_id, event.faults) == ("r-1", ())
    assert event.cost == pytest.approx(COST)


@pytest.mark.parametrize("credentials", [KEYED, SIGNED], ids=["key", "signed"])
def test_a_message(bedrock: Bedrock, events: Recorder, credentials: dict[str, Any]) -> None:
    with claude(bedrock, credentials) as client:
        answer = client.messages.create(**ASKED)
    assert answer.content[0].text == "Hello there."
    check(events, stream=False)
    path, headers, _ = bedrock.asked[0]
    assert path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke"
    assert headers["authorization"].startswith("AWS4-" if credentials is SIGNED else "Bearer ")


@pytest.mark.anyio
@pytest.mark.parametrize("credentials", [KEYED, SIGNED], ids=["key", "signed"])
async def test_a_message_async(bedrock: Bedrock, events: Recorder, credentials: dict[str, Any]) -> None:
    async with claude_async(bedrock, credentials) as client:
        await client.messages.create(**ASKED)
    check(events, stream=False)


def in_pieces(bedrock: Bedrock, size: int) -> None:
    whole = b"".join(bedrock.pieces)
    bedrock.pieces = [whole[at : at + size] for at in range(0, len(whole), size)]


@pytest.mark.parametrize("size", [5, 300, 1 << 20])
def test_a_stream(bedrock: Bedrock, events: Recorder, size: int) -> None:
    in_pieces(bedrock, size)
    with claude(bedrock) as client, client.messages.create(**ASKED, stream=True) as stream:
        kinds = [event.type for event in stream]
    assert kinds == [event["type"] for event in EVENTS]
    check(events, stream=True)


def test_a_stream_that_is_neither_closed_nor_read_on(bedrock: Bedrock, events: Recorder) -> None:
    with claude(bedrock) as client:
        stream = client.messages.create(**ASKED, stream=True)
        for event in stream:
            if event.type == "message_stop":
                break
        stream.close()
    check(events, stream=True)


def test_the_helper(bedrock: Bedrock, events: Recorder) -> None:
    with claude(bedrock) as client, client.messages.stream(**ASKED) as stream:
        assert stream.get_final_text() == "Hello there."
    check(events, stream=True)


@pytest.mark.anyio
async def test_a_stream_async(bedrock: Bedrock, events: Recorder) -> None:
    async with claude_async(bedrock) as client:
        stream = await client.messages.create(**ASKED, stream=True)
        kinds = [event.type async for event in stream]
    assert kinds == [event["type"] for event in EVENTS]
    check(events, stream=True)


@pytest.mark.anyio
async def test_the_async_helper(bedrock: Bedrock, events: Recorder) -> None:
    async with claude_async(bedrock) as client, client.messages.stream(**ASKED) as stream:
        assert await stream.get_final_text() == "Hello there."
    check(events, stream=True)


def test_an_exception_in_a_stream(bedrock: Bedrock, events: Recorder) -> None:
    bedrock.pieces = [*bedrock.pieces[:3], exception("throttlingException", {"message": "Too many tokens"})]
    with claude(bedrock) as client, pytest.raises(anthropic.APIError, match="Too many tokens"):
        list(client.messages.create(**ASKED, stream=True))
    event = events.only()
    assert (event.error, event.error_type) == ("Too many tokens", "rate_limit_error")
    assert (event.error_code, event.usage_source) == ("throttlingException", "estimated")


@pytest.mark.parametrize("credentials", [KEYED, SIGNED], ids=["key", "signed"])
def test_a_degrade_rewrites_the_path_unless_the_request_is_signed(
    bedrock: Bedrock, metered: Metered, credentials: dict[str, Any]
) -> None:
    cheap = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    events = metered(before_request=lambda *_: BeforeRequestResult.degrade(cheap, "dear"))
    with claude(bedrock, credentials) as client:
        client.messages.create(**ASKED)
    event, (path, _, _) = events.only(), bedrock.asked[0]
    if credentials is SIGNED:
        assert path.startswith(f"/model/{CLAUDE}/")
        assert (event.decision.action, event.decision.hindered) == ("alert", "signed")
    else:
        assert path == "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke"
        assert (event.degraded_from, event.request_model) == (CLAUDE, cheap)


def gpt(bedrock: Bedrock, **credentials: Any) -> openai.BedrockOpenAI:
    return openai.BedrockOpenAI(
        base_url=f"{bedrock.url}/openai/v1",
        aws_region="us-east-1",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=TLS, trust_env=False),
        **credentials,
    )


@pytest.mark.parametrize(
    "credentials",
    [KEYED, {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}],
    ids=["key", "signed"],
)
def test_openais_client(bedrock: Bedrock, events: Recorder, credentials: dict[str, Any]) -> None:
    model = "openai.gpt-oss-120b-1:0"
    with gpt(bedrock, **credentials) as client:
        client.chat.completions.create(model=model, messages=HELLO)
        client.responses.create(model=model, input="hello")
        with client.responses.create(model=model, input="hello", stream=True) as stream:
            assert [event.type for event in stream] == ["response.completed"]
    chat, response, streamed = events.events
    assert {event.provider for event in events.events} == {"bedrock"}
    assert (chat.operation, chat.input_tokens, chat.output_tokens) == ("chat", 72, 56)
    assert (response.operation, response.input_tokens, response.output_tokens) == ("responses", 72, 45)
    assert (streamed.stream, streamed.input_tokens, streamed.output_tokens) == (True, 72, 45)
    assert chat.cost == pytest.approx((72 * 0.15 + 56 * 0.6) / 1e6)
    assert "stream_options" not in str(bedrock.asked)


def test_the_hosts_of_both_clients_are_bedrocks() -> None:
    assert BEDROCK.host_pattern is not None
    with (
        AnthropicBedrock(aws_region="eu-west-1", api_key="k") as one,
        AnthropicBedrockMantle(aws_region="eu-west-1", api_key="k") as two,
        openai.BedrockOpenAI(aws_region="eu-west-1", api_key="k") as three,
    ):
        for client in (one, two, three):
            assert region_of(client.base_url.host, BEDROCK.host_pattern) == "eu-west-1"
