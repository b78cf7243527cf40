"""The ledger of one process: dictionaries under one lock.

Reserving and settling a call of four lines takes 5 to 8 µs. Sums of keys that were used lately are objects;
those of idle keys are numbers in arrays (`idle.py`), so that a million customers take 27 MB.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from time import sleep
from typing import Literal, Protocol, TypeAlias

from .._fork import on_fork_in_child
from ..errors import LedgerUnavailable
from .base import SEAL, Intent, KeepsNoEvents, Line, Outcome, Spooled, Take, Totals, Unit
from .idle import IdleSums
from .pace import Move, Turn
from .pace_memory import Paces
from .rule import judge

__all__ = ["MemoryLedger"]

HOT_KEYS = 5_000
"""Keys whose sums are objects."""
STEPS, SWEPT = 16, 500
"""Keys that a reserve and a sweep look at, at most, to forget them or to put them away."""
SWEPT_SHARDS = 32


MOVED = (
    *("reserve", "settle", "release", "defer", "settle_deferred", "raise_to", "mark_once", "totals"),
    *("sweep", "take_events", "forget_events", "events_dropped", "disputed", "open_holds", "close"),
)
"""What another ledger does in the place of one that has moved there."""
Held = tuple[str, Sequence[tuple[str, int, int, Unit, float]], Outcome, float, "str | None"]
"""A hold: its id; per line the key, what is held and expected there, its unit and when the key expires; its
outcome, when it expires, and the vendor's id of deferred work."""


class Movable(Protocol):
    """A ledger that takes over from memory."""

    def adopt(self, sums: Sequence[tuple[str, int, float]], holds: Sequence[Held]) -> None:
        """Take over what is spent, as (key, amount, when the key expires), and what is held."""
        ...


