"""Unit prices by (provider, model, tier, time), and what a call costs by them."""

from __future__ import annotations

from .book import OVERRIDE, PriceBook
from .price import Price
from .unit_prices import TextRates, UnitPrices, has_rare_units

__all__ = ["OVERRIDE", "Price", "PriceBook", "TextRates", "UnitPrices", "has_rare_units"]
