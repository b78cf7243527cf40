"""Changes to a request, made as bytes on a copy: the model, the wish for usage, our own metadata.

Every byte that a change does not concern stays as the application sent it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from .._json import loads
from ..attributes import ROUTING_KEYS, SPELLINGS
from ..framing.json_body import JsonBody
from .classify import Call
from .wire import WireRequest

__all__ = [
    "OUR_METADATA",
    "asks_for_usage",
    "edited",
    "form_fields_to_drop",
    "may_ask_for_usage",
    "with_model",
    "with_model_in_target",
    "with_usage",
    "without_our_metadata",
]

MAX_TRIED = 16
"""How many members named "model" are tried, each of which has the whole body parsed."""

MAX_PARSED_REQUEST = 4 * 1024 * 1024
"""Bodies above this are neither parsed nor edited but for their model."""
EDGE = 64 * 1024
MODEL_MEMBER = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')

OUR_METADATA = ROUTING_KEYS | SPELLINGS.keys()


def asks_for_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))


def may_ask_for_usage(call: Call, wire: WireRequest, body: Mapping[str, Any]) -> bool:
    """Whether this vendor is known to accept `stream_options` on this request."""
    if not (call.operation.asks_usage and call.known_host and call.vendor.accepts_stream_options):
        return False
    quirks = call.vendor.quirks
    if not quirks:
        return True
    if quirks.get("stream_options_not_with") in body:
        return False
    since = quirks.get("stream_options_since")
    version = re.search(rb"api-version=(\d{4}-\d\d-\d\d|[a-z]+)", wire.target)
    if since is None or version is None:
        return True
    asked = version[1].decode()
    return bool(asked >= since)  # named versions ("preview", "v1") sort after dates


def with_usage(raw: bytes, body: Mapping[str, Any]) -> bytes | None:
    """The body with `stream_options.include_usage` set; None where it cannot be set."""
    if len(raw) > MAX_PARSED_REQUEST:
        return None
    options = body.get("stream_options")
    if options is None and "stream_options" not in body:
        end = raw.rstrip()
        if not end.endswith(b"}") or len(body) == 0:
            return None
        return end[:-1] + b',"stream_options":{"include_usage":true}}'
    if options is not None and not isinstance(options, Mapping):
        return None
    return edited(raw, lambda whole: whole.update(stream_options={**(options or {}), "include_usage": True}))


def with_model(raw: bytes, body: Mapping[str, Any], model: str) -> bytes | None:
    """The body with another top-level `model`; None where it has none."""
    if not isinstance(body.get("model"), str):
        return None
    if len(raw) > MAX_PARSED_REQUEST:
        return _with_model_at_an_edge(raw, model)
    replacement = json.dumps(model).encode()
    if b"\\u" not in raw and raw.count(b'"model"') == 1 and (only := MODEL_MEMBER.search(raw)) is not None:
        # Written once, and not otherwise: this is the top-level member.
        return raw[: only.start(1)] + replacement + raw[only.end(1) :]
    wanted = {**body, "model": model}
    for found in islice(MODEL_MEMBER.finditer(raw), MAX_TRIED):
        candidate = raw[: found.start(1)] + replacement + raw[found.end(1) :]
        # Only the top-level member changes the parsed whole in just this way.
        if loads(candidate) == wanted:
            return candidate
    return edited(raw, lambda members: members.update(model=model))


def _with_model_at_an_edge(raw: bytes, model: str) -> bytes | None:
    """A body that is too large to parse in a call: its `model` stands near one of its ends."""
    replacement = json.dumps(model).encode()
    for start, end in ((0, EDGE), (len(raw) - EDGE, len(raw))):
        for found in MODEL_MEMBER.finditer(raw, start, end):
            candidate = raw[: found.start(1)] + replacement + raw[found.end(1) :]
            read = JsonBody()
            read.receive_data(candidate)
            if read.member("model") == model:
                return candidate
    return None


def without_our_metadata(raw: bytes, call: Call, body: Mapping[str, Any], *, forward: str) -> bytes | None:
    """The body without our routing keys in `metadata`, or None where nothing has to go.

    `forward` is the option `forward_metadata`: `"always"` leaves all, `"never"` removes `metadata`
    whole, `"native"` leaves what the vendor takes.
    """
    metadata = body.get("metadata")
    if not isinstance(metadata, Mapping) or forward == "always" or len(raw) > MAX_PARSED_REQUEST:
        return None
    kept = _kept_metadata(call, body, metadata, forward)
    if kept == metadata:
        return None
    if kept:
        return edited(raw, lambda whole: whole.update(metadata=kept))
    return edited(raw, lambda whole: whole.pop("metadata", None))


def form_fields_to_drop(form: Mapping[str, Any], *, forward: str) -> list[str]:
    """The `metadata[...]` fields of a multipart body that do not leave."""
    if forward == "always":
        return []
    return [
        name
        for name in form
        if name.startswith("metadata[") and (forward == "never" or name[9:-1] in OUR_METADATA)
    ]


def _kept_metadata(
    call: Call, body: Mapping[str, Any], metadata: Mapping[str, Any], forward: str
) -> dict[str, Any]:
    ours = OUR_METADATA.intersection(metadata)
    if forward == "never":
        return {}
    match call.operation.metadata:
        case "native":
            return dict(metadata)
        case "when_stored":
            # 400 "The 'metadata' parameter is only allowed when 'store' is enabled."
            return dict(metadata) if body.get("store") is True else _without(metadata, ours)
        case "user_id":
            return {k: v for k, v in metadata.items() if k == "user_id"} if ours else dict(metadata)
        case _:
            return _without(metadata, ours)


def _without(metadata: Mapping[str, Any], keys: frozenset[str] | set[str]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in keys}


def with_model_in_target(target: bytes, call: Call, model: str) -> bytes | None:
    """The target with another model in its path (Gemini, Vertex, Azure); None where the path has none."""
    from urllib.parse import quote

    path, question, query = target.partition(b"?")
    text = path.decode("ascii", "replace")
    for entry in call.vendor.routes:
        found = entry.pattern.search(text) if entry.rewrite_path else None
        if found is not None and entry.operation is call.operation:
            start, end = found.span("model")
            return (text[:start] + quote(model, safe="") + text[end:]).encode() + question + query
    return None


def edited(raw: bytes, edit: Any) -> bytes | None:
    """`raw` read, edited and written by the standard library, which keeps integers of any size."""
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(whole, dict):
        return None
    edit(whole)
    try:
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can express
        return json.dumps(whole, separators=(",", ":")).encode()
