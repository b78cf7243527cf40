"""What Mistral has beside OpenAI's chat and embeddings: code completion, agents, documents.

https://docs.mistral.ai/api
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted, sse
from ..plan import Asked, Plan, make_plan, prompt_tokens
from . import openai_chat
from .openai_usage import as_mappings

__all__ = ["chat", "complete", "ocr"]

_FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls"}


def chat(call: Call, path: Mapping[str, str]) -> Answer:
    """POST /v1/chat/completions: OpenAI's, but for what Mistral refuses to be told."""
    if "stream_options" in call.body:
        raise ProviderError("unprocessable", "Extra inputs are not permitted", param="stream_options")
    return openai_chat.create(call, path)


def complete(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /v1/fim/completions and /v1/agents/completions."""
    body = call.body
    prompt = body.get("prompt")
    model = str(body.get("model") or body.get("agent_id") or "")
    if not model:
        raise ProviderError("unprocessable", "model: Field required")
    asked = Asked(
        prompt_tokens=prompt_tokens(prompt, body.get("suffix"), as_mappings(body.get("messages"))),
        last_text=prompt if isinstance(prompt, str) else "",
        max_tokens=body.get("max_tokens"),
    )
    plan = make_plan(call.reply, asked)
    tokens = plan.input_tokens + plan.output_tokens
    if body.get("stream") is True:
        pieces = sse(_chunks(call, plan, model), done=True)
        return Answer(200, "text/event-stream; charset=utf-8", pieces, stream=True, tokens=tokens)
    message = {"role": "assistant", "content": plan.text, "tool_calls": None}
    choice = {"index": 0, "message": message, "finish_reason": _finish(call, plan)}
    whole = _head(call, model, "chat.completion") | {"choices": [choice], "usage": _usage(call, plan)}
    return Answer(200, "application/json", (compact(drop_omitted(whole)),), tokens=tokens)


def _head(call: Call, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": call.hex_id("", 32),
        "object": kind,
        "created": call.created,
        "model": call.reply.model or model,
    }


def _finish(call: Call, plan: Plan) -> str:
    return call.reply.finish_reason or _FINISH[plan.stop]


def _usage(call: Call, plan: Plan) -> Any:
    counts = {"prompt_tokens": plan.input_tokens, "completion_tokens": plan.output_tokens}
    return call.usage(counts | {"total_tokens": plan.input_tokens + plan.output_tokens})


def _chunks(call: Call, plan: Plan, model: str) -> Iterator[dict[str, Any]]:
    """The usage rides on the last chunk, beside the finish reason, unasked."""
    head = _head(call, model, "chat.completion.chunk")
    for piece in plan.pieces:
        yield head | {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": _finish(call, plan)}]}
    yield drop_omitted(head | last | {"usage": _usage(call, plan)})


def ocr(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /v1/ocr: a document of two pages, whatever was sent."""
    pages = [
        {
            "index": index,
            "markdown": call.reply.text or f"# Page {index + 1}",
            "images": [],
            "dimensions": {"dpi": 200, "height": 2200, "width": 1700},
        }
        for index in range(2)
    ]
    usage = call.usage({"pages_processed": len(pages), "doc_size_bytes": 4096})
    body = {"pages": pages, "model": call.body.get("model"), "usage_info": usage}
    return Answer(200, "application/json", (compact(drop_omitted(body)),))
