"""The fence between our faults and the application's calls."""

from __future__ import annotations

import logging

__all__ = ["fault_counts", "internal_fault", "reset_faults"]

_log = logging.getLogger("aden.internal")
_counts: dict[str, int] = {}


def internal_fault(part: str, exc: BaseException) -> None:
    """Count a fault of ours or of a user's callback, and log the first of each part and type.

    The application's call goes on; `fault_counts()` has the figures.
    """
    key = f"{part}:{type(exc).__name__}"
    seen = _counts.get(key, 0)
    _counts[key] = seen + 1
    if seen == 0:
        _log.warning(
            "%s failed (%s); the call goes on, further faults of this kind are only counted",
            part,
            type(exc).__name__,
            exc_info=exc,
        )


def fault_counts() -> dict[str, int]:
    """How often each `"part:ExceptionType"` was fenced in this process."""
    return dict(_counts)


def reset_faults() -> None:
    """Forget all counts, so that the next fault of each kind is logged again."""
    _counts.clear()
