"""Groq. https://console.groq.com/docs/api-reference

`usage` counts seconds beside tokens (`queue_time`, `prompt_time`, …), and `usage_breakdown` repeats per
model what `usage` sums up; neither is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Reading
from .compatible import compatible, reading_also
from .limits import openai_limits
from .openai_shapes import chat_usage, read_error

__all__ = ["GROQ"]


def read_own(answer: Mapping[str, Any], reading: Reading) -> None:
    """The last event of a stream has `x_groq` with the usage, and with the error of a stream that failed."""
    own = answer.get("x_groq")
    if not isinstance(own, Mapping):
        return
    usage = own.get("usage")
    if isinstance(usage, Mapping) and not isinstance(answer.get("usage"), Mapping):
        reading.usage = chat_usage(usage, reading) or reading.usage
    if own.get("error"):
        read_error(own, reading)


GROQ = compatible(
    "groq",
    "api.groq.com",
    routes=reading_also(read_own),
    sdk="Groq",
    prices="groq",
    asks_usage=True,
    completion_cap=True,
    limits=openai_limits,
    region="x-groq-region",
    source="https://console.groq.com/docs/api-reference",
)
