"""Dollars as integers of nano-dollars, without the application's decimal context."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

__all__ = ["MAX_NANO", "MAX_USD", "amount", "share", "to_nano"]

NANO = 1_000_000_000
MAX_USD = 9_000_000
"""The highest limit and hold: Redis compares doubles, which are exact up to 2**53 nano-dollars."""
MAX_NANO = MAX_USD * NANO


def to_nano(dollars: float | Decimal) -> int:
    """Nano-dollars, rounded down, of the number as it is written: 0.1 is a tenth."""
    return floor(_exact(dollars) * NANO)


def share(limit: int, percent: float | Decimal) -> int:
    """The least amount that is `percent` of `limit` or more."""
    return ceil(limit * _exact(percent) / 100)


def amount(value: int, unit: str = "usd") -> str:
    """`value` for people: `$9.40`, `$0.000125`, `1,200 tokens`."""
    if unit != "usd":
        return f"{value:,} {unit}"
    whole, rest = divmod(abs(value), NANO)
    digits = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if value < 0 else ''}${whole:,}.{digits}"


def _exact(number: float | Decimal) -> Fraction:
    return Fraction(repr(float(number))) if isinstance(number, float) else Fraction(number)
