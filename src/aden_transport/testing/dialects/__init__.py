"""How each vendor reads requests and writes answers."""

from __future__ import annotations

from .routing import respond

__all__ = ["respond"]
