"""OpenRouter. https://openrouter.ai/docs/api-reference

Streams begin with comments, JSON answers with blank lines, while a model is waited for. Usage is told
unasked: https://openrouter.ai/docs/use-cases/usage-accounting
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Reading
from .compatible import amount, compatible, reading_also
from .openai_shapes import read_error

__all__ = ["OPENROUTER"]


def read_own(answer: Mapping[str, Any], reading: Reading) -> None:
    usage = answer.get("usage")
    if isinstance(usage, Mapping):
        _read_cost(usage, reading)
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, Mapping) and choice.get("error"):
            read_error(choice, reading)


def _read_cost(usage: Mapping[str, Any], reading: Reading) -> None:
    """`cost` is what OpenRouter takes, in credits that are US dollars. With a key of the caller's own that
    is its fee, and `upstream_inference_cost` is what the vendor bills besides.

    https://openrouter.ai/docs/use-cases/byok
    """
    details = usage.get("cost_details")
    cost = amount(usage.get("cost"))
    upstream = amount(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    own_key = usage.get("is_byok")
    if own_key is None and cost is not None and upstream is not None:
        own_key = upstream > cost  # older answers do not say; OpenRouter never takes less than the vendor
    if own_key is not True:
        reading.state_cost(usage.get("cost"))
    elif cost is not None and upstream is not None:
        reading.state_cost(cost + upstream)


OPENROUTER = compatible(
    "openrouter",
    "openrouter.ai",
    "api.openrouter.ai",
    routes=reading_also(read_own),
    sdk="OpenRouter",
    prices="openrouter",
    request_ids=("x-generation-id", "x-request-id"),
    source="https://openrouter.ai/docs/api-reference",
)
