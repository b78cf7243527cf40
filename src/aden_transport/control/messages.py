"""What client and server say to each other: paths, headers, limits, and the shapes that are not plain JSON.

Aden's HTTP protocol, as its published client speaks it, and ours beside it. Money is in nano-dollars, as
integers, wherever a name ends in `_nano` or stands in a lease; Aden's own members are dollars, as numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

__all__ = [
    "Ask",
    "Grant",
    "INSTANCE_HEADER",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_EVENTS",
    "MAX_FRAME_BYTES",
    "Paths",
    "SERVER_HEADER",
    "SERVER_NAME",
    "State",
    "TEAM_HEADER",
    "URL",
]

URL = "https://kube.acho.io"
"""Aden's own server, where neither option nor environment names one."""
SERVER_HEADER = "x-aden-server"
SERVER_NAME = "aden-transport"
"""The value of the header in each answer of ours; without it a server speaks Aden's protocol alone."""
TEAM_HEADER = "x-aden-team"
"""In answers with a policy: the id of the team that the key is of."""
INSTANCE_HEADER = "x-sdk-instance-id"
MAX_BATCH_EVENTS = 1000
MAX_BATCH_BYTES = 4 << 20
"""Of a batch's JSON before it is compressed."""
MAX_FRAME_BYTES = 1 << 20
"""Of one WebSocket message."""


class Paths:
    """Of Aden's protocol, and, from `leases` on, ours."""

    policy = "/v1/control/policy"
    events = "/v1/control/events"
    content = "/v1/control/content"
    validate = "/v1/control/budget/validate"
    pricing = "/tsdb/pricing"
    leases = "/v1/ledger/leases"
    ledger = "/v1/ledger"
    mark_once = "/v1/ledger/mark_once"
    push = "/v1/control/push"
    health = "/health"


State = Literal["open", "fenced", "closed", "disputed"]
"""Of a lease. `"fenced"`: a later generation was opened, or the key may not be spent on: reports are taken,
nothing more is granted. `"closed"`: its rest was freed. `"disputed"`: charged in full, as its owner was
silent."""


@dataclass(slots=True, kw_only=True)
class Ask:
    """An owner's word on one lease. Every figure but `open` only grows within a generation, so asks may be
    lost, repeated and reordered; `seq` tells the latest."""

    key: str
    """Of the ledger: budget, window and generation of the window."""
    generation: int
    """Of the lease; a new one is opened after one was given back."""
    seq: int
    used: int
    """Settled under the lease so far."""
    want: int
    """What `granted` should be."""
    need: int
    """What `granted` has to be for a call that waits; less is of no use to it. At most `want`."""
    unit: Literal["usd", "tokens", "calls"] = "usd"
    also: tuple[str, ...] = ()
    """Keys whose sums count with those of `key`."""
    expires_at: float = 0.0
    """When the key may be forgotten, seconds since the epoch; 0: never."""
    final: bool = False
    """Nothing is held under the lease any more, and nothing will be: `used` is the whole of it."""

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Raises: TypeError where a member is missing. Members that are not known are left out."""
        given = {field.name: told[field.name] for field in fields(cls) if field.name in told}
        given["also"] = tuple(given.get("also", ()))
        return cls(**given)


@dataclass(slots=True, kw_only=True)
class Grant:
    """The server's word on one lease, in answer to an `Ask`."""

    key: str
    generation: int
    seq: int
    """Of the latest ask that it knows."""
    granted: int
    """In all, of this generation."""
    used: int
    """As far as the server knows."""
    ttl_s: float
    """For so long after the ask was sent the owner may begin calls under the lease."""
    state: State = "open"
    limit: int | None = None
    """Of the budget; None: it has none that stops calls."""
    spent: int = 0
    """Of the key, by all owners, this lease's `used` included."""
    held: int = 0
    """By all owners: open holds, and what leases were granted and have not used, this one's included."""

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Raises: TypeError where a member is missing. Members that are not known are left out."""
        return cls(**{field.name: told[field.name] for field in fields(cls) if field.name in told})
