"""OpenAI Responses: created, streamed, or run in the background and fetched.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted, pretty
from ..plan import Asked, Plan, Tool, make_plan, prompt_tokens, strings
from .openai_usage import as_mappings, reasons, responses_usage
from .response_events import failure_events, response_events

__all__ = ["cancel", "count", "create", "delete", "retrieve"]

SSE = "text/event-stream; charset=utf-8"
SERVER_ERROR = {"code": "server_error", "message": "The server had an error."}


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/responses; with `background` the answer is only `queued`."""
    body = call.body
    _check(body)
    model = str(body["model"])
    effort = (body.get("reasoning") or {}).get("effort")
    plan = make_plan(call.reply, _asked(body), reasoning=reasons(model, effort))
    response = Response(call, plan, model=call.model(model))
    tokens = plan.input_tokens + plan.output_tokens + plan.reasoning_tokens
    if body.get("store") is not False:
        call.memory.remember(call.memory.responses, response.id, response)
    if body.get("stream") is True:
        return _stream(response, tokens=tokens)
    if response.background:
        return Answer(200, "application/json", (compact(response.whole("queued")),), tokens=tokens)
    response.status = response.final
    return Answer(200, "application/json", (pretty(response.whole(response.final)),), tokens=tokens)


def retrieve(call: Call, path: Mapping[str, str]) -> Answer:
    """GET …/responses/{id}: a background run is `in_progress` once, then finished.

    `?stream=true` gives the events, from `starting_after` on.
    """
    response = _stored(call, path["id"])
    if call.request.query.get("stream") == "true":
        return _stream(response, after=int(call.request.query.get("starting_after", "-1")))
    body = response.whole(response.status)
    if body.get("usage") is not None:
        # The reply to this request may change what the run itself reported.
        body["usage"] = call.usage(body["usage"])
    response.advance()
    return Answer(200, "application/json", (compact(drop_omitted(body)),))


