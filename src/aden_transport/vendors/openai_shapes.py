"""Where the OpenAI wire formats keep their figures; many other vendors speak them too.

Sources: https://platform.openai.com/docs/api-reference (chat, completions, responses, embeddings,
images, audio, moderations), checked 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Reading, count, malformed, text

__all__ = [
    "read_chat",
    "read_chat_event",
    "read_completion",
    "read_completion_event",
    "read_embeddings",
    "read_image_event",
    "read_images",
    "read_moderation",
    "read_response",
    "read_response_event",
    "read_speech_event",
    "read_transcription",
    "read_transcription_event",
]

NO_DETAILS: Mapping[str, Any] = {}


def chat_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage:
    """`prompt_tokens` and `completion_tokens` already include their details."""
    get = usage.get
    out = NormalizedUsage(count(get("prompt_tokens"), reading), count(get("completion_tokens"), reading))
    details: Any = get("prompt_tokens_details")
    if details.__class__ is dict and any(details.values()):
        _take_details(PROMPT_DETAILS, details, out, reading)
    details = get("completion_tokens_details")
    if details.__class__ is dict and any(details.values()):
        _take_details(COMPLETION_DETAILS, details, out, reading)
    return out


def _take_details(
    table: tuple[tuple[str, str], ...], details: Mapping[str, Any], out: NormalizedUsage, reading: Reading
) -> None:
    for name, field in table:
        if value := details.get(name):
            setattr(out, field, count(value, reading))


PROMPT_DETAILS = (
    ("cached_tokens", "cached_tokens"),
    ("cache_write_tokens", "cache_write_tokens"),
    ("audio_tokens", "audio_input_tokens"),
    ("image_tokens", "image_input_tokens"),
)
COMPLETION_DETAILS = (
    ("reasoning_tokens", "reasoning_tokens"),
    ("audio_tokens", "audio_output_tokens"),
    ("accepted_prediction_tokens", "accepted_prediction_tokens"),
    ("rejected_prediction_tokens", "rejected_prediction_tokens"),
)


def item_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage:
    """Responses, images and token-billed audio: `input_tokens`, `output_tokens` and their details."""
    out = NormalizedUsage(
        count(usage.get("input_tokens"), reading), count(usage.get("output_tokens"), reading)
    )
    details: Any = usage.get("input_tokens_details") or usage.get("input_token_details")
    if details.__class__ is dict:
        out.cached_tokens = count(details.get("cached_tokens"), reading)
        out.cache_write_tokens = count(details.get("cache_write_tokens"), reading)
        out.audio_input_tokens = count(details.get("audio_tokens"), reading)
        out.image_input_tokens = count(details.get("image_tokens"), reading)
    details = usage.get("output_tokens_details") or usage.get("output_token_details")
    if details.__class__ is dict:
        out.reasoning_tokens = count(details.get("reasoning_tokens"), reading)
        out.audio_output_tokens = count(details.get("audio_tokens"), reading)
        out.image_output_tokens = count(details.get("image_tokens"), reading)
    return out


def _head(body: Mapping[str, Any], reading: Reading) -> None:
    get = body.get
    value: Any = get("id")
    if value.__class__ is str and value:
        reading.response_id = value[:256]
    value = get("model")
    if value.__class__ is str and value:  # Azure's first chunk has model "" and id ""
        reading.response_model = value[:256]
    if "service_tier" in body:
        reading.service_tier = text(body["service_tier"], 64) or reading.service_tier
    if "system_fingerprint" in body:
        reading.system_fingerprint = text(body["system_fingerprint"]) or reading.system_fingerprint


def _size(value: Any) -> int:
    return len(value.encode("utf-8", "replace")) if value.__class__ is str else 0


def read_error(body: Mapping[str, Any], reading: Reading) -> None:
    """The error shapes of all vendors: an object, a string, `detail`, `message` (facts: 28 surprises)."""
    error = body.get("error")
    if isinstance(error, Mapping):
        reading.error = text(error.get("message"), 1000) or reading.error
        code = error.get("code")
        kind = error.get("type") or error.get("status")
        reading.error_code = str(code)[:128] if code not in (None, "") else reading.error_code
        reading.error_kind = text(kind, 128) or reading.error_kind
    elif isinstance(error, str) and error:
        reading.error = error[:1000]
    else:
        message: Any = body.get("message") or body.get("detail")
        reading.error = text(message, 1000) or reading.error


def read_chat(body: Mapping[str, Any], reading: Reading) -> None:
    _head(body, reading)
    choices: Any = body.get("choices")
    if choices.__class__ is list:
        for position, choice in enumerate(choices):
            if choice.__class__ is not dict:
                continue
            reason = choice.get("finish_reason")
            if reason.__class__ is str:
                reading.finish_reasons[position] = reason[:64]
            message: Any = choice.get("message")
            if message.__class__ is dict:
                calls: Any = message.get("tool_calls") or _legacy_call(message)
                if calls:
                    _message_tools(calls, position, reading)
    usage: Any = body.get("usage")
    if usage.__class__ is dict:
        reading.usage = chat_usage(usage, reading)
    elif usage is not None:
        malformed(reading)


def _legacy_call(message: Mapping[str, Any]) -> Any:
    """`function_call`, which was before `tool_calls`: one at most, without an id."""
    call = message.get("function_call")
    return None if call is None else [{"function": call}]


def _message_tools(calls: Any, choice: int, reading: Reading) -> None:
    if not isinstance(calls, list):
        return
    for position, call in enumerate(calls):
        if isinstance(call, Mapping):
            _note_tool(call, (choice, call.get("index", position)), reading)


def _note_tool(call: Mapping[str, Any], key: Any, reading: Reading) -> None:
    inner = call.get("function") or call.get("custom")
    function = inner if isinstance(inner, Mapping) else NO_DETAILS
    arguments = function.get("arguments", function.get("input"))
    reading.tool(key, id=call.get("id"), name=function.get("name"), arguments=arguments)


def read_chat_event(_name: str, chunk: Mapping[str, Any], reading: Reading) -> None:
    _head(chunk, reading)
    choices: Any = chunk.get("choices")
    if choices.__class__ is list:
        for position, choice in enumerate(choices):
            if choice.__class__ is dict:
                _read_chat_choice(choice, position, reading)
    usage: Any = chunk.get("usage")
    if usage.__class__ is dict:
        reading.usage = chat_usage(usage, reading)
    elif usage is not None:
        malformed(reading)
    if "error" in chunk:
        read_error(chunk, reading)


def _read_chat_choice(choice: Mapping[str, Any], position: int, reading: Reading) -> None:
    index = choice.get("index", position)
    index = index if isinstance(index, int) else position
    reason: Any = choice.get("finish_reason")
    if reason.__class__ is str:
        reading.finish_reasons[index] = reason[:64]
    delta: Any = choice.get("delta")
    if delta.__class__ is not dict:
        return
    for member in ("content", "reasoning_content", "reasoning", "refusal"):
        reading.text_bytes += _size(delta.get(member))
    calls: Any = delta.get("tool_calls") or _legacy_call(delta)
    if calls:
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, Mapping):
                _note_tool(call, (index, call.get("index", place)), reading)
                function = call.get("function")
                reading.text_bytes += _size(function.get("arguments")) if isinstance(function, Mapping) else 0


def read_completion(body: Mapping[str, Any], reading: Reading) -> None:
    read_completion_event("", body, reading)


def read_completion_event(_name: str, chunk: Mapping[str, Any], reading: Reading) -> None:
    _head(chunk, reading)
    choices: Any = chunk.get("choices")
    for position, choice in enumerate(choices if isinstance(choices, list) else ()):
        if isinstance(choice, Mapping):
            index = choice.get("index", position)
            if isinstance(choice.get("finish_reason"), str):
                reading.finish_reasons[index if isinstance(index, int) else position] = choice[
                    "finish_reason"
                ][:64]
            reading.text_bytes += _size(choice.get("text"))
    usage: Any = chunk.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = chat_usage(usage, reading)
    elif usage is not None:
        malformed(reading)
    if "error" in chunk:
        read_error(chunk, reading)


DEFERRED = frozenset({"queued", "in_progress", "validating", "requires_action"})
"""States of an answer whose work has not ended: its usage, if any, is not final."""


def read_response(body: Mapping[str, Any], reading: Reading) -> None:
    _head(body, reading)
    status = text(body.get("status"), 64)
    reading.status = status
    if status in ("completed", "failed", "cancelled", "incomplete"):
        details: Any = body.get("incomplete_details")
        reason = text(details.get("reason"), 64) if isinstance(details, Mapping) else None
        reading.finish_reasons[0] = reason or status
        reading.incomplete = status == "incomplete"
    output: Any = body.get("output")
    if output.__class__ is list:
        for position, item in enumerate(output):
            if item.__class__ is dict:
                _response_item(item, position, reading)
    usage: Any = body.get("usage")
    if usage.__class__ is dict and status not in DEFERRED:
        reading.usage = item_usage(usage, reading)
    elif usage is not None and usage.__class__ is not dict:
        malformed(reading)
    if isinstance(body.get("error"), Mapping):
        read_error(body, reading)
    if body.get("background") is True:
        reading.detail("background", True)


def _response_item(item: Mapping[str, Any], position: int, reading: Reading) -> None:
    kind = item.get("type")
    if kind == "message" or not isinstance(kind, str):
        return
    if kind in ("function_call", "custom_tool_call", "mcp_call"):
        arguments = item.get("arguments", item.get("input"))
        reading.tool(
            item.get("id") or position, id=item.get("call_id"), name=item.get("name"), arguments=arguments
        )
    elif kind.endswith("_call"):
        details = reading.details or {}
        reading.detail("server_tool_calls", details.get("server_tool_calls", 0) + 1)


def read_response_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """Events that carry the whole response replace what was read; deltas add text."""
    kind = event.get("type") or name
    response: Any = event.get("response")
    if response.__class__ is dict:
        reading.tools = None
        reading.details = None
        read_response(response, reading)
    elif kind.__class__ is str and kind.endswith(".delta"):
        reading.text_bytes += _size(event.get("delta"))
    elif kind == "error":
        reading.error = text(event.get("message"), 1000) or reading.error
        reading.error_code = text(event.get("code"), 128) or reading.error_code
        if isinstance(event.get("error"), Mapping):
            read_error(event, reading)
        reading.error = reading.error or "error event in the stream"


def read_embeddings(body: Mapping[str, Any], reading: Reading) -> None:
    _head(body, reading)
    usage: Any = body.get("usage")
    if usage.__class__ is dict:
        # `total_tokens` repeats `prompt_tokens`; some vendors send only the total.
        tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
        reading.usage = NormalizedUsage(count(tokens, reading))
    data: Any = body.get("data")
    if data.__class__ is list:
        reading.detail("embeddings", len(data))


def read_images(body: Mapping[str, Any], reading: Reading) -> None:
    for key in ("size", "quality", "output_format", "background"):
        reading.detail(key, text(body.get(key), 32))
    data: Any = body.get("data")
    images = len(data) if isinstance(data, list) else 0
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = item_usage(usage, reading)
        if not reading.usage.image_output_tokens:
            # The images API bills all its output as image tokens.
            reading.usage.image_output_tokens = reading.usage.output_tokens
    elif images:
        reading.usage = NormalizedUsage()
    if reading.usage is not None:
        reading.usage.images = images
    reading.detail("images", images or None)


def read_image_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    kind = event.get("type") or name
    if isinstance(kind, str) and kind.endswith(".completed"):
        read_images({**event, "data": [0]}, reading)
    elif kind == "error" or "error" in event:
        read_error(event, reading)


def read_transcription(body: Mapping[str, Any], reading: Reading) -> None:
    """`usage` is a union: tokens, or the duration in seconds (whisper)."""
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        if usage.get("type") == "duration" or ("seconds" in usage and "input_tokens" not in usage):
            reading.usage = NormalizedUsage(audio_seconds=seconds(usage.get("seconds"), reading))
        else:
            reading.usage = item_usage(usage, reading)
    elif isinstance(body.get("duration"), (int, float)):
        reading.usage = NormalizedUsage(audio_seconds=seconds(body["duration"], reading))
    if reading.usage is not None and reading.usage.audio_seconds:
        reading.detail("audio_seconds", reading.usage.audio_seconds)
    reading.detail("language", text(body.get("language"), 32))
    for key in ("segments", "words"):
        if isinstance(body.get(key), list):
            reading.detail(f"{key}_count", len(body[key]))


def seconds(value: Any, reading: Reading) -> float:
    """A duration of at most a year; anything else counts as 0 and is named as a fault."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if 0 <= number <= 366 * 86400:
        return number
    reading.faults.append("usage.malformed")
    return 0.0


def read_transcription_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    kind = event.get("type") or name
    if kind == "transcript.text.done":
        read_transcription(event, reading)
    elif kind == "transcript.text.delta":
        reading.text_bytes += _size(event.get("delta"))
    elif "error" in event:
        read_error(event, reading)


def read_speech_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    if (event.get("type") or name) == "speech.audio.done" and isinstance(event.get("usage"), Mapping):
        reading.usage = item_usage(event["usage"], reading)
        reading.usage.audio_output_tokens = reading.usage.output_tokens


def read_moderation(body: Mapping[str, Any], reading: Reading) -> None:
    _head(body, reading)
    results = body.get("results")
    if isinstance(results, list):
        reading.detail("flagged", any(isinstance(r, Mapping) and r.get("flagged") is True for r in results))
        reading.detail("inputs", len(results))
