"""From what was seen to the event: usage, its source, its price."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..events import MetricEvent, NormalizedUsage, UsageSource, usd
from ..vendors import Reading
from ..vendors.openai_shapes import DEFERRED
from . import estimate
from .error_types import error_type, transport_error_type, was_sent
from .redact import redacted

if TYPE_CHECKING:
    from decimal import Decimal

    from .exchange import Exchange

__all__ = ["Ending", "conclude", "estimated_cost"]

KEPT_HEADERS = frozenset(
    name.encode()
    for name in (
        "x-request-id",
        "request-id",
        "apim-request-id",
        "x-ms-region",
        "x-ms-deployment-name",
        "azureml-model-session",
        "openai-processing-ms",
        "openai-model",
        "openai-version",
        "openai-organization",
        "anthropic-organization-id",
        "x-client-request-id",
        "cf-ray",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "server-timing",
        "via",
        "content-type",
        "date",
    )
)
"""Response headers that an event may carry; rate limits come on top, nothing else ever does."""
KEPT_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"x-goog-request")
MAX_HEADER = 256
MAX_KEPT = 64
MAX_COUNTED_IDS = 10_000


class Ending(enum.Enum):
    """How an attempt ended."""

    REFUSED = enum.auto()
    COMPLETE = enum.auto()
    """The protocol's last event was seen."""
    EOF = enum.auto()
    CLOSED = enum.auto()
    FAILED = enum.auto()


def conclude(exchange: Exchange, ending: Ending, exc: BaseException | None, now: float) -> MetricEvent | None:
    """The event of an attempt; None where it is none (a poll before the answer's end)."""
    call, settings, logical = exchange.call, exchange.settings, exchange.logical
    reading = exchange.reading
    source: UsageSource | None = None
    if reading is not None:
        source = _read_answer(exchange, reading, ending)
        if call.operation.deferred and not _counts(exchange, reading):
            return None
    elif call.operation.deferred:
        return None
    event = MetricEvent(
        f"{int(exchange.started_at * 1000):012x}{exchange.span_id}",
        logical.trace_id,
        exchange.span_id,
        call.vendor.id,
        call.operation.name,
        exchange.sent_model,
        exchange.stream,
        exchange.started_at,
        logical.call_id,
        exchange.attempt,
        decision=exchange.decision,
        degraded_from=exchange.degraded_from,
        throttle_ms=exchange.throttled_s * 1000,
        source=exchange.source,
        metadata=exchange.metadata,
        agent_name=settings.agent_name,
    )
    if exchange.sent_at:
        event.latency_ms = (now - exchange.sent_at) * 1000
        if exchange.first_byte_at is not None:
            event.time_to_first_chunk_ms = (exchange.first_byte_at - exchange.sent_at) * 1000
    if reading is not None:
        _take_answer(event, exchange, reading, source)
    if exc is not None:
        _take_exception(event, exchange, exc)
    elif ending is Ending.REFUSED:
        event.error = exchange.decision.reason
    return event


def _read_answer(exchange: Exchange, reading: Reading, ending: Ending) -> UsageSource | None:
    """Let the observer read what it collected; says where the usage comes from."""
    status = exchange.status or 0
    operation = exchange.call.operation
    stream = exchange.stream_observer
    if stream is None:
        observer = exchange.body_observer
        if observer is not None:
            observer.read(operation, reading, error=status >= 400)
            if ending in (Ending.CLOSED, Ending.FAILED) and reading.usage is None and status < 400:
                reading.faults.append("body.abandoned")
        if operation.rate_by is not None and status < 400:
            details = operation.read_request(exchange.body) if operation.read_request else {}
            reading.usage = operation.rate_by(details, reading.usage)
        return "reported" if reading.usage is not None else None
    stream.read()
    whole = ending is Ending.COMPLETE or bool(reading.finish_reasons) or reading.error is not None
    if not whole:
        ended = "stream.truncated" if ending is Ending.EOF else "stream.abandoned"
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


