"""Where the OpenAI wire formats keep their figures; many other vendors speak them too.

Sources: https://platform.openai.com/docs/api-reference (chat, completions, responses, embeddings,
images, audio, moderations), checked 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..events import NormalizedUsage
from .base import Reading, both_counts, count, malformed, text

__all__ = [
    "read_chat",
    "read_chat_event",
    "read_completion",
    "read_completion_event",
    "read_embeddings",
    "read_image_event",
    "read_images",
    "read_moderation",
    "read_rerank",
    "read_response",
    "read_response_event",
    "read_speech_event",
    "read_transcription",
    "read_transcription_event",
]

NO_DETAILS: Mapping[str, Any] = {}


def chat_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """`prompt_tokens` and `completion_tokens` include their details, unless `total_tokens` says otherwise.
    None where there are no counts."""
    get = usage.get
    given, made = get("prompt_tokens"), get("completion_tokens")
    if given is None or made is None or reading.faults:
        counts = both_counts(given, made, get("total_tokens"), reading)
        if counts is None:
            return None
        out = NormalizedUsage(*counts)
    else:
        out = NormalizedUsage(count(given, reading), count(made, reading))
    details: Any = get("prompt_tokens_details")
    if details.__class__ is dict and any(details.values()):
        _take_details(PROMPT_DETAILS, details, out, reading)
    details = get("completion_tokens_details")
    if details.__class__ is dict and any(details.values()):
        _take_details(COMPLETION_DETAILS, details, out, reading)
    if not OWN_NAMES.isdisjoint(usage):
        _take_own_places(usage, out, reading)
    if out.reasoning_tokens or out.cached_tokens or out.cache_write_tokens:
        _make_parts_fit(usage, out, reading)
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
OWN_PLACES = {
    "prompt_cache_hit_tokens": "cached_tokens",  # DeepSeek, beside OpenAI's place or alone
    "cached_tokens": "cached_tokens",  # Moonshot
    "num_cached_tokens": "cached_tokens",  # vLLM
    "cache_read_input_tokens": "cached_tokens",  # Claude on Databricks and behind LiteLLM
    "cache_creation_input_tokens": "cache_write_tokens",
    "prompt_token_details": "cached_tokens",  # Writer's spelling
    "completion_token_details": "reasoning_tokens",
}
"""Members of chat usage in which some vendors keep what OpenAI keeps in the details."""
OWN_NAMES = frozenset(OWN_PLACES)
"""The same; as a set it is asked in a sixth of the time."""


def _take_own_places(usage: Mapping[str, Any], out: NormalizedUsage, reading: Reading) -> None:
    """OpenAI's places win: gateways repeat their figures in the vendor's own."""
    for member, field in OWN_PLACES.items():
        value = usage.get(member)
        if isinstance(value, Mapping):
            value = value.get(field)
        if value and not getattr(out, field):
            setattr(out, field, count(value, reading))


def _make_parts_fit(usage: Mapping[str, Any], out: NormalizedUsage, reading: Reading) -> None:
    """Take parts that the vendor counts beside their whole into it, and cut what is too large.

    xAI leaves reasoning out of `completion_tokens` and Grok on Azure reports more cached tokens than
    prompt; whether a part stands beside its whole is what `total_tokens` says.
    """
    total, said = usage.get("total_tokens"), out.input_tokens + out.output_tokens
    if out.reasoning_tokens and total == said + out.reasoning_tokens:
        out.output_tokens += out.reasoning_tokens
    elif out.reasoning_tokens > out.output_tokens:
        _cut(out, "reasoning_tokens", out.output_tokens, reading)
    cache = out.cached_tokens + out.cache_write_tokens
    if cache <= out.input_tokens:
        return
    if total == said and "cache_read_input_tokens" not in usage:
        _cut(out, "cache_write_tokens", out.input_tokens, reading)
        _cut(out, "cached_tokens", out.input_tokens - out.cache_write_tokens, reading)
    else:
        out.input_tokens += cache


def _cut(out: NormalizedUsage, field: str, whole: int, reading: Reading) -> None:
    if getattr(out, field) > whole:
        setattr(out, field, whole)
        if "usage.parts" not in reading.faults:
            reading.faults.append("usage.parts")


def item_usage(usage: Mapping[str, Any], reading: Reading) -> NormalizedUsage | None:
    """Responses, images and token-billed audio: `input_tokens`, `output_tokens` and their details. None where
    there are no counts."""
    get = usage.get
    counts = both_counts(get("input_tokens"), get("output_tokens"), get("total_tokens"), reading)
    if counts is None:
        return None
    out = NormalizedUsage(*counts)
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
    if out.reasoning_tokens or out.cached_tokens or out.cache_write_tokens:
        _make_parts_fit(usage, out, reading)
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


def read_error(body: Mapping[str, Any], reading: Reading) -> None:
    """The error shapes of all vendors.

    An object under `error` (OpenAI, Anthropic, Google); a text there, the code beside it (xAI, Hugging
    Face, Ollama); or the body itself: `message` (Cohere, Bedrock, Mistral), `detail`, a text or a list
    (Mistral, Voyage, FastAPI), or the first of `errors` (Cloudflare).
    """
    error = body.get("error")
    if isinstance(error, Mapping):
        _take_error(error, error.get("message"), reading)
        return
    first = _first_object(body.get("errors"))
    if first is not None and not error:
        _take_error(first, first.get("message"), reading)
        return
    message: Any = error or body.get("message") or body.get("detail")
    item = _first_object(message)
    _take_error(body, message if item is None else item.get("msg"), reading)


def _first_object(value: Any) -> Mapping[str, Any] | None:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], Mapping) else None


def _take_error(error: Mapping[str, Any], message: Any, reading: Reading) -> None:
    reading.error = text(message, 1000) or reading.error
    code = error.get("code", error.get("error_code"))
    if isinstance(code, (str, int)) and code != "":
        reading.error_code = str(code)[:128]
    kind = error.get("type") or error.get("status") or error.get("__type") or error.get("error_type")
    reading.error_kind = text(kind, 128) or reading.error_kind


def read_chat(body: Mapping[str, Any], reading: Reading) -> None:
    _head(body, reading)
    choices: Any = body.get("choices")
    if choices.__class__ is list:
        for position, choice in enumerate(choices):
            if choice.__class__ is not dict:
                continue
            reason = choice.get("finish_reason")
            if reason.__class__ is str and reason:
                reading.finish_reasons[position] = reason[:64]
            message: Any = choice.get("message")
            if message.__class__ is dict:
                calls: Any = message.get("tool_calls") or _legacy_call(message)
                if calls:
                    _message_tools(calls, position, reading)
    usage: Any = body.get("usage")
    if usage.__class__ is dict:
        reading.usage = chat_usage(usage, reading) or reading.usage
    elif usage is not None:
        malformed(reading)
    if body.get("error"):  # gateways answer 200 where the vendor behind them failed
        read_error(body, reading)


def _legacy_call(message: Mapping[str, Any]) -> Any:
    """`function_call`, which was before `tool_calls`: one at most, without an id. Snowflake's is empty."""
    call = message.get("function_call")
    if call is None or not isinstance(call, Mapping) or not (call.get("name") or call.get("arguments")):
        return None
    return [{"function": call}]


