"""xAI. https://docs.x.ai/docs/api-reference

Chat leaves reasoning out of `completion_tokens` and counts it in `total_tokens` (`openai_shapes` reads it
so); responses include it in `output_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Reading, count
from .compatible import amount, compatible, reading_also

__all__ = ["XAI"]

TICKS_PER_USD = 10_000_000_000
"""https://docs.x.ai/developers/cost-tracking"""


def read_own(answer: Mapping[str, Any], reading: Reading) -> None:
    """What the call was billed, its discounts and its server-side tools included."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return
    if reading.usage is not None:
        reading.usage.server_tool_calls = count(usage.get("num_server_side_tools_used"), reading)
    said = usage.get("cost_in_usd_ticks")
    ticks = amount(said)
    reading.state_cost(said if ticks is None or abs(ticks) > 1e18 else ticks / TICKS_PER_USD)


XAI = compatible(
    "xai",
    "api.x.ai",
    suffixes=(".api.x.ai",),
    otel="x_ai",
    routes=reading_also(read_own),
    prices="x-ai",
    latency="x-metrics-e2e-ms",
    source="https://docs.x.ai/docs/api-reference",
)
