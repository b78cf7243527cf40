"""From what was seen to the event: usage, its source, its price."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal

from ..events import ErrorType, MetricEvent, NormalizedUsage, UsageSource, usd
from ..pricing import OVERRIDE, has_rare_units
from ..vendors import Reading, Work
from . import estimate
from .error_types import error_type, transport_error_type, was_sent
from .redact import redacted
from .settle import settle

if TYPE_CHECKING:
    from decimal import Decimal

    from ..ledger.hold_end import HoldEnd
    from ..policy import Plan
    from ..pricing import UnitPrices
    from ..vendors import Operation
    from .exchange import Exchange
    from .reserve import Plain

__all__ = [
    "CLOSED",
    "COMPLETE",
    "EOF",
    "FAILED",
    "REFUSED",
    "Ending",
    "conclude",
    "estimated_cost",
    "unit_prices",
]

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
        if (reading.work is not None or exchange.call.operation.deferred) and not _is_event(record, reading):
            return None
        _take_answer(record, exchange, reading)
    elif exchange.call.operation.deferred:
        return None
    if exc is not None:
        _take_exception(record, exchange, exc)
    elif ending == REFUSED:
        record.error = exchange.decision.reason
    elif exchange.status is None and exchange.sent_at:
        record.billing = "unknown"
    if exchange.pace is not None:
        exchange.pace.end(exchange, reading.usage if record.usage_source == "reported" and reading else None)
    if exchange.held is not None or exchange.settings.budgets is not None:
        settle(record, exchange, exc)
    exchange.forget()
    return MetricEvent.unread(record)


class Concluded:
    """An attempt that has ended: what its event will say. No prompt, no answer, no credential."""

    billing: str | None = None
    charged_nano_usd: int | None = None
    cost_nano_usd: int | None = None
    hold_nano_usd: int | None = None
    hold_basis: str | None = None
    plain: Plain | None = None
    """What was held; instead of the two."""
    details: Mapping[str, Any] | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    price_source: str | None = None
    usage_source: UsageSource | None = None
    client_request_id: bytes | None = None
    counted: Work | None = None
    """Deferred work whose one count this is."""
    plan: Plan | None = None
    """Of the budgets that were charged."""
    end: HoldEnd | None = None
    """How the hold ends, for who emits the event to tell the ledger."""

    def __init__(self, exchange: Exchange, ended_at: float) -> None:
        self.exchange = exchange
        self.ended_at = ended_at

    def fields(self) -> dict[str, Any]:
        exchange, plain = self.exchange, self.plain
        call, logical, decision, saved = exchange.call, exchange.logical, exchange.decision, None
        if decision.shadow is not None or exchange.degraded_from is not None:
            from .savings import saved_nano, with_savings

            decision, saved = with_savings(decision, self), saved_nano(self)
        fields = {
            "event_id": self._event_id(),
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
            "charged_nano_usd": self.charged_nano_usd,
            "hold_nano_usd": self.hold_nano_usd if plain is None else plain[1][0],
            "hold_basis": self.hold_basis if plain is None else plain[1][3],
            "saved_nano_usd": saved,
            "price_source": self.price_source,
            "operation_details": self.details,
        }
        if exchange.sent_at:
            fields["latency_ms"] = (self.ended_at - exchange.sent_at) * 1000
            if exchange.first_byte_at is not None:
                fields["time_to_first_chunk_ms"] = (exchange.first_byte_at - exchange.sent_at) * 1000
        if exchange.reading is not None:
            fields |= self._answer(exchange, exchange.reading)
        if fields.get("region") is None:
            fields["region"] = call.region
        return fields

    def _event_id(self) -> str:
        """Milliseconds and 64 bits. Of deferred work the same in every process that asks how it stands, so
        that whoever stores events by their id counts it once."""
        if self.counted is None:
            return f"{int(self.exchange.started_at * 1000):012x}{self.exchange.span_id}"
        name = f"{self.exchange.call.vendor.id}\0{self.counted.id}".encode("utf-8", "replace")
        return f"{int(self.counted.created_at * 1000):012x}{blake2b(name, digest_size=8).hexdigest()}"

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
            if reading.work is not None and "body.malformed" in reading.faults:
                reading.work = reading.work._replace(over=False)  # broken off, perhaps before its usage
        if operation.read_headers is not None:
            operation.read_headers(exchange.headers.kept(), reading)
        if operation.rate_by is not None and status < 400:
            details = operation.read_request(exchange.body) if operation.read_request else {}
            reading.usage = operation.rate_by(details, reading.usage)
        return "reported" if reading.usage is not None else None
    stream.read()
    if operation.read_headers is not None:
        operation.read_headers(exchange.headers.kept(), reading)
    shape = operation.stream
    at_its_end = ending == EOF and shape is not None and shape.ends_with_body
    whole = ending == COMPLETE or at_its_end or reading.ended or bool(reading.finish_reasons)
    if not whole and reading.error is None:
        ended = "stream.truncated" if ending == EOF else "stream.abandoned"
        reading.faults.append(ended)
    if not whole and reading.work is not None:
        reading.work = reading.work._replace(over=False)  # of what was broken off, the rest is not known
    if operation.rate_by is not None:
        return "reported" if reading.usage is not None else None
    if reading.usage is not None and whole:
        return "reported"
    if reading.work is not None:
        return None  # it goes on without this stream: an estimate would count it twice
    _estimate(exchange, reading, stream.text_tokens())
    return "estimated"


def _estimate(exchange: Exchange, reading: Reading, text_tokens: int) -> None:
    """Usage from what was seen; figures that the vendor has reported so far stand as they are."""
    usage = reading.usage
    if usage is None:
        usage = reading.usage = NormalizedUsage(estimate.input_tokens(exchange.body))
    usage.output_tokens = max(usage.output_tokens, text_tokens)


def _is_event(record: Concluded, reading: Reading) -> bool:
    """Whether an answer that may tell of deferred work is an event; takes away what is counted elsewhere.

    The first answer that says that the work is over counts it, even where another process began it. Before
    and after, a poll is no event, and a call that begins the work or repeats its figures has no usage.
    """
    exchange, work = record.exchange, reading.work
    if work is not None and work.over and _first_time(exchange, work.id):
        record.counted = work
        return True
    reading.usage = reading.units = reading.stated_cost = record.usage_source = None
    return not exchange.call.operation.deferred


def _first_time(exchange: Exchange, work_id: str) -> bool:
    """Whether nobody in this process has counted that work; safe for threads, since `setdefault` is."""
    seen = exchange.settings.counted_ids
    mark = object()
    if seen.setdefault((exchange.call.vendor.id, work_id), mark) is not mark:
        return False
    if len(seen) > MAX_COUNTED_IDS:
        for old in list(seen)[: MAX_COUNTED_IDS // 2]:
            seen.pop(old, None)
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
    if usage is not None or reading.units or reading.stated_cost is not None:
        _price(record, exchange, reading, usage or NormalizedUsage())
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
    units = reading.units
    rare = units is not None or has_rare_units(usage)
    by_details = rare or exchange.call.vendor.price_provider is None  # a router's prices are another's
    unit = unit_prices(exchange, reading, record.details if by_details else None)
    # What a vendor states in the middle of a stream is what the call has cost so far.
    stated = reading.stated_cost if record.usage_source != "estimated" else None
    if stated is not None and (unit is None or unit.source != OVERRIDE):
        record.cost_nano_usd = stated
        record.price_source = f"stated by {exchange.call.vendor.id}"
        return
    if unit is None:
        return
    if rare and (missing := unit.unpriced(usage, units)):
        reading.faults += [f"unpriced.{name}" for name in missing if not _billed_otherwise(name, unit, usage)]
        if not usage.total_tokens:
            return  # all that was used has no price: the cost is unknown, not 0
    record.cost_nano_usd = unit.cost(usage, units)
    record.price_source = unit.source_of(usage, units)


def _billed_otherwise(name: str, unit: UnitPrices, usage: NormalizedUsage) -> bool:
    """Whether a unit without a price is another measure of what is priced: images by their tokens,
    transcriptions by the second."""
    if name == "images":
        return bool(usage.image_output_tokens)
    return name.endswith("_tokens") and bool(usage.audio_seconds) and "audio_seconds" in unit.rates


def unit_prices(exchange: Exchange, reading: Reading, details: Mapping[str, Any] | None) -> UnitPrices | None:
    """The prices of the model that answered, else of the one that was asked for; of what was used without
    any model, the provider's."""
    vendor, prices = exchange.call.vendor, exchange.settings.prices
    provider = vendor.price_provider or vendor.id
    at, tier, batch = exchange.started_at, reading.service_tier, reading.batch
    answered, asked = reading.response_model, exchange.sent_model
    found = None
    if answered is not None and not vendor.priced_as_requested:
        if details:
            found = prices.find(provider, answered, at=at, service_tier=tier, batch=batch, details=details)
        else:
            found = prices.find_plain((provider, answered, tier, batch, ()), at)
    if found is None and asked is not None:
        found = prices.find(provider, asked, at=at, service_tier=tier, batch=batch, details=details)
    if answered is None and asked is None and reading.units:
        found = prices.find(provider, "", at=at)
    return found


