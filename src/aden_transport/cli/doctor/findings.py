"""What an examination finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal, TypeAlias

__all__ = ["Finding", "Level", "version_of"]

Level: TypeAlias = Literal["ok", "note", "warning", "fault"]
"""`note`: worth knowing; `warning`: may matter, look at it; `fault`: something is not metered."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    section: str
    name: str
    level: Level
    text: str
    next: str | None = None
    """The command to type, or the line to write."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For programs."""


def version_of(distribution: str) -> str | None:
    """The installed version, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
