"""A vendor of one's own is a table: what `docs/adding-a-vendor.md` shows, run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aden_transport.core.classify import Classifier

from ..core.kit import EVENT_STREAM, Bench, headers, pieces_of, wire

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-vendor.md"
TABLE = re.search(r"```python\n(from collections.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_table_that_the_recipe_shows_is_short_and_reads_usage_streams_and_errors() -> None:
    assert TABLE is not None
    assert len(TABLE[1].splitlines()) < 30
    names: dict[str, Any] = {}
    exec(TABLE[1], names)
    classifier = Classifier()
    classifier.add(names["ACME"])
    asked = wire({"model": "acme-1", "text": "hi"}, "/v1/generate", host="api.acme.example")
    whole = {"model": "acme-1-2026", "stop": "end", "usage": {"in": 12, "out": 30, "cached": 4}}

    event = metered(asked, whole, classifier)
    assert event.usage is not None
    assert (event.provider, event.operation, event.response_model) == ("acme", "chat", "acme-1-2026")
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.cached_tokens) == (12, 30, 4)
    assert event.finish_reasons == ("end",)

    streamed = wire({"model": "acme-1", "stream": True}, "/v1/generate", host="api.acme.example")
    lines = b'data: {"text":"Hello"}\n\ndata: {"stop":"end","usage":{"in":12,"out":30}}\n\n'
    event = metered(streamed, lines, classifier)
    assert event.stream
    assert event.usage_source == "reported"
    assert event.usage is not None
    assert event.usage.total_tokens == 42

    event = metered(asked, {"error": {"code": "slow_down", "message": "Too fast."}}, classifier, 429)
    assert (event.error_type, event.error_code) == ("rate_limit_error", "slow_down")


def metered(asked: Any, answer: Any, classifier: Classifier, status: int = 200) -> Any:
    bench = Bench()
    exchange = bench.open(asked, classifier)
    exchange.start()
    exchange.receive_response(
        status, headers(EVENT_STREAM if isinstance(answer, bytes) else "application/json")
    )
    for piece in (answer,) if isinstance(answer, bytes) else pieces_of(answer):
        exchange.feed(piece)
    exchange.receive_eof()
    return bench.event
