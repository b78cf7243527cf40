"""Anthropic Messages, at Anthropic and at Vertex.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted
from ..plan import Asked, Plan, Tool, make_plan, prompt_tokens, strings
from ..reply import NO_USAGE, REAL_USAGE
from .openai_usage import as_mappings

__all__ = ["count", "create"]

_STOP = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use"}
_SIGNATURE = "ZmFrZSBzaWduYXR1cmU="


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /v1/messages; at Vertex `path["model"]` names the model."""
    body = call.body
    model = str(body.get("model") or path.get("model") or "")
    _check(body, model)
    thinking = (body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}
    plan = make_plan(call.reply, _asked(body), default_thinking=thinking)
    message = Message(call, plan, model=call.model(model))
    tokens = plan.input_tokens + plan.output_tokens + plan.reasoning_tokens
    if body.get("stream") is True:
        return Answer(200, "text/event-stream; charset=utf-8", message.events(), stream=True, tokens=tokens)
    return Answer(200, "application/json", (compact(message.whole()),), tokens=tokens)


def count(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /v1/messages/count_tokens."""
    return Answer(200, "application/json", (compact({"input_tokens": _asked(call.body).prompt_tokens}),))


def _check(body: Mapping[str, Any], model: str) -> None:
    if not model:
        raise ProviderError("invalid_request", "model: Field required")
    if not isinstance(body.get("messages"), list):
        raise ProviderError("invalid_request", "messages: Field required")
    if not isinstance(body.get("max_tokens"), int):
        raise ProviderError("invalid_request", "max_tokens: Field required")
    for key in body.get("metadata") or {}:
        if key != "user_id":
            raise ProviderError("invalid_request", f"metadata.{key}: Extra inputs are not permitted")
    if "stream_options" in body:
        raise ProviderError("invalid_request", "stream_options: Extra inputs are not permitted")


def _asked(body: Mapping[str, Any]) -> Asked:
    messages = as_mappings(body.get("messages"))
    last = messages[-1] if messages else {}
    content = last.get("content")
    results = any(block.get("type") == "tool_result" for block in as_mappings(content))
    tools = [tool for tool in as_mappings(body.get("tools")) if "input_schema" in tool]
    choice = body.get("tool_choice") or {"type": "auto"}
    output = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return Asked(
        prompt_tokens=prompt_tokens(messages, body.get("system"), tools),
        last_text="" if results or last.get("role") != "user" else " ".join(strings(content)),
        tools=tuple(Tool(str(tool["name"]), tool["input_schema"]) for tool in tools),
        tool_choice={"any": "required", "tool": str(choice.get("name"))}.get(choice["type"], choice["type"]),
        json_schema=output.get("schema"),
        max_tokens=body.get("max_tokens"),
    )


class Message:
    """One message, whole or in events."""

    def __init__(self, call: Call, plan: Plan, *, model: str) -> None:
        self.call = call
        self.plan = plan
        self.model = model
        self.id = call.id("msg_01", 22)
        self.stop_reason = call.reply.finish_reason or _STOP[plan.stop]
        self.cache = _cache(call, plan)

    def whole(self) -> dict[str, Any]:
        """The `message` object."""
        usage = self.call.usage({**self._input_usage(), **self._output_usage(), **self._service()})
        return self._message(self._blocks(), self.stop_reason, usage)

    def events(self) -> Iterator[bytes]:
        """The stream: message_start, the blocks, message_delta, message_stop."""
        rule = self.call.reply.usage
        start = {**self._input_usage(), "output_tokens": 1, **self._service()}
        opening = rule if rule is NO_USAGE else start
        yield _event("message_start", message=self._message([], None, opening))
        for index, block in enumerate(self._blocks()):
            yield _event("content_block_start", index=index, content_block=_empty(block))
            if index == 0:
                yield _event("ping")
            for delta in self._deltas(block):
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        delta = {"stop_reason": self.stop_reason, "stop_sequence": None, "stop_details": None}
        repeated = {key: value for key, value in start.items() if key.endswith("input_tokens")}
        usage = {**repeated, **self._output_usage()} if rule is REAL_USAGE else rule
        yield _event("message_delta", delta=delta, usage=usage)
        yield _event("message_stop")

    def _message(self, content: list[dict[str, Any]], stop_reason: str | None, usage: Any) -> dict[str, Any]:
        return drop_omitted(
            {
                "model": self.model,
                "id": self.id,
                "type": "message",
                "role": "assistant",
                "content": content,
                "stop_reason": stop_reason,
                "stop_sequence": None,
                "stop_details": None,
                "usage": usage,
            }
        )

    def _blocks(self) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        if self.plan.thinking:
            blocks.append({"type": "thinking", "thinking": self.plan.thinking, "signature": _SIGNATURE})
        if self.plan.text:
            blocks.append({"type": "text", "text": self.plan.text})
        for number, tool in enumerate(self.plan.tool_calls):
            tool_id = self.call.id(f"toolu_01{number}", 21)
            blocks.append({"type": "tool_use", "id": tool_id, "name": tool.name, "input": tool.arguments})
        return blocks

    def _deltas(self, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if block["type"] == "thinking":
            yield {"type": "thinking_delta", "thinking": block["thinking"]}
            yield {"type": "signature_delta", "signature": block["signature"]}
        elif block["type"] == "text":
            for piece in self.plan.pieces:
                yield {"type": "text_delta", "text": piece}
        else:
            arguments = (
                block["input"] if isinstance(block["input"], str) else compact(block["input"]).decode()
            )
            yield {"type": "input_json_delta", "partial_json": ""}
            for start in range(0, len(arguments), 12):
                yield {"type": "input_json_delta", "partial_json": arguments[start : start + 12]}

    def _input_usage(self) -> dict[str, Any]:
        """Input outside the cache, cache writes and cache reads: the three add up to the prompt."""
        read, written, hour = self.cache
        return {
            "input_tokens": max(0, self.plan.input_tokens - read - written),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0 if hour else written,
                "ephemeral_1h_input_tokens": written if hour else 0,
            },
        }

    def _output_usage(self) -> dict[str, Any]:
        usage: dict[str, Any] = {"output_tokens": self.plan.output_tokens + self.plan.reasoning_tokens}
        if self.plan.reasoning_tokens:
            usage["output_tokens_details"] = {"thinking_tokens": self.plan.reasoning_tokens}
        return usage

    def _service(self) -> dict[str, Any]:
        return {"service_tier": "standard", "inference_geo": "global"}


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), compact(drop_omitted({"type": kind, **fields})))


def _empty(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block as `content_block_start` shows it: its text is still to come."""
    return {**block, **{key: "" for key in ("text", "thinking", "signature") if key in block}} | (
        {"input": {}} if "input" in block else {}
    )


def _cache(call: Call, plan: Plan) -> tuple[int, int, bool]:
    """(tokens read, tokens written, whether for an hour).

    A prompt with `cache_control` is written the first time it is seen and read from then on.
    """
    reply, text = call.reply, compact([call.body.get(key) for key in ("tools", "system", "messages")])
    hour = b'"ttl":"1h"' in text
    if reply.cached_tokens is not None or reply.cache_write_tokens is not None:
        return reply.cached_tokens or 0, reply.cache_write_tokens or 0, hour
    if b'"cache_control":{' not in text:
        return 0, 0, False
    key = hashlib.sha256(text).hexdigest()
    if key in call.memory.prompts:
        return plan.input_tokens, 0, hour
    call.memory.remember(call.memory.prompts, key, None)
    return 0, plan.input_tokens, hour
