"""What every ledger does: hold an upper bound of a call on all its budgets or on none, settle or release it.

Amounts are integers from 0 to 2**53 - 1: nano-dollars, or tokens, or calls, as the budget counts. Every
operation is idempotent by `op_id`. A ledger decides nothing about policy: the lines of a request say, in
numbers, where a candidate stops to fit.

None of the values is changed after it is made. They are not frozen, as several are made for every call, and
freezing takes 0.8 µs where 0.3 µs will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from .pace import Move, Turn

__all__ = [
    "NEVER",
    "SEAL",
    "UNLIMITED",
    "End",
    "Intent",
    "KeepsNoEvents",
    "Ledger",
    "Line",
    "Outcome",
    "Sending",
    "Spooled",
    "Take",
    "Totals",
    "Unit",
]

Unit = Literal["usd", "tokens", "calls"]
"""What a budget counts; `"usd"` in nano-dollars."""

NEVER = -1
"""A bound that is not there."""

Intent = Mapping[str, Any]
"""JSON: what the event of a call needs if nobody ever ends it, under `"event"` its fields as far as they are
known, and under `"models"` the model of each candidate; `"sending"` as the members of `Sending`, and
`"emitted": False`, where the event is to go elsewhere than to emitters."""


class Sending(NamedTuple):
    """Where an event goes."""

    to: str
    """Names a server and whose key is used there, and shows neither."""
    instance: str
    """The process that made it."""
    settled: bool = False
    """Whether that server's ledger has charged the call already."""


class Spooled(NamedTuple):
    """An event that is kept until everybody has it."""

    event_id: str
    text: str
    """The event as JSON."""
    emitted: bool = True
    """Whether emitters are to have it."""
    sending: Sending | None = None
    """The server that is to have it."""


End: TypeAlias = "tuple[str, Mapping[Unit, int] | None, Spooled | None]"
"""The id of a hold, the amounts that it is settled at (None: it is released), and its event."""

UNLIMITED = 2**62
"""More than any sum."""

SEAL = 2**56
"""Held on a key on which nothing more is to be held: more than any sum, and sixty of it fit into 63 bits."""

Take: TypeAlias = tuple[str, int, int]
"""A budget of dollars for a call on which nothing is in force: the key of a line, what may be held at most,
and the expected sum from which on something is in force or too much; else `UNLIMITED`."""


@dataclass(slots=True)
class Line:
    """One budget in one window, as one candidate of a call would touch it."""

    key: str
    """Names budget, window and generation; what is spent is added here. At most one line of a candidate."""
    hold: int
    """The upper bound of what this candidate may cost."""
    expected: int
    """What it probably costs; at most `hold`."""
    limit_held: int = NEVER
    """The candidate fits only if spent + held + `hold` ≤ this (a hard limit)."""
    limit_expected: int = NEVER
    """The candidate fits only if spent + expected + `expected` ≤ this (a limit of expectation)."""
    degrade_at: int = NEVER
    """The candidate is passed over if spent + expected + `expected` ≥ this."""
    throttle_at: int = NEVER
    """The call has to wait first if spent + expected + `expected` ≥ this."""
    unit: Unit = "usd"
    also: tuple[str, ...] = ()
    """Keys whose sums count with those of `key`, all three: the older parts of a rolling window."""
    expires_at: float = 0.0
    """Seconds since the epoch after which the key may be forgotten; 0: never. The same in all lines of a key.
    A key is never forgotten while a hold is open on it."""


@dataclass(slots=True)
class Totals:
    """Sums of one line's keys, without the call that is asked about."""

    spent: int
    """Settled."""
    held: int
    """The holds of open calls."""
    expected: int
    """The expectations of open calls."""


@dataclass(slots=True)
class Outcome:
    """What became of a `reserve`."""

    kind: Literal["held", "throttled", "refused"]
    """`"throttled"` and `"refused"` hold nothing."""
    candidate: int
    """The index of the candidate that is held, would be held after the wait, or was refused last."""
    totals: tuple[Totals, ...]
    """Of that candidate's lines, in their order, before this call."""
    line: int = NEVER
    """Of a refusal or a wait: the index of the first line that demands it."""
    fits_expected: bool = False
    """Of a refusal: whether only holds of open calls stand in its way, so that waiting for them may help.

    That is, on every line: spent + `hold` ≤ `limit_held`, and spent + expected + `expected` ≤ `limit_held`
    and ≤ `limit_expected`."""
    asks: bool = False
    """Of a refusal: whether only the lease of a line stands in its way, and the server is asked for more. The
    same call asks again, soon and for a while."""


