"""OpenAI images: generations, edits and variations.

https://platform.openai.com/docs/api-reference/images
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import Answer, Call, ProviderError, compact, drop_omitted, pretty
from ..plan import count_tokens
from .multipart import read_form

__all__ = ["create"]

# A grey picture of one pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
_OUTPUT_TOKENS = {"low": 272, "medium": 1056, "high": 4160, "auto": 1056}
_INPUT_PICTURE_TOKENS = 388


def create(call: Call, path: Mapping[str, str]) -> Answer:
    """POST …/images/{generations,edits,variations}; DALL·E answers with addresses and no usage."""
    form = read_form(call.request)
    body: Mapping[str, Any] = {**form.fields, **call.body}
    model = str(body.get("model") or path.get("deployment") or "dall-e-2")
    if path["kind"] == "generations" and not body.get("prompt"):
        message = "Missing required parameter: 'prompt'."
        raise ProviderError("invalid_request", message, param="prompt", code="missing_required_parameter")
    number = max(1, int(body.get("n") or 1))
    if model.startswith("dall-e"):
        urls = [{"url": f"http://127.0.0.1/images/{call.request.number}-{n}.png"} for n in range(number)]
        data = [{"b64_json": PNG}] * number if body.get("response_format") == "b64_json" else urls
        return Answer(200, "application/json", (pretty({"created": call.created, "data": data}),))
    usage, tokens = _usage(call, body, number=number, pictures=len(form.files))
    if body.get("stream") in (True, "true"):
        prefix = "image_generation" if path["kind"] == "generations" else "image_edit"
        events = _events(call, body, prefix, usage)
        return Answer(200, "text/event-stream; charset=utf-8", events, stream=True, tokens=tokens)
    whole = {"created": call.created, **_look(body), "data": [{"b64_json": PNG}] * number, "usage": usage}
    return Answer(200, "application/json", (pretty(drop_omitted(whole)),), tokens=tokens)


def _look(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "background": body.get("background", "opaque"),
        "output_format": body.get("output_format", "png"),
        "quality": body.get("quality", "medium"),
        "size": body.get("size", "1024x1024"),
    }


def _usage(call: Call, body: Mapping[str, Any], *, number: int, pictures: int) -> tuple[Any, int]:
    """(the usage object, tokens in all)."""
    text = count_tokens(str(body.get("prompt", "")))
    given = call.reply.input_tokens
    read = text + pictures * _INPUT_PICTURE_TOKENS if given is None else given
    made = call.reply.output_tokens
    if made is None:
        made = _OUTPUT_TOKENS.get(str(body.get("quality")), 1056) * number
    details = {"image_tokens": read - text, "text_tokens": text}
    counted = {
        "input_tokens": read,
        "input_tokens_details": details,
        "output_tokens": made,
        "output_tokens_details": {"image_tokens": made, "text_tokens": 0},
        "total_tokens": read + made,
    }
    return call.usage(counted), read + made


def _events(call: Call, body: Mapping[str, Any], prefix: str, usage: Any) -> Iterator[bytes]:
    base = {"b64_json": PNG, "created_at": call.created, **_look(body)}
    for index in range(int(body.get("partial_images") or 0)):
        yield _event(f"{prefix}.partial_image", {**base, "partial_image_index": index})
    yield _event(f"{prefix}.completed", {**base, "usage": usage})


def _event(kind: str, fields: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), compact(drop_omitted({"type": kind, **fields})))
