"""What to say: text, tool calls, structured output and token counts, the same for every dialect."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .reply import Reply, ToolCall
from .schemas import example

__all__ = ["Asked", "Plan", "Tool", "count_tokens", "make_plan", "strings"]

ANSWER = "The fake provider read your prompt and answers with this short sentence."
THOUGHT = "The prompt is simple, so a short sentence will do."
_WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
_FILL_PIECE = 16 * 1024
_BINARY_TOKENS = 85


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the request offers. `schema`: JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The vendor-neutral part of a request."""

    prompt_tokens: int
    last_text: str = ""
    """The last turn, if the user wrote it; tool results are not."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """"auto", "none", "required", or the name of a tool."""
    json_schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer, before it takes a vendor's shape."""

    text: str
    pieces: Sequence[str]
    """`text` cut into the deltas of a stream."""
    tool_calls: Sequence[ToolCall]
    thinking: str
    input_tokens: int
    output_tokens: int
    """Visible output: reasoning is not in it."""
    reasoning_tokens: int
    stop: Literal["stop", "length", "tools"]


def count_tokens(text: str) -> int:
    """About four bytes to a token, at least one for any text."""
    return math.ceil(len(text.encode("utf-8", "replace")) / 4)


def strings(value: Any, *, skip: frozenset[str] = frozenset({"type", "role", "id"})) -> Iterator[str]:
    """The strings in a JSON value, except under keys that carry no prompt."""
    match value:
        case str():
            yield value
        case Mapping():
            for key, item in value.items():
                if key not in skip:
                    yield from strings(item, skip=skip)
        case list() | tuple():
            for item in value:
                yield from strings(item, skip=skip)
        case _:
            return


def prompt_tokens(*values: Any, per_message: int = 3) -> int:
    """Tokens of everything the model reads; data URLs and base64 count as one picture."""
    total = per_message
    for value in values:
        total += per_message * (len(value) if isinstance(value, list) else 0)
        for text in strings(value):
            binary = text.startswith("data:") or (len(text) > 256 and re.fullmatch(r"[\w+/=-]+", text))
            total += _BINARY_TOKENS if binary else count_tokens(text)
    return total


def make_plan(reply: Reply, asked: Asked, *, default_thinking: bool = False, reasoning: int = 0) -> Plan:
    """Decide the answer: the reply's wishes first, then what the request asks for.

    `reasoning`: tokens a model of this kind reasons by itself.
    """
    calls = _tool_calls(reply, asked)
    pieces = [] if calls and reply.text is None else _pieces(reply, asked)
    stop: Literal["stop", "length", "tools"] = "tools" if calls else "stop"
    if reply.text_mb is not None:
        size = int(reply.text_mb * 1e6)
        text, output = f"@@fill:{size}@@", math.ceil(size / 4)
    else:
        text = "".join(pieces)
        output = count_tokens(text) + sum(8 + count_tokens(call.arguments_json) for call in calls)
        if asked.max_tokens is not None and output > asked.max_tokens and not calls:
            text = text[: asked.max_tokens * 4]
            pieces, output, stop = _cut(text, len(pieces)), asked.max_tokens, "length"
    thinking = reply.thinking or (THOUGHT if default_thinking else "")
    reasoned = reply.reasoning_tokens
    return Plan(
        text=text,
        pieces=pieces,
        tool_calls=calls,
        thinking=thinking,
        input_tokens=asked.prompt_tokens if reply.input_tokens is None else reply.input_tokens,
        output_tokens=output if reply.output_tokens is None else reply.output_tokens,
        reasoning_tokens=(count_tokens(thinking) or reasoning) if reasoned is None else reasoned,
        stop=stop,
    )


def _pieces(reply: Reply, asked: Asked) -> list[str]:
    if reply.text_mb is not None:
        full, rest = divmod(int(reply.text_mb * 1e6), _FILL_PIECE)
        return [f"@@fill:{_FILL_PIECE}@@"] * full + ([f"@@fill:{rest}@@"] if rest else [])
    if reply.text is None and asked.json_schema is not None:
        return _words(json.dumps(example(asked.json_schema)))
    if reply.text is None and reply.events is not None:
        return [
            _WORDS[n % len(_WORDS)] if n == 0 else " " + _WORDS[n % len(_WORDS)] for n in range(reply.events)
        ]
    text = ANSWER if reply.text is None else reply.text
    return _words(text) if reply.events is None else _cut(text, reply.events)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _cut(text: str, parts: int) -> list[str]:
    """`text` in `parts` slices of nearly equal length, empty ones where it is too short."""
    edges = [len(text) * n // parts for n in range(parts + 1)] if parts > 0 else []
    return [text[start:end] for start, end in itertools.pairwise(edges)]


def _tool_calls(reply: Reply, asked: Asked) -> Sequence[ToolCall]:
    if reply.tool_calls is not None:
        return reply.tool_calls
    if reply.text is not None or reply.text_mb is not None or asked.tool_choice == "none":
        return ()
    named = [tool for tool in asked.tools if _names(asked, tool)]
    if not named and asked.tool_choice == "required":
        named = list(asked.tools[:1])
    return [ToolCall(tool.name, example(tool.schema)) for tool in named]


def _names(asked: Asked, tool: Tool) -> bool:
    """Whether the request asks for this tool, by choice or by naming it in the last turn."""
    if asked.tool_choice == tool.name:
        return True
    prompt = asked.last_text.lower()
    return tool.name.lower() in prompt or tool.name.lower().replace("_", " ") in prompt
