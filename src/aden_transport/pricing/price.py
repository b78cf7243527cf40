"""A price that the user gives, in the units of price lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeAlias

from ..errors import ConfigurationError

__all__ = ["AMOUNTS", "Amount", "Price", "rates_of"]

Amount: TypeAlias = "float | int | str | Decimal"
"""US dollars. A float counts as the decimal that it prints as."""

_PICO_PER_USD = 10**12
_LARGEST = 10**9
_SMALLEST = Decimal("1e-40")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars; `per_mtok` is per million tokens.

    A part without its own price is charged as what encloses it: cached tokens, cache writes, audio and
    images as input, reasoning as output.

    Raises: ConfigurationError where an amount is not a finite number ≥ 0.
    """

    input_per_mtok: Amount
    output_per_mtok: Amount
    cached_per_mtok: Amount | None = None
    cache_write_per_mtok: Amount | None = None
    _: KW_ONLY
    cache_write_1h_per_mtok: Amount | None = None
    reasoning_per_mtok: Amount | None = None
    audio_input_per_mtok: Amount | None = None
    audio_output_per_mtok: Amount | None = None
    image_input_per_mtok: Amount | None = None
    image_output_per_mtok: Amount | None = None
    per_million_characters: Amount | None = None
    per_audio_minute: Amount | None = None
    per_image: Amount | None = None
    per_page: Amount | None = None
    per_search_unit: Amount | None = None
    per_server_tool_call: Amount | None = None
    per_request: Amount | None = None
    trained_per_mtok: Amount | None = None
    """Of fine-tuning: tokens trained on, epochs included."""
    per_container_session: Amount | None = None
    per_file_search: Amount | None = None
    per_gb_day: Amount | None = None
    """Of storage, GB of 2^30 bytes."""
    per_video_second: Amount | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None or field.name in ("input_per_mtok", "output_per_mtok"):
                _exact(field.name, value)

    def rates(self) -> dict[str, int | str]:
        """Pico-dollars per unit by the names of `unit_prices.RATE_NAMES`."""
        given = {name: value for name in AMOUNTS if (value := getattr(self, name)) is not None}
        rates = rates_of(given)
        for name in ("audio", "image"):
            # Cached audio has no price of its own here: it is charged as cached.
            if "cached" in rates and f"{name}_input" in rates:
                rates[f"cached_{name}"] = rates["cached"]
        return rates


def rates_of(amounts: Mapping[str, Any]) -> dict[str, int | str]:
    """Pico-dollars per unit, by the names of `unit_prices.RATE_NAMES`, of amounts named as in `AMOUNTS`.

    Raises: ConfigurationError where an amount is not a finite number ≥ 0; KeyError for another name.
    """
    rates: dict[str, int | str] = {}
    for field, value in amounts.items():
        name, units = AMOUNTS[field]
        exact = _exact(field, value) * _PICO_PER_USD / units
        rates[name] = exact.numerator if exact.denominator == 1 else str(exact)
    return rates


AMOUNTS: Mapping[str, tuple[str, int]] = {
    "input_per_mtok": ("input", 1_000_000),
    "output_per_mtok": ("output", 1_000_000),
    "cached_per_mtok": ("cached", 1_000_000),
    "cache_write_per_mtok": ("cache_write", 1_000_000),
    "cache_write_1h_per_mtok": ("cache_write_1h", 1_000_000),
    "reasoning_per_mtok": ("reasoning", 1_000_000),
    "audio_input_per_mtok": ("audio_input", 1_000_000),
    "audio_output_per_mtok": ("audio_output", 1_000_000),
    "image_input_per_mtok": ("image_input", 1_000_000),
    "image_output_per_mtok": ("image_output", 1_000_000),
    "per_million_characters": ("characters", 1_000_000),
    "per_audio_minute": ("audio_seconds", 60),
    "per_image": ("images", 1),
    "per_page": ("pages", 1),
    "per_search_unit": ("search_units", 1),
    "per_server_tool_call": ("server_tool_calls", 1),
    "per_request": ("requests", 1),
    "trained_per_mtok": ("trained_tokens", 1_000_000),
    "per_container_session": ("container_sessions", 1),
    "per_file_search": ("file_searches", 1),
    "per_gb_day": ("gb_days", 1),
    "per_video_second": ("video_seconds", 1),
}
"""Amount of a price list → (name of the rate, units that the amount pays for)."""


def _exact(field: str, value: Any) -> Fraction:
    try:
        if isinstance(value, bool) or not isinstance(value, (float, int, str, Decimal)):
            raise TypeError
        amount = value if isinstance(value, Decimal) else Decimal(str(value))
        # Bounded before it becomes a fraction: 1e999999999 is a finite decimal.
        if not amount.is_finite() or not (amount == 0 or _SMALLEST <= amount <= _LARGEST):
            raise ValueError
    except (TypeError, ValueError, InvalidOperation):
        raise ConfigurationError(
            f"Price({field}={value!r}): give US dollars as a finite number from 0 to 1e9, such as 2.5"
        ) from None
    return Fraction(amount)
