"""Estimates against the counts of a real tokenizer: per language, for code, tool calls and left streams.

`fixtures/corpus/tokens.json` holds the counts; `scripts/count_corpus.py` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from aden_transport.core.estimate import tokens_of

from .kit import ANTHROPIC, CHAT, EVENT_STREAM, GEMINI, OPENAI, Bench, headers, sse, wire

CORPUS = Path(__file__).parents[2] / "fixtures" / "corpus"
COUNTS: dict[str, dict[str, int]] = json.loads((CORPUS / "tokens.json").read_text("utf-8"))
COUNTED = COUNTS["o200k_base"]
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(CORPUS.glob("*.txt"))}
NEAR = 0.15


def test_every_text_is_counted() -> None:
    assert COUNTED.keys() == TEXTS.keys()
    languages = {name.split(".")[1] for name in TEXTS if name.startswith(("declaration.", "answer."))}
    assert len(languages) == 24


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_estimated_within_15_percent(name: str) -> None:
    assert abs(tokens_of(TEXTS[name]) / COUNTED[name] - 1) <= NEAR


@pytest.mark.parametrize("name", TEXTS)
def test_a_long_text_is_sampled_within_15_percent(name: str) -> None:
    assert abs(tokens_of(TEXTS[name] * 60) / (60 * COUNTED[name]) - 1) <= NEAR


# -- streams that were left ----------------------------------------------------------------------------


def deltas(text: str) -> list[str]:
    """`text` as models stream it: pieces of one to nine characters."""
    pieces, at, sizes = [], 0, cycle((4, 5, 1, 7, 3, 6, 2, 9, 5))
    while at < len(text):
        size = next(sizes)
        pieces.append(text[at : at + size])
        at += size
    return pieces


def chat(piece: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": piece}, "logprobs": None, "finish_reason": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_1",
        "choices": [choice],
    }


def chat_call(piece: str) -> dict[str, Any]:
    event = chat("")
    event["choices"][0]["delta"] = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    return event


def response(piece: str) -> dict[str, Any]:
    kind = "response.output_text.delta"
    return {"type": kind, "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": piece}


def block(kind: str, member: str) -> Callable[[str], dict[str, Any]]:
    def event(piece: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: piece}}

    return event


def generated(piece: str) -> dict[str, Any]:
    content = {"parts": [{"text": piece}], "role": "model"}
    return {"candidates": [{"content": content, "index": 0}], "modelVersion": "gemini-2.5-flash"}


GENERATE = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
DIALECTS: dict[str, tuple[str, str, Callable[[str], dict[str, Any]]]] = {
    "chat": (OPENAI, CHAT, chat),
    "chat, tool call": (OPENAI, CHAT, chat_call),
    "responses": (OPENAI, "/v1/responses", response),
    "messages": (ANTHROPIC, "/v1/messages", block("text_delta", "text")),
    "messages, thinking": (ANTHROPIC, "/v1/messages", block("thinking_delta", "thinking")),
    "messages, tool input": (ANTHROPIC, "/v1/messages", block("input_json_delta", "partial_json")),
    "gemini": (GEMINI, GENERATE, generated),
}
TOOL_DIALECTS = {"chat, tool call", "messages, tool input"}


def left(dialect: str, pieces: list[str], *, tools: bool = False) -> int:
    """Output tokens of the event where a stream is left after `pieces`."""
    host, path, event_of = DIALECTS[dialect]
    body: dict[str, Any] = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
    if tools:
        body["tools"] = [{"type": "function", "function": {"name": "f"}}]
    bench = Bench()
    exchange = bench.receiving(wire(body, path, host=host), 200, headers(EVENT_STREAM))
    for at in range(0, len(pieces), 3):
        exchange.feed(sse(*map(event_of, pieces[at : at + 3]), named=host == ANTHROPIC))
    exchange.close()
    event = bench.event
    assert (event.usage_source, event.faults) == ("estimated", ("stream.abandoned",))
    assert event.usage is not None
    return event.usage.output_tokens


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("tools", [False, True])
def test_a_left_stream_is_estimated_like_its_text(dialect: str, tools: bool) -> None:
    """With tools every event is read as it passes, without them only what was kept is."""
    for name in [n for n in TEXTS if n.startswith("tools.")] if dialect in TOOL_DIALECTS else TEXTS:
        pieces = deltas(TEXTS[name])
        whole = left(dialect, pieces, tools=tools)
        assert abs(whole / COUNTED[name] - 1) <= NEAR, name


SOME = ("declaration.en", "answer.ru", "declaration.zh-hans", "code.python", "tools.compact")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_stream_left_early_counts_what_was_seen(dialect: str, share: float) -> None:
    for name in SOME:
        pieces = deltas(TEXTS[name])
        seen = pieces[: round(len(pieces) * share)]
        assert abs(left(dialect, seen) / tokens_of("".join(seen)) - 1) <= NEAR, name


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages", "gemini"])
@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_long_stream_whose_middle_was_not_kept_is_within_15_percent(
    dialect: str, tools: bool, share: float
) -> None:
    for name in SOME:
        times = -(-120_000 // len(TEXTS[name]))
        pieces = deltas(TEXTS[name]) * times
        found = left(dialect, pieces[: round(len(pieces) * share)], tools=tools)
        assert abs(found / (COUNTED[name] * times * share) - 1) <= NEAR, name


def test_a_long_stream_of_two_kinds_is_taken_to_be_like_its_ends() -> None:
    first, last = deltas(TEXTS["answer.en"]) * 80, deltas(TEXTS["code.python"]) * 8
    actual = 80 * COUNTED["answer.en"] + 8 * COUNTED["code.python"]
    for tools in (False, True):
        assert abs(left("chat", first + last, tools=tools) / actual - 1) <= NEAR
