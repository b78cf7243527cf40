"""Whether an event keeps to the closed list of `operation_details`."""

from __future__ import annotations

from typing import Any

from aden_transport.events import MetricEvent
from aden_transport.vendors.details import DETAILS

__all__ = ["undocumented"]


def undocumented(event: MetricEvent) -> dict[str, Any]:
    """Details of an event that its operation may not have, or that are of another type."""
    return {
        key: value
        for key, value in (event.operation_details or {}).items()
        if key not in DETAILS
        or event.operation not in DETAILS[key].operations
        or not isinstance(value, DETAILS[key].kind)
        or (isinstance(value, bool) and DETAILS[key].kind in (int, (int, float)))
    }
