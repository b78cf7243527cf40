"""Whether threads of ours may be started in this process."""

from __future__ import annotations

__all__ = ["forbid_threads", "may_start_threads"]

_allowed = True


def may_start_threads() -> bool:
    return _allowed


def forbid_threads(*, forbidden: bool = True) -> None:
    """Start none to settle or to deliver from now on: whoever flushes does it."""
    global _allowed
    _allowed = not forbidden
