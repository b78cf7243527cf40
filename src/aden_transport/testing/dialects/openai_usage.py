"""OpenAI's usage objects and the reading of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..answers import Call
from ..plan import Plan

__all__ = ["as_mappings", "chat_usage", "reasons", "responses_usage"]


def chat_usage(call: Call, plan: Plan, *, choices: int = 1) -> Any:
    """`usage` of chat completions. Output includes reasoning."""
    output = (plan.output_tokens + plan.reasoning_tokens) * choices
    return call.usage(
        {
            "prompt_tokens": plan.input_tokens,
            "completion_tokens": output,
            "total_tokens": plan.input_tokens + output,
            "prompt_tokens_details": {"cached_tokens": call.reply.cached_tokens or 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": plan.reasoning_tokens * choices,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
    )


def responses_usage(call: Call, plan: Plan) -> Any:
    """`usage` of Responses."""
    output = plan.output_tokens + plan.reasoning_tokens
    return call.usage(
        {
            "input_tokens": plan.input_tokens,
            "input_tokens_details": {
                "cache_write_tokens": call.reply.cache_write_tokens or 0,
                "cached_tokens": call.reply.cached_tokens or 0,
            },
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": plan.reasoning_tokens},
            "total_tokens": plan.input_tokens + output,
        }
    )


def reasons(model: str, effort: Any) -> int:
    """Tokens that models of the o and gpt-5 families reason by themselves."""
    return 64 if model.startswith(("o1", "o3", "o4", "gpt-5")) and effort not in {"none", "minimal"} else 0


def as_mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects in a JSON list; anything else counts as an empty list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
