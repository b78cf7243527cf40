"""What a server grants to the owners of leases: an ask and figures in, a lease, a grant and new sums out.

A lease has a place in its key's sums: what is `booked` in spent, and what it holds. Whatever happens to it
changes the sums by the difference of the two places. Every figure of an owner's only grows, so asks may be
lost, repeated and reordered; what an owner has not said is never given back to others.

Spent and held stay within the limit: a grant is taken from what is free, silence moves held to spent, and a
late word moves it back. Only what calls cost beyond their holds, or a limit that is cut, goes beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ..control.messages import Ask, Grant, State

__all__ = [
    "MOST",
    "Answer",
    "Bounds",
    "Change",
    "Lease",
    "Standing",
    "dispute",
    "is_silent",
    "is_stale",
    "judge",
    "resolve",
    "write_off",
]

MOST = 2**53 - 1
"""Larger figures of an owner count as this one."""
SMALLEST = 1000
"""Of the limit, the part below which a grant is only for a call that waits: what nobody can use is not given
away ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Times, in seconds."""

    ttl_s: float = 60.0
    """For so long after its ask an owner may begin calls."""
    clock_skew: float = 0.1
    """By which part of a time the clocks of owner and server may run apart."""
    longest_s: float = 3600.0
    """How long a call lasts at most."""
    dispute_ttl_s: float = 24 * 3600.0
    """How long a silent owner may still say what it spent."""

    @property
    def silent_s(self) -> float:
        """After so long without a word nothing is under way any more."""
        return self.ttl_s * (1 + self.clock_skew) + self.longest_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What an owner was granted of a key in one generation."""

    generation: int
    seq: int = -1
    """Of the latest ask."""
    granted: int = 0
    used: int = 0
    """As the owner says."""
    booked: int = 0
    """What is counted as spent: `used`, or all that was granted where that is disputed or was never told."""
    state: Literal["open", "disputed", "closed"] = "open"
    heard_at: float = 0.0
    disputed_at: float = 0.0

    @property
    def held(self) -> int:
        return max(0, self.granted - self.used) if self.state == "open" else 0

    @property
    def disputed(self) -> int:
        """Booked, but perhaps not spent."""
        return self.booked - self.used if self.state == "disputed" else 0


class Change(NamedTuple):
    """What is to be added to the sums of a key."""

    spent: int
    held: int
    disputed: int


class Standing(NamedTuple):
    """Of a key, before the ask."""

    spent: int
    """By everybody; with the older parts of a rolling window, as `held`."""
    held: int
    """Open holds, and what leases hold."""
    limit: int | None
    """None: nothing stops calls."""
    owners: int = 1
    """How many have an open lease and were heard within `ttl_s`, the one who asks included."""
    latest: int = 0
    """The last generation of this owner on this key."""
    is_open: bool = True
    """Whether the key may be spent on."""


class Answer(NamedTuple):
    lease: Lease
    change: Change
    grant: Grant


def judge(ask: Ask, lease: Lease | None, standing: Standing, *, now: float, bounds: Bounds) -> Answer:
    """The answer to an ask. `lease`: of its owner, key and generation, as it is kept; None: there is none."""
    before = Lease(generation=ask.generation) if lease is None else lease
    may_grow = standing.is_open and ask.generation >= standing.latest
    after = _heard(before, ask, now)
    if ask.seq > before.seq:
        after = replace(after, seq=ask.seq)
        if ask.final:
            after = _closed(after)
        elif after.state == "open" and may_grow:
            told = _change(before, after)
            moved = standing._replace(spent=standing.spent + told.spent, held=standing.held + told.held)
            after = replace(after, granted=_granted(ask, after, moved))
    change = _change(before, after)
    state: State = "fenced" if after.state == "open" and not may_grow else after.state
    grant = Grant(
        key=ask.key,
        generation=ask.generation,
        seq=after.seq,
        granted=after.granted,
        used=after.used,
        ttl_s=bounds.ttl_s,
        state=state,
        limit=standing.limit,
        spent=standing.spent + change.spent,
        held=standing.held + change.held,
    )
    return Answer(after, change, grant)


def _heard(lease: Lease, ask: Ask, now: float) -> Lease:
    """What is known by the ask's figures. A word of a silent owner makes the lease what it would be had the
    owner never been silent, unless that was resolved."""
    used = max(lease.used, min(max(ask.used, 0), MOST))
    if lease.state == "closed":
        return replace(lease, used=used, booked=max(lease.booked, used))
    if ask.seq < lease.seq:
        # An old copy: it says nothing about whether its owner is there.
        if lease.state == "disputed":
            return replace(lease, used=used, booked=max(lease.booked, used))
        return replace(lease, used=used, booked=used)
    return replace(lease, used=used, booked=used, state="open", heard_at=now, disputed_at=0.0)


def _closed(lease: Lease) -> Lease:
    """Nothing is held any more: the owner has said all."""
    if lease.state == "closed":
        return lease
    return replace(lease, state="closed", booked=lease.used, disputed_at=0.0)


def _granted(ask: Ask, lease: Lease, standing: Standing) -> int:
    """What is granted in all after an ask that is new."""
    # What was spent beyond the lease is paid for already: only what goes beyond that is taken from others.
    base = max(lease.granted, lease.used)
    more = min(max(ask.want, ask.need), MOST) - base
    if more <= 0:
        return lease.granted
    if standing.limit is None:
        return base + more
    free = standing.limit - standing.spent - standing.held
    # Where all owners hold as much as they may, as much again is free: for newcomers, and for needs.
    fair = (free + lease.held) // (max(1, standing.owners) + 1) - lease.held
    given = min(more, max(0, fair))
    needed = min(ask.need, MOST) - base
    if needed > given:
        given = needed if needed <= free else 0
    elif needed <= 0 and given < min(more, standing.limit // SMALLEST):
        given = 0
    return base + given if given > 0 else lease.granted


def _change(before: Lease, after: Lease) -> Change:
    return Change(after.booked - before.booked, after.held - before.held, after.disputed - before.disputed)


# -- silence ----------------------------------------------------------------------------------------


def is_silent(lease: Lease, now: float, bounds: Bounds) -> bool:
    """Whether an open lease is to be disputed."""
    return lease.state == "open" and now >= lease.heard_at + bounds.silent_s


def is_stale(lease: Lease, now: float, bounds: Bounds) -> bool:
    """Whether a disputed lease is to be resolved."""
    return lease.state == "disputed" and now >= lease.disputed_at + bounds.dispute_ttl_s


def dispute(lease: Lease, now: float) -> tuple[Lease, Change]:
    """What an owner who is silent had left counts as spent, until it says otherwise."""
    if lease.state != "open":
        return lease, Change(0, 0, 0)
    if not lease.held:
        return _with_change(lease, replace(lease, state="closed"))
    return _with_change(lease, replace(lease, state="disputed", booked=lease.granted, disputed_at=now))


def resolve(lease: Lease) -> tuple[Lease, Change]:
    """What was disputed is spent for good."""
    if lease.state != "disputed":
        return lease, Change(0, 0, 0)
    return _with_change(lease, replace(lease, state="closed"))


def write_off(lease: Lease) -> tuple[Lease, Change]:
    """Somebody answers for it that no more was spent than was told: the rest is free again."""
    if lease.state != "disputed":
        return lease, Change(0, 0, 0)
    return _with_change(lease, _closed(lease))


def _with_change(before: Lease, after: Lease) -> tuple[Lease, Change]:
    return after, _change(before, after)
