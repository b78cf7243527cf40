"""From what was seen to the event: usage, its source, its price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from ..events import ErrorType, MetricEvent, NormalizedUsage, UsageSource, usd
from ..vendors import Reading
from ..vendors.openai_shapes import DEFERRED
from . import estimate
from .error_types import error_type, transport_error_type, was_sent
from .redact import redacted

if TYPE_CHECKING:
    from decimal import Decimal

    from .exchange import Exchange

__all__ = ["CLOSED", "COMPLETE", "EOF", "FAILED", "REFUSED", "Ending", "conclude", "estimated_cost"]

MAX_COUNTED_IDS = 10_000

Ending = Literal["refused", "complete", "eof", "closed", "failed"]
"""How an attempt ended; `"complete"`: the protocol's last event was seen."""
REFUSED: Final = "refused"
COMPLETE: Final = "complete"
EOF: Final = "eof"
CLOSED: Final = "closed"
FAILED: Final = "failed"


def conclude(exchange: Exchange, ending: Ending, exc: BaseException | None, now: float) -> MetricEvent | None:
    """The event of an attempt; None where it is none (a poll before the answer's end).

    What needs the request or the answer is read here; afterwards neither is kept.
    """
    reading = exchange.reading
    record = Concluded(exchange, now)
    if reading is not None:
        record.usage_source = _read_answer(exchange, reading, ending)
        if exchange.call.operation.deferred and not _counts(exchange, reading):
            return None
        _take_answer(record, exchange, reading)
    elif exchange.call.operation.deferred:
        return None
    if exc is not None:
        _take_exception(record, exchange, exc)
    elif ending == REFUSED:
        record.error = exchange.decision.reason
    exchange.forget()
    return MetricEvent.unread(record)


class Concluded:
    """An attempt that has ended: what its event will say. No prompt, no answer, no credential."""

    billing: str | None = None
    cost_nano_usd: int | None = None
    details: Mapping[str, Any] | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    price_source: str | None = None
    usage_source: UsageSource | None = None
    client_request_id: bytes | None = None

    def __init__(self, exchange: Exchange, ended_at: float) -> None:
        self.exchange = exchange
        self.ended_at = ended_at

    def fields(self) -> dict[str, Any]:
        exchange = self.exchange
        call, logical, decision = exchange.call, exchange.logical, exchange.decision
        fields = {
            "event_id": f"{int(exchange.started_at * 1000):012x}{exchange.span_id}",
            "trace_id": logical.trace_id,
            "span_id": exchange.span_id,
            "provider": call.vendor.id,
            "operation": call.operation.name,
            "request_model": exchange.sent_model,
            "stream": exchange.stream,
            "timestamp_s": exchange.started_at,
            "call_id": logical.call_id,
            "attempt": exchange.attempt,
            "decision": decision,
            "degraded_from": exchange.degraded_from,
            "throttle_ms": exchange.throttled_s * 1000,
            "source": exchange.source,
            "metadata": exchange.metadata,
            "agent_name": exchange.settings.agent_name,
            "billing": self.billing,
            "error": self.error,
            "error_type": self.error_type,
            "cost_nano_usd": self.cost_nano_usd,
            "price_source": self.price_source,
            "operation_details": self.details,
        }
        if exchange.sent_at:
            fields["latency_ms"] = (self.ended_at - exchange.sent_at) * 1000
            if exchange.first_byte_at is not None:
                fields["time_to_first_chunk_ms"] = (exchange.first_byte_at - exchange.sent_at) * 1000
        if exchange.reading is not None:
            fields |= self._answer(exchange, exchange.reading)
        return fields

    def _answer(self, exchange: Exchange, reading: Reading) -> dict[str, Any]:
        return {
            "status_code": exchange.status,
            "response_model": reading.response_model,
            "response_id": reading.response_id,
            "service_tier": reading.service_tier,
            "system_fingerprint": reading.system_fingerprint,
            "finish_reasons": tuple(reading.finish_reasons.values()),
            "tool_calls": list(reading.tools.values()) if reading.tools else None,
            "faults": tuple(dict.fromkeys(reading.faults)),
            "error_code": reading.error_code,
            "usage": reading.usage,
            "usage_source": self.usage_source,
            **exchange.headers.figures(exchange.call.vendor, exchange.started_at, self.client_request_id),
        }


def _read_answer(exchange: Exchange, reading: Reading, ending: Ending) -> UsageSource | None:
    """Let the observer read what it collected; says where the usage comes from."""
    status = exchange.status or 0
    operation = exchange.call.operation
    stream = exchange.stream_observer
    if stream is None:
        observer = exchange.body_observer
        if observer is not None:
            observer.read(operation, reading, error=status >= 400)
            if ending in (CLOSED, FAILED) and reading.usage is None and status < 400:
                reading.faults.append("body.abandoned")
        if operation.read_headers is not None:
            operation.read_headers(exchange.headers.kept(), reading)
        if operation.rate_by is not None and status < 400:
            details = operation.read_request(exchange.body) if operation.read_request else {}
            reading.usage = operation.rate_by(details, reading.usage)
        return "reported" if reading.usage is not None else None
    stream.read()
    whole = ending == COMPLETE or bool(reading.finish_reasons)
    if not whole and reading.error is None:
        ended = "stream.truncated" if ending == EOF else "stream.abandoned"
        reading.faults.append(ended)
    if operation.rate_by is not None:
        return "reported" if reading.usage is not None else None
    deferred = reading.status in DEFERRED
    if (reading.usage is not None and whole) or (deferred and reading.usage is None and whole):
        return "reported" if reading.usage is not None else None
    _estimate(exchange, reading, stream.text_bytes())
    return "estimated"