def _take_answer(
    event: MetricEvent, exchange: Exchange, reading: Reading, source: UsageSource | None
) -> None:
    vendor, headers = exchange.call.vendor, exchange.headers
    event.status_code = exchange.status
    event.response_model = reading.response_model
    event.response_id = reading.response_id
    event.service_tier = reading.service_tier
    event.system_fingerprint = reading.system_fingerprint
    if reading.finish_reasons:
        event.finish_reasons = tuple(reading.finish_reasons.values())
    if reading.tools:
        event.tool_calls = list(reading.tools.values())
    if reading.faults:
        event.faults = tuple(dict.fromkeys(reading.faults))
    _take_headers(event, vendor, headers)
    event.operation_details = _details(exchange, reading)
    if reading.error is not None or (exchange.status or 0) >= 400:
        _take_error(event, exchange, reading)
    usage = reading.usage
    if usage is not None:
        event.usage = usage
        event.usage_source = source
        _price(event, exchange, usage)
        if reading.response_id is not None and reading.details and reading.details.get("background"):
            _first_time(exchange, reading.response_id)
    elif exchange.call.operation.free and (exchange.status or 0) < 400:
        event.cost_nano_usd = 0
        event.price_source = "free of charge, " + vendor.source


def _take_headers(event: MetricEvent, vendor: Any, headers: Mapping[bytes, bytes]) -> None:
    for name in vendor.request_id_headers:
        value = headers.get(name)
        if value is not None:
            event.request_id = _plain(value)
            break
    event.headers = {
        name.decode("ascii", "replace"): _plain(value)
        for name, value in headers.items()
        if name in KEPT_HEADERS or name.startswith(KEPT_PREFIXES)
    }
    if vendor.read_rate_limit is not None:
        event.rate_limit = vendor.read_rate_limit(headers, event.timestamp_s)
    if vendor.latency_header is not None and (took := headers.get(vendor.latency_header)) is not None:
        event.server_latency_ms = _milliseconds(took)
    if vendor.region_header is not None and (region := headers.get(vendor.region_header)) is not None:
        event.region = _plain(region)
    if vendor.organization_header is not None:
        organization = headers.get(vendor.organization_header)
        if organization is not None:
            event.organization = _plain(organization)
    client_id = headers.get(b"x-client-request-id")
    if client_id is not None:
        event.client_request_id = _plain(client_id)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _plain(value: bytes) -> str:
    text = value[:MAX_HEADER].decode("latin-1")
    return text if text.isprintable() else _CONTROL.sub("?", text)


_DUR = re.compile(rb"dur=(\d+(?:\.\d+)?)")


def _milliseconds(value: bytes) -> float | None:
    """`"321"`, or the `dur` of a Server-Timing header."""
    try:
        return float(value)
    except ValueError:
        found = _DUR.search(value[:MAX_HEADER])
        return float(found[1]) if found else None


def _details(exchange: Exchange, reading: Reading) -> Mapping[str, Any] | None:
    read_request = exchange.call.operation.read_request
    asked = read_request(exchange.body) if read_request is not None else None
    if reading.details:
        return {**asked, **reading.details} if asked else reading.details
    return asked or None


def _take_error(event: MetricEvent, exchange: Exchange, reading: Reading) -> None:
    message = reading.error or f"HTTP {exchange.status}"
    wire = exchange.wire
    event.error = redacted(message, wire.headers, wire.target)
    event.error_code = reading.error_code
    event.error_type = error_type(exchange.status, reading.error_code, reading.error_kind, reading.error)


def _take_exception(event: MetricEvent, exchange: Exchange, exc: BaseException) -> None:
    wire = exchange.wire
    name = type(exc).__name__
    message = redacted(str(exc), wire.headers, wire.target)
    event.error = f"{name}: {message}" if message else name
    event.error_type = transport_error_type(exc)
    if exchange.status is None and exchange.sent_at and was_sent(exc):
        event.billing = "unknown"


def _price(event: MetricEvent, exchange: Exchange, usage: NormalizedUsage) -> None:
    provider = exchange.call.vendor.price_provider or exchange.call.vendor.id
    book = exchange.settings.prices
    for model in (event.response_model, exchange.sent_model):
        if model is None:
            continue
        unit = book.find(provider, model, at=event.timestamp_s, service_tier=event.service_tier)
        if unit is not None:
            event.cost_nano_usd = unit.cost(usage)
            event.price_source = unit.source
            return


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
