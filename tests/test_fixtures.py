"""One whole answer of each dialect, as a library delivers it: read alike however it is cut.

The bodies in `fixtures/` are our own, made by the fake provider.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from aden_transport import MeterOptions, MetricEvent, create_memory_emitter
from aden_transport.adapters.httpx2 import MeterTransport

FIXTURES = Path(__file__).parent.parent / "fixtures"
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai-chat.json": (f"{OPENAI}/chat/completions", {"model": "gpt-4o"}),
    "openai-chat.sse": (
        f"{OPENAI}/chat/completions",
        {"model": "gpt-4o", "stream": True, "stream_options": {"include_usage": True}},
    ),
    "openai-responses.sse": (f"{OPENAI}/responses", {"model": "gpt-4o", "stream": True}),
    "anthropic-messages.json": (f"{ANTHROPIC}/messages", {"model": "claude-sonnet-4-5"}),
    "anthropic-messages.sse": (f"{ANTHROPIC}/messages", {"model": "claude-sonnet-4-5", "stream": True}),
    "gemini-generate.json": (f"{GEMINI}:generateContent", {}),
    "gemini-stream.sse": (f"{GEMINI}:streamGenerateContent?alt=sse", {}),
}
INPUT = dict.fromkeys(ASKED, 11) | {"openai-responses.sse": 8}
CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[at : at + 1] for at in range(len(data))],
    "sevens": lambda data: [data[at : at + 7] for at in range(0, len(data), 7)],
}


class Pieces(httpx2.SyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Any:
        yield from self._pieces


def answered(name: str, pieces: list[bytes]) -> MetricEvent:
    kind = "application/json" if name.endswith(".json") else "text/event-stream"

    class Canned(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-type": kind}, stream=Pieces(pieces))

    memory = create_memory_emitter()
    url, body = ASKED[name]
    with httpx2.Client(transport=MeterTransport(MeterOptions(emit_metric=memory), inner=Canned())) as client:
        assert client.post(url, json=body).content == b"".join(pieces)
    [event] = memory.events
    return event


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_read_alike_however_it_is_cut(name: str, cut: str) -> None:
    event = answered(name, CUTS[cut]((FIXTURES / name).read_bytes()))
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens) == (INPUT[name], 4)
    assert (event.usage_source, event.faults, event.error) == ("reported", (), None)
    assert event.finish_reasons in (("stop",), ("end_turn",), ("STOP",), ("completed",))
    assert event.cost_usd is not None
    assert event.cost_usd > 0
    assert event.model is not None


def test_every_fixture_is_read() -> None:
    assert {path.name for path in FIXTURES.iterdir() if path.is_file()} == set(ASKED)
