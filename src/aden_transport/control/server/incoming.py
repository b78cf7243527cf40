"""Events as clients send them, read into what is stored: aden-py's and ours, values in, values out.

aden-py wraps a metric: `{"event_type": "metric", "timestamp", "sdk_instance_id", "agent_name", "data": {…}}`,
and its members are flat. Ours may be wrapped or flat, and have `usage`, `cost_nano_usd` and `event_id`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Protocol

import orjson

from ...attributes import normalized
from ...core.redact import has_secret, without_secrets
from ...events import MetricEvent, NormalizedUsage, RateLimit
from ...ledger.base import Unit
from ...policy.money import NANO

__all__ = [
    "Incoming",
    "MAX_COST_NANO",
    "MAX_EVENT_BYTES",
    "Prices",
    "Refused",
    "cleaned",
    "is_id",
    "read_event",
]

MAX_EVENT_BYTES = 256 << 10
MAX_ID = 200
MAX_COST_NANO = 1_000_000 * NANO
"""Of one event; what is claimed beyond counts as this."""
MAX_TOKENS = 10**12
MAX_AGE_S = 8 * 86_400.0
"""A day more than events wait in a host's spool. Older ones count as of now."""
MAX_AHEAD_S = 300.0
"""Clocks differ; what is later than this counts as of now."""
MAX_DEPTH = 64
MAX_NESTED = 200
"""Of an event that is taken; orjson writes 254 levels."""
KINDS = frozenset({"metric", "control", "heartbeat", "error"})


class Refused(ValueError):
    """An event that is not taken. Its message is one word for a count."""


class Prices(Protocol):
    def cost(
        self, provider: str, model: str, usage: NormalizedUsage, at: float, tier: str | None
    ) -> int | None:
        """Nano-dollars, None where there is no price."""
        ...


