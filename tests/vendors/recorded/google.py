"""Gemini API and Vertex AI."""

from collections.abc import Mapping
from typing import Any

PROVIDERS = ("gemini", "vertex")

NO_USE = {
    "cachedContents": "a stored object",
    "countTokens": "counting, no consumption",
    "files": "a stored object",
    "models": "a list",
}

LISTED = {
    "gemini.batchgeneratecontent.*": {
        "response_model": "an operation's metadata names the model",
        "response_id": "an operation's name is what it is counted by",
    },
    "gemini.chat-completions.*": {
        "output_tokens": "the compatible endpoint names thinking only in the total; ours includes it",
        "reasoning_tokens": "the compatible endpoint names thinking only in the total; ours includes it",
    },
    "gemini.streamgeneratecontent.200.stream.aa80d05d": {
        "output_tokens": "the last usage has no candidates and adds up to its own total without them",
    },
    "vertex.*": {
        "service_tier": "the traffic type is no tier, except where it names one with its own price",
        "finish_reasons": "a blocked prompt's reason, and the names of enums that came as numbers",
        "reported": "a traffic type alone is no usage",
    },
}


def google(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """`promptTokenCount` leaves out tool-use prompts, `candidatesTokenCount` leaves out thoughts."""
    figures["input_tokens"] += expected["tool_use_prompt_tokens"] or 0
    figures["output_tokens"] += figures["reasoning_tokens"]


ADJUST = {"gemini": google, "vertex": google}
