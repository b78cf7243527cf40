"""What a decision has saved, or would have, once the call has ended; in nano-dollars."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..events import Decision, ShadowDecision

if TYPE_CHECKING:
    from .conclude import Concluded

__all__ = ["saved_nano", "with_savings"]


def saved_nano(record: Concluded) -> int | None:
    """What the usage of a degraded call would have cost more with the model that was asked for; negative
    where it would have been cheaper. None where one of the two costs is not known."""
    asked, cost = record.exchange.degraded_from, record.cost_nano_usd
    other = _cost_of(asked, record) if asked is not None and cost is not None else None
    return None if other is None or cost is None else other - cost


def with_savings(decision: Decision, record: Concluded) -> Decision:
    """The decision, with what its shadow would have saved."""
    shadow = decision.shadow
    if shadow is None:
        return decision
    return replace(decision, shadow=replace(shadow, saved_nano_usd=_saved(shadow, record)))


def _saved(shadow: ShadowDecision, record: Concluded) -> int | None:
    """Nano-dollars; None where the cost is not known."""
    if shadow.action == "throttle" or _was_free(record):
        return 0
    cost = record.cost_nano_usd
    if cost is None or shadow.action == "block":
        return cost
    other = _cost_of(shadow.to_model, record)
    return None if other is None else cost - other


def _was_free(record: Concluded) -> bool:
    """Whether the vendor bills nothing for the attempt."""
    exchange, reading = record.exchange, record.exchange.reading
    if record.billing is not None or (reading is not None and reading.usage is not None):
        return False
    return exchange.status is None or exchange.status >= 400


def _cost_of(model: str | None, record: Concluded) -> int | None:
    """Nano-dollars of the reported usage at another model's price."""
    exchange, reading = record.exchange, record.exchange.reading
    if reading is None or reading.usage is None or model is None:
        return None
    vendor = exchange.call.vendor
    unit = exchange.settings.prices.find(
        vendor.price_provider or vendor.id,
        model,
        at=exchange.started_at,
        service_tier=reading.service_tier,
        batch=reading.batch,
        details=record.details,
    )
    if unit is None or unit.unpriced(reading.usage, reading.units):
        return None
    return unit.cost(reading.usage, reading.units)
