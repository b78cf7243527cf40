"""The tokens that shape a JSON text: brackets and strings (RFC 8259 §2, §7).

Possessive quantifiers keep both patterns linear on any input.
"""

from __future__ import annotations

import re

__all__ = ["CLOSERS", "OPENERS", "QUOTE", "STRING_REST", "TOKEN"]

OPENERS = frozenset(b"{[")
CLOSERS = frozenset(b"}]")
QUOTE = ord('"')

TOKEN = re.compile(rb'[{}\[\]]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
"""A bracket, or a string whose group 1 is empty where the piece ends inside it."""

STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
"""What is left of a string that began in an earlier piece."""