def estimated_cost(exchange: Exchange, model: str | None, body: Mapping[str, Any]) -> Decimal | None:
    """What the call may cost with this model and request: its input by length, and its output cap where it
    names one; None where the model's price is not known or is of something that the request does not tell."""
    if model is None:
        return None
    operation, vendor = exchange.call.operation, exchange.call.vendor
    details = operation.read_request(body) if operation.read_request is not None else {}
    unit = exchange.settings.prices.find(
        vendor.price_provider or vendor.id, model, at=exchange.started_at, details=details
    )
    if unit is None:
        return None
    usage = _expected_usage(operation, body, details, unit)
    return None if usage is None or unit.unpriced(usage) else usd(unit.cost(usage))


def _expected_usage(
    operation: Operation, body: Mapping[str, Any], details: Mapping[str, Any], unit: UnitPrices
) -> NormalizedUsage | None:
    n = body.get("n")
    choices = n if isinstance(n, int) and 0 < n <= 1024 else 1
    if "images" in unit.rates:
        return NormalizedUsage(images=choices)
    by_request = operation.rate_by(details, None) if operation.rate_by is not None else None
    if by_request is not None or "input" not in unit.rates:
        return by_request
    cap = estimate.output_cap(body, operation.output_cap) or 0
    return NormalizedUsage(estimate.input_tokens(body), cap * choices)
