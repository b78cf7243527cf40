"""OpenAI chat completions, Azure's included.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, drop_omitted, pretty, sse
from ..plan import Asked, Plan, Tool, make_plan, prompt_tokens, strings
from ..reply import NO_USAGE, ToolCall
from . import azure
from .compatible import style_of
from .openai_usage import as_mappings, chat_usage, reasons

__all__ = ["create"]

FINGERPRINT = "fp_0123456789"
_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls"}


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/chat/completions; `path["deployment"]` is set at Azure."""
    deployment = path.get("deployment")
    model = str(call.body.get("model") or deployment or "")
    _check(call.body, model)
    effort = call.body.get("reasoning_effort")
    plan = make_plan(call.reply, _asked(call.body), reasoning=reasons(model, effort))
    choices = max(1, int(call.body.get("n") or 1))
    chat = Chat(call, plan, model=call.model(model), choices=choices, azure=deployment is not None)
    tokens = plan.input_tokens + (plan.output_tokens + plan.reasoning_tokens) * choices
    if call.body.get("stream") is True:
        pieces = chat.styled() if chat.style is not None else sse(chat.chunks(), done=True)
        return Answer(200, "text/event-stream; charset=utf-8", pieces, stream=True, tokens=tokens)
    return Answer(200, "application/json", (pretty(chat.completion()),), tokens=tokens)


def _check(body: Mapping[str, Any], model: str) -> None:
    if not model:
        raise ProviderError("invalid_request", "you must provide a model parameter")
    if not isinstance(body.get("messages"), list):
        raise ProviderError(
            "invalid_request",
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    if body.get("metadata") is not None and body.get("store") is not True:
        raise ProviderError(
            "invalid_request",
            "The 'metadata' parameter is only allowed when 'store' is enabled.",
            param="metadata",
        )
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise ProviderError(
            "invalid_request",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )


def _asked(body: Mapping[str, Any]) -> Asked:
    messages = as_mappings(body.get("messages"))
    last = messages[-1] if messages else {}
    functions = [
        tool.get("function", {}) for tool in as_mappings(body.get("tools")) if tool.get("type") == "function"
    ]
    functions += as_mappings(body.get("functions"))
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    return Asked(
        prompt_tokens=prompt_tokens(messages, functions, body.get("response_format")),
        last_text=" ".join(strings(last.get("content"))) if last.get("role") == "user" else "",
        tools=tuple(Tool(str(f.get("name")), f.get("parameters") or {}) for f in functions),
        tool_choice=_choice(body.get("tool_choice", body.get("function_call", "auto"))),
        json_schema=schema,
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
    )


def _choice(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("function", value).get("name", "required"))
    return str(value or "auto")


class Chat:
    """One completion, whole or in chunks."""

    def __init__(self, call: Call, plan: Plan, *, model: str, choices: int, azure: bool) -> None:
        self.call = call
        self.plan = plan
        self.model = model
        self.choices = choices
        self.azure = azure
        self.style = style_of(call)
        self.id = call.id("chatcmpl-", 29)
        self.finish = call.reply.finish_reason or _FINISH[plan.stop]
        self.tier = str(call.body.get("service_tier") or "default").replace("auto", "default")

    def completion(self) -> dict[str, Any]:
        """The `chat.completion` object."""
        body = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.call.created,
            "model": self.model,
            "choices": [self._choice(index) for index in range(self.choices)],
            "usage": chat_usage(self.call, self.plan, choices=self.choices),
            "service_tier": self.tier,
            "system_fingerprint": FINGERPRINT,
        }
        if self.style is not None:
            body = self.style.completion(body, self.call, self.plan)
        return drop_omitted(azure.completion(body) if self.azure else body)

    def styled(self) -> Iterator[bytes]:
        """The stream of a vendor that tells the usage in its own place, unasked."""
        assert self.style is not None
        usage = chat_usage(self.call, self.plan, choices=self.choices)
        return self.style.stream(self.chunks(), usage, self.call, self.plan)

    def _choice(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.plan.text or None}
        if self.plan.tool_calls:
            message["tool_calls"] = [self._tool_call(n, t) for n, t in enumerate(self.plan.tool_calls)]
        message |= {"refusal": None, "annotations": []}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": self.finish}

    def _tool_call(self, number: int, tool: ToolCall) -> dict[str, Any]:
        function = {"name": tool.name, "arguments": tool.arguments_json}
        return {"id": self.call.id(f"call_{number}", 23), "type": "function", "function": function}

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The `chat.completion.chunk` objects.

        With `include_usage` each carries `usage: null`, and one without choices carries the usage.
        """
        asked = (self.call.body.get("stream_options") or {}).get("include_usage") is True
        wants_usage = asked and self.style is None
        usage: Any = chat_usage(self.call, self.plan, choices=self.choices) if wants_usage else NO_USAGE
        null = NO_USAGE if usage is NO_USAGE else None
        if self.azure:
            yield azure.first_chunk()
        for index in range(self.choices):
            for delta in self._deltas():
                yield self._chunk([self._delta_choice(index, delta, None)], null)
            yield self._chunk([self._delta_choice(index, {}, self.finish)], null)
        if usage is not NO_USAGE:
            yield self._chunk([], usage)

    def _deltas(self) -> Iterator[dict[str, Any]]:
        if not self.plan.tool_calls:
            yield {"role": "assistant", "content": "", "refusal": None}
        for piece in self.plan.pieces:
            yield {"content": piece}
        for number, tool in enumerate(self.plan.tool_calls):
            whole = self._tool_call(number, tool)
            arguments = whole["function"]["arguments"]
            opening = {"index": number, **whole, "function": {"name": tool.name, "arguments": ""}}
            role = {"role": "assistant", "content": None} if number == 0 else {}
            yield {**role, "tool_calls": [opening]}
            for start in range(0, len(arguments), 12):
                part = {"arguments": arguments[start : start + 12]}
                yield {"tool_calls": [{"index": number, "function": part}]}

    def _delta_choice(self, index: int, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return azure.delta_choice(choice) if self.azure else choice

    def _chunk(self, choices: list[dict[str, Any]], usage: Any) -> dict[str, Any]:
        return drop_omitted(
            {
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.call.created,
                "model": self.model,
                "service_tier": self.tier,
                "system_fingerprint": FINGERPRINT,
                "choices": choices,
                "usage": usage,
            }
        )
