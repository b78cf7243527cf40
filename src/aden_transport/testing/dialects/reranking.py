"""Reranking that is billed by tokens: Voyage and Together.

https://docs.voyageai.com/reference/reranker-api, https://docs.together.ai/reference/rerank
"""

from __future__ import annotations

from collections.abc import Mapping

from ..answers import Answer, Call, ProviderError, compact, drop_omitted
from ..plan import count_tokens, strings

__all__ = ["by_tokens"]


def by_tokens(call: Call, _path: Mapping[str, str]) -> Answer:
    """POST /v1/rerank."""
    documents = call.body.get("documents")
    if not isinstance(documents, list) or not documents:
        raise ProviderError("invalid_request", "documents are required")
    tokens = call.reply.input_tokens or sum(map(count_tokens, strings([call.body.get("query"), documents])))
    results = [{"index": n, "relevance_score": round(0.9 / (n + 1), 4)} for n in range(len(documents))]
    usage = call.usage({"total_tokens": tokens})
    body = {
        "object": "list",
        "data": results,
        "results": results,
        "model": call.body.get("model"),
        "usage": usage,
    }
    return Answer(200, "application/json", (compact(drop_omitted(body)),), tokens=tokens)
