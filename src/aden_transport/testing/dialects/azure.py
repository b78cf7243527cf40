"""What Azure OpenAI adds to OpenAI's objects: content-filter results.

https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
"""

from __future__ import annotations

from typing import Any

__all__ = ["completion", "delta_choice", "first_chunk"]


def _results() -> dict[str, Any]:
    return {
        name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
    }


def _prompt_results() -> list[dict[str, Any]]:
    return [{"prompt_index": 0, "content_filter_results": _results()}]


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """A whole answer: keys in alphabetical order, as Azure sends them."""
    choices = [
        dict(sorted({"content_filter_results": _results(), **choice}.items())) for choice in body["choices"]
    ]
    return dict(sorted({**body, "choices": choices, "prompt_filter_results": _prompt_results()}.items()))


def first_chunk() -> dict[str, Any]:
    """The chunk before a stream's first: no choices, and neither id nor model."""
    return {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": _prompt_results(),
    }


def delta_choice(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice of a chunk; the filter's results stand on those with text."""
    results = _results() if choice["delta"].get("content") else {}
    return {"content_filter_results": results, **choice}
