"""Amazon Bedrock."""

from collections.abc import Mapping
from typing import Any

PROVIDERS = ("bedrock", "bedrock-mantle")

NO_USE = {"countTokens": "counting, no consumption"}

LISTED = {
    "bedrock.converse*": {
        "tools": "calls of type `tool_use` are the application's to make, as those without a type are",
    },
    "bedrock.converse.403.*": {
        "error_code": "the name in `x-amzn-errortype` is the error's code",
    },
    "bedrock.invoke*": {
        "reported": "Bedrock's own counts, in headers or in the last event, where the body has none",
    },
    "bedrock.invoke-stream.200.stream.32e570c2": {
        "finish_reasons": "Titan names it `completionReason` in a stream, too",
    },
    "bedrock.invoke-stream.200.stream.5d5e8a2f": {
        "finish_reasons": "where a guardrail blocks the input, that is why it ended",
    },
    "bedrock.invoke-stream.200.stream.ef484b45": {
        "finish_reasons": "Jamba's `finish_reason`; its `stop_reason` is the number of a token",
    },
}


def cache_outside(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """`inputTokens` and Anthropic's `input_tokens` leave out the cache."""
    figures["input_tokens"] += figures["cached_tokens"] + figures["cache_write_tokens"]


ADJUST = {"bedrock": cache_outside}
