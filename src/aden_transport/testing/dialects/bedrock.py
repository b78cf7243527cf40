"""Amazon Bedrock: Converse for every model, InvokeModel for Claude; streams are AWS event streams.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, …_InvokeModel.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted
from ..eventstream import frame
from ..plan import Asked, Plan, Tool, make_plan, prompt_tokens, strings
from . import anthropic_messages
from .openai_usage import as_mappings

__all__ = ["converse", "converse_stream", "invoke", "invoke_stream"]

EVENT_STREAM = "application/vnd.amazon.eventstream"
_FINISH = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}


def converse(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /model/{modelId}/converse."""
    plan = make_plan(call.reply, _asked(call))
    content: list[dict[str, Any]] = [{"text": plan.text}] if plan.text else []
    content += [{"toolUse": use} for use in _tools(call, plan)]
    body = {
        "metrics": {"latencyMs": 42},
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _finish(call, plan),
        "usage": _usage(call, plan),
    }
    tokens = plan.input_tokens + plan.output_tokens
    return Answer(200, "application/json", (compact(drop_omitted(body)),), tokens=tokens)


def converse_stream(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /model/{modelId}/converse-stream."""
    plan = make_plan(call.reply, _asked(call))
    tokens = plan.input_tokens + plan.output_tokens
    return Answer(
        200,
        EVENT_STREAM,
        (_event(kind, payload) for kind, payload in _converse_events(call, plan)),
        stream=True,
        tokens=tokens,
        error_event=_exception("modelStreamErrorException", "The model stopped."),
    )


def _converse_events(call: Call, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    for piece in plan.pieces:
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}
    if plan.pieces:
        yield "contentBlockStop", {"contentBlockIndex": 0}
    for index, use in enumerate(_tools(call, plan), start=1):
        start = {"toolUse": {"name": use["name"], "toolUseId": use["toolUseId"]}}
        yield "contentBlockStart", {"contentBlockIndex": index, "start": start}
        delta = {"toolUse": {"input": json.dumps(use["input"])}}
        yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
        yield "contentBlockStop", {"contentBlockIndex": index}
    yield "messageStop", {"stopReason": _finish(call, plan)}
    yield "metadata", drop_omitted({"metrics": {"latencyMs": 42}, "usage": _usage(call, plan)})


def _asked(call: Call) -> Asked:
    messages = as_mappings(call.body.get("messages"))
    if not messages:
        raise ProviderError("invalid_request", "The messages are missing.")
    config = call.body.get("toolConfig") or {}
    specs = [tool.get("toolSpec", {}) for tool in as_mappings(config.get("tools"))]
    last = messages[-1]
    return Asked(
        prompt_tokens=prompt_tokens(messages, call.body.get("system"), specs),
        last_text=" ".join(strings(last.get("content"))) if last.get("role") == "user" else "",
        tools=tuple(
            Tool(str(spec.get("name")), (spec.get("inputSchema") or {}).get("json") or {}) for spec in specs
        ),
        max_tokens=(call.body.get("inferenceConfig") or {}).get("maxTokens"),
    )


def _tools(call: Call, plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": tool.name,
            "toolUseId": call.id(f"tooluse_{number}", 21),
            "input": json.loads(tool.arguments_json),
        }
        for number, tool in enumerate(plan.tool_calls)
    ]


def _finish(call: Call, plan: Plan) -> str:
    return call.reply.finish_reason or _FINISH[plan.stop]


def _usage(call: Call, plan: Plan) -> Any:
    """`inputTokens` leaves out what was read from the cache; the total includes it."""
    cached = min(call.reply.cached_tokens or 0, plan.input_tokens)
    return call.usage(
        {
            "inputTokens": plan.input_tokens - cached,
            "outputTokens": plan.output_tokens,
            "totalTokens": plan.input_tokens + plan.output_tokens,
            "cacheReadInputTokens": cached,
            "cacheWriteInputTokens": 0,
        }
    )


def invoke(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /model/{modelId}/invoke, of Claude: the body of Messages, and the counts in headers too."""
    answer = anthropic_messages.create(_as_messages(call, path, stream=False), {})
    body = b"".join(answer.pieces)
    usage = json.loads(body).get("usage")
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(usage, Mapping):
        headers = (
            ("x-amzn-bedrock-input-token-count", str(usage.get("input_tokens"))),
            ("x-amzn-bedrock-output-token-count", str(usage.get("output_tokens"))),
            ("x-amzn-bedrock-cache-read-input-token-count", str(usage.get("cache_read_input_tokens", 0))),
        )
    return replace(answer, pieces=(body,), headers=answer.headers + headers)


def invoke_stream(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /model/{modelId}/invoke-with-response-stream, of Claude: each event in base64 in a chunk."""
    answer = anthropic_messages.create(_as_messages(call, path, stream=True), {})
    return replace(
        answer,
        content_type=EVENT_STREAM,
        pieces=_chunks(answer.pieces, call),
        error_event=_exception("modelStreamErrorException", "The model stopped."),
    )


def _as_messages(call: Call, path: Mapping[str, str], *, stream: bool) -> Call:
    if "anthropic" not in path["model"]:
        raise ProviderError("invalid_request", "The fake provider invokes Claude only; use converse.")
    return replace(call, body={**call.body, "model": path["model"], "stream": stream})


def _chunks(pieces: Any, call: Call) -> Iterator[bytes]:
    usage: dict[str, Any] = {}
    for piece in pieces:
        event = json.loads(piece.partition(b"data: ")[2])
        usage |= (event.get("message") or event).get("usage") or {}
        if event["type"] == "message_stop" and call.reply.usage is not None and usage:
            event["amazon-bedrock-invocationMetrics"] = {
                "inputTokenCount": usage.get("input_tokens"),
                "outputTokenCount": usage.get("output_tokens"),
                "invocationLatency": 42,
                "firstByteLatency": 21,
            }
        yield _event("chunk", {"bytes": base64.b64encode(compact(event)).decode(), "p": "abcdef"})


def _event(kind: str, payload: Mapping[str, Any]) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, compact(payload))


def _exception(kind: str, message: str) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, compact({"message": message}))
