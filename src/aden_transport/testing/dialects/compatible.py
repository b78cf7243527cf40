"""Where vendors that speak OpenAI's chat differ: what their usage holds, and where in a stream it stands.

The first part of the path names the vendor (`/groq/openai/v1/…`), as `FakeProvider.base_url` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from ..answers import Call, drop_omitted, sse
from ..plan import Plan
from ..reply import NO_USAGE

__all__ = ["Style", "style_of"]

Usage = dict[str, Any]


class Style(NamedTuple):
    """One vendor's ways."""

    usage: Callable[[Usage, Plan], Usage]
    """From OpenAI's usage to this vendor's."""
    rides: Literal["finish", "every", "x_groq"] = "finish"
    """Which chunks of a stream carry it, unasked."""
    comments: bool = False
    """Whether comments keep the connection alive before the first chunk."""
    done: bool = True
    """Whether `[DONE]` ends a stream."""

    def completion(self, body: dict[str, Any], call: Call, plan: Plan) -> dict[str, Any]:
        """`body` with this vendor's usage."""
        return body | {"usage": self._usage(body.get("usage", NO_USAGE), call, plan)}

    def stream(self, chunks: Iterable[dict[str, Any]], usage: Any, call: Call, plan: Plan) -> Iterator[bytes]:
        """`chunks`, which carry no usage, as this vendor sends them."""
        own = self._usage(usage, call, plan)
        if self.comments:
            yield b": OPENROUTER PROCESSING\n\n"
        yield from sse(self._with_usage(chunks, own), done=self.done)

    def _usage(self, usage: Any, call: Call, plan: Plan) -> Any:
        given = call.reply.usage is usage or not isinstance(usage, dict)
        return usage if given else self.usage(usage, plan)

    def _with_usage(self, chunks: Iterable[dict[str, Any]], usage: Any) -> Iterator[dict[str, Any]]:
        for chunk in chunks:
            last = any(choice.get("finish_reason") for choice in chunk["choices"])
            if self.rides == "x_groq" and last:
                yield chunk | {"x_groq": drop_omitted({"id": "req_fake", "usage": usage})}
            elif last or self.rides == "every":
                yield drop_omitted(chunk | {"usage": usage})
            else:
                yield chunk


def _same(usage: Usage, _plan: Plan) -> Usage:
    return usage


def _groq(usage: Usage, _plan: Plan) -> Usage:
    return usage | {"queue_time": 0.018, "prompt_time": 0.002, "completion_time": 0.05, "total_time": 0.052}


def _deepseek(usage: Usage, _plan: Plan) -> Usage:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    missed = usage["prompt_tokens"] - cached
    return usage | {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": missed}


def _xai(usage: Usage, plan: Plan) -> Usage:
    """Reasoning stands beside `completion_tokens`, in the total and in the details."""
    return usage | {
        "completion_tokens": usage["completion_tokens"] - plan.reasoning_tokens,
        "num_sources_used": 0,
    }


def _openrouter(usage: Usage, _plan: Plan) -> Usage:
    return usage | {"cost": 0.000125, "is_byok": False, "cost_details": {"upstream_inference_cost": None}}


def _perplexity(usage: Usage, _plan: Plan) -> Usage:
    cost = {"input_tokens_cost": 0.00001, "output_tokens_cost": 0.00002, "request_cost": 0.005}
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "search_context_size": "low",
        "cost": cost | {"total_cost": 0.00503},
    }


def _mistral(usage: Usage, _plan: Plan) -> Usage:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    counts = {key: usage[key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return counts | {"num_cached_tokens": cached}


STYLES: Mapping[str, Style] = {
    "cerebras": Style(_same),
    "deepseek": Style(_deepseek),
    "fireworks": Style(_same),
    "groq": Style(_groq, rides="x_groq"),
    "mistral": Style(_mistral),
    "openrouter": Style(_openrouter, comments=True),
    "perplexity": Style(_perplexity, rides="every", done=False),
    "together": Style(_same),
    "xai": Style(_xai),
}


def style_of(call: Call) -> Style | None:
    """The ways of the vendor that the path names; None for OpenAI's own."""
    return STYLES.get(call.request.path.split("/", 2)[1])
