"""What one call was: the event, its usage, its rate limits, and what hooks see and say.

Names follow the specification and the OpenTelemetry GenAI conventions
(https://opentelemetry.io/docs/specs/semconv/gen-ai/). Money inside is integer nano-dollars;
the `*_usd` reads are exact decimals made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

__all__ = [
    "Action",
    "AlertEvent",
    "BeforeRequestContext",
    "BeforeRequestResult",
    "BudgetStatus",
    "Decision",
    "MetricEvent",
    "NormalizedUsage",
    "RateLimit",
    "ShadowDecision",
    "ToolCallMetric",
]

Action = Literal["allow", "alert", "throttle", "degrade", "block"]
UsageSource = Literal["reported", "estimated"]
ErrorType = Literal[
    "rate_limit_error",
    "context_length_exceeded",
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "server_error",
    "service_unavailable",
    "timeout_error",
    "content_filter_error",
    "insufficient_quota",
]


def usd(nano: int | None) -> Decimal | None:
    """Dollars as an exact decimal from nano-dollars, whatever the application's decimal context."""
    if nano is None:
        return None
    sign = "-" if nano < 0 else ""
    whole, part = divmod(abs(nano), 1_000_000_000)
    return Decimal(f"{sign}{whole}.{part:09d}")


@dataclass(slots=True)
class NormalizedUsage:
    """Tokens and other billed units of one call, in one convention for all vendors.

    `input_tokens` includes cache reads and writes, `output_tokens` includes reasoning; the other token
    counts are parts of these two, and `total_tokens = input_tokens + output_tokens`.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    """All cache writes, whatever their lifetime."""
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that is kept for one hour (Anthropic)."""
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    characters: int = 0
    audio_seconds: float = 0.0
    images: int = 0
    pages: int = 0
    search_units: int = 0
    server_tool_calls: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """All counts, `total_tokens` included; the units only some APIs bill are left out where 0."""
        out: dict[str, Any] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "cached_tokens": self.cached_tokens,
        }
        for name in _RARE_UNITS:
            value = getattr(self, name)
            if value:
                out[name] = value
        return out