class MemoryLedger(KeepsNoEvents):
    """See `Ledger`. No finaliser may call it: its lock may be held by the code that is interrupted.

    What is expired is forgotten by later reserves, a few keys each, and by `sweep`, more of them.
    """

    def __init__(self, *, hot_keys: int = HOT_KEYS) -> None:
        self._renew_lock()
        self._hot: OrderedDict[str, _Sums] = OrderedDict()
        self._hot_keys = hot_keys
        self._idle = IdleSums()
        self._marks = IdleSums()
        self._holds: dict[str, _Hold] = {}
        self._taken: dict[int, _Taken] = {}
        self._moved = False
        """Whether another ledger has taken over."""
        self._refs: dict[str, str] = {}
        self._disputed: dict[str, _Dispute] = {}
        self._now = 0.0
        self._paces = Paces()
        self._salt = os.urandom(32)
        _ledgers.add(self)

    # -- a call -------------------------------------------------------------------------------------

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        with self._lock:
            before = self._holds.get(op_id)
            if before is not None and before.outcome is not None:
                return before.outcome
            outcome = judge(candidates, self._totals)
            if outcome.kind == "held":
                parts = [self._hold(line) for line in candidates[outcome.candidate]]
                self._holds[op_id] = _Hold(parts, expires_at, outcome)
            self._now = now
            if len(self._hot) > self._hot_keys:
                self._put_away()
            return outcome

    def take(self, number: int, takes: Sequence[Take], hold: int, expected: int, expires_at: float) -> bool:
        """`reserve` for a call that costs `hold` at most on each of its budgets, if nothing is in force on
        any of them; else False, and nothing is held. Sums that are not in use yet are left to `reserve`.

        The hold is ended by `end`, or is one like others, with `name_of(number)`, from `name` on.
        """
        if len(takes) > 1:
            return self._take_all(number, takes, hold, expected, expires_at)
        ((key, limit_held, quiet_below),) = takes
        # `with` would add a thousand instructions to the path of every call, here and in `end`.
        lock = self._lock
        lock.acquire()
        try:
            sums = self._hot[key]
            spent, held, likely = sums.spent, sums.held + hold, sums.expected + expected
            if spent + held > limit_held or spent + likely >= quiet_below or self._moved:
                return False
            sums.held, sums.expected = held, likely
            sums.holds += 1
            self._taken[number] = (sums,), hold, expected, expires_at
            return True
        except KeyError:
            return False
        finally:
            lock.release()

    def _take_all(
        self, number: int, takes: Sequence[Take], hold: int, expected: int, expires_at: float
    ) -> bool:
        found: list[_Sums] = []
        lock = self._lock
        lock.acquire()
        try:
            if self._moved:
                return False
            hot = self._hot
            for key, limit_held, quiet_below in takes:
                sums = hot[key]
                spent, held, likely = sums.spent, sums.held + hold, sums.expected + expected
                if spent + held > limit_held or spent + likely >= quiet_below:
                    return _undone(found, hold, expected)
                sums.held, sums.expected = held, likely
                sums.holds += 1
                found.append(sums)
            self._taken[number] = found, hold, expected, expires_at
            return True
        except KeyError:
            return _undone(found, hold, expected)
        finally:
            lock.release()

    def end(self, number: int, amount: int) -> None:
        """Settle what was taken at `amount`."""
        lock = self._lock
        lock.acquire()
        try:
            found, hold, expected, _ = self._taken.pop(number)
            for sums in found:
                sums.spent += amount
                sums.held -= hold
                sums.expected -= expected
                sums.holds -= 1
            return
        except KeyError:
            pass
        finally:
            lock.release()
        if self._moved:
            self.settle(name_of(number), {"usd": amount})

    def name(self, number: int) -> str:
        """Make what was taken a hold like others; its `op_id`."""
        with self._lock:
            self._name(number)
        return name_of(number)

    def _name(self, number: int) -> None:
        taken = self._taken.pop(number, None)
        if taken is not None:
            found, hold, expected, expires_at = taken
            parts: list[_Part] = [(sums, "usd", hold, expected) for sums in found]
            self._holds[name_of(number)] = _Hold(parts, expires_at, None)

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        with self._lock:
            return self._end(op_id, amounts)

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        with self._lock:
            return self._end(op_id, None)

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        with self._lock:
            hold = self._holds.get(op_id)
            if hold is None or self._refs.get(ref, op_id) != op_id:
                return False
            if hold.ref is not None:
                del self._refs[hold.ref]
            self._refs[ref] = op_id
            hold.ref, hold.expires_at = ref, expires_at
            return True

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        with self._lock:
            op_id = self._refs.get(ref)
            return op_id is not None and self._end(op_id, amounts)

    # -- a key --------------------------------------------------------------------------------------

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        with self._lock:
            if self._marked(key, f"raise\0{mark}", expires_at):
                sums = self._sums(key, expires_at)
                sums.spent = max(sums.spent, spent)

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        with self._lock:
            return self._marked(key, f"mark\0{mark}", expires_at)

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        with self._lock:
            return tuple([self._totals(line) for line in lines])

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        return self._paces.move(key, move, now)

    def salt(self) -> bytes:
        return self._salt

    def seal(self, key: str) -> None:
        """Hold nothing more on `key` for lines that have a limit; what is held may still end."""
        with self._lock:
            sums = self._sums(key, 0.0)
            if sums.held < SEAL:
                sums.held += SEAL
                sums.holds += 1

    def forget(self, key: str) -> None:
        """What is spent on `key`, on which nothing is held, is not asked for any more."""
        with self._lock:
            self._hot.pop(key, None)
            self._idle.drop(key)

    # -- all of them --------------------------------------------------------------------------------

    def sweep(self, now: float) -> Sequence[str]:
        with self._lock:
            for number in [number for number, taken in self._taken.items() if taken[3] <= now]:
                self._name(number)
            late = {op_id: hold for op_id, hold in self._holds.items() if hold.expires_at <= now}
            for op_id, hold in late.items():
                self._end(op_id, {})
                self._dispute(hold)
            self._now = now
            self._look_through(SWEPT)
            self._idle.forget(now, at_least=SWEPT_SHARDS)
            self._marks.forget(now, at_least=SWEPT_SHARDS)
            self._disputed = {k: d for k, d in self._disputed.items() if not 0 < d.expires_at <= now}
            return list(late)

    def disputed(self) -> Mapping[str, int]:
        with self._lock:
            return {key: dispute.amount for key, dispute in self._disputed.items()}

    def open_holds(self) -> int:
        return len(self._holds) + len(self._taken)

    def close(self) -> None:
        """Nothing to let go of."""

    # -- in place of it -----------------------------------------------------------------------------

    def move_to(self, other: Movable) -> int:
        """Hand over to `other`, which does everything from now on. The sums of how many keys stayed behind:
        of keys that nobody used of late only the hashes are known.

        Raises: LedgerUnavailable, and goes on as before.
        """
        with self._lock:
            for number in list(self._taken):
                self._name(number)
            sums = [(key, each.spent, each.expires_at) for key, each in self._hot.items()]
            other.adopt(sums, self._held())
            moved = frozenset(self._holds)
            self._moved = True
            for name in MOVED:
                setattr(self, name, getattr(other, name))
        # Threads that waited for the lock meanwhile have gone on in here.
        sleep(0.001)
        with self._lock, suppress(LedgerUnavailable):
            other.adopt([], [hold for hold in self._held() if hold[0] not in moved])
        return len(self._idle)

    def _held(self) -> list[Held]:
        return [
            (
                op_id,
                [(sums.key, held, likely, unit, sums.expires_at) for sums, unit, held, likely in hold.parts],
                hold.outcome or Outcome("held", 0, ()),
                hold.expires_at,
                hold.ref,
            )
            for op_id, hold in self._holds.items()
        ]

    # -- within the lock ----------------------------------------------------------------------------

    def _totals(self, line: Line) -> Totals:
        sums = self._hot.get(line.key)
        if sums is None:
            totals = Totals(self._idle.get(line.key), 0, 0)
        else:
            totals = Totals(sums.spent, sums.held, sums.expected)
        if line.also:
            self._add(totals, line.also)
        return totals

    def _add(self, totals: Totals, keys: Sequence[str]) -> None:
        for key in keys:
            sums = self._hot.get(key)
            if sums is None:
                totals.spent += self._idle.get(key)
            else:
                totals.spent += sums.spent
                totals.held += sums.held
                totals.expected += sums.expected

    def _sums(self, key: str, expires_at: float) -> _Sums:
        sums = self._hot.get(key)
        if sums is None:
            # In this order: a fork in between leaves the sum in both places rather than in none.
            sums = self._hot[key] = _Sums(key, self._idle.get(key), expires_at)
            self._idle.drop(key)
        return sums

    def _marked(self, key: str, mark: str, expires_at: float) -> bool:
        name = f"{mark}\0{key}"
        self._marks.forget(self._now)
        return self._marks.get(name) == 0 and self._marks.put(name, 1, expires_at)

    def _hold(self, line: Line) -> _Part:
        sums = self._hot.get(line.key) or self._sums(line.key, line.expires_at)
        sums.held += line.hold
        sums.expected += line.expected
        sums.holds += 1
        return sums, line.unit, line.hold, line.expected

    def _end(self, op_id: str, amounts: Mapping[Unit, int] | None) -> bool:
        """Nothing is spent where there are no `amounts`."""
        hold = self._holds.pop(op_id, None)
        if hold is None:
            return False
        if hold.ref is not None:
            del self._refs[hold.ref]
        for sums, unit, held, expected in hold.parts:
            if amounts is not None:
                sums.spent += amounts.get(unit, held)
            sums.held -= held
            sums.expected -= expected
            sums.holds -= 1
        return True

    def _dispute(self, hold: _Hold) -> None:
        for sums, unit, held, _ in hold.parts:
            if unit == "usd" and held:
                dispute = self._disputed.setdefault(sums.key, _Dispute(sums.expires_at))
                dispute.amount += held

    # -- bounds -------------------------------------------------------------------------------------

    def _put_away(self) -> None:
        for _ in range(STEPS):
            if len(self._hot) <= self._hot_keys:
                break
            self._look_through(1)
        self._idle.forget(self._now)

    def _look_through(self, count: int) -> None:
        """At the keys that were looked at longest ago."""
        hot = self._hot
        for _ in range(min(len(hot), count)):
            key, sums = next(iter(hot.items()))
            if sums.holds or not self._is_put_away(key, sums):
                hot.move_to_end(key)
            else:
                del hot[key]

    def _is_put_away(self, key: str, sums: _Sums) -> bool:
        """Whether nothing is lost when `sums` goes."""
        if not sums.spent or 0 < sums.expires_at <= self._now:
            return True
        return len(self._hot) > self._hot_keys and self._idle.put(key, sums.spent, sums.expires_at)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def _renew_in_child(self) -> None:
        """The calls that are open are the parent's. The lock may be held by a thread that is not here."""
        self._renew_lock()
        self._paces.renew_in_child()
        self._holds, self._refs, self._taken = {}, {}, {}
        for sums in self._hot.values():
            sums.held = sums.expected = sums.holds = 0


