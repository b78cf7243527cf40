"""What a parser could not read: a short list of codes."""

from __future__ import annotations

__all__ = ["note"]


def note(faults: list[str], code: str) -> None:
    """Add `code` if it is new, so that the list never outgrows the number of codes."""
    if code not in faults:
        faults.append(code)
