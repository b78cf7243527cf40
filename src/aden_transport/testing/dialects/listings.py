"""Lists and objects that cost nothing: models and files."""

from __future__ import annotations

from collections.abc import Mapping

from ..answers import Answer, Call, compact, pretty
from ..models import DATED

__all__ = ["anthropic_models", "files", "gemini_models", "openai_model", "openai_models"]

_CREATED = 1_735_689_600


def openai_models(call: Call, path: Mapping[str, str]) -> Answer:
    """GET …/models."""
    names = [name for name in DATED if not name.startswith("claude")]
    return Answer(200, "application/json", (pretty({"object": "list", "data": list(map(_model, names))}),))


def openai_model(call: Call, path: Mapping[str, str]) -> Answer:
    """GET …/models/{id}."""
    return Answer(200, "application/json", (pretty(_model(path["id"])),))


def anthropic_models(call: Call, path: Mapping[str, str]) -> Answer:
    """GET /v1/models, asked with `anthropic-version`."""
    names = sorted({name for name in DATED.values() if name.startswith("claude")})
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
        for name in names
    ]
    body = {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}
    return Answer(200, "application/json", (compact(body),))


def gemini_models(call: Call, path: Mapping[str, str]) -> Answer:
    """GET /v1beta/models."""
    models = [
        {
            "name": f"models/{name}",
            "version": "001",
            "displayName": name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        for name in ("gemini-2.5-flash", "gemini-2.5-pro")
    ]
    return Answer(200, "application/json; charset=UTF-8", (pretty({"models": models}),))


def files(call: Call, path: Mapping[str, str]) -> Answer:
    """GET …/files: there are none."""
    body = {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    return Answer(200, "application/json", (pretty(body),))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}