def _estimate(exchange: Exchange, reading: Reading, text_bytes: int) -> None:
    """Usage from what was seen; figures that the vendor has reported so far stand as they are."""
    usage = reading.usage
    if usage is None:
        usage = reading.usage = NormalizedUsage(estimate.input_tokens(exchange.body))
    usage.output_tokens = max(usage.output_tokens, estimate.tokens_of(text_bytes))


def _counts(exchange: Exchange, reading: Reading) -> bool:
    """Whether this poll is the first to see its answer's end. A poll of an answer that was not made in
    the background repeats what its request has reported already."""
    if reading.usage is None or reading.status in DEFERRED or reading.response_id is None:
        return False
    if not (reading.details or {}).get("background"):
        return False
    return _first_time(exchange, reading.response_id)


def _first_time(exchange: Exchange, response_id: str) -> bool:
    seen = exchange.settings.counted_ids
    key = (exchange.call.vendor.id, response_id)
    if key in seen:
        return False
    if len(seen) >= MAX_COUNTED_IDS:
        for old in list(seen)[: MAX_COUNTED_IDS // 2]:
            seen.pop(old, None)
    seen[key] = None
    return True


def _take_answer(record: Concluded, exchange: Exchange, reading: Reading) -> None:
    operation, status = exchange.call.operation, exchange.status or 0
    if exchange.wire.known.client_id_at is not None:
        record.client_request_id = exchange.wire.client_request_id
    if reading.details is not None or operation.read_request is not None:
        record.details = _details(exchange, reading)
    if status >= 400 or reading.error is not None:
        _take_error(record, exchange, reading)
    usage = reading.usage
    if usage is not None:
        if reading.stated_cost is not None:
            record.cost_nano_usd = reading.stated_cost
            record.price_source = f"stated by {exchange.call.vendor.id}"
        else:
            _price(record, exchange, reading, usage)
        if reading.response_id is not None and reading.details and reading.details.get("background"):
            _first_time(exchange, reading.response_id)
    elif operation.free and status < 400:
        record.cost_nano_usd = 0
        record.price_source = "free of charge, " + exchange.call.vendor.source


def _details(exchange: Exchange, reading: Reading) -> Mapping[str, Any] | None:
    read_request = exchange.call.operation.read_request
    asked = read_request(exchange.body) if read_request is not None else None
    if reading.details:
        return {**asked, **reading.details} if asked else reading.details
    return asked or None


def _take_error(record: Concluded, exchange: Exchange, reading: Reading) -> None:
    message = reading.error or f"HTTP {exchange.status}"
    wire = exchange.wire
    record.error = redacted(message, wire.headers, wire.target)
    record.error_type = error_type(exchange.status, reading.error_code, reading.error_kind, reading.error)
    reading.error = None


def _take_exception(record: Concluded, exchange: Exchange, exc: BaseException) -> None:
    wire = exchange.wire
    name = type(exc).__name__
    message = redacted(str(exc), wire.headers, wire.target)
    record.error = f"{name}: {message}" if message else name
    record.error_type = transport_error_type(exc)
    if exchange.status is None and exchange.sent_at and was_sent(exc):
        record.billing = "unknown"


def _price(record: Concluded, exchange: Exchange, reading: Reading, usage: NormalizedUsage) -> None:
    vendor = exchange.call.vendor
    provider = vendor.price_provider or vendor.id
    find, at, tier = exchange.settings.prices.find, exchange.started_at, reading.service_tier
    unit = None
    if reading.response_model is not None:
        unit = find(provider, reading.response_model, at=at, service_tier=tier)
    if unit is None and exchange.sent_model is not None:
        unit = find(provider, exchange.sent_model, at=at, service_tier=tier)
    if unit is None:
        return
    if has_rare_units(usage) and (missing := unit.unpriced(usage)):
        # Images that are billed by their tokens have no price by the piece.
        reading.faults += [f"unpriced.{n}" for n in missing if n != "images" or not usage.image_output_tokens]
        if not usage.total_tokens:
            return  # all that was used has no price: the cost is unknown, not 0
    record.cost_nano_usd = unit.cost(usage)
    record.price_source = unit.source


def has_rare_units(usage: NormalizedUsage) -> bool:
    """Whether anything but tokens was used."""
    return bool(
        usage.characters
        or usage.audio_seconds
        or usage.images
        or usage.pages
        or usage.search_units
        or usage.server_tool_calls
    )


def estimated_cost(exchange: Exchange) -> Decimal | None:
    """What the call may cost: its input by length, and its output cap where it names one; None where the
    model's price is not known."""
    if exchange.model is None:
        return None
    operation, vendor = exchange.call.operation, exchange.call.vendor
    unit = exchange.settings.prices.find(
        vendor.price_provider or vendor.id, exchange.model, at=exchange.started_at
    )
    if unit is None:
        return None
    body = exchange.body
    cap = estimate.output_cap(body, operation.output_cap) or 0
    n = body.get("n")
    choices = n if isinstance(n, int) and 0 < n <= 1024 else 1
    return usd(unit.cost(NormalizedUsage(estimate.input_tokens(body), cap * choices)))