class Ledger(Protocol):
    """One critical section over all budgets. Every method may be called from any thread.

    Raises, where the store cannot be reached: LedgerUnavailable. Memory never does.

    **The spool.** A hold may come with an intent, and the end of a hold with its event; each is written in
    one step with the money, so that money and events cannot disagree whenever a process dies. What is left
    of processes that are gone is had by `take_events`. Memory, which dies with its process, keeps neither;
    Redis keeps intents only; a control server does, and stores what becomes of them as events of its own.
    """

    @property
    def spools(self) -> bool:
        """Whether the events that come with ends are kept."""
        ...

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        """Take the first candidate that fits on all its lines.

        There is at least one; they are tried in their order. One whose line is at its `degrade_at` is
        passed over, unless it is the last; one that does not fit a limit is passed over, too. If none is
        left, the call is refused by the first line of the last candidate that did not fit. If the
        candidate that fits has a line at its `throttle_at`, nothing is held and the outcome is `"throttled"`.

        The same `op_id` again gives the same outcome while it is held, and holds nothing more. An id that is
        settled or released is forgotten: reserving it again makes a new hold. `expires_at`: when a hold that
        nobody settles is settled at its amount, disputed. `now`, `expires_at`: seconds since the epoch.
        `intent` is kept with the hold, and goes with it.
        """
        ...

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        """Turn a hold into spending. A unit that is not given is settled at its hold. False where there is
        no such hold (any more); its event is not kept then. Amounts may exceed the hold."""
        ...

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        """Give a hold back whole. False where there is no such hold (any more)."""
        ...

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        """Keep a hold under the vendor's id of work that goes on, until `settle_deferred` or `expires_at`.

        The end of its owner does not end it; `settle` and `release` still do. The same again is True. False
        where there is no such hold (any more), or another hold has that `ref`; it then stays as it was.
        Its intent is forgotten: the call that began the work has its event.
        """
        ...

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        """`settle` for whoever first sees the end of deferred work, in any process; False for all others."""
        ...

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        """Once per `key` and `mark`: what is spent on `key` is at least `spent`."""
        ...

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        """True for the first caller of all processes, per `key` and `mark`."""
        ...

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        """The sums of lines, without asking for anything."""
        ...

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        """What `move` makes of the pace of `key`, as `pace.moved` says, in one step for all processes.

        `now`: seconds; None: by the clock that all users of the store share. A key is forgotten when it was
        not used for an hour."""
        ...

    def salt(self) -> bytes:
        """Random bytes that all users of the store share, and nobody else has: for names that must not
        tell what they stand for."""
        ...

    def sweep(self, now: float) -> Sequence[str]:
        """Settle, at the hold and disputed, the holds whose `expires_at` is at or before `now`, and those not
        deferred whose owner is gone; their ids. Forgets some of the keys and marks that have expired.
        The intents of what it settles become events to take."""
        ...

    def take_events(self, most: int) -> Mapping[str, Mapping[str, Any]]:
        """At most so many events, by id, whose processes are gone: they are now this one's to emit.

        Those of settlements are what came with them. Those of swept holds are intents with `"hold"`, the
        most that was held in nano-dollars (None: no money was), and `"candidate"`, the index of what was
        held."""
        ...

    def forget_events(self, event_ids: Iterable[str]) -> None:
        """Emitters have taken these events. May be done later, and then at the latest by `close`."""
        ...

    def events_dropped(self) -> int:
        """Events that were given up, because too many, too much or too old waited for being taken."""
        ...

    def disputed(self) -> Mapping[str, int]:
        """Nano-dollars settled at a hold by `sweep`, because nobody said what was spent, by key."""
        ...

    def open_holds(self) -> int:
        """How many holds are open."""
        ...

    def close(self) -> None:
        """Let go of files and connections; the next use takes them again. Open holds stay, for `sweep`."""
        ...


class KeepsNoEvents:
    """The part of `Ledger` that is about events, of one that keeps none."""

    spools = False

    def take_events(self, most: int) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def forget_events(self, event_ids: Iterable[str]) -> None:
        """There are none."""

    def events_dropped(self) -> int:
        return 0
