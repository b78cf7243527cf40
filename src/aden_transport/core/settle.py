"""How a hold ends: by what is known about the wire. `design/money.md` has the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..events import NormalizedUsage
from ..ledger.base import Unit
from ..vendors import Work
from .error_types import was_sent

if TYPE_CHECKING:
    from .conclude import Concluded
    from .exchange import Exchange

__all__ = ["settle"]

MORE_OUTPUT = 1.25
"""An answer that was left goes on for a while at the vendor's."""


def settle(record: Concluded, exchange: Exchange, exc: BaseException | None) -> None:
    """End the hold of an attempt that has ended, and write down what was held and charged."""
    held: Any = exchange.held
    cost, reading, work = record.cost_nano_usd, exchange.reading, None
    if reading is not None:
        work = reading.work
        if (
            held.__class__ is tuple
            and cost is not None
            and record.usage_source == "reported"
            and work is None
        ):
            # Nearly every call.
            budgets, amounts, hard = held
            answered, asked = reading.response_model, exchange.sent_model
            if hard and _alike.get(answered) != asked and not _is_of(answered, asked):
                cost = _dearer(record, exchange, cost)
            record.plain, record.charged_nano_usd = held, cost
            end, about = budgets.end_taken, amounts[2]
            if end is None or exchange.settings.alert is not None:
                budgets.end_plain(exchange, cost, about)
                return
            end(exchange.number, cost)
            if about:
                budgets.learn(exchange, about)
            return
    money = exchange.money
    budgets = exchange.settings.budgets if money is None else money.budgets
    if budgets is None:
        return
    if record.counted is not None and reading is not None:
        ref = _ref(exchange, record.counted)
        if budgets.charge_work(ref, _amounts(cost, reading.usage)):
            record.charged_nano_usd = cost
    if money is None or not money.held:
        return
    record.hold_nano_usd, record.hold_basis = money.hold, money.basis
    usage = None if reading is None else reading.usage
    if work is not None and not work.over:
        budgets.keep(money, _ref(exchange, work))
        return
    charged = _charge(record, exchange, exc)
    if record.hold_nano_usd is not None:
        record.charged_nano_usd = charged or 0
    if charged is None:
        budgets.give_back(money, record)
        return
    if record.usage_source == "reported":
        budgets.learn(exchange, money.about)
    budgets.charge(money, _amounts(charged, usage), record)
    if exchange.settings.alert is not None:
        budgets.tell_of_crossed(exchange, money, record)


def _ref(exchange: Exchange, work: Work) -> str:
    """What a ledger knows deferred work by, whichever process asks how it stands."""
    return f"{exchange.call.vendor.id}\0{work.id}"


def _amounts(nano: int | None, usage: NormalizedUsage | None) -> dict[Unit, int]:
    amounts: dict[Unit, int] = {"calls": 1}
    if nano is not None:
        amounts["usd"] = nano
    if usage is not None:
        amounts["tokens"] = usage.total_tokens
    return amounts


def _charge(record: Concluded, exchange: Exchange, exc: BaseException | None) -> int | None:
    """Nano-dollars; None where the vendor bills nothing."""
    money, status, reading = exchange.money, exchange.status, exchange.reading
    assert money is not None
    hold, expected = money.hold or 0, money.expected or 0
    if not exchange.sent_at:
        return None
    if status is None:
        # Without an exception the process ends while the answer is awaited.
        if exc is not None and not was_sent(exc):
            return None
        return hold if money.hard else expected
    cost = record.cost_nano_usd
    if record.usage_source == "reported":
        if cost is None:
            return hold
        if not money.hard or reading is None or _is_of(reading.response_model, exchange.sent_model):
            return cost
        return _dearer(record, exchange, cost)
    if record.usage_source == "estimated":
        return _of_an_estimate(exchange, cost, hold) if money.hard else (expected if cost is None else cost)
    if status >= 400 or cost == 0:
        return None
    return hold if money.hard else expected


def _dearer(record: Concluded, exchange: Exchange, cost: int) -> int:
    """Where another model answered than was asked for, the vendor may bill either: the dearer counts."""
    reading, asked = exchange.reading, exchange.sent_model
    answered = reading.response_model if reading is not None else None
    if reading is None or reading.usage is None or answered is None or asked is None:
        return cost
    if exchange.call.vendor.priced_as_requested:
        return cost
    if record.price_source is not None and record.price_source.startswith("stated by"):
        return cost
    provider = exchange.call.vendor.price_provider or exchange.call.vendor.id
    tier, at = reading.service_tier, exchange.started_at
    unit = exchange.settings.prices.find(provider, asked, at=at, service_tier=tier, batch=reading.batch)
    return cost if unit is None else max(cost, unit.cost(reading.usage, reading.units))


MAX_ALIKE = 1024
_alike: dict[str | None, str | None] = {}
"""By the name of a model that answered, a name that it was last asked for by; see `_is_of`."""


def _is_of(answered: str | None, asked: str | None) -> bool:
    """`gpt-4o-2024-08-06` is `gpt-4o`, `gpt-4o-mini` is not; where one of them is not known, no other is."""
    if answered is None or asked is None or answered == asked:
        return True
    if not answered.startswith(asked) or answered[len(asked) : len(asked) + 2] not in ("-2", "-0", "@2"):
        return False
    if len(_alike) >= MAX_ALIKE:
        _alike.clear()
    _alike[answered] = asked
    return True


def _of_an_estimate(exchange: Exchange, cost: int | None, hold: int) -> int:
    """Of a hard budget, what a stream that was left costs at the most likely worst."""
    from .conclude import unit_prices

    reading = exchange.reading
    if cost is None or reading is None or reading.usage is None or _reasons(exchange.body, reading.usage):
        return hold
    more = replace(reading.usage, output_tokens=round(reading.usage.output_tokens * MORE_OUTPUT))
    unit = unit_prices(exchange, reading, None)
    return hold if unit is None else min(hold, unit.cost(more, reading.units))


def _reasons(body: Mapping[str, Any], usage: NormalizedUsage) -> bool:
    """Whether more was generated than the stream shows."""
    if usage.reasoning_tokens or usage.audio_output_tokens or usage.image_output_tokens:
        return True
    model = str(body.get("model") or "")
    asked = any(body.get(name) for name in ("reasoning", "reasoning_effort", "thinking", "modalities"))
    return asked or model.startswith(("o1", "o3", "o4", "gpt-5"))
