"""Embeddings of OpenAI, Gemini and Vertex; the vectors depend on the text alone.

https://platform.openai.com/docs/api-reference/embeddings, https://ai.google.dev/api/embeddings
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted, pretty
from ..plan import count_tokens, strings
from .openai_usage import as_mappings

__all__ = ["batch_embed", "create", "embed", "predict", "vector"]

_SIZES = {
    "text-embedding-3-large": 3072,
    "text-embedding-3-small": 1536,
    "text-embedding-ada-002": 1536,
    "gemini-embedding-001": 3072,
}
_DEFAULT_SIZE = 768
_MAX_SIZE = 8192
_JSON = "application/json; charset=UTF-8"


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """OpenAI: POST …/embeddings; floats, or base64 of little-endian float32."""
    model = str(call.body.get("model") or path.get("deployment") or "")
    inputs = _inputs(call.body.get("input"))
    if not model or not inputs:
        raise ProviderError("invalid_request", "'model' and 'input' are required", param="input")
    size = _size(model, call.body.get("dimensions"))
    encoded = call.body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": n, "embedding": _encode(vector) if encoded else vector}
        for n, vector in enumerate(vector(str(text), size) for text in inputs)
    ]
    tokens = call.reply.input_tokens or sum(map(_tokens, inputs))
    usage = call.usage({"prompt_tokens": tokens, "total_tokens": tokens})
    body = drop_omitted({"object": "list", "data": data, "model": call.model(model), "usage": usage})
    return Answer(200, "application/json", (pretty(body),), tokens=tokens)


def embed(call: Call, path: Mapping[str, str]) -> Answer:
    """Gemini: POST …:embedContent."""
    text = " ".join(strings(call.body.get("content")))
    size = _size(path["model"], call.body.get("outputDimensionality"))
    body = {"embedding": {"values": vector(text, size)}, "usageMetadata": _usage(call, count_tokens(text))}
    return Answer(200, _JSON, (compact(drop_omitted(body)),), tokens=count_tokens(text))


def batch_embed(call: Call, path: Mapping[str, str]) -> Answer:
    """Gemini: POST …:batchEmbedContents."""
    requests = as_mappings(call.body.get("requests"))
    texts = [" ".join(strings(request.get("content"))) for request in requests]
    sizes = [_size(path["model"], request.get("outputDimensionality")) for request in requests]
    vectors = [{"values": vector(text, size)} for text, size in zip(texts, sizes, strict=True)]
    tokens = sum(map(count_tokens, texts))
    body = {"embeddings": vectors, "usageMetadata": _usage(call, tokens)}
    return Answer(200, _JSON, (pretty(drop_omitted(body)),), tokens=tokens)


def predict(call: Call, path: Mapping[str, str]) -> Answer:
    """Vertex: POST …:predict of a text embedding model."""
    texts = [str(instance.get("content", "")) for instance in as_mappings(call.body.get("instances"))]
    wanted = (call.body.get("parameters") or {}).get("outputDimensionality")
    predictions = [
        {
            "embeddings": {
                "statistics": {"token_count": count_tokens(text), "truncated": False},
                "values": vector(text, _size(path["model"], wanted)),
            }
        }
        for text in texts
    ]
    metadata = {"billableCharacterCount": sum(len(text.replace(" ", "")) for text in texts)}
    return Answer(200, _JSON, (compact({"metadata": metadata, "predictions": predictions}),))


def _inputs(value: Any) -> list[Any]:
    """One text or a list of token numbers is one input; a list of either is many."""
    if isinstance(value, list):
        return [value] if value and isinstance(value[0], int) else value
    return [value] if isinstance(value, str) else []


def _tokens(item: Any) -> int:
    return len(item) if isinstance(item, list) else count_tokens(str(item))


def _size(model: str, wanted: Any) -> int:
    return (
        min(_MAX_SIZE, wanted) if isinstance(wanted, int) and wanted > 0 else _SIZES.get(model, _DEFAULT_SIZE)
    )


def vector(text: str, size: int) -> list[float]:
    """Values between -0.1 and 0.1, exact in float32."""
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(size)
    return [(byte - 128) / 2048 for byte in digest]


def _encode(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(call: Call, tokens: int) -> Any:
    details = [{"modality": "TEXT", "tokenCount": tokens}]
    return call.usage({"promptTokenCount": tokens, "promptTokenDetails": details})
