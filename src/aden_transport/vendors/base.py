"""What a vendor's table says: hosts, paths, operations, and where an answer keeps its figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from ..events import NormalizedUsage, RateLimit, ToolCallMetric

__all__ = [
    "MAX_COUNT",
    "Headers",
    "Operation",
    "Reading",
    "Route",
    "StreamShape",
    "Vendor",
    "Work",
    "arguments_text",
    "asked_images",
    "asks_stream",
    "count",
    "route",
]

Headers = Mapping[bytes, bytes]
"""Header values by lower-case name."""

MAX_COUNT = 1 << 40
"""No call has a trillion tokens; a larger count is a fault, not a bill."""


class Work(NamedTuple):
    """Work that goes on after the answer to its request: what an answer says of it."""

    id: str
    """What it is counted by, once, whoever asks how it stands."""
    over: bool
    """Until it is, nothing counts as used."""
    created_at: float
    """Seconds since the epoch by the vendor's clock; 0 where it does not say."""


class Reading:
    """What has been read of one answer so far. Later values win, field by field.

    Defaults stand on the class: making one costs 0.1 µs, where 19 slots cost a microsecond.
    """

    response_model: str | None = None
    response_id: str | None = None
    usage: NormalizedUsage | None = None
    finish_reasons: dict[int, str]
    """By choice or candidate index."""
    service_tier: str | None = None
    system_fingerprint: str | None = None
    tools: dict[Any, ToolCallMetric] | None = None
    error: str | None = None
    error_code: str | None = None
    error_kind: str | None = None
    """The vendor's own name of the error."""
    status: str | None = None
    """Of an answer that may be deferred: `"queued"`, `"in_progress"`, `"completed"`, …"""
    work: Work | None = None
    """Work that the answer tells of, where it goes on without its request."""
    incomplete = False
    ended = False
    """Whether the last event of a stream was read, of a protocol that gives no finish reason in it."""
    details: dict[str, Any] | None = None
    units: dict[str, float] | None = None
    """Billed units that are no field of `NormalizedUsage`, by the name of their rate."""
    stated_cost: int | None = None
    """Nano-dollars, where the vendor states its own price of the call."""
    batch = False
    """Whether the work was done at the vendor's batch prices."""
    text_bytes = 0
    """UTF-8 bytes of generated text, reasoning and arguments, for estimates."""
    texts: list[str] | None = None
    """Takes the text itself while it is read for an estimate, and then only."""
    faults: list[str]

    def __init__(self) -> None:
        self.finish_reasons = {}
        self.faults = []
        # What every call reads stands on the instance, where CPython reads it four times as fast.
        self.usage = self.service_tier = self.error = None
        self.work = self.details = self.units = self.stated_cost = None
        self.batch = False

    def tool(self, key: Any, *, id: str | None, name: str | None, arguments: Any) -> None:
        """Note a tool call, or more of the arguments of one already noted under `key`."""
        if self.tools is None:
            self.tools = {}
        size = len(arguments.encode("utf-8", "replace")) if isinstance(arguments, str) else 0
        try:
            known = self.tools.get(key)
        except TypeError:  # an index that is a list or an object
            return
        if known is None:
            if len(self.tools) >= 1024:
                return
            self.tools[key] = ToolCallMetric(text(id), text(name), len(self.tools), size)
            return
        known.id = text(id) or known.id
        known.name = text(name) or known.name
        known.arguments_bytes += size

    def add_text(self, piece: Any) -> None:
        """Note generated text, reasoning or arguments; what is no string is none."""
        if isinstance(piece, str):
            self.text_bytes += len(piece.encode("utf-8", "replace"))
            if self.texts is not None:
                self.texts.append(piece)

    def detail(self, key: str, value: Any) -> None:
        if value is None:
            return
        if self.details is None:
            self.details = {}
        self.details[key] = value

    def unit(self, name: str, amount: float) -> None:
        """Note billed units, `name` being one of `pricing.RATE_NAMES`."""
        if amount:
            if self.units is None:
                self.units = {}
            self.units[name] = amount

    def tell_of_work(self, id: Any, created_at: Any, *, over: bool) -> None:
        """Note work that goes on after its answer: runs, batches, training, what was asked in background.

        The first answer that says it is over makes the one event that counts its usage and units, whether
        that answers the request which began it or a poll (`Operation.deferred`). `created_at` is what the
        vendor says: seconds since the epoch, or RFC 3339.
        """
        if isinstance(id, str) and id:
            self.work = Work(id[:256], over, epoch_seconds(created_at))

    def state_cost(self, usd: Any) -> None:
        """Note what the vendor says that the call costs, in US dollars; what is no amount is a fault."""
        if usd is None:
            return
        if isinstance(usd, (int, float)) and not isinstance(usd, bool) and 0 <= usd <= 1e6:
            self.stated_cost = round(Fraction(repr(usd)) * 1_000_000_000)
        elif "cost.malformed" not in self.faults:
            self.faults.append("cost.malformed")


