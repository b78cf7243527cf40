"""Requests and answers as the vendors' SDKs and servers write them; invented content."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Headers = list[tuple[bytes, bytes]]

URLS = {
    "openai": "https://api.openai.com/v1/chat/completions",
    "anthropic": "https://api.anthropic.com/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    "none": "https://shop.example.com/v2/carts/8817/items?page=3",
}

REQUEST_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "authorization": "Bearer sk-benchmark-0000000000000000000000000000000000000000",
    "connection": "keep-alive",
    "content-type": "application/json",
    "idempotency-key": "stainless-python-retry-7c5a2c2e-7c34-4b39-9b1a-8f7f1f0e5d11",
    "openai-organization": "org-benchmark",
    "user-agent": "OpenAI/Python 3.54.0",
    "x-stainless-arch": "x64",
    "x-stainless-async": "false",
    "x-stainless-lang": "python",
    "x-stainless-os": "Linux",
    "x-stainless-package-version": "3.54.0",
    "x-stainless-raw-response": "true",
    "x-stainless-read-timeout": "600",
    "x-stainless-retry-count": "0",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
}
"""18, as openai-python sends them; httpx adds host and content-length."""

AGENTS = {"anthropic": "Anthropic/Python 2.12.0", "gemini": "google-genai-sdk/3.4.0 gl-python/3.11.7"}

_ANSWER_HEADERS = {
    "date": "Sat, 21 Nov 2026 10:15:30 GMT",
    "server": "cloudflare",
    "connection": "keep-alive",
    "openai-organization": "org-benchmark",
    "openai-processing-ms": "412",
    "openai-version": "2020-10-01",
    "x-request-id": "req_5f0c8a8ce1f94f4a9a3b1a2f7c6d4e5b",
    "x-envoy-upstream-service-time": "418",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "30000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "29999412",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "1ms",
    "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "cf-cache-status": "DYNAMIC",
    "cf-ray": "8e5f3a2b1c0d9e8f-FRA",
    "alt-svc": 'h3=":443"; ma=86400',
}


def request_headers(vendor: str) -> dict[str, str]:
    """The headers of a request; those of the openai SDK, under the vendor's own user agent."""
    agent = AGENTS.get(vendor)
    return REQUEST_HEADERS if agent is None else {**REQUEST_HEADERS, "user-agent": agent}


def answer_headers(content_type: str, *, gzip: bool = False) -> Headers:
    """19 headers and the content type."""
    headers = {**_ANSWER_HEADERS, "content-type": content_type}
    if gzip:
        headers["content-encoding"] = "gzip"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def params(vendor: str, *, stream: bool, asks_usage: bool) -> dict[str, Any]:
    """The members of a request body of 1 KB."""
    prompt = "Summarise the following paragraph in one sentence, in plain words. " * 11
    if vendor == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}
    body: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "You are a helpful assistant who answers briefly."},
            {"role": "user", "content": prompt},
        ],
        "model": "claude-sonnet-4-5" if vendor == "anthropic" else "gpt-4o",
        "max_tokens": 512,
        "temperature": 0.2,
    }
    if vendor == "anthropic":
        del body["messages"][0]
    if stream:
        body["stream"] = True
    if asks_usage:
        body["stream_options"] = {"include_usage": True}
    return body


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def request_body(vendor: str, *, stream: bool, asks_usage: bool) -> bytes:
    return _dump(params(vendor, stream=stream, asks_usage=asks_usage))


USAGE = {
    "prompt_tokens": 171,
    "completion_tokens": 93,
    "total_tokens": 264,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def answer_body() -> bytes:
    """A chat completion of 1 KB."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "A short answer. " * 26,
        "refusal": None,
        "annotations": [],
    }
    return _dump(
        {
            "id": "chatcmpl-BGq2YRd1bQy0Zk3cJv7n9w5t8xA1m",
            "object": "chat.completion",
            "created": 1795256130,
            "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": USAGE,
            "service_tier": "default",
            "system_fingerprint": "fp_a288987b44",
        }
    )


def stream_pieces(vendor: str, events: int, *, usage: bool) -> list[bytes]:
    """A streamed answer, one piece an event, `events` of them with text; events of about 330 bytes."""
    match vendor:
        case "anthropic":
            return list(_anthropic(events))
        case "gemini":
            return list(_gemini(events))
        case _:
            return list(_openai(events, usage=usage))


def _openai(events: int, *, usage: bool) -> Iterator[bytes]:
    def chunk(delta: Mapping[str, Any] | None, finish: str | None = None) -> bytes:
        value: dict[str, Any] = {
            "id": "chatcmpl-BGq2YRd1bQy0Zk3cJv7n9w5t8xA1m",
            "object": "chat.completion.chunk",
            "created": 1795256130,
            "model": "gpt-4o-2024-08-06",
            "service_tier": "default",
            "system_fingerprint": "fp_a288987b44",
            "choices": [],
        }
        if delta is not None:
            value["choices"] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        if usage:
            value["usage"] = USAGE if delta is None else None
        value["obfuscation"] = "x5Qp"
        return b"data: " + _dump(value) + b"\n\n"

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for n in range(events):
        yield chunk({"content": f" word {n:04d} of it, and some"})
    yield chunk({}, "stop")
    if usage:
        yield chunk(None)
    yield b"data: [DONE]\n\n"


def _anthropic(events: int) -> Iterator[bytes]:
    def event(name: str, **members: Any) -> bytes:
        return b"event: " + name.encode() + b"\ndata: " + _dump({"type": name, **members}) + b"\n\n"

    usage = {
        "input_tokens": 171,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
        "service_tier": "standard",
    }
    yield event(
        "message_start",
        message={
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        },
    )
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for n in range(events):
        text = f" word {n:04d}" + " of some length" * 13
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    yield event("content_block_stop", index=0)
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=ended, usage={"output_tokens": 93})
    yield event("message_stop")


def _gemini(events: int) -> Iterator[bytes]:
    def chunk(text: str, tokens: int, finish: str | None = None) -> bytes:
        candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = finish
        usage = {
            "promptTokenCount": 171,
            "candidatesTokenCount": tokens,
            "totalTokenCount": 171 + tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 171}],
        }
        value = {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-2.5-flash",
            "responseId": "q2kUaZ7mJ4Xl1MkP",
        }
        return b"data: " + _dump(value) + b"\r\n\r\n"

    for n in range(events):
        yield chunk(f" word {n:04d} of it", n + 1)
    yield chunk("", events, "STOP")


def gzipped(pieces: Iterable[bytes]) -> list[bytes]:
    """The same, compressed and flushed piece by piece, as servers do it with streams."""
    deflate = zlib.compressobj(wbits=31)
    out = [deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return [*out, deflate.flush()]
