"""Numbers on a command line, with what to write instead of those that are none."""

from __future__ import annotations

import argparse
import math

__all__ = ["dollars", "seconds", "spent", "tokens"]


def dollars(text: str) -> float:
    """A sum that may be negative, such as a correction. Raises: ArgumentTypeError."""
    return _finite(text, "give dollars, like 25 or -2.50")


def spent(text: str) -> float:
    """A sum that is 0 or more. Raises: ArgumentTypeError."""
    return _finite(text, "give dollars, 0 or more, like 4.20", low=0.0)


def seconds(text: str) -> float:
    """A time that is 0 or more. Raises: ArgumentTypeError."""
    return _finite(text, "give seconds, 0 or more, like 10", low=0.0)


def tokens(text: str) -> int:
    """A count. Raises: ArgumentTypeError."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of tokens, 0 or more")
    return int(text)


def _finite(text: str, remedy: str, *, low: float = -math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= low):
        raise argparse.ArgumentTypeError(f"{text!r}: {remedy}")
    return value