def epoch_seconds(value: Any) -> float:
    """Seconds since the epoch from a number or an RFC 3339 text; 0 for anything else."""
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value[:64])
            value = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e11:
        return float(value)
    return 0.0


def text(value: Any, limit: int = 256) -> str | None:
    """`value` where it is a non-empty string, cut to `limit` characters; else None."""
    return value[:limit] if isinstance(value, str) and value else None


def asks_stream(body: Mapping[str, Any]) -> bool:
    """Whether a request says `"stream": true`, as most vendors spell the wish."""
    return body.get("stream") is True


def arguments_text(arguments: Any) -> str:
    """A tool call's arguments that came as a JSON value, as text; empty where there are none."""
    from .._json import dumps

    return dumps(arguments).decode("utf-8", "replace") if arguments else ""


def asked_images(asked: Mapping[str, Any], usage: NormalizedUsage | None) -> NormalizedUsage | None:
    """`Operation.rate_by` of pictures: they make an answer that is too large to read, and the `n` that were
    asked for came with it."""
    return usage if usage is not None or "n" not in asked else NormalizedUsage(images=asked["n"])


def count(value: Any, reading: Reading) -> int:
    """A token count as vendors send them: whole floats and digit strings pass, the rest counts as 0.

    What is no count (negative, NaN, over a trillion, another type) is named in `reading.faults`.
    """
    if value.__class__ is int and 0 <= value <= MAX_COUNT:
        return value
    if value is None:
        return 0
    if isinstance(value, float) and 0 <= value <= MAX_COUNT:
        return round(value)
    if isinstance(value, str) and len(value) <= 13 and value.isascii() and value.isdigit():
        return int(value)
    fault = "usage.malformed"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        fault = "usage.negative" if value < 0 else "usage.huge" if value > MAX_COUNT else "usage.malformed"
    if fault not in reading.faults:
        reading.faults.append(fault)
    return 0


def malformed(reading: Reading) -> None:
    """Note that usage was sent in a form that nobody documents."""
    if "usage.malformed" not in reading.faults:
        reading.faults.append("usage.malformed")


def incomplete(reading: Reading) -> None:
    """Note that usage came without a count that belongs to it, which is not 0 but unknown."""
    if INCOMPLETE not in reading.faults:
        reading.faults.append(INCOMPLETE)


INCOMPLETE = "usage.incomplete"


def both_counts(given: Any, made: Any, total: Any, reading: Reading) -> tuple[int, int] | None:
    """Counts of a prompt and of what was made of it, of which one may not have been sent: then it is what
    the total has besides, or what an earlier event of the stream has said. None where nothing was sent."""
    known = reading.usage
    if given is None and made is None:
        if total is None:
            return None
        incomplete(reading)
        return count(total, reading), 0
    if given is None or made is None:
        if total is not None:
            sent = count(made if given is None else given, reading)
            rest = max(count(total, reading) - sent, 0)
            given, made = (rest, sent) if given is None else (sent, rest)
        elif known is not None:
            given, made = _said(given, known.input_tokens), _said(made, known.output_tokens)
        else:
            incomplete(reading)
    if given is not None and made is not None and INCOMPLETE in reading.faults:
        reading.faults.remove(INCOMPLETE)  # of an earlier event
    return count(given, reading), count(made, reading)


def _said(value: Any, before: int) -> Any:
    return before if value is None else value


ReadHeaders = Callable[[Headers, "Reading"], None]
ReadBody = Callable[[Mapping[str, Any], Reading], None]
ReadEvent = Callable[[str, Mapping[str, Any], Reading], None]


