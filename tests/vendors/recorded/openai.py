"""OpenAI, Azure OpenAI, Anthropic, and gateways on unknown hosts."""

from collections.abc import Mapping
from typing import Any

PROVIDERS = ("openai", "azure", "anthropic", "openai-compatible")

NO_USE = {
    "admin.usage": "figures of the past, no call to a model",
    "assistants": "a stored object",
    "assistants.steps": "a stored object",
    "assistants.threads": "a stored object",
    "conversations": "a stored object",
    "files": "a stored object",
    "messages.count_tokens": "counting, no consumption",
    "models": "a list",
    "realtime.rest": "a ticket for a WebSocket",
    "responses.delete": "a stored object",
    "responses.input_items": "a stored object",
    "responses.input_tokens": "counting, no consumption",
}

LISTED = {
    "azure.*": {
        "request_id": "`apim-request-id` is what Azure's support asks for, the recording took `x-request-id`",
        "request_model": "the deployment in the path decides, whatever the body says",
    },
    "openai.audio-speech.*": {
        "reported": "speech is billed by the characters of the request",
    },
    "openai.batches.*": {
        "finish_reasons": "work that goes on has no reason to have ended",
    },
    "openai.fine-tuning.*": {
        "finish_reasons": "work that goes on has no reason to have ended",
    },
    "openai.images.*": {
        "reported": "images without usage are billed by the piece",
        "image_output_tokens": "all output of the images API is image tokens, named as such or not",
    },
    "openai.responses-compact.*": {
        "reported": "the usage of a compaction is consumption; left out there",
    },
    "openai.responses-get.200.stream.*": {
        "stream": "a poll's query asks for the stream, the event tells of the call that is polled for",
    },
    "openai.responses.200.plain.174d6193": {
        "finish_reasons": 'a status "complete" is none of the documented ones',
    },
    "openai.responses.200.plain.7bbb99c4": {
        "finish_reasons": "queued work has no reason to have ended",
    },
    "openai.responses.200.*.f1634e3b": {
        "finish_reasons": "the reason of an incomplete answer says more",
    },
    "openai.responses.200.*.1f758edc": {
        "finish_reasons": "the reason of an incomplete answer says more",
    },
    "openai.responses.200.plain.286f8c9e": {
        "tools": "calls of MCP servers count as tool calls",
    },
    "openai.responses.200.stream.89c0af79": {
        "tools": "calls of MCP servers count as tool calls",
    },
}

REPEATED = {
    "openai.assistants-runs.200.plain.3663a767": "cancelling, and not over yet: no event",
    "openai.assistants-runs.200.plain.44f929ce": "polled before its end: no event",
    "openai.assistants-runs.200.plain.83533ca3": "polled before its end: no event",
    "openai.assistants-runs.200.plain.9962c3e0": "cancelling, and not over yet: no event",
    "openai.assistants-runs.200.plain.be3350c2": "a list of runs",
    "openai.assistants-runs.200.plain.df4ad10f": "polled before its end: no event",
    "openai.assistants-runs.400.plain.666b3ae7": "a stored object is changed, nothing runs",
    "openai.batches.200.plain.38ff8770": "cancelling, and not over yet: no event",
    "openai.fine-tuning.200.plain.10d5adf8": "a list of jobs",
    "openai.fine-tuning.404.plain.e8f54866": "there was nothing to cancel",
    "openai.responses-get.200.plain.54070794": "polled before its end: no event",
    "openai.vector-stores.500.plain.80f48105": "a list of files, which failed",
}


def anthropic(expected: Mapping[str, Any], figures: dict[str, int]) -> None:
    """Its `input_tokens` leave out what was read from the cache and written to it."""
    figures["input_tokens"] += figures["cached_tokens"] + figures["cache_write_tokens"]


ADJUST = {"anthropic": anthropic}
