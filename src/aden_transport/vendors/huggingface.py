"""Hugging Face: the router to other vendors, the Inference API, and endpoints of one's own.

The router passes on what its partners answer, in OpenAI's format for chat
(https://huggingface.co/docs/inference-providers). The Inference API and endpoints answer by task: Text
Generation Inference in its own format, embeddings as bare arrays with their figures in headers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from . import openai
from .base import Headers, Operation, Reading, StreamShape, Vendor, asks_stream, count, route, text
from .limits import compatible_limits, whole
from .openai_shapes import read_chat, read_chat_event, read_error

__all__ = ["HUGGINGFACE"]


def read_headers(headers: Headers, reading: Reading) -> None:
    """Who answered, and the counts of servers that leave them out of the body.

    `x-compute-tokens`: https://github.com/huggingface/text-embeddings-inference;
    `x-prompt-tokens`, `x-generated-tokens`: https://github.com/huggingface/text-generation-inference.
    """
    provider = headers.get(b"x-inference-provider")
    if provider is not None:
        reading.detail("inference_provider", text(provider.decode("ascii", "replace").lower(), 64))
    took = headers.get(b"x-compute-time", b"")
    # In seconds with a fraction; embedding servers send whole milliseconds under the same name.
    if len(took) < 16 and took.count(b".") == 1 and took.replace(b".", b"").isdigit():
        reading.detail("compute_time_ms", float(took) * 1000)
    prompt = whole(headers.get(b"x-prompt-tokens", headers.get(b"x-compute-tokens")))
    output = whole(headers.get(b"x-generated-tokens"))
    if prompt is None and output is None:
        return
    if reading.usage is None:
        reading.usage = NormalizedUsage()
    reading.usage.input_tokens = reading.usage.input_tokens or count(prompt, reading)
    reading.usage.output_tokens = reading.usage.output_tokens or count(output, reading)


def _kind_of_error(body: Mapping[str, Any], reading: Reading) -> None:
    """`{"error": "…", "error_type": "overloaded"}`, or several errors in a list."""
    error: Any = body.get("error")
    if isinstance(error, list) and error:
        reading.error = text(error[0], 1000) or reading.error
    elif error:
        read_error(body, reading)
    reading.error_kind = text(body.get("error_type"), 128) or reading.error_kind


def read_router_chat(body: Mapping[str, Any], reading: Reading) -> None:
    read_chat(body, reading)
    _kind_of_error(body, reading)


def read_router_chat_event(name: str, chunk: Mapping[str, Any], reading: Reading) -> None:
    read_chat_event(name, chunk, reading)
    if "error" in chunk:
        _kind_of_error(chunk, reading)


# -- tasks --------------------------------------------------------------------------------------------


def read_task(body: Mapping[str, Any], reading: Reading) -> None:
    """An answer of Text Generation Inference, the first of a list; other tasks have no counts.

    https://huggingface.co/docs/text-generation-inference
    """
    _generated(body.get("details"), reading)
    _kind_of_error(body, reading)


def _generated(details: Any, reading: Reading) -> None:
    if not isinstance(details, Mapping):
        return
    reason = details.get("finish_reason")
    if isinstance(reason, str):
        reading.finish_reasons[0] = reason[:64]
    prefill, length = details.get("prefill"), details.get("input_length")
    if length is None and isinstance(prefill, list):
        length = len(prefill) or None  # only where it was asked for
    if length is None and details.get("generated_tokens") is None:
        return
    reading.usage = NormalizedUsage(count(length, reading), count(details.get("generated_tokens"), reading))
    if length is None and "usage.incomplete" not in reading.faults:
        reading.faults.append("usage.incomplete")


def read_task_event(_name: str, event: Mapping[str, Any], reading: Reading) -> None:
    token: Any = event.get("token")
    if isinstance(token, Mapping) and not token.get("special"):
        reading.add_text(token.get("text"))
    read_task(event, reading)


TASK_STREAM = StreamShape(
    read_task_event,
    terminals=(b'"generated_text":"', b"\ndata: [DONE]"),  # the text is null until the end
    quiet=(-4, 108),  # `null}` and a blank line; the last one ends in `}}`
)


def _from_headers(operation: Operation) -> Operation:
    return dataclasses.replace(operation, read_headers=read_headers)


assert openai.CHAT.stream is not None
CHAT = dataclasses.replace(
    _from_headers(openai.CHAT),
    read_body=read_router_chat,
    stream=dataclasses.replace(openai.CHAT.stream, read_event=read_router_chat_event),
)
PARTNERS = (
    "baseten",
    "cerebras",
    "cohere",
    "deepinfra",
    "featherless-ai",
    "fireworks-ai",
    "groq",
    "hf-inference",
    "hyperbolic",
    "nebius",
    "novita",
    "nscale",
    "ovhcloud",
    "publicai",
    "sambanova",
    "scaleway",
    "together",
    "zai-org",
)
"""Partners for chat, as the router's paths name them. https://huggingface.co/docs/inference-providers"""