def cancel(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/responses/{id}/cancel."""
    response = _stored(call, path["id"])
    if response.status in {"queued", "in_progress"}:
        response.status = "cancelled"
    return Answer(200, "application/json", (compact(response.whole(response.status)),))


def delete(call: Call, path: Mapping[str, str]) -> Answer:
    """DELETE …/responses/{id}."""
    response = _stored(call, path["id"])
    del call.memory.responses[response.id]
    body = {"id": response.id, "object": "response.deleted", "deleted": True}
    return Answer(200, "application/json", (pretty(body),))


def count(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/responses/input_tokens."""
    tokens = _asked(call.body).prompt_tokens
    return Answer(
        200, "application/json", (pretty({"object": "response.input_tokens", "input_tokens": tokens}),)
    )


def _stored(call: Call, response_id: str) -> Response:
    response = call.memory.responses.get(response_id)
    if not isinstance(response, Response):
        raise ProviderError("not_found", f"Response with id '{response_id}' not found.", code="not_found")
    return response


def _stream(response: Response, *, after: int = -1, tokens: int = 0) -> Answer:
    events = islice(response_events(response), after + 1, None)
    return Answer(200, SSE, events, stream=True, tokens=tokens, error_event=failure_events(response))


def _check(body: Mapping[str, Any]) -> None:
    if not body.get("model"):
        message = "Missing required parameter: 'model'."
        raise ProviderError("invalid_request", message, param="model", code="missing_required_parameter")
    for key in body.get("stream_options") or {}:
        if key != "include_obfuscation":
            name = f"stream_options.{key}"
            message = f"Unknown parameter: '{name}'."
            raise ProviderError("invalid_request", message, param=name, code="unknown_parameter")
    if body.get("background") is True and body.get("store") is False:
        raise ProviderError("invalid_request", "Background mode requires store=true.", param="background")
    for key, value in (body.get("metadata") or {}).items():
        if not isinstance(value, str):
            message = f"Invalid type for 'metadata.{key}': expected a string."
            raise ProviderError("invalid_request", message, param=f"metadata.{key}", code="invalid_type")


def _asked(body: Mapping[str, Any]) -> Asked:
    given = body.get("input")
    items = as_mappings(given)
    last = items[-1] if items else {"role": "user", "content": given}
    tools = [tool for tool in as_mappings(body.get("tools")) if tool.get("type") == "function"]
    choice = body.get("tool_choice") or "auto"
    text_format = (body.get("text") or {}).get("format") or {}
    return Asked(
        prompt_tokens=prompt_tokens(items or given, body.get("instructions"), tools, text_format),
        last_text=" ".join(strings(last.get("content"))) if last.get("role") == "user" else "",
        tools=tuple(Tool(str(tool.get("name")), tool.get("parameters") or {}) for tool in tools),
        tool_choice=str(choice.get("name", "required")) if isinstance(choice, Mapping) else str(choice),
        json_schema=text_format.get("schema"),
        max_tokens=body.get("max_output_tokens"),
    )


class Response:
    """One response and how far it has come."""

    def __init__(self, call: Call, plan: Plan, *, model: str) -> None:
        self.call = call
        self.plan = plan
        self.model = model
        self.id = call.hex_id("resp_", 48)
        self.background = call.body.get("background") is True
        self.final = "incomplete" if plan.stop == "length" else "completed"
        self.status = "in_progress" if self.background else self.final

    def advance(self) -> None:
        """Let a background run come to its end."""
        if self.status == "in_progress":
            self.status = self.final

    def whole(self, status: str) -> dict[str, Any]:
        """The `response` object at `status`."""
        body = self.call.body
        ended = status == self.final
        reasoning = {"effort": None, "summary": None, **(body.get("reasoning") or {})}
        tier = str(body.get("service_tier") or "auto")
        return drop_omitted(
            {
                "id": self.id,
                "object": "response",
                "created_at": self.call.created,
                "status": status,
                "background": self.background,
                "completed_at": self.call.created if status == "completed" else None,
                "error": SERVER_ERROR if status == "failed" else None,
                "frequency_penalty": 0.0,
                "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
                "instructions": body.get("instructions"),
                "max_output_tokens": body.get("max_output_tokens"),
                "max_tool_calls": None,
                "model": self.model,
                "moderation": None,
                "output": self.output() if ended else [],
                "parallel_tool_calls": body.get("parallel_tool_calls", True),
                "presence_penalty": 0.0,
                "previous_response_id": body.get("previous_response_id"),
                "prompt_cache_key": body.get("prompt_cache_key"),
                "prompt_cache_retention": "in_memory",
                "reasoning": reasoning,
                "safety_identifier": body.get("safety_identifier"),
                "service_tier": tier.replace("auto", "default") if ended else tier,
                "store": body.get("store", True),
                "temperature": body.get("temperature", 1.0),
                "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.get("text") or {})},
                "tool_choice": body.get("tool_choice", "auto"),
                "tool_usage": _TOOL_USAGE,
                "tools": body.get("tools", []),
                "top_logprobs": 0,
                "top_p": body.get("top_p", 1.0),
                "truncation": "disabled",
                "usage": responses_usage(self.call, self.plan) if ended else None,
                "user": body.get("user"),
                "metadata": body.get("metadata") or {},
            }
        )

    def output(self) -> list[dict[str, Any]]:
        """The finished items: reasoning, message, function calls."""
        items: list[dict[str, Any]] = []
        if self.plan.reasoning_tokens or self.plan.thinking:
            summary = [{"type": "summary_text", "text": self.plan.thinking}] if self.plan.thinking else []
            items.append({"id": self.call.hex_id("rs_", 48), "type": "reasoning", "summary": summary})
        if self.plan.text:
            items.append(
                {
                    "id": self.call.hex_id("msg_", 48),
                    "type": "message",
                    "status": "completed",
                    "content": [self.text_part(self.plan.text)],
                    "role": "assistant",
                }
            )
        for number, tool in enumerate(self.plan.tool_calls):
            items.append(
                {
                    "id": self.call.hex_id(f"fc_{number}", 47),
                    "type": "function_call",
                    "status": "completed",
                    "arguments": tool.arguments_json,
                    "call_id": self.call.id(f"call_{number}", 23),
                    "name": tool.name,
                }
            )
        return items

    @staticmethod
    def text_part(text: str) -> dict[str, Any]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def deltas(self) -> Iterator[str]:
        """The message's text in pieces."""
        yield from self.plan.pieces


# Stands beside `usage` in real answers and looks like it, to catch readers that search too widely.
_TOOL_USAGE: dict[str, Any] = {
    "image_gen": {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "total_tokens": 0,
    },
    "web_search": {"num_requests": 0},
}