_RARE_UNITS = tuple(
    f.name
    for f in fields(NormalizedUsage)
    if f.name not in ("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
)


@dataclass(slots=True)
class RateLimit:
    """What the vendor's headers say is left. Resets are seconds from `event.timestamp`; None = not said."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None
    limit_input_tokens: int | None = None
    remaining_input_tokens: int | None = None
    reset_input_tokens_s: float | None = None
    limit_output_tokens: int | None = None
    remaining_output_tokens: int | None = None
    reset_output_tokens_s: float | None = None
    window_requests_s: float | None = None
    """Over how long the limit counts, where a header says so."""
    window_tokens_s: float | None = None
    window_input_tokens_s: float | None = None
    window_output_tokens_s: float | None = None
    retry_after_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures that the vendor gave."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}


@dataclass(slots=True)
class ToolCallMetric:
    """A tool that the model asked for; figures, never the arguments themselves."""

    id: str | None
    name: str | None
    index: int
    arguments_bytes: int
    """UTF-8 bytes of the arguments as the vendor sent them."""


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What a policy that is not enforced would have done about a call, which was sent as it is.

    It stands in `Decision.shadow`, never in the place of a decision: `event.decision.action` is what was
    done, so that `"block"` there is always a call that was not sent.
    """

    action: Literal["throttle", "degrade", "block"]
    reason: str | None = None
    to_model: str | None = None
    """The model that the call would have used."""
    delay_s: float = 0.0
    """How long the call would have waited; what the shadow saved its caller."""
    hindered: str | None = None
    """Why a degrade could not have been carried out."""
    budget_id: str | None = None
    """The budget that demands it."""
    saved_nano_usd: int | None = None
    """What carrying it out would have saved: of a block the cost of the call; of a degrade the difference to
    the other model's price of the usage that was reported, below 0 where that is dearer. None where either
    is not known."""

    @property
    def saved_usd(self) -> Decimal | None:
        return usd(self.saved_nano_usd)

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"action": self.action}
        for name in ("reason", "to_model", "hindered", "budget_id"):
            if value := getattr(self, name):
                out[name] = value
        if self.delay_s:
            out["delay_ms"] = self.delay_s * 1000
        if self.saved_nano_usd is not None:
            out["saved_nano_usd"] = self.saved_nano_usd
            out["saved_usd"] = self.saved_nano_usd / 1e9
        return out


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a call before it was sent, and why."""

    action: Action
    """What was done: `"block"` is a call that was not sent."""
    reason: str | None = None
    source: Literal["none", "hook", "policy", "pacing"] = "none"
    to_model: str | None = None
    delay_s: float = 0.0
    level: Literal["info", "warning", "critical"] = "warning"
    """Of an alert."""
    hindered: str | None = None
    """Why a degrade was not carried out and became an alert (`"signed"`, `"stream body"`, …)."""
    budget_id: str | None = None
    """The budget that demanded it."""
    shadow: ShadowDecision | None = None
    """What the policy would have done, where it is not enforced (`shadow_mode`, `enforce_fraction`)."""

    paced_s: float = 0.0
    """How long the call has waited for the vendor's rate limits, beside any `delay_s`. Where nothing else was
    decided, the action is `"throttle"` and the source `"pacing"`."""

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {"action": self.action, "source": self.source}
        if self.reason:
            out["reason"] = self.reason
        if self.to_model:
            out["to_model"] = self.to_model
        if self.delay_s:
            out["delay_ms"] = self.delay_s * 1000
        if self.paced_s:
            out["paced_ms"] = self.paced_s * 1000
        if self.hindered:
            out["hindered"] = self.hindered
        if self.budget_id:
            out["budget_id"] = self.budget_id
        if self.shadow is not None:
            out["shadow"] = self.shadow.to_dict()
        return out


ALLOW = Decision("allow")
"""The decision about a call that nothing objects to."""


@dataclass(slots=True)
class MetricEvent:
    """One HTTP attempt of one LLM call. Attempts of one logical call share `call_id`."""

    event_id: str
    """Unique per attempt, sortable by time; the key for deduplication. Of deferred work that is over (a run,
    a batch, an answer in the background) it is made of the work's id and time of creation, so that all
    processes that poll for it give the same one."""
    trace_id: str
    """32 hex digits (W3C Trace Context); shared by the attempts of one logical call."""
    span_id: str
    """16 hex digits, one per attempt."""
    provider: str
    """`"openai"`, `"anthropic"`, `"gemini"`, …"""
    operation: str
    """`"chat"`, `"responses"`, `"embeddings"`, `"generate_content"`, …"""
    request_model: str | None
    stream: bool
    timestamp_s: float
    """Seconds since the epoch when the call started; `timestamp` is the same in ISO 8601."""
    call_id: str = ""
    attempt: int = 0
    """0 for the first attempt of a logical call."""
    parent_span_id: str | None = None
    response_model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    """The vendor's request id, from its headers."""
    client_request_id: str | None = None
    latency_ms: float = 0.0
    """From the request leaving us to the last byte seen; our own waits are not in it."""
    server_latency_ms: float | None = None
    time_to_first_chunk_ms: float | None = None
    status_code: int | None = None
    error: str | None = None
    error_type: ErrorType | None = None
    error_code: str | None = None
    usage: NormalizedUsage | None = None
    usage_source: UsageSource | None = None
    cost_nano_usd: int | None = None
    """Best knowledge of the cost in nano-dollars; None where the price or the usage is unknown."""
    charged_nano_usd: int | None = None
    hold_nano_usd: int | None = None
    hold_basis: str | None = None
    """What the hold rests on, of the input and of the output: `"bytes, max_tokens"`, `"context window, model
    maximum"`, …; `"assumed"`: a sum that `on_unknown` says."""
    saved_nano_usd: int | None = None
    """Of a degraded call: what its usage would have cost with the model that was asked for, less its cost;
    negative where that would have been cheaper. None where one of the two is not known."""
    price_source: str | None = None
    billing: str | None = None
    """`"unknown"` where the vendor may have billed a call whose answer was never seen."""
    finish_reasons: tuple[str, ...] = ()
    service_tier: str | None = None
    region: str | None = None
    organization: str | None = None
    system_fingerprint: str | None = None
    tool_calls: list[ToolCallMetric] | None = None
    rate_limit: RateLimit | None = None
    headers: Mapping[str, str] | None = None
    """Allow-listed response headers, lower-case names."""
    decision: Decision = ALLOW
    degraded_from: str | None = None
    """The model that was asked for, where a cheaper one was sent."""
    throttle_ms: float = 0.0
    operation_details: Mapping[str, Any] | None = None
    """Figures of the operation by the names in `vendors.details.DETAILS`, which says what each counts."""
    source: str | None = None
    """Set by `track_source()`."""
    metadata: Mapping[str, Any] | None = None
    agent_name: str | None = None
    content: Mapping[str, Any] | None = None
    """Prompts and answers, only where `capture_content` was switched on."""
    faults: tuple[str, ...] = ()
    """What could not be read as documented (`"usage.negative"`, `"encoding.zstd"`, …)."""
    _record: EventRecord | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def unread(cls, record: EventRecord) -> MetricEvent:
        """An event whose fields are set when the first of them is read.

        Most of what metering a call costs is writing down what nobody may look at; whoever looks, an
        emitter on its thread as a rule, pays for it instead of the call.
        """
        event = cls.__new__(cls)
        event._record = record
        return event

    def read(self) -> None:
        """Set the fields now. Emitters get events that are read; reading one again does nothing."""
        record = self._record
        if record is not None:
            # Sets `_record` last, so that two threads may read at once: both write the same.
            self.__init__(**record.fields())  # type: ignore[misc]

    def __getattr__(self, name: str) -> Any:
        """Reached only by fields that are not set yet."""
        if name == "_record" or name not in _FIELDS:
            raise AttributeError(f"MetricEvent has no attribute {name!r}")
        self.read()
        return object.__getattribute__(self, name)

    @property
    def timestamp(self) -> str:
        """When the call started, ISO 8601 in UTC with microseconds."""
        return datetime.fromtimestamp(self.timestamp_s, UTC).isoformat()

    @property
    def model(self) -> str | None:
        """The model that answered, else the one that was asked for."""
        return self.response_model or self.request_model

    @property
    def cost_usd(self) -> Decimal | None:
        return usd(self.cost_nano_usd)

    @property
    def charged_usd(self) -> Decimal | None:
        return usd(self.charged_nano_usd)

    @property
    def hold_usd(self) -> Decimal | None:
        return usd(self.hold_nano_usd)

    @property
    def saved_usd(self) -> Decimal | None:
        return usd(self.saved_nano_usd)

    @property
    def cost(self) -> float | None:
        """Dollars as a float, for arithmetic that need not be exact."""
        return None if self.cost_nano_usd is None else self.cost_nano_usd / 1e9

    @property
    def input_tokens(self) -> int | None:
        return None if self.usage is None else self.usage.input_tokens

    @property
    def output_tokens(self) -> int | None:
        return None if self.usage is None else self.usage.output_tokens

    @property
    def total_tokens(self) -> int | None:
        return None if self.usage is None else self.usage.total_tokens

    @property
    def cached_tokens(self) -> int | None:
        return None if self.usage is None else self.usage.cached_tokens

    @property
    def reasoning_tokens(self) -> int | None:
        return None if self.usage is None else self.usage.reasoning_tokens

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; what is not known is left out, `cost_usd` is a number."""
        out: dict[str, Any] = {"timestamp": self.timestamp, "model": self.model}
        for name in _PLAIN:
            value = getattr(self, name)
            if value is not None and value not in ("", ()):
                out[name] = value
        for name in ("cost", "charged", "hold", "saved"):
            nano = getattr(self, f"{name}_nano_usd")
            if nano is not None:
                out[f"{name}_usd"] = nano / 1e9
        for name in _NESTED:
            value = getattr(self, name)
            if value is not None:
                out[name] = value.to_dict()
        if self.tool_calls is not None:
            out["tool_calls"] = [
                {"id": t.id, "name": t.name, "index": t.index, "arguments_bytes": t.arguments_bytes}
                for t in self.tool_calls
            ]
        for name in ("headers", "operation_details", "metadata", "content"):
            value = getattr(self, name)
            if value is not None:
                out[name] = dict(value)
        return out


class EventRecord(Protocol):
    """What is known of a call that has ended, not yet written down as an event."""

    def fields(self) -> dict[str, Any]:
        """The arguments of `MetricEvent`; the same each time."""
        ...


_FIELDS = frozenset(f.name for f in fields(MetricEvent))
_NESTED = ("usage", "rate_limit", "decision")
_PLAIN = tuple(
    f.name
    for f in fields(MetricEvent)
    if f.name
    not in (
        *_NESTED,
        "_record",
        "timestamp_s",
        "tool_calls",
        "headers",
        "operation_details",
        "metadata",
        "content",
    )
)


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """How much is left of one budget."""

    budget_id: str
    name: str
    type: str
    """`"global"`, `"agent"`, `"tenant"`, `"customer"`, `"feature"`, `"tag"`, `"context"`."""
    unit: str
    """What it counts: `"usd"`, in nano-dollars below, `"tokens"` or `"calls"`."""
    limit: int
    spent: int
    """Settled in the window of now."""
    held: int
    """By calls that are under way."""
    resets_at_s: float | None
    """Seconds since the epoch; None: never."""

    @property
    def left(self) -> int:
        """What neither is spent nor held; not below 0."""
        return max(0, self.limit - self.spent - self.held)

    @property
    def limit_usd(self) -> Decimal | None:
        """None where it counts something else; so are the next three."""
        return usd(self.limit) if self.unit == "usd" else None

    @property
    def spent_usd(self) -> Decimal | None:
        return usd(self.spent) if self.unit == "usd" else None

    @property
    def held_usd(self) -> Decimal | None:
        return usd(self.held) if self.unit == "usd" else None

    @property
    def left_usd(self) -> Decimal | None:
        return usd(self.left) if self.unit == "usd" else None

    @property
    def resets_at(self) -> str | None:
        """ISO 8601, UTC."""
        return None if self.resets_at_s is None else datetime.fromtimestamp(self.resets_at_s, UTC).isoformat()


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """A warning for people, handed to `MeterOptions.on_alert`."""

    level: Literal["info", "warning", "critical"]
    message: str
    reason: str
    provider: str
    model: str | None
    timestamp: str
    """ISO 8601, UTC."""
    context_id: str | None = None
    budget_id: str | None = None


class _ReadLate:
    """Not a field, so that it is in no copy of them."""

    __slots__ = ("_read",)
    _read: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class BeforeRequestContext(_ReadLate):
    """What a `before_request` hook is told about the call, beside its parameters."""

    model: str | None
    provider: str
    operation: str
    stream: bool
    trace_id: str
    span_id: str
    timestamp: str
    """ISO 8601, UTC."""
    metadata: Mapping[str, Any]
    """Attribution and metadata of the call; empty, never None."""
    estimated_cost_usd: Decimal | None = None
    """None where the model's price or the size of the call is not known."""

    @classmethod
    def unread(cls, read: Callable[[str], Any]) -> BeforeRequestContext:
        """A context each of whose fields is `read(name)`, once somebody asks for it: most hooks look at two
        or three of them, and an estimate of the cost takes longer than all else that a hook is told."""
        context = cls.__new__(cls)
        object.__setattr__(context, "_read", read)
        return context

    def __getattr__(self, name: str) -> Any:
        """Reached only by fields that are not set yet."""
        if name not in CONTEXT_FIELDS:
            raise AttributeError(f"BeforeRequestContext has no attribute {name!r}")
        value = self._read(name)
        object.__setattr__(self, name, value)
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return BeforeRequestContext, tuple([getattr(self, name) for name in CONTEXT_FIELDS])


