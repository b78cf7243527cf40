"""The events of a streamed OpenAI response, in their order.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..answers import compact

if TYPE_CHECKING:
    from .openai_responses import Response

__all__ = ["failure_events", "response_events"]

Event = tuple[str, dict[str, Any]]


def response_events(response: Response) -> Iterator[bytes]:
    """The whole stream, one piece per event; the events are numbered from 0."""
    for number, (kind, fields) in enumerate(_events(response)):
        yield _event(kind, fields, number)


def failure_events(response: Response) -> bytes:
    """What ends a stream that breaks: an error and the failed response, in one piece."""
    failed = response.whole("failed")
    error = {"type": "server_error", **failed["error"], "param": None}
    return _event("error", {"error": error}, 0) + _event("response.failed", {"response": failed}, 1)


def _event(kind: str, fields: Mapping[str, Any], number: int) -> bytes:
    data = compact({"type": kind, **fields, "sequence_number": number})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def _events(response: Response) -> Iterator[Event]:
    opening = "queued" if response.background else "in_progress"
    yield "response.created", {"response": response.whole(opening)}
    if response.background:
        yield "response.queued", {"response": response.whole("queued")}
    yield "response.in_progress", {"response": response.whole("in_progress")}
    for index, item in enumerate(response.output()):
        yield from _item(response, item, index)
    response.status = response.final
    yield f"response.{response.final}", {"response": response.whole(response.final)}


def _item(response: Response, item: dict[str, Any], index: int) -> Iterator[Event]:
    started = {"item": _started(item), "output_index": index}
    yield "response.output_item.added", started
    where = {"item_id": item["id"], "output_index": index}
    if item["type"] == "message":
        yield from _text(response, item["content"][0], where)
    elif item["type"] == "function_call":
        yield from _arguments(item["arguments"], where)
    else:
        yield from _summary(item["summary"], where)
    yield "response.output_item.done", {"item": item, "output_index": index}


def _started(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item as `output_item.added` shows it: nothing in it yet."""
    empty = {"status": "in_progress", "content": [], "arguments": "", "summary": []}
    return {key: empty.get(key, value) for key, value in item.items()}


def _text(response: Response, part: dict[str, Any], where: dict[str, Any]) -> Iterator[Event]:
    where = {"content_index": 0, **where}
    yield "response.content_part.added", {**where, "part": response.text_part("")}
    for piece in response.deltas():
        yield "response.output_text.delta", {**where, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**where, "logprobs": [], "text": part["text"]}
    yield "response.content_part.done", {**where, "part": part}


def _arguments(arguments: str, where: dict[str, Any]) -> Iterator[Event]:
    for start in range(0, len(arguments), 12):
        delta = arguments[start : start + 12]
        yield "response.function_call_arguments.delta", {**where, "delta": delta}
    yield "response.function_call_arguments.done", {**where, "arguments": arguments}


def _summary(summary: list[dict[str, Any]], where: dict[str, Any]) -> Iterator[Event]:
    for index, part in enumerate(summary):
        here = {**where, "summary_index": index}
        yield "response.reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        yield "response.reasoning_summary_text.delta", {**here, "delta": part["text"]}
        yield "response.reasoning_summary_text.done", {**here, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**here, "part": part}
