"""The vendors' tables."""

from __future__ import annotations

from .anthropic import ANTHROPIC
from .azure import AZURE
from .base import Operation, Reading, Route, StreamShape, Vendor, route
from .gemini import GEMINI, VERTEX
from .openai import OPENAI

__all__ = ["VENDORS", "Operation", "Reading", "Route", "StreamShape", "Vendor", "route"]

VENDORS: tuple[Vendor, ...] = (OPENAI, AZURE, ANTHROPIC, GEMINI, VERTEX)
"""Order matters only for paths on hosts that nobody has heard of: the first strong match wins."""
