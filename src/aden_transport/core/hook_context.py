"""What hooks are told about a call, read from its exchange."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from .._guard import internal_fault
from ..attributes import EitherSpelling
from ..events import CONTEXT_FIELDS, BeforeRequestContext
from .conclude import estimated_cost

if TYPE_CHECKING:
    from .exchange import Exchange

__all__ = ["context_of", "timestamp", "unread_context_of"]

EMPTY: Mapping[str, Any] = {}


def context_of(exchange: Exchange) -> BeforeRequestContext:
    read = partial(_field, exchange, exchange.model, exchange.body)
    return BeforeRequestContext(**{name: read(name) for name in CONTEXT_FIELDS})


def unread_context_of(exchange: Exchange) -> BeforeRequestContext:
    """`context_of`, of what its reader looks at."""
    return BeforeRequestContext.unread(partial(_field, exchange, exchange.model, exchange.body))


def _field(exchange: Exchange, model: str | None, body: Mapping[str, Any], name: str) -> Any:
    match name:
        case "model":
            return model
        case "metadata":
            return EitherSpelling(exchange.metadata) if exchange.metadata else EMPTY
        case "estimated_cost_usd":
            return _estimate(exchange, model, body)
        case "provider":
            return exchange.call.vendor.id
        case "operation":
            return exchange.call.operation.name
        case "stream":
            return exchange.stream
        case "trace_id":
            return exchange.logical.trace_id
        case "span_id":
            return exchange.span_id
        case "timestamp":
            return timestamp(exchange)
    raise AttributeError(name)


def _estimate(exchange: Exchange, model: str | None, body: Mapping[str, Any]) -> Decimal | None:
    try:
        return estimated_cost(exchange, model, body)
    except Exception as exc:  # noqa: BLE001 - a refusal is told without it, and a hook asked
        internal_fault("estimate", exc)
        return None


def timestamp(exchange: Exchange) -> str:
    """When the call started, ISO 8601 in UTC."""
    return datetime.fromtimestamp(exchange.started_at, UTC).isoformat()
