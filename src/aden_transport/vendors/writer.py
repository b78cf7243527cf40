"""Writer. https://dev.writer.com/api-reference

Chat stands under `/v1/chat`. Completions of text tell no usage, and their streams no id, model or end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .base import Reading, StreamShape, route
from .compatible import CALLS, compatible
from .openai import CHAT, COMPLETION

__all__ = ["WRITER"]


def read_completion_event(_name: str, event: Mapping[str, Any], reading: Reading) -> None:
    reading.add_text(event.get("value"))


TEXT = dataclasses.replace(
    COMPLETION, stream=StreamShape(read_completion_event, ends_with_body=True), asks_usage=False
)

WRITER = compatible(
    "writer",
    "api.writer.com",
    routes=(
        route("POST", r"/v1/chat", CHAT),
        route("POST", r"/v1/completions", TEXT),
        *CALLS,
    ),
    sdk="Writer",
    asks_usage=True,
    source="https://dev.writer.com/api-reference/completion-api/chat-completion",
)
