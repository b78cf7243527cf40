"""Ollama's own API; a stream, which is the default, is one JSON object a line.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted
from ..plan import Asked, Plan, Tool, count_tokens, make_plan, prompt_tokens, strings
from ..reply import NO_USAGE
from .embeddings import vector
from .openai_usage import as_mappings

__all__ = ["chat", "embed", "generate"]

_MS = 1_000_000


def chat(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /api/chat."""
    messages = as_mappings(call.body.get("messages"))
    functions = [tool.get("function", {}) for tool in as_mappings(call.body.get("tools"))]
    last = messages[-1] if messages else {}
    asked = Asked(
        prompt_tokens=prompt_tokens(messages, functions),
        last_text=" ".join(strings(last.get("content"))) if last.get("role") == "user" else "",
        tools=tuple(Tool(str(f.get("name")), f.get("parameters") or {}) for f in functions),
        max_tokens=(call.body.get("options") or {}).get("num_predict"),
    )
    plan = make_plan(call.reply, asked)
    tools = [{"function": {"name": tool.name, "arguments": tool.arguments}} for tool in plan.tool_calls]

    def said(text: str, *, first: bool = False) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        return {"message": message | ({"tool_calls": tools} if first and tools else {})}

    return _answer(call, plan, said)


def generate(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /api/generate."""
    prompt = str(call.body.get("prompt", ""))
    asked = Asked(prompt_tokens=prompt_tokens(prompt, call.body.get("system")), last_text=prompt)
    return _answer(call, make_plan(call.reply, asked), lambda text, first=False: {"response": text})


def _answer(call: Call, plan: Plan, said: Any) -> Answer:
    model = call.body.get("model")
    if not model:
        raise ProviderError("invalid_request", "model is required")
    at = datetime.fromtimestamp(call.now, UTC).isoformat().replace("+00:00", "Z")
    head = {"model": call.reply.model or model, "created_at": at}
    counts = call.usage({"prompt_eval_count": plan.input_tokens, "eval_count": plan.output_tokens})
    end = {
        "done": True,
        "done_reason": call.reply.finish_reason or ("length" if plan.stop == "length" else "stop"),
        "total_duration": 40 * _MS,
        "load_duration": 2 * _MS,
        "prompt_eval_duration": 8 * _MS,
        "eval_duration": 30 * _MS,
        **(counts if isinstance(counts, Mapping) else {}),
    }
    tokens = plan.input_tokens + plan.output_tokens
    if call.body.get("stream") is False:
        body = head | said(plan.text, first=True) | end
        return Answer(200, "application/json; charset=utf-8", (compact(body),), tokens=tokens)

    def lines() -> Iterator[bytes]:
        for number, piece in enumerate(plan.pieces or [""]):
            yield compact(head | said(piece, first=number == 0) | {"done": False}) + b"\n"
        yield compact(head | said("") | end) + b"\n"

    return Answer(200, "application/x-ndjson", lines(), stream=True, tokens=tokens)


def embed(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /api/embed."""
    value = call.body.get("input")
    texts = [value] if isinstance(value, str) else [str(text) for text in value or []]
    tokens = call.usage(sum(map(count_tokens, texts)))
    body = {
        "model": call.body.get("model"),
        "embeddings": [vector(text, 384) for text in texts],
        "total_duration": 14 * _MS,
        "load_duration": _MS,
        "prompt_eval_count": tokens,
    }
    return Answer(
        200,
        "application/json; charset=utf-8",
        (compact(drop_omitted(body)),),
        tokens=0 if tokens is NO_USAGE else tokens,
    )