def _message_tools(calls: Any, choice: int, reading: Reading) -> None:
    if not isinstance(calls, list):
        return
    for position, call in enumerate(calls):
        if isinstance(call, Mapping):
            _note_tool(call, (choice, _place(call, position)), reading)


def _place(call: Mapping[str, Any], position: int) -> Any:
    index = call.get("index")
    return position if index is None else index  # Writer sends null


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
        reading.usage = chat_usage(usage, reading) or reading.usage
    elif usage is not None:
        malformed(reading)
    if "error" in chunk:
        read_error(chunk, reading)


def _read_chat_choice(choice: Mapping[str, Any], position: int, reading: Reading) -> None:
    index = choice.get("index", position)
    index = index if isinstance(index, int) else position
    reason: Any = choice.get("finish_reason")
    if reason.__class__ is str and reason:
        reading.finish_reasons[index] = reason[:64]
    delta: Any = choice.get("delta")
    if delta.__class__ is not dict:
        return
    for member in ("content", "reasoning_content", "reasoning", "refusal"):
        reading.add_text(delta.get(member))
    calls: Any = delta.get("tool_calls") or _legacy_call(delta)
    if calls:
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, Mapping):
                _note_tool(call, (index, _place(call, place)), reading)
                function = call.get("function")
                if isinstance(function, Mapping):
                    reading.add_text(function.get("arguments"))


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
            reading.add_text(choice.get("text"))
    usage: Any = chunk.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = chat_usage(usage, reading) or reading.usage
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
        reading.usage = item_usage(usage, reading) or reading.usage
    elif usage is not None and usage.__class__ is not dict:
        malformed(reading)
    if isinstance(body.get("error"), Mapping):
        read_error(body, reading)
    searches = (reading.details or NO_DETAILS).get("web_search_calls")
    if searches and reading.usage is not None:
        reading.usage.server_tool_calls = searches
    if body.get("background") is True:
        reading.detail("background", True)
        reading.tell_of_work(
            body.get("id"), body.get("created_at"), over=status is not None and status not in DEFERRED
        )


