"""What a request carries beside its text: pictures, sound and files, in every vendor's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Media", "find_media"]


class Media:
    """What a request carries beside its text."""

    __slots__ = ("images", "silent", "sounds", "unknown")

    def __init__(self) -> None:
        self.images = 0
        self.silent = 0
        """Bytes that are no text."""
        self.sounds = False
        self.unknown: str | None = None
        """A part whose tokens the request does not tell."""


def find_media(body: Mapping[str, Any]) -> Media:
    found = Media()
    left: list[Any] = [value for name, value in body.items() if name in CONTENT]
    if "images" in body:
        _take({"images": body["images"]}, "images", found)
    prompt = body.get("prompt")
    if isinstance(
        prompt, Mapping
    ):  # a prompt that is kept: https://platform.openai.com/docs/guides/prompting
        found.unknown = "what the vendor keeps"
    while left:
        value = left.pop()
        if value.__class__ is list:
            left += value
        elif value.__class__ is dict:
            _look_at(value, found, left)
    return found


CONTENT = frozenset(
    {
        "messages",
        "input",
        "contents",
        "content",
        "system",
        "systemInstruction",
        "system_instruction",
        "instructions",
        "prompt",
        "documents",
        "chat_history",
        "inputs",
        "instances",
        "texts",
        "requests",
        "images",
    }
)
"""Members of a body that may hold more than text."""


def _look_at(part: Mapping[str, Any], found: Media, left: list[Any]) -> None:
    """Takes the media of a part; `left` gets what lies within."""
    kind: Any = part.get("type")
    if kind.__class__ is str:
        if kind in MEDIA_TYPES:
            _take(part, MEDIA_TYPES[kind], found)
            return
        if kind in ARGUMENTS:
            return
        if kind not in TEXT_TYPES and found.unknown is None:
            found.unknown = f"a part of type {kind[:32]}"
    for name, value in part.items():
        if value.__class__ is not dict and value.__class__ is not list:
            continue
        media = MEDIA_MEMBERS.get(name)
        if media is not None:
            _take(part, media, found, name)
        elif name not in WRITTEN:
            left.append(value)


IMAGE, SOUND, INLINE, IMAGES, OTHER = "image", "sound", "inline", "images", "other"
MEDIA_TYPES = {
    "image": IMAGE,
    "image_url": IMAGE,
    "input_image": IMAGE,
    "computer_screenshot": IMAGE,
    "computer_call_output": IMAGE,
    "input_audio": SOUND,
    "audio": SOUND,
    "audio_url": SOUND,
    "input_file": OTHER,
    "file": OTHER,
    "video": OTHER,
    "video_url": OTHER,
    "input_video": OTHER,
    "document": INLINE,
    "document_url": OTHER,
    "container_upload": OTHER,
    "item_reference": OTHER,
}
MEDIA_MEMBERS = {
    "inlineData": INLINE,
    "inline_data": INLINE,
    "fileData": INLINE,
    "file_data": INLINE,
    "image": IMAGE,
    "images": IMAGES,
    "document": OTHER,
    "video": OTHER,
    "image_url": IMAGE,
    "input_audio": SOUND,
    "audio": SOUND,
    "file": OTHER,
}
TEXT_TYPES = frozenset(
    {
        "text",
        "input_text",
        "output_text",
        "refusal",
        "message",
        "summary_text",
        "reasoning",
        "reasoning_text",
        "thinking",
        "redacted_thinking",
        "tool_result",
        "function_call_output",
        "custom_tool_call_output",
        "computer_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "search_result",
        "ephemeral",
        "content",
        "custom",
        "user_input",
        "model_output",
        "thought",
        "function_result",
        "function",
        "web_search_call",
        "tool_call",
        "output_message",
        "enabled",
        "disabled",
        "adaptive",
        "url_citation",
        "char_location",
        "json_schema",
        "json_object",
        "object",
        "string",
        "exec",
        "screenshot",
        "click",
        "default",
    }
)
"""Types whose bytes are all that the model reads of them."""
ARGUMENTS = frozenset({"tool_use", "function_call", "custom_tool_call", "server_tool_use"})
"""Calls of tools, whose arguments are text whatever their members are called."""
WRITTEN = frozenset({"args", "functionCall", "function_call", "tool_calls", "arguments", "toolUse", "data"})


def _take(part: Mapping[str, Any], kind: str, found: Media, name: str | None = None) -> None:
    """Count a part's media; its base64 is no text."""
    value: Any = part if name is None else part[name]
    if kind is IMAGES:
        images = part.get("images")
        count = len(images) if isinstance(images, list) else 1
        found.images += count
        found.silent += _letters(images)
        return
    if kind is INLINE:
        kind = _kind_of(value)
        if kind == "text":
            return
    found.silent += _payload(value)
    if kind is IMAGE:
        found.images += 1
    else:
        found.sounds = found.sounds or kind is SOUND
        if found.unknown is None:
            found.unknown = f"{kind if kind is SOUND else 'a file'}"


def _kind_of(part: Any) -> str:
    """What inline data or a document is, by what it says of itself."""
    if not isinstance(part, Mapping):
        return OTHER
    source = part.get("source")
    if isinstance(source, Mapping):
        if source.get("type") in ("text", "content") and not isinstance(source.get("content"), list):
            return "text"
        return OTHER
    mime = part.get("mimeType") or part.get("mime_type")
    mime = mime if isinstance(mime, str) else ""
    if mime.startswith("image/"):
        return IMAGE
    if mime.startswith("audio/"):
        return SOUND
    if mime.startswith("text/") and "data" in part:
        return "text"
    return OTHER


def _payload(value: Any) -> int:
    """Characters of what a medium is made of, where it is in the request."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, Mapping):
        return 0
    total = 0
    for name, inner in value.items():
        if name in PAYLOADS:
            total += _letters(inner) if isinstance(inner, str) else _payload(inner)
    return total


PAYLOADS = frozenset(
    {
        "data",
        "bytes",
        "url",
        "image_url",
        "file_data",
        "source",
        "input_audio",
        "file",
        "inlineData",
        "inline_data",
        "image",
        "video_url",
        "audio_url",
        "output",
        "document_url",
    }
)


def _letters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(len(item) for item in value if isinstance(item, str)) if isinstance(value, list) else 0
