"""Hugging Face. Its `models` are calls, those of other vendors are lists."""

from collections.abc import Mapping

PROVIDERS: tuple[str, ...] = ("huggingface",)

LISTED: Mapping[str, Mapping[str, str]] = {
    "huggingface.chat-completions.200.stream.*": {
        "request_id": "`inference-id` is what the router bills by; the recording knows only `x-request-id`",
    },
    "huggingface.models.*": {
        "request_model": "the model stands in the path",
    },
}