class _Sums:
    """Of one key."""

    __slots__ = ("expected", "expires_at", "held", "holds", "key", "spent")

    def __init__(self, key: str, spent: int, expires_at: float) -> None:
        self.key = key
        self.spent = spent
        self.held = 0
        self.expected = 0
        self.holds = 0
        self.expires_at = expires_at


_Part: TypeAlias = tuple[_Sums, Unit, int, int]
"""Of a hold, on one key: its unit, and what is held and expected there."""


_Taken: TypeAlias = tuple[Sequence[_Sums], int, int, float]
"""The sums of dollars on which `take` has held, and as in `_Hold`: hold, expectation, when it expires."""


class _Hold:
    __slots__ = ("expires_at", "outcome", "parts", "ref")

    def __init__(self, parts: Sequence[_Part], expires_at: float, outcome: Outcome | None) -> None:
        self.parts = parts
        self.expires_at = expires_at
        self.outcome = outcome
        self.ref: str | None = None


def _undone(found: Iterable[_Sums], hold: int, expected: int) -> Literal[False]:
    for sums in found:
        sums.held -= hold
        sums.expected -= expected
        sums.holds -= 1
    return False


def name_of(number: int) -> str:
    """The `op_id` of what was taken under a number of 64 bits."""
    return f"{number:016x}"


class _Dispute:
    __slots__ = ("amount", "expires_at")

    def __init__(self, expires_at: float) -> None:
        self.amount = 0
        self.expires_at = expires_at


_ledgers: weakref.WeakSet[MemoryLedger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger._renew_in_child()


on_fork_in_child(_after_fork_in_child)
