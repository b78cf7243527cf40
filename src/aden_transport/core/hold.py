"""What a call is held at: the dearest reading of its bound, in money."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from ..events import NormalizedUsage
from ..pricing.unit_prices import UnitPrices, has_rare_units
from .bound import FREE, Bound

__all__ = ["hold_nano"]


def hold_nano(
    prices: Sequence[UnitPrices | None], bound: Bound, hard: bool = True, output_quantile: int | None = None
) -> int | None:
    """Nano-dollars to hold for a call, rounded up; None where it has no bound or its price is not known.

    `prices` are those of the asked model in its tiers and of the models that may answer: a `hard` budget
    takes the dearest, any other the first. Cached tokens count as input; what may be written to the cache,
    at the price of writing. Where the request names no cap on the output, a budget that is not hard holds
    `output_quantile` tokens of it at most.
    """
    usage = bound.usage
    if bound.input_basis == FREE:
        return 0
    if usage is None or not prices:
        return None
    if not hard:
        prices = prices[:1]
        if output_quantile is not None and not bound.capped and output_quantile < usage.output_tokens:
            usage = _shortened(usage, output_quantile)
    most = 0
    for unit in prices:
        cost = None if unit is None else _dearest(unit, usage, bound)
        if cost is None:
            return None
        most = max(most, cost)
    return most


def _shortened(usage: NormalizedUsage, output: int) -> NormalizedUsage:
    return replace(
        usage,
        output_tokens=output,
        audio_output_tokens=min(usage.audio_output_tokens, output),
        image_output_tokens=min(usage.image_output_tokens, output),
    )


def _dearest(unit: UnitPrices, usage: NormalizedUsage, bound: Bound) -> int | None:
    """The cost of the dearest way in which the tokens may divide into parts; None where something that is
    used has no price."""
    traits = _traits(unit)
    if not traits.text or bound.units or has_rare_units(usage):
        missing = unit.unpriced(usage, bound.units)
        if missing and not (missing == ("images",) and usage.image_output_tokens):
            return None
    cost = unit.cost(usage, bound.units)
    if traits.parts:
        cost = max([cost, *(unit.cost(other, bound.units) for other in _divided(unit, usage, bound))])
    return cost if traits.whole else cost + 1


PARTS = frozenset(
    {
        "cache_write",
        "cache_write_1h",
        "reasoning",
        "audio_input",
        "image_input",
        "audio_output",
        "image_output",
    }
)


def _divided(unit: UnitPrices, usage: NormalizedUsage, bound: Bound) -> Iterable[NormalizedUsage]:
    if bound.cache_writes:
        long = usage.input_tokens if bound.cache_writes > 1 else 0
        yield replace(usage, cache_write_tokens=usage.input_tokens, cache_write_1h_tokens=long)
    if "reasoning" in unit.rates:
        yield replace(
            usage, reasoning_tokens=usage.output_tokens, audio_output_tokens=0, image_output_tokens=0
        )
    if usage.audio_input_tokens or usage.image_input_tokens:
        yield replace(usage, audio_input_tokens=0, image_input_tokens=0)
    if usage.audio_output_tokens or usage.image_output_tokens:
        yield replace(usage, audio_output_tokens=0, image_output_tokens=0)


class _Traits(NamedTuple):
    """What the rates of a price say of every cost."""

    text: bool
    """Input and output have a rate."""
    parts: bool
    """Some parts of them have one of their own."""
    whole: bool
    """Every rate is whole nano-dollars, so that no cost is rounded."""


@lru_cache(maxsize=1024)
def _traits(unit: UnitPrices) -> _Traits:
    flat: list[Any] = []
    for value in unit.rates.values():
        flat += [value[0], *(rate for _, rate in value[1:])] if isinstance(value, list) else [value]
    return _Traits(
        "input" in unit.rates and "output" in unit.rates,
        not PARTS.isdisjoint(unit.rates),
        all(isinstance(rate, int) and rate % 1000 == 0 for rate in flat),
    )
