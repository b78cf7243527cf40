"""OpenAI moderations.

https://platform.openai.com/docs/api-reference/moderations
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..answers import Answer, Call, pretty
from ..plan import strings

__all__ = ["create"]

_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "sexual",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm/intent",
    "self-harm/instructions",
    "self-harm",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/moderations; a text with the word "violence" is flagged."""
    given = call.body.get("input")
    items = given if isinstance(given, list) else [given]
    model = call.model(str(call.body.get("model") or "omni-moderation-latest"))
    body = {"id": call.id("modr-", 29), "model": model, "results": [_result(item) for item in items]}
    return Answer(200, "application/json", (pretty(body),))


def _result(item: Any) -> dict[str, Any]:
    flagged = "violence" in " ".join(strings(item)).lower()
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == "violence" for name in _CATEGORIES},
        "category_scores": {name: 0.9 if flagged and name == "violence" else 0.0001 for name in _CATEGORIES},
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