CONTEXT_FIELDS = tuple(f.name for f in fields(BeforeRequestContext))


@dataclass(frozen=True, slots=True)
class BeforeRequestResult:
    """What a `before_request` hook wants done. Made by the five class methods."""

    action: Literal["proceed", "cancel", "throttle", "degrade", "alert"]
    reason: str = ""
    delay_ms: float = 0.0
    to_model: str | None = None
    level: Literal["info", "warning", "critical"] = "warning"

    @classmethod
    def proceed(cls) -> BeforeRequestResult:
        """Send the call as it is."""
        return cls("proceed")

    @classmethod
    def cancel(cls, reason: str) -> BeforeRequestResult:
        """Refuse the call: its caller gets `RequestCancelledError(reason)`, nothing is sent."""
        return cls("cancel", reason)

    @classmethod
    def throttle(cls, delay_ms: float, reason: str = "") -> BeforeRequestResult:
        """Send the call after a wait of `delay_ms` milliseconds on the caller's own loop or thread."""
        return cls("throttle", reason, delay_ms=delay_ms)

    @classmethod
    def degrade(cls, to_model: str, reason: str = "", delay_ms: float = 0.0) -> BeforeRequestResult:
        """Send the call to `to_model` instead. A call that cannot be rewritten is sent with an alert."""
        return cls("degrade", reason, delay_ms=delay_ms, to_model=to_model)

    @classmethod
    def alert(
        cls,
        message: str,
        level: Literal["info", "warning", "critical"] = "warning",
        delay_ms: float = 0.0,
    ) -> BeforeRequestResult:
        """Send the call and hand an `AlertEvent` to `on_alert`."""
        return cls("alert", message, delay_ms=delay_ms, level=level)