SERVER_TOOLS: Mapping[str, str] = {
    "file_search_call": "file_search_calls",
    "code_interpreter_call": "code_interpreter_calls",
    "image_generation_call": "image_generation_calls",
    "computer_call": "computer_calls",
    "shell_call": "shell_calls",
    "local_shell_call": "shell_calls",
    "mcp_call": "mcp_calls",
}
"""Kinds of output items, and what they are counted as."""


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
        _one_more("server_tool_calls", reading)
    if kind in SERVER_TOOLS:
        _one_more(SERVER_TOOLS[kind], reading)
    elif kind == "web_search_call" and _searches(item.get("action")):
        _one_more("web_search_calls", reading)
    if kind == "file_search_call":
        # https://platform.openai.com/docs/pricing#built-in-tools: by the call, beside the tokens.
        reading.unit("file_searches", (reading.details or NO_DETAILS)["file_search_calls"])


def _one_more(key: str, reading: Reading) -> None:
    reading.detail(key, (reading.details or NO_DETAILS).get(key, 0) + 1)


def _searches(action: Any) -> bool:
    """Pages that are opened or searched in are not billed, only searches of the web; older answers name no
    action. https://platform.openai.com/docs/guides/tools-web-search"""
    return not isinstance(action, Mapping) or action.get("type") in (None, "search")


def read_response_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    """Events that carry the whole response replace what was read; deltas add text."""
    kind = event.get("type") or name
    response: Any = event.get("response")
    if response.__class__ is dict:
        reading.tools = reading.details = reading.units = None
        read_response(response, reading)
    elif kind.__class__ is str and kind.endswith(".delta"):
        reading.add_text(event.get("delta"))
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
        tokens = _input_alone(usage)
        if tokens is not None:
            reading.usage = NormalizedUsage(count(tokens, reading))
    elif usage is not None:
        malformed(reading)
    data: Any = body.get("data")
    if data.__class__ is list:
        reading.detail("embeddings", len(data))


def _input_alone(usage: Mapping[str, Any]) -> Any:
    """`total_tokens` repeats `prompt_tokens`; some vendors send only the total."""
    tokens = usage.get("prompt_tokens")
    return usage.get("total_tokens") if tokens is None else tokens


def read_rerank(body: Mapping[str, Any], reading: Reading) -> None:
    """`usage` as of embeddings, or the vendor's search units, or both. https://docs.together.ai/reference/rerank"""
    _head(body, reading)
    usage: Any = body.get("usage")
    if usage.__class__ is dict:
        tokens, units = _input_alone(usage), usage.get("search_units")
        if tokens is not None or units is not None:
            reading.usage = NormalizedUsage(count(tokens, reading), search_units=count(units, reading))


