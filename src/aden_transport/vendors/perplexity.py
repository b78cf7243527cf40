"""Perplexity. https://docs.perplexity.ai/api-reference

Each event of a chat stream repeats the usage so far; the last one counts. `citation_tokens` are no part
of the prompt and are billed only by deep research, where the stated cost includes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Operation, Reading, count, route
from .compatible import CALLS, compatible, reading_also
from .openai import EMBEDDINGS, RESPONSE_POLL, RESPONSES
from .openai_shapes import read_chat

__all__ = ["PERPLEXITY"]


def read_own(answer: Mapping[str, Any], reading: Reading) -> None:
    """Searches, reasoning and the cost, which is 0 until the last event of a stream.

    https://docs.perplexity.ai/getting-started/pricing
    """
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return
    if reading.usage is not None:
        _read_parts(usage, reading.usage, reading)
    cost = usage.get("cost")
    if isinstance(cost, Mapping) and cost.get("total_cost"):
        reading.state_cost(cost["total_cost"])


def _read_parts(usage: Mapping[str, Any], out: NormalizedUsage, reading: Reading) -> None:
    # Deep research reasons over ten times what it answers: reasoning stands beside the completion, as its
    # price does.
    beside = count(usage.get("reasoning_tokens"), reading)
    if beside and "completion_tokens" in usage:
        out.output_tokens = count(usage.get("completion_tokens"), reading) + beside
        out.reasoning_tokens = beside
    out.server_tool_calls = count(usage.get("num_search_queries"), reading)
    details = usage.get("input_tokens_details")
    if isinstance(details, Mapping):
        out.cached_tokens = count(details.get("cache_read_input_tokens"), reading) or out.cached_tokens
        out.cache_write_tokens = count(details.get("cache_creation_input_tokens"), reading)
    tools = usage.get("tool_calls_details")
    if isinstance(tools, Mapping):
        calls = (tool.get("invocation") for tool in tools.values() if isinstance(tool, Mapping))
        out.server_tool_calls += sum(count(number, reading) for number in calls)


def read_job(body: Mapping[str, Any], reading: Reading) -> None:
    """An asynchronous chat: its answer stands in `response` once `status` is `COMPLETED`."""
    answer, status = body.get("response"), body.get("status")
    if isinstance(answer, Mapping):
        read_chat(answer, reading)
        read_own(answer, reading)
    over = status in ("COMPLETED", "FAILED")
    reading.tell_of_work(body.get("id"), body.get("created_at"), over=over)


JOB = Operation("chat", read_job)
JOB_POLL = Operation("chat", read_job, deferred=True)

PERPLEXITY = compatible(
    "perplexity",
    "api.perplexity.ai",
    routes=(
        route("POST", r"/async/(?:chat/completions|sonar)", JOB),
        route("GET", r"/async/(?:chat/completions|sonar)/[^/]+", JOB_POLL),
        *reading_also(
            read_own,
            (
                *CALLS,
                route("POST", r"/v1/agent", RESPONSES),
                route("GET", r"/v1/agent/[^/]+", RESPONSE_POLL),
                route("POST", r"/v1/contextualizedembeddings", EMBEDDINGS),
            ),
        ),
    ),
    sdk="Perplexity",
    prices="perplexity",
    region="x-ppl-region",
    source="https://docs.perplexity.ai/api-reference",
)
