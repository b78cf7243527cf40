"""Exchanges without a network: requests as values, clocks that count, events in a list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aden_transport.core.classify import Call, Classifier
from aden_transport.core.exchange import Exchange
from aden_transport.core.header_figures import AnswerHeaders
from aden_transport.core.settings import Settings
from aden_transport.core.steps import Send
from aden_transport.core.wire import WireRequest
from aden_transport.events import AlertEvent, MetricEvent
from aden_transport.pricing import PriceBook

__all__ = [
    "ANTHROPIC",
    "AZURE",
    "CHAT",
    "CLASSIFIER",
    "EVENT_STREAM",
    "GEMINI",
    "GENERATE",
    "JSON",
    "NOON",
    "OPENAI",
    "VERTEX",
    "Bench",
    "call_of",
    "every_cut",
    "headers",
    "pairs",
    "pieces_of",
    "sse",
    "wire",
]

OPENAI, ANTHROPIC = "api.openai.com", "api.anthropic.com"
AZURE = "res.openai.azure.com"
GEMINI, VERTEX = "generativelanguage.googleapis.com", "us-central1-aiplatform.googleapis.com"
CHAT = "/v1/chat/completions"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
NOON = 1_790_000_000.0
"""Seconds since the epoch at which every call starts."""
JSON, EVENT_STREAM = "application/json", "text/event-stream"
CLASSIFIER = Classifier()


def pairs(names: Mapping[str, str]) -> list[tuple[bytes, bytes, bytes]]:
    return [(n.encode(), n.lower().encode(), v.encode("latin-1")) for n, v in names.items()]


def headers(content_type: str | None = JSON, **more: str) -> AnswerHeaders:
    """Of an answer; `x_request_id="r"` for `x-request-id: r`."""
    names = {name.replace("_", "-"): value for name, value in more.items()}
    return AnswerHeaders(pairs({**({} if content_type is None else {"content-type": content_type}), **names}))


def wire(
    body: Any = None,
    path: str = CHAT,
    *,
    host: str = OPENAI,
    method: str = "POST",
    names: Mapping[str, str] | None = None,
    form: Mapping[str, Any] | None = None,
    hides_events: bool = True,
) -> WireRequest:
    """A request; a `body` that is not bytes is sent as compact JSON."""
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    return WireRequest(method, host, path.encode(), pairs(names or {}), raw, form, hides_events)


def call_of(request: WireRequest, classifier: Classifier = CLASSIFIER) -> Call:
    call = classifier.classify(request)
    assert call is not None
    return call


class Bench:
    """Settings whose clock goes on by a quarter of a second each time it is read."""

    def __init__(self, prices: PriceBook | None = None, **settings: Any) -> None:
        self.events: list[MetricEvent] = []
        self.alerts: list[AlertEvent] = []
        self.ticks = 0.0
        self.made = 0
        settings.setdefault("alert", self.alerts.append)
        self.settings = Settings(
            emit=self.events.append,
            prices=prices or PRICES,
            clock=self._tick,
            wall=lambda: NOON,
            bits=self._count,
            **settings,
        )

    def _tick(self) -> float:
        self.ticks += 0.25
        return self.ticks

    def _count(self, _bits: int) -> int:
        self.made += 1
        return self.made

    def open(self, request: WireRequest, classifier: Classifier = CLASSIFIER) -> Exchange:
        return Exchange(self.settings, call_of(request, classifier), request)

    def sent(self, request: WireRequest) -> Exchange:
        """An exchange whose request has left; no hook may be asked."""
        exchange = self.open(request)
        assert isinstance(exchange.start(), Send)
        return exchange

    def receiving(
        self, request: WireRequest, status: int = 200, answer: AnswerHeaders | None = None
    ) -> Exchange:
        exchange = self.sent(request)
        exchange.receive_response(status, answer or headers())
        return exchange

    def answered(
        self,
        request: WireRequest,
        data: Any,
        status: int = 200,
        answer: AnswerHeaders | None = None,
    ) -> MetricEvent:
        """The event of a call whose whole answer came: a value as JSON, bytes in one piece or in a list."""
        exchange = self.receiving(request, status, answer)
        for piece in (data,) if isinstance(data, bytes) else pieces_of(data):
            exchange.feed(piece)
        exchange.receive_eof()
        return self.event

    @property
    def event(self) -> MetricEvent:
        """The newest event, of a bench on which every call has ended."""
        assert not self.settings.open
        event = self.events[-1]
        event.read()
        return event


PRICES = PriceBook()


def pieces_of(data: Any) -> Iterable[bytes]:
    if isinstance(data, list) and all(isinstance(piece, bytes) for piece in data):
        return data
    return [json.dumps(data).encode()]


def sse(*events: Any, end: str = "\n", named: bool = False, done: bool = False) -> bytes:
    """Events with compact JSON, as vendors stream them; `named` writes their `type` as `event:` before."""
    lines = []
    for event in events:
        text = event if isinstance(event, str) else json.dumps(event, separators=(",", ":"))
        name = f"event: {event['type']}{end}" if named and isinstance(event, dict) else ""
        lines.append(f"{name}data: {text}{end}{end}")
    return ("".join(lines) + (f"data: [DONE]{end}{end}" if done else "")).encode()


def every_cut(data: bytes) -> Iterable[Sequence[bytes]]:
    """`data` cut once at every place, and byte by byte."""
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(len(data) + 1):
        yield [data[:at], data[at:]]
