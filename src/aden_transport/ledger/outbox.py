"""Events on their way to a server: what waits, what one process sends of it, and what was given up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from .. import _json
from .._fork import random_bits
from .base import Sending, Spooled

__all__ = ["CLAIM_S", "Batch", "Bounds", "Losses", "Outbox", "Row", "report_of"]

CLAIM_S = 60.0
"""For so long a batch is one process's alone."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of all that waits in one place together. What is beyond is given up, the oldest first, and counted."""

    rows: int
    size: int
    """Characters of events."""
    age_s: float = 7 * 86_400.0


class Row(NamedTuple):
    """One event that waits."""

    number: int
    event_id: str
    sending: Sending
    told: dict[str, Any]
    """The event as `core.spooled` writes it; what has an `"event_type"` goes as it is."""


@dataclass(slots=True)
class Losses:
    """Events that were given up since the last report."""

    crowded: int = 0
    """Too many or too much waited."""
    aged: int = 0
    damaged: int = 0
    """Their rows could not be read."""
    refused: int = 0
    """The server will not have them."""

    @property
    def count(self) -> int:
        return self.crowded + self.aged + self.damaged + self.refused


@dataclass(slots=True)
class Batch:
    """Rows of one claim, the oldest first."""

    token: int
    until: float
    """Seconds since the epoch; from then on others may send the same."""
    rows: list[Row] = field(default_factory=list)
    more: bool = False
    """Whether there are further ones."""


class Outbox(Protocol):
    """Events that wait for one server. Any thread of any process of the host may call.

    Raises, where the file cannot be used: LedgerUnavailable.
    """

    @property
    def sending(self) -> Sending:
        """Where to, and from which process."""
        ...

    @property
    def lasts(self) -> bool:
        """Whether all that waits here outlasts this process."""
        ...

    def is_same(self, other: Outbox) -> bool:
        """Whether what is added to `other` waits here."""
        ...

    def add(self, events: Sequence[Spooled]) -> None:
        """Keep events that come with no end of a hold."""
        ...

    def lose(self, count: int) -> None:
        """Count events that were given up before they came here."""
        ...

    def claim(self, now: float, *, most: int, most_size: int) -> Batch | None:
        """The oldest events that nobody else is sending; at least one, however large; None: there are none.

        What was given up since the last report is reported by an event of its own, kept in this step.
        """
        ...

    def forget(self, batch: Batch, numbers: Iterable[int]) -> None:
        """The server has these."""
        ...

    def refuse(self, batch: Batch, numbers: Iterable[int]) -> None:
        """The server will never have these: give them up, and count them."""
        ...

    def leave(self, batch: Batch) -> None:
        """Let others send what is left of a batch."""
        ...

    def waiting(self) -> int:
        """Events that the server has not acknowledged."""
        ...


def report_of(losses: Losses, sending: Sending) -> Spooled:
    """An error event of Aden's protocol that says what was lost."""
    now = time.time()
    event_id = f"{int(now * 1000):012x}{random_bits(64):016x}"
    told = {
        "event_type": "error",
        "event_id": event_id,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
        "sdk_instance_id": sending.instance,
        "agent_name": None,
        "message": f"{losses.count} events were given up before the server had them",
        "code": "events_lost",
        "stack": None,
        "trace_id": None,
        "lost": asdict(losses),
    }
    return Spooled(event_id, str(_json.dumps(told), "utf-8"), emitted=False, sending=sending)