@dataclass(frozen=True, slots=True)
class StreamShape:
    """How an operation's answer streams."""

    read_event: ReadEvent
    """Reads one event (its name, its JSON object)."""
    framing: Literal["sse", "ndjson", "json_array", "aws_event_stream"] = "sse"
    terminals: tuple[bytes, ...] = ()
    """Raw bytes that stand in the last event and cannot stand inside a JSON string."""
    ends_with_body: bool = False
    """Whether the protocol has neither a last event nor a finish reason, so that the body's end is its."""
    every_event: bool = False
    """Whether figures stand in events between the first and the last few, so that all have to be read."""
    quiet: tuple[int, int] = (-1, 255)
    """A place counted from a piece's end, and the byte that stands there unless the piece ends the last
    event: the one thing that is looked at in every piece. By default a byte that UTF-8 does not have."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of call."""

    name: str
    """OpenTelemetry's `gen_ai.operation.name` where it has one, else the vendor's word."""
    read_body: ReadBody | None = None
    """None: the answer is not JSON, or has no figures."""
    stream: StreamShape | None = None
    streams: Callable[[Mapping[str, Any]], bool] | None = None
    """Whether a request body asks for a stream; None: the path says it (or it never streams)."""
    always_streams: bool = False
    metered: bool = True
    """False: known, but no use of a model (lists, files, token counting): passes without an event."""
    asks_usage: bool = False
    """Whether `stream_options.include_usage` belongs to this operation."""
    deferred: bool = False
    """A poll: it begins nothing, and is an event only if its answer is the first to say that `Reading.work`
    is over."""
    free: bool = False
    """The vendor documents that it is not billed."""
    read_request: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Figures of the request that belong to `operation_details`."""
    output_cap: tuple[str, ...] = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    """Body members that bound the output, the first present wins; dots go deeper."""
    cap: str = ""
    """The body member that is set where a budget caps the output and the call does not; dots go deeper.
    Empty where the vendor has none, or demands one of every call."""
    metadata: Literal["refused", "native", "when_stored", "user_id"] = "refused"
    """What the vendor does with a `metadata` member of the body."""
    rate_by: Callable[[Mapping[str, Any], NormalizedUsage | None], NormalizedUsage | None] | None = None
    """Usage that follows from the request alone (characters of speech, images × n)."""
    read_headers: ReadHeaders | None = None
    """Reads figures that stand in the answer's kept headers, after its body was read."""


@dataclass(frozen=True, slots=True)
class Route:
    """A method and the end of a path, and the operation they mean."""

    method: str
    pattern: re.Pattern[str]
    operation: Operation
    strong: bool
    """The path alone says so, even on a host that nobody has heard of."""
    rewrite_path: bool = False
    """The model stands in the path (group `model`)."""


def route(method: str, pattern: str, operation: Operation, *, strong: bool = False) -> Route:
    """A route whose `pattern` is a regular expression for the end of the path, without its query.

    A group named `model` is where the path names the model.
    """
    compiled = re.compile(pattern + "$")
    return Route(method, compiled, operation, strong, "model" in compiled.groupindex)


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor's table."""

    id: str
    otel: str
    """`gen_ai.provider.name`."""
    routes: tuple[Route, ...]
    hosts: tuple[str, ...] = ()
    host_suffixes: tuple[str, ...] = ()
    host_pattern: re.Pattern[str] | None = None
    """Hosts that neither of these tells; a group `region` is where the name of a host says the region."""
    user_agents: tuple[bytes, ...] = ()
    """How the vendor's SDKs introduce themselves: prefixes of the user-agent header."""
    price_provider: str | None = None
    """The vendor's id in the price book; None: no prices known."""
    priced_as_requested: bool = False
    """Whether the name of the model that was asked for says more about the price than that of the model
    that answered."""
    accepts_stream_options: bool = False
    """Whether the vendor's hosts are known to accept `stream_options.include_usage`."""
    completion_cap: bool = False
    """Whether its chat in OpenAI's format caps the output by `max_completion_tokens`; others know it as
    `max_tokens`."""
    request_id_headers: tuple[bytes, ...] = (b"x-request-id", b"request-id")
    latency_header: bytes | None = None
    """Server-side processing time in milliseconds."""
    region_header: bytes | None = None
    organization_header: bytes | None = None
    read_rate_limit: Callable[[Headers, float], RateLimit | None] | None = None
    checked: str = ""
    """When this table was last compared with the vendor's documentation."""
    source: str = ""
    quirks: Mapping[str, Any] = field(default_factory=dict)
