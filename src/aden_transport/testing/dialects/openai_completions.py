"""OpenAI's legacy completions.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, drop_omitted, pretty, sse
from ..plan import Asked, Plan, make_plan, prompt_tokens
from ..reply import NO_USAGE

__all__ = ["create"]


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/completions."""
    body = call.body
    model = str(body.get("model") or path.get("deployment") or "")
    if not model:
        raise ProviderError("invalid_request", "you must provide a model parameter")
    asked = Asked(
        prompt_tokens=prompt_tokens(body.get("prompt"), per_message=0), max_tokens=body.get("max_tokens")
    )
    plan = make_plan(call.reply, asked)
    base = {"id": call.id("cmpl-", 29), "object": "text_completion", "created": call.created}
    name = call.model(model)
    tokens = plan.input_tokens + plan.output_tokens
    if body.get("stream") is True:
        pieces = sse(_chunks(call, plan, base, name), done=True)
        return Answer(200, "text/event-stream", pieces, stream=True, tokens=tokens)
    choices = [_choice(plan.text, call.reply.finish_reason or plan.stop)]
    whole = drop_omitted({**base, "model": name, "choices": choices, "usage": _usage(call, plan)})
    return Answer(200, "application/json", (pretty(whole),), tokens=tokens)


def _chunks(call: Call, plan: Plan, base: Mapping[str, Any], model: str) -> Iterator[dict[str, Any]]:
    wants_usage = (call.body.get("stream_options") or {}).get("include_usage") is True
    usage: Any = _usage(call, plan) if wants_usage else NO_USAGE
    null = NO_USAGE if usage is NO_USAGE else None
    for piece in plan.pieces:
        yield drop_omitted({**base, "choices": [_choice(piece, None)], "model": model, "usage": null})
    end = _choice("", call.reply.finish_reason or plan.stop)
    yield drop_omitted({**base, "choices": [end], "model": model, "usage": null})
    if usage is not NO_USAGE:
        yield {**base, "choices": [], "model": model, "usage": usage}


def _choice(text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}


def _usage(call: Call, plan: Plan) -> Any:
    total = plan.input_tokens + plan.output_tokens
    return call.usage(
        {"prompt_tokens": plan.input_tokens, "completion_tokens": plan.output_tokens, "total_tokens": total}
    )
