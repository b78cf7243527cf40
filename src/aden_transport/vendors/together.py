"""Together AI. https://docs.together.ai/reference"""

from __future__ import annotations

from .compatible import compatible
from .limits import together_limits

__all__ = ["TOGETHER"]

TOGETHER = compatible(
    "together",
    "api.together.xyz",
    "api.together.ai",
    sdk="Together",
    prices="together",
    limits=together_limits,
    latency="x-total-time",
    source="https://docs.together.ai/reference",
)
