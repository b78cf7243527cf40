"""What one call costs: unit prices of one model, compiled for arithmetic.

Rates are pico-dollars for one unit, an integer or `"numerator/denominator"`, by the names in `RATE_NAMES`;
a rate that depends on the prompt's length is `[base, [start, rate], …]`: the last start that
`input_tokens` exceeds gives the rate of all units, not only of those above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import gcd, inf, lcm
from typing import Any, NamedTuple, TypeAlias

from ..events import NormalizedUsage

__all__ = ["RATE_NAMES", "UNIT_NAMES", "Rates", "TextRates", "UnitPrices", "Units", "has_rare_units"]

Rates: TypeAlias = Mapping[str, Any]
Units: TypeAlias = Mapping[str, float]
"""Amounts of billed units that are no field of `NormalizedUsage`, by the names in `UNIT_NAMES`."""

RATE_NAMES = {
    "input": "input_tokens",
    "cached": "cached_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "audio_input": "audio_input_tokens",
    "image_input": "image_input_tokens",
    "cached_audio": None,
    "cached_image": None,
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
    "audio_output": "audio_output_tokens",
    "image_output": "image_output_tokens",
    "characters": "characters",
    "audio_seconds": "audio_seconds",
    "images": "images",
    "pages": "pages",
    "search_units": "search_units",
    "server_tool_calls": "server_tool_calls",
    "requests": None,
    "trained_tokens": None,
    "container_sessions": None,
    "file_searches": None,
    "gb_days": None,
    "video_seconds": None,
}
"""The names of rates, each with the field of `NormalizedUsage` that it prices.