def _chat_of(partner: str) -> Operation:
    """Chat with the partner that the path names, at its prices."""

    def read(body: Mapping[str, Any], reading: Reading) -> None:
        read_router_chat(body, reading)
        reading.detail("inference_provider", partner)

    def read_event(name: str, chunk: Mapping[str, Any], reading: Reading) -> None:
        read_router_chat_event(name, chunk, reading)
        reading.detail("inference_provider", partner)

    assert CHAT.stream is not None
    stream = dataclasses.replace(CHAT.stream, read_event=read_event)
    return dataclasses.replace(CHAT, read_body=read, stream=stream)


CAP = ("parameters.max_new_tokens", "max_new_tokens")
GENERATION = Operation(
    "text_completion",
    read_task,
    TASK_STREAM,
    streams=asks_stream,
    output_cap=CAP,
    cap=CAP[0],
    read_headers=read_headers,
)
GENERATION_STREAM = dataclasses.replace(GENERATION, streams=None, always_streams=True)
TASK = dataclasses.replace(GENERATION, name="inference", cap="")
EMBED = Operation("embeddings", read_task, read_headers=read_headers)
RERANK = Operation("rerank", read_task, read_headers=read_headers)

MODEL = r"/models/(?P<model>[^/]+(?:/[^/]+)?)"
HUGGINGFACE = Vendor(
    id="huggingface",
    otel="hugging_face",
    routes=(
        *(route("POST", rf"^/{name}/(?:[^/]+/)*chat/completions", _chat_of(name)) for name in PARTNERS),
        route("POST", r"/chat/completions", CHAT),
        route("POST", r"/completions", _from_headers(openai.COMPLETION)),
        route("POST", r"/responses", openai.RESPONSES),
        route("POST", r"/v1/embeddings", _from_headers(openai.EMBEDDINGS)),
        route("POST", r"/images/generations", _from_headers(openai.IMAGES)),
        route("POST", MODEL + r"/pipeline/(?:feature-extraction|sentence-similarity)", EMBED),
        route("POST", MODEL, TASK),
        route("POST", r"/generate", GENERATION),
        route("POST", r"/generate_stream", GENERATION_STREAM),
        route("POST", r"/(?:embed|embed_all|embed_sparse)", EMBED),
        route("POST", r"/rerank", RERANK),
        route("POST", r"^/", TASK),
    ),
    hosts=("router.huggingface.co", "api-inference.huggingface.co"),
    host_suffixes=(".endpoints.huggingface.cloud",),
    user_agents=(b"hf_hub/",),
    # https://huggingface.co/docs/inference-providers/tasks/chat-completion documents `stream_options`.
    accepts_stream_options=True,
    # Partners bill by `inference-id`: https://huggingface.co/docs/inference-providers/register-as-a-provider
    request_id_headers=(b"x-request-id", b"inference-id", b"x-inference-id"),
    read_rate_limit=compatible_limits,
    checked="2026-11-22",
    source="https://huggingface.co/docs/inference-providers",
)