@dataclass(slots=True)
class Incoming:
    """One event, as its row says it."""

    event_id: str
    kind: str
    digest: str
    """Of the event without what differs from one delivery to the next."""
    at: float
    body: str
    """JSON, without anything of a credential's shape."""
    trace_id: str | None = None
    instance_id: str | None = None
    agent: str | None = None
    tenant: str | None = None
    customer: str | None = None
    feature: str | None = None
    tags: str | None = None
    context_id: str | None = None
    provider: str | None = None
    model: str | None = None
    action: str | None = None
    cost_nano: int | None = None
    """None: not known."""
    charged_nano: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    settled: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    """What budgets are matched on."""
    amounts: dict[Unit, int] = field(default_factory=dict)
    """What is added to the budgets that it meets; empty: nothing."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """The event itself."""
    notes: tuple[str, ...] = ()
    """What was not taken as it was claimed, in words for counts."""


def read_event(value: Any, *, now: float, prices: Prices) -> Incoming:
    """An event of a batch.

    Raises: Refused.
    """
    if not isinstance(value, dict):
        raise Refused("shape")
    canonical = _canonical(value)
    if len(canonical) > MAX_EVENT_BYTES:
        raise Refused("size")
    digested = canonical
    if b"\\u" in canonical or has_secret(_free_text(value)):
        value = cleaned(value)
        canonical = _canonical(value)
    kind = value.get("event_type", "metric")
    if not isinstance(kind, str) or kind not in KINDS:
        raise Refused("kind")
    inner = value.get("data")
    data: Mapping[str, Any] = inner if kind == "metric" and isinstance(inner, dict) else value
    given = data.get("event_id") or value.get("event_id")
    if given is not None and not is_id(given):
        raise Refused("id")
    digest = _digest(value, data, digested)
    found = Incoming(
        event_id=given or f"x{digest}",
        kind=kind,
        digest=digest,
        at=_at(data.get("timestamp") or value.get("timestamp"), now),
        body=str(canonical, "utf-8"),
        trace_id=_text(data.get("trace_id")),
        instance_id=_text(value.get("sdk_instance_id")),
        provider=_text(data.get("provider")),
        told=value,
    )
    _attribute(found, data, value)
    match kind:
        case "metric":
            _read_metric(found, data, settled=value.get("settled") is True or data.get("settled") is True)
            _price(found, data, prices)
        case "control":
            found.model = _text(data.get("original_model"))
            found.action = _text(data.get("action"), 16)
            found.context_id = found.context_id or _text(data.get("context_id"))
        case _:
            pass
    return found


def _attribute(found: Incoming, data: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    metadata = data.get("metadata")
    attributes = normalized(metadata) if isinstance(metadata, dict) else {}
    found.attributes = attributes
    found.agent = attributes.get("agent") or _text(data.get("agent_name") or value.get("agent_name"), 256)
    found.tenant = attributes.get("tenant")
    found.customer = attributes.get("customer")
    found.feature = attributes.get("feature")
    found.context_id = attributes.get("context_id")
    tags = attributes.get("tags")
    found.tags = str(orjson.dumps(tags), "utf-8") if tags else None


def _read_metric(found: Incoming, data: Mapping[str, Any], *, settled: bool) -> None:
    found.model = _text(data.get("response_model") or data.get("model") or data.get("request_model"))
    decision = data.get("decision")
    found.action = _text(decision.get("action"), 16) if isinstance(decision, dict) else None
    found.settled = settled


def _price(found: Incoming, data: Mapping[str, Any], prices: Prices) -> None:
    """Cost, charge and amounts: what the client says, where it can be so, else by our prices."""
    usage = _usage(data, found.provider)
    if usage is not None:
        found.input_tokens, found.output_tokens = usage.input_tokens, usage.output_tokens
    notes: list[str] = []
    cost = _claimed(data, notes)
    if cost is None and usage is not None and found.provider and found.model:
        tier = _text(data.get("service_tier"))
        cost = prices.cost(found.provider, found.model, usage, found.at, tier)
        notes.append("cost_priced" if cost is not None else "cost_unknown")
        cost = None if cost is None else min(cost, MAX_COST_NANO)
    found.cost_nano = cost
    found.charged_nano = _nano(data.get("charged_nano_usd"), notes)
    found.notes = tuple(notes)
    if found.settled or found.action == "block":
        return
    found.amounts["calls"] = 1
    taken = cost if found.charged_nano is None else found.charged_nano
    if taken:
        found.amounts["usd"] = taken
    if usage is not None and usage.total_tokens:
        found.amounts["tokens"] = usage.total_tokens


def _claimed(data: Mapping[str, Any], notes: list[str]) -> int | None:
    """Nano-dollars that the client says the call cost."""
    if data.get("cost_nano_usd") is not None:
        return _nano(data["cost_nano_usd"], notes)
    dollars = data.get("cost_usd", data.get("total_cost"))
    if dollars is None or str(data.get("currency") or "USD").upper() != "USD":
        return None
    if isinstance(dollars, bool) or not isinstance(dollars, (int, float)):
        notes.append("cost_refused")
        return None
    if not dollars >= 0 or dollars == math.inf:
        notes.append("cost_refused")
        return None
    if dollars > MAX_COST_NANO / 1e9:
        notes.append("cost_clamped")
        return MAX_COST_NANO
    # A float's shortest form is what was meant; its binary value is not.
    return int((Decimal(repr(dollars)) * 10**9).to_integral_value())


def _nano(value: Any, notes: list[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        notes.append("cost_refused")
        return None
    if value > MAX_COST_NANO:
        notes.append("cost_clamped")
        return MAX_COST_NANO
    return value


_FIGURES: Mapping[str, frozenset[str]] = {
    "usage": frozenset([*NormalizedUsage.__slots__, "total_tokens"]),
    "rate_limit": frozenset(RateLimit.__slots__),
}
_MEMBERS = frozenset(
    (
        *MetricEvent.__slots__,
        *("timestamp", "model", "cost_usd", "charged_usd", "hold_usd", "saved_usd"),
        *("event_type", "sdk_instance_id", "agent_name", "settled", "data"),
    )
)
"""Names that need not be looked at themselves."""
_FLAT = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_COUNTS = frozenset(NormalizedUsage.__slots__)


def _usage(data: Mapping[str, Any], provider: str | None) -> NormalizedUsage | None:
    """None where the event says nothing of tokens or units."""
    nested = data.get("usage")
    if isinstance(nested, dict):
        counts = {name: _count(nested[name]) for name in _COUNTS & nested.keys()}
        counts["audio_seconds"] = _seconds(nested.get("audio_seconds"))
        return NormalizedUsage(**counts)
    counts = {name: _count(data.get(name)) for name in _FLAT}
    if not any(counts.values()):
        return None if data.get("input_tokens") is None else NormalizedUsage()
    if provider == "anthropic":
        # aden-py keeps Anthropic's own count, in which cached tokens stand beside the input.
        counts["input_tokens"] += counts["cached_tokens"]
    return NormalizedUsage(**counts)


def _count(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return 0
    return min(value, MAX_TOKENS)


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(min(value, 1e9)) if value >= 0 else 0.0


def _at(timestamp: Any, now: float) -> float:
    """Seconds since the epoch; `now` for what cannot be the time of a call that is told of now."""
    at = now
    if isinstance(timestamp, str) and len(timestamp) <= 40:
        try:
            read = datetime.fromisoformat(timestamp)
            at = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass
    return at if now - MAX_AGE_S <= at <= now + MAX_AHEAD_S else now


def _digest(value: Mapping[str, Any], data: Mapping[str, Any], canonical: bytes) -> str:
    """Of an event with an id: of the event itself, as any process of a host may deliver it, each with its own
    wrapping. Of one without: of all that there is."""
    if data is not value and (data.get("event_id") or value.get("event_id")):
        canonical = _canonical(data)
    return blake2b(canonical, digest_size=16).hexdigest()


def _canonical(value: Any) -> bytes:
    """The same bytes for the same members, in whatever order they came: JSON that everybody can read.

    Raises: Refused for what is nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        pass
    # Lone surrogates, and integers of more than 64 bits.
    return json.dumps(_readable(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _readable(value: Any, depth: int = MAX_NESTED) -> Any:
    """Without numbers that readers of JSON refuse: these become null, as orjson writes NaN.

    Raises: Refused for what is nested too deeply.
    """
    if isinstance(value, (dict, list)) and depth == 0:
        raise Refused("depth")
    if isinstance(value, dict):
        return {key: _readable(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item, depth - 1) for item in value]
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        return None
    return value


def _free_text(value: Mapping[str, Any]) -> str:
    """All text of an event, without the members in which there are only figures: a third of it."""
    parts: list[str] = []
    for name, item in value.items():
        if name not in _MEMBERS:
            parts.append(str(name))
        kind = type(item)
        if kind is str:
            parts.append(item)
        elif kind is dict and name == "data":
            parts.append(_free_text(item))
        elif (kind is dict or kind is list) and not _has_figures_only(name, item):
            parts.append(_canonical(item).decode("ascii", "replace"))
    return "\n".join(parts)


def _has_figures_only(name: str, item: Any) -> bool:
    known = _FIGURES.get(name)
    if known is None or type(item) is not dict or not item.keys() <= known:
        return False
    return all(type(each) in (int, float) for each in item.values())


def cleaned(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Without credentials, and without what a store cannot keep."""
    if isinstance(value, str):
        if not value.isascii():
            value = value.encode("utf-8", "backslashreplace").decode()
        return without_secrets(value).replace("\0", "\\x00")
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {cleaned(key, 1): cleaned(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, depth - 1) for item in value]
    return value


def is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isascii() and value.isprintable()


def _text(value: Any, most: int = MAX_ID) -> str | None:
    """A column's text."""
    if not isinstance(value, str) or not value:
        return None
    return value[:most]