`requests` is added once per call. `server_tool_calls` are priced as web searches."""

UNIT_NAMES = ("trained_tokens", "container_sessions", "file_searches", "gb_days", "video_seconds")
"""Rates of units that stand in `Reading.units`: tokens trained on, sessions of a code interpreter, searches
in a vector store, GB (2^30 bytes) stored for a day, seconds of generated video."""

_COUNTED = ("characters", "images", "pages", "search_units", "server_tool_calls")
_STANDING_ALONE = ("input", "output", "audio_seconds", *_COUNTED)
"""Units that are not part of another unit: without a rate nothing prices them."""
_ODD = ("reasoning", "requests")
"""Rates that the short path of `cost` does not know."""


class TextRates(NamedTuple):
    """What text costs up to a length of the prompt; sums of counts times rates go through `cost`."""

    up_to: float
    """Tokens of the prompt."""
    divisor: int
    input: int
    written: int
    """Of a prompt that may be written to the cache: the dearer of the two."""
    written_1h: int
    output: int
    inexact: int
    """1 where a cost may be rounded down, 0 where all are whole nano-dollars."""

    def cost(self, total: int) -> int:
        """Nano-dollars."""
        return total if self.divisor == 1 else _half_even(total, self.divisor)


class UnitPrices:
    """The prices of one model in one tier at one time. Made by `PriceBook.find`."""

    # Plain slots and integers, because `cost` runs once per call: 0.3 µs for text on CPython 3.11,
    # where `genai_prices.calc_price` takes 120.

    __slots__ = (
        "_above",
        "_cache_write",
        "_cache_write_1h_more",
        "_cached",
        "_cited_fields",
        "_divisor",
        "_input",
        "_minimum_seconds",
        "_odd",
        "_output",
        "_rates",
        "_tier_start",
        "cited",
        "dated",
        "model",
        "provider",
        "rates",
        "source",
        "tier",
    )

    def __init__(
        self,
        rates: Rates,
        *,
        provider: str = "",
        model: str = "",
        tier: str = "standard",
        dated: str | None = None,
        source: str = "",
        minimum_seconds: int = 0,
        cited: Mapping[str, str] | None = None,
        above: int = -1,
    ) -> None:
        self.rates = rates
        """Pico-dollars per unit as in the price data, tiers by prompt length included."""
        self.cited = cited or {}
        """Where single rates come from that are not from `source`, by their names."""
        self.provider = provider
        """The provider that lists the model."""
        self.model = model
        """The id of the matched model in the price data, or the overridden name."""
        self.tier = tier
        """`"standard"`, `"batch"`, `"flex"`, …, of an image or a video its form (`"hd 1024x1024"`); several
        are joined by `+`."""
        self.dated = dated
        """The date or the hours from which this price counts, None where it is not bound to any."""
        self.source = source
        self._cited_fields = [(f, where) for name, where in self.cited.items() if (f := RATE_NAMES[name])]
        self._minimum_seconds = minimum_seconds
        self._divisor, self._rates = _common(_flat(rates, above))
        self._input = self._rates.get("input", 0)
        self._cached = self._rates.get("cached", self._input)
        self._cache_write = self._rates.get("cache_write", self._input)
        # Long writes are part of the writes, so they cost what their rate is above that of those.
        self._cache_write_1h_more = self._rates.get("cache_write_1h", self._cache_write) - self._cache_write
        self._output = self._rates.get("output", 0)
        self._odd = any(name in rates for name in _ODD)
        starts = [start for value in rates.values() for start in _starts(value) if start > above]
        self._tier_start: float = min(starts, default=float("inf"))
        self._above = (
            UnitPrices(rates, minimum_seconds=minimum_seconds, above=min(starts)) if starts else self
        )

    def cost(self, usage: NormalizedUsage, units: Units | None = None) -> int:
        """Nano-dollars of `usage` and `units`, all ≥ 0: the exact sum, rounded once, half to even.

        Parts are priced at their own rate where there is one, else at the rate of what encloses them.
        Where parts exceed the whole, the rest of the whole counts as 0. Units without any rate add
        nothing: `unpriced` names them.
        """
        prompt = usage.input_tokens
        cached = usage.cached_tokens
        writes = usage.cache_write_tokens
        long_writes = usage.cache_write_1h_tokens
        text = prompt - cached - writes
        if (
            text < 0
            or prompt > self._tier_start
            or self._odd
            or long_writes > writes
            or usage.audio_input_tokens
            or usage.audio_output_tokens
            or usage.image_input_tokens
            or usage.image_output_tokens
            or usage.characters
            or usage.audio_seconds
            or usage.images
            or usage.pages
            or usage.search_units
            or usage.server_tool_calls
            or units
        ):
            return self._full_cost(usage, units or {})
        total: int = (
            text * self._input
            + cached * self._cached
            + writes * self._cache_write
            + long_writes * self._cache_write_1h_more
            + usage.output_tokens * self._output
        )
        return total if self._divisor == 1 else _half_even(total, self._divisor)

    def text_rates(self) -> tuple[TextRates, ...]:
        """What prompts and answers of text cost, by rising length of the prompt; empty where something else
        counts, too, or nothing of it is known."""
        if self._odd or "input" not in self.rates or "output" not in self.rates:
            return ()
        tiers: list[UnitPrices] = [self]
        while tiers[-1]._above is not tiers[-1]:
            tiers.append(tiers[-1]._above)
        inexact = 0 if all(tier._divisor == 1 for tier in tiers) else 1
        return tuple([tier._text(inexact) for tier in tiers])

    def _text(self, inexact: int) -> TextRates:
        dearest = max(self._input, self._cache_write)
        long = max(self._input, self._cache_write + self._cache_write_1h_more)
        return TextRates(self._tier_start, self._divisor, self._input, dearest, long, self._output, inexact)

    def unpriced(self, usage: NormalizedUsage, units: Units | None = None) -> tuple[str, ...]:
        """What is not 0 and has no rate, not even that of an enclosing unit: fields of `usage`, then names
        of `units`."""
        fields = [
            field for name in _STANDING_ALONE if name not in self._rates and (field := RATE_NAMES[name])
        ]
        found = [field for field in fields if getattr(usage, field)]
        found += [name for name, amount in (units or {}).items() if amount and name not in self._rates]
        return tuple(found)

    def source_of(self, usage: NormalizedUsage, units: Units | None = None) -> str:
        """`source`, with where those rates come from that this use needs and that are not from there."""
        if not units and not self._cited_fields:
            return self.source
        used = [where for field, where in self._cited_fields if getattr(usage, field)]
        used += [self.cited[name] for name, amount in (units or {}).items() if amount and name in self.cited]
        return "; ".join(dict.fromkeys([self.source, *used])) if used else self.source

    def _full_cost(self, usage: NormalizedUsage, units: Units) -> int:
        if usage.input_tokens > self._tier_start:
            return self._above._full_cost(usage, units)
        rates = self._rates
        total = rates.get("requests", 0) + _prompt(rates, usage) + _completion(rates, usage)
        for name in _COUNTED:
            total += getattr(usage, name) * rates.get(name, 0)
        exact = Fraction(total)
        for name, amount in units.items():
            exact += _exact(amount) * rates.get(name, 0)
        if usage.audio_seconds:
            exact += _exact(max(usage.audio_seconds, self._minimum_seconds)) * rates.get("audio_seconds", 0)
        return _half_even(exact.numerator, self._divisor * exact.denominator)


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


def _exact(amount: float) -> Fraction:
    # A float's shortest form is what the vendor wrote; its binary value is not.
    return Fraction(repr(amount)) if 0 <= amount < inf else Fraction(0)


def _prompt(rates: Mapping[str, int], usage: NormalizedUsage) -> int:
    cached = usage.cached_tokens if "cached" in rates else 0
    writes = usage.cache_write_tokens if "cache_write" in rates else 0
    long_writes = usage.cache_write_1h_tokens if "cache_write_1h" in rates else 0
    writes = max(writes - long_writes, 0)
    audio = usage.audio_input_tokens if "audio_input" in rates else 0
    image = usage.image_input_tokens if "image_input" in rates else 0
    # How much of the cached prompt was audio or image is not in the usage. The smallest overlap
    # that the counts allow is the dearest reading, so a budget is never undercharged.
    excess = max(cached + writes + long_writes + audio + image - usage.input_tokens, 0)
    cached_audio = min(excess, cached, audio) if "cached_audio" in rates else 0
    cached_image = min(excess - cached_audio, cached - cached_audio, image) if "cached_image" in rates else 0
    parts = (
        ("cached", cached - cached_audio - cached_image),
        ("cache_write", writes),
        ("cache_write_1h", long_writes),
        ("audio_input", audio - cached_audio),
        ("image_input", image - cached_image),
        ("cached_audio", cached_audio),
        ("cached_image", cached_image),
    )
    return _whole(rates, "input", usage.input_tokens, parts)


def _completion(rates: Mapping[str, int], usage: NormalizedUsage) -> int:
    names = ("reasoning", "audio_output", "image_output")
    parts = tuple((name, getattr(usage, f"{name}_tokens")) for name in names if name in rates)
    return _whole(rates, "output", usage.output_tokens, parts)


def _whole(rates: Mapping[str, int], name: str, count: int, parts: tuple[tuple[str, int], ...]) -> int:
    """The price of `count` units of which `parts` have a rate of their own."""
    rest = count - sum(part for _, part in parts)
    return max(rest, 0) * rates.get(name, 0) + sum(part * rates.get(own, 0) for own, part in parts)


def _flat(rates: Rates, above: int) -> dict[str, Fraction]:
    """The rates for prompts longer than `above` tokens and up to the next tier."""
    flat: dict[str, Fraction] = {}
    for name, value in rates.items():
        chosen = value
        if isinstance(value, list):
            chosen = value[0]
            for start, price in value[1:]:
                chosen = price if start <= above else chosen
        flat[name] = Fraction(chosen)
    return flat


def _starts(value: Any) -> list[int]:
    return [start for start, _ in value[1:]] if isinstance(value, list) else []


def _common(rates: Mapping[str, Fraction]) -> tuple[int, dict[str, int]]:
    """A divisor and integers such that count * integer / divisor is nano-dollars, in lowest terms."""
    scale = lcm(*(rate.denominator for rate in rates.values()))
    scaled = {name: rate.numerator * (scale // rate.denominator) for name, rate in rates.items()}
    shared = gcd(1000 * scale, *scaled.values())
    return 1000 * scale // shared, {name: value // shared for name, value in scaled.items()}


def _half_even(total: int, divisor: int) -> int:
    whole, rest = divmod(total, divisor)
    twice = 2 * rest
    return whole + (twice > divisor or (twice == divisor and whole & 1 == 1))
