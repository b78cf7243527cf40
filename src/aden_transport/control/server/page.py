"""Holds and ends of many calls, worked out together on the rows that they touch.

A page of the ledger is read, changed in memory by one operation after the other, and written at once: what a
transaction costs, the wait for the disk above all, is paid once for all calls that came meanwhile, so that a
budget on which hundreds of calls a second meet is not locked for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ...ledger.base import Line, Outcome, Totals, Unit
from ...ledger.rule import judge

__all__ = ["MOST", "Charged", "Page", "End", "Hold", "Key", "Name", "Operation", "Part", "Reserve", "Sums"]

MOST = 2**53 - 1
"""Larger amounts count as this one."""

Name: TypeAlias = tuple[str, str]
"""Of a hold: team and `op_id`."""
Key: TypeAlias = tuple[str, str]
"""Team and key."""
Charged: TypeAlias = "list[tuple[Key, int]]"
"""Keys that something was spent on, each with what is spent now."""


@dataclass(slots=True)
class Sums:
    """Of one key."""

    spent: int = 0
    held: int = 0
    expected: int = 0
    holds: int = 0
    disputed: int = 0


@dataclass(slots=True)
class Part:
    """Of a hold, on one key."""

    key: str
    hold: int
    expected: int
    unit: Unit
    expires_at: float


@dataclass(slots=True)
class Hold:
    parts: Sequence[Part]
    outcome: Outcome
    expires_at: float
    ref: str | None = None
    intent: str | None = None
    """What its call's event needs if nobody ends it, JSON."""


@dataclass(slots=True)
class Reserve:
    """To take the first candidate that fits. Its lines are within the team's limits."""

    team: str
    op_id: str
    candidates: Sequence[Sequence[Line]]
    expires_at: float
    intent: str | None = None


@dataclass(slots=True)
class End:
    """To end a hold, by its id or by the vendor's id of deferred work."""

    team: str
    op_id: str | None
    ref: str | None = None
    amounts: Mapping[Unit, int] | None = None
    """What was spent; a unit that is not given is settled at its hold. None: nothing was."""
    expired_by: float | None = None
    """Only a hold that has expired by then is ended: at its amount, disputed."""


Operation: TypeAlias = Reserve | End


@dataclass(slots=True)
class Page:
    """The rows that some operations touch, and what becomes of them."""

    sums: dict[Key, Sums] = field(default_factory=dict)
    """As they are; a key that is not there is zero."""
    holds: dict[Name, Hold] = field(default_factory=dict)
    refs: dict[tuple[str, str], str] = field(default_factory=dict)
    added: dict[Key, Sums] = field(default_factory=dict)
    """What is to be added to the sums of a key."""
    parts: dict[Key, Part] = field(default_factory=dict)
    """Of the keys of `added`: unit, and when they expire."""
    made: dict[Name, Hold] = field(default_factory=dict)
    ended: set[Name] = field(default_factory=set)
    """Of those that were there."""

    def reserve(self, asked: Reserve) -> Outcome:
        """As `Ledger.reserve` does."""
        name = (asked.team, asked.op_id)
        known = self.holds.get(name)
        if known is not None:
            return known.outcome
        outcome = judge(asked.candidates, self._reader(asked.team))
        if outcome.kind == "held":
            lines = asked.candidates[outcome.candidate]
            parts = [_part(line) for line in lines]
            hold = Hold(parts, outcome, asked.expires_at, intent=asked.intent)
            self.holds[name] = self.made[name] = hold
            for part in parts:
                self._add(asked.team, part, 0, part.hold, part.expected, 1, 0)
        return outcome

    def end(self, asked: End) -> bool:
        """Whether there was such a hold."""
        op_id = asked.op_id if asked.ref is None else self.refs.get((asked.team, asked.ref))
        hold = None if op_id is None else self.holds.get((asked.team, op_id))
        if op_id is None or hold is None:
            return False
        if asked.expired_by is not None and hold.expires_at > asked.expired_by:
            return False
        name = (asked.team, op_id)
        del self.holds[name]
        if hold.ref is not None:
            self.refs.pop((asked.team, hold.ref), None)
        if self.made.pop(name, None) is None:
            self.ended.add(name)
        for part in hold.parts:
            spent = 0 if asked.amounts is None else min(asked.amounts.get(part.unit, part.hold), MOST)
            disputed = part.hold if asked.expired_by is not None and part.unit == "usd" else 0
            self._add(asked.team, part, spent, -part.hold, -part.expected, -1, disputed)
        return True

    def charged(self) -> Charged:
        return [(key, self.sums[key].spent) for key, added in self.added.items() if added.spent > 0]

    def _add(
        self, team: str, part: Part, spent: int, held: int, expected: int, holds: int, disputed: int
    ) -> None:
        key = (team, part.key)
        self.parts[key] = part
        for sums in (self.sums.setdefault(key, Sums()), self.added.setdefault(key, Sums())):
            sums.spent += spent
            sums.held += held
            sums.expected += expected
            sums.holds += holds
            sums.disputed += disputed

    def _reader(self, team: str) -> Callable[[Line], Totals]:
        def read(line: Line) -> Totals:
            return total([self.sums.get((team, key)) for key in (line.key, *line.also)])

        return read


def total(found: Iterable[Sums | None]) -> Totals:
    """Of several keys, that count together."""
    totals = Totals(0, 0, 0)
    for sums in found:
        if sums is not None:
            totals.spent += sums.spent
            totals.held += sums.held
            totals.expected += sums.expected
    return totals


def _part(line: Line) -> Part:
    return Part(line.key, min(line.hold, MOST), min(line.expected, MOST), line.unit, line.expires_at)