def read_images(body: Mapping[str, Any], reading: Reading) -> None:
    for key in ("size", "quality", "output_format", "background"):
        reading.detail(key, text(body.get(key), 32))
    data: Any = body.get("data")
    images = len(data) if isinstance(data, list) else 0
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        reading.usage = item_usage(usage, reading) or NormalizedUsage()
        if not reading.usage.image_output_tokens:
            # The images API bills all its output as image tokens.
            reading.usage.image_output_tokens = reading.usage.output_tokens
    elif images:
        reading.usage = NormalizedUsage()
    if reading.usage is not None:
        reading.usage.images = images
    reading.detail("images", images or None)
    if isinstance(data, list):
        revised = sum(1 for image in data if isinstance(image, Mapping) and text(image.get("revised_prompt")))
        reading.detail("revised_prompts", revised or None)


def read_image_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    kind = event.get("type") or name
    if isinstance(kind, str) and kind.endswith(".completed"):
        read_images({**event, "data": [0]}, reading)
        reading.ended = True
    elif kind == "error" or "error" in event:
        read_error(event, reading)


def read_transcription(body: Mapping[str, Any], reading: Reading) -> None:
    """`usage` is a union: tokens, or the duration in seconds (whisper)."""
    usage: Any = body.get("usage")
    if isinstance(usage, Mapping):
        if usage.get("type") == "duration" or ("seconds" in usage and "input_tokens" not in usage):
            reading.usage = NormalizedUsage(audio_seconds=seconds(usage.get("seconds"), reading))
        else:
            read_usage = chat_usage if "prompt_tokens" in usage else item_usage
            reading.usage = read_usage(usage, reading)
    if not (reading.usage and reading.usage.input_tokens) and isinstance(body.get("duration"), (int, float)):
        reading.usage = reading.usage or NormalizedUsage()
        reading.usage.audio_seconds = reading.usage.audio_seconds or seconds(body["duration"], reading)
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
        reading.ended = True
    elif kind == "transcript.text.delta":
        reading.add_text(event.get("delta"))
    elif "error" in event:
        read_error(event, reading)


def read_speech_event(name: str, event: Mapping[str, Any], reading: Reading) -> None:
    if (event.get("type") or name) != "speech.audio.done":
        return
    reading.ended = True
    if isinstance(event.get("usage"), Mapping):
        reading.usage = spoken = item_usage(event["usage"], reading)
        if spoken is not None:
            spoken.audio_output_tokens = spoken.output_tokens


def read_moderation(body: Mapping[str, Any], reading: Reading) -> None:
    """What was found in any of the inputs: names of categories and figures, never the inputs."""
    _head(body, reading)
    results = body.get("results")
    if not isinstance(results, list):
        return
    found = [result for result in results if isinstance(result, Mapping)]
    categories = {name for each in _members(found, "categories") for name in each if each[name] is True}
    # Mistral names categories alone.
    flagged = bool(categories) or any(result.get("flagged") is True for result in found)
    reading.detail("flagged", flagged)
    reading.detail("inputs", len(results))
    reading.detail("categories", _names(categories))
    scores = (score for each in _members(found, "category_scores") for score in each.values())
    reading.detail("categories_scores_max", max(filter(_is_score, scores), default=None))
    kinds = (
        kind
        for each in _members(found, "category_applied_input_types")
        for name in categories & each.keys()
        for kind in (each[name] if isinstance(each[name], list) else ())
    )
    reading.detail("category_applied_input_types", _names(kinds))


MAX_NAMES = 64
"""No vendor has more categories, or longer names of them."""


def _names(found: Iterable[Any]) -> list[str] | None:
    names = {name[:MAX_NAMES] for name in found if isinstance(name, str)}
    return sorted(names)[:MAX_NAMES] or None


def _members(results: list[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [inner for result in results if isinstance(inner := result.get(name), Mapping)]


def _is_score(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
