"""A ledger that spends the fleet's money under leases: a child of the server's, for one process or host.

A local ledger judges and holds, in one critical section, what is lowered to what the leases grant; the sums
that come back are the fleet's. Nothing here waits for the server: a call that only a lease keeps out is told
so (`Outcome.asks`), and what it lacks is among what is `due` to be asked.

What the server is told and what it answers is carried by somebody else, on whatever thread: `due` is to be
called once a second, each half second while `is_waited_for`, after each `wake` and after each `take`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..control.messages import Ask, Grant
from .base import SEAL, End, Intent, Ledger, Line, Outcome, Spooled, Totals, Unit
from .hold_end import EndsMany, Ride, many_of
from .lease_lines import Lowered, MissingLease, View, lacks, of_fleet, shifted
from .lease_memory import lease_clock
from .lease_waits import Waiting
from .leases import Account, of_local_key
from .pace import Move, Turn
from .rule import judge

__all__ = ["LeasedLedger", "Leases", "is_fleet_key"]

TRIES = 4
"""Of one reserve, while leases change under it."""
MOST_KEPT = 10_000


class Leases(Protocol):
    """The book of an owner, and where it is kept. Any thread may use it.

    Raises, where a file cannot be used: LedgerUnavailable.
    """

    is_shared: bool
    """Whether other processes change it, too."""

    @property
    def owner(self) -> str:
        """A name that no other owner has."""
        ...

    def find(self, key: str) -> Account | None:
        """The lease under which calls of `key` begin, as far as this process knows. Does no I/O."""
        ...

    def remembered(self, key: str) -> int:
        """What was spent on a key that has no lease, when its last one ended. Does no I/O."""
        ...

    def prepare(self, lines: Iterable[Line], now: float, *, anew: bool = False) -> bool:
        """Have a lease for each key, with nothing granted where it is new; whether one is. `anew`: what this
        process knows is out of date."""
        ...

    def siblings(self, account: Account, also: Sequence[str]) -> Sequence[Account]:
        """The owner's other leases of its key, and those of the keys in `also`. Does no I/O."""
        ...

    def add(self, key: str, spent: int) -> None:
        """Others have spent so much more on `key`, as long as the server has not said how much it was."""
        ...

    def due(self, now: float, waiting: Mapping[str, Collection[int]], *, end: bool = False) -> list[Ask]: ...

    def take(self, grants: Iterable[Grant], asked_at: float, now: float) -> None: ...

    @property
    def is_empty(self) -> bool:
        """Whether nothing is leased, and nothing is left to be told."""
        ...


def is_fleet_key(key: str) -> bool:
    """Whether a key's sums are the fleet's: not those of a run, nor of a rule's minute."""
    return not (key.startswith("-|run:") or (key[:1] == "m" and key.partition("|")[0][1:].isdigit()))


class LeasedLedger:
    """See `Ledger`, and `Leases` for who owns what. `local` and `leases` keep the same sums."""

    def __init__(
        self,
        local: Ledger,
        leases: Leases,
        *,
        is_fleet: Callable[[str], bool] = is_fleet_key,
        clock: Callable[[], float] = lease_clock,
    ) -> None:
        self.local = local
        self._local_many = many_of(local)
        self.leases = leases
        self.is_fleet = is_fleet
        self.clock = clock
        self.wake: Callable[[], object] | None = None
        """Called where something is due that somebody waits for: from any thread, often, and must return at
        once."""
        self.answered_at: float | None = None
        """By `clock`: when the server last answered."""
        self._waiting = Waiting()
        self._kept: OrderedDict[str, None] = OrderedDict()
        """Calls that hold another candidate than the first."""
        self._lock = threading.Lock()

    # -- for whoever talks to the server ------------------------------------------------------------

    @property
    def owner(self) -> str:
        return self.leases.owner

    def due(self, now: float | None = None, *, end: bool = False) -> list[Ask]:
        """What to ask the server; `now` by `clock`. `end`: give everything back, until `is_given_back`."""
        now = self.clock() if now is None else now
        return self.leases.due(now, self._waiting.wanted(now), end=end)

    def take(self, grants: Iterable[Grant], asked_at: float) -> None:
        """What it answered. `asked_at`: by `clock`, when the asks were sent, or earlier."""
        now = self.clock()
        self.leases.take(grants, asked_at, now)
        self.answered_at = now

    @property
    def is_waited_for(self) -> bool:
        """Whether a call waits for a lease."""
        return bool(self._waiting)

    @property
    def is_given_back(self) -> bool:
        """Whether nothing is leased any more, and the server knows all."""
        return self.leases.is_empty

    # -- a call -------------------------------------------------------------------------------------

    @property
    def spools(self) -> bool:
        return self.local.spools

    def reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        """As `Ledger.reserve`. The first candidate that the fleet's limits admit is taken: where its lease
        does not cover it, nothing is held and the outcome `asks`."""
        given = {"now": now, "expires_at": expires_at, "intent": intent}
        return self._reserve(op_id, candidates, given)

    def reserve_beyond(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        *,
        allowances: Mapping[str, int | None],
        now: float,
        expires_at: float,
        intent: Intent | None = None,
    ) -> Outcome:
        """`reserve` while the server does not answer: up to so many nano-dollars beyond the lease of a key,
        None: as much as the limits admit by what is known."""
        given = {"now": now, "expires_at": expires_at, "intent": intent}
        return self._reserve(op_id, candidates, given, allowances)

    def _reserve(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        given: Mapping[str, Any],
        beyond: Mapping[str, int | None] | None = None,
    ) -> Outcome:
        now, anew = self.clock(), bool(self._waiting) and op_id in self._waiting
        outcome = REFUSED
        for _ in range(TRIES):
            views = self._views(candidates[0], now, beyond, anew=anew)
            was_new, anew = anew or not self.leases.is_shared, True
            outcome = self._reserve_locally(op_id, candidates, views, given, beyond)
            if any(sums.held >= SEAL for sums in outcome.totals) and outcome.kind == "refused":
                continue  # Another lease has taken the place of this one.
            # Of a call that is held already, the candidates may be others by now.
            lines = candidates[outcome.candidate] if outcome.candidate < len(candidates) else ()
            if (outcome.candidate or outcome.kind == "refused") and op_id not in self._kept:
                if not was_new and outcome.kind == "refused":
                    continue
                found = self._by_fleet(op_id, candidates, views, outcome, now)
                if found is None:
                    continue  # What was lacking is there now.
                outcome = found
            else:
                outcome = shifted(outcome, lines, views)
            if not outcome.asks and self._waiting:
                self._waiting.drop(op_id)
            return outcome
        return Outcome("refused", outcome.candidate, outcome.totals, max(0, outcome.line), asks=True)

    def _reserve_locally(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        views: dict[str, View],
        given: Mapping[str, Any],
        beyond: Mapping[str, int | None] | None,
    ) -> Outcome:
        while True:
            try:
                return self.local.reserve(op_id, Lowered(candidates, views, self.is_fleet), **given)
            except MissingLease as exc:
                views.update(self._views(exc.lines, self.clock(), beyond))

    def _by_fleet(
        self,
        op_id: str,
        candidates: Sequence[Sequence[Line]],
        views: dict[str, View],
        local: Outcome,
        now: float,
    ) -> Outcome | None:
        """The outcome, where the local one is not that of a first candidate that is held; None: to be asked
        again. `local`: what is held by then is given back, if the fleet would take another candidate."""
        sums: dict[str, Totals] = {}
        asked = [self._fleet_lines(candidate, views, sums, now) for candidate in candidates]
        fleet = judge(asked, lambda line: _counted(sums[line.key], views.get(line.key)))
        lines = candidates[fleet.candidate]
        if local.kind == "held":
            if fleet.candidate >= local.candidate or fleet.kind == "refused":
                self._keep(op_id)
                return shifted(local, candidates[local.candidate], views)
            self.local.release(op_id)
        told = [_told(sums[line.key], views.get(line.key)) for line in lines]
        outcome = Outcome(fleet.kind, fleet.candidate, tuple(told), fleet.line, fleet.fits_expected)
        if fleet.kind != "held":
            return outcome
        lacking = [
            number
            for number, line in enumerate(lines)
            if lacks(line, views.get(line.key), sums[line.key].spent + sums[line.key].held)
        ]
        if not lacking:
            return None
        self._wait(op_id, [lines[number] for number in lacking], now)
        outcome.kind, outcome.line, outcome.asks = "refused", lacking[0], True
        return outcome

    def _fleet_lines(
        self, lines: Sequence[Line], views: dict[str, View], sums: dict[str, Totals], now: float
    ) -> list[Line]:
        """Lines as the fleet judges them; their local sums are put into `sums`."""
        unseen = [line for line in lines if line.key not in views and self.is_fleet(line.key)]
        if unseen:
            views.update(self._views(unseen, now))
        new = [line for line in lines if line.key not in sums]
        if new:
            found = self.local.totals([_of_sums(line, views.get(line.key)) for line in new])
            for line, each in zip(new, found, strict=True):
                sums[line.key] = Totals(each.spent, each.held % SEAL, each.expected)
        return [
            of_fleet(line, views.get(line.key), sums[line.key].spent + sums[line.key].held, now)
            for line in lines
        ]

    def _views(
        self,
        lines: Sequence[Line],
        now: float,
        beyond: Mapping[str, int | None] | None = None,
        *,
        anew: bool = False,
    ) -> dict[str, View]:
        fleet = [line for line in lines if self.is_fleet(line.key)]
        if self.leases.prepare(fleet, now, anew=anew) and self.wake is not None:
            self.wake()
        return {line.key: self._view(line, now, beyond) for line in fleet}

    def _view(self, line: Line, now: float, beyond: Mapping[str, int | None] | None = None) -> View:
        account = self.leases.find(line.key)
        if account is None:
            account = Account(key=line.key, generation=0, others_spent=self.leases.remembered(line.key))
        granted = account.granted if account.is_usable(now) else 0
        if beyond is not None and line.key in beyond:
            granted = _with_allowance(account, beyond[line.key])
        others = account.others_spent, account.others_held
        view = View(account, granted, others[0], 0, 0, others[1], account.is_fresh(now))
        siblings = self.leases.siblings(account, line.also)
        if siblings:
            for sums in self.local.totals([Line(each.local_key, 0, 0) for each in siblings]):
                view.spent += sums.spent
                view.held += sums.held % SEAL
                view.expected += sums.expected
        return view

    def _wait(self, op_id: str, lines: Sequence[Line], now: float) -> None:
        if self._waiting.add(op_id, lines, now) and self.wake is not None:
            self.wake()

    def _keep(self, op_id: str) -> None:
        with self._lock:
            self._kept[op_id] = None
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    # -- its end ------------------------------------------------------------------------------------

    def settle(self, op_id: str, amounts: Mapping[Unit, int], *, event: Spooled | None = None) -> bool:
        self._kept.pop(op_id, None)
        return self.local.settle(op_id, amounts, event=event)

    def release(self, op_id: str, *, event: Spooled | None = None) -> bool:
        self._kept.pop(op_id, None)
        return self.local.release(op_id, event=event)

    @property
    def many(self) -> EndsMany | None:
        """This ledger, where the local one takes many ends in one step; see `many_of`."""
        return None if self._local_many is None else self

    def end_many(self, ends: Sequence[End]) -> Sequence[bool]:
        return self._ending(ends).end_many(ends)

    def riding(self, ends: Sequence[End]) -> AbstractContextManager[Ride]:
        return self._ending(ends).riding(ends)

    def _ending(self, ends: Sequence[End]) -> EndsMany:
        for op_id, _, _ in ends:
            self._kept.pop(op_id, None)
        assert self._local_many is not None
        return self._local_many

    def defer(self, op_id: str, ref: str, *, expires_at: float) -> bool:
        return self.local.defer(op_id, ref, expires_at=expires_at)

    def settle_deferred(self, ref: str, amounts: Mapping[Unit, int]) -> bool:
        return self.local.settle_deferred(ref, amounts)

    # -- a key --------------------------------------------------------------------------------------

    def raise_to(self, key: str, spent: int, *, mark: str, expires_at: float = 0.0) -> None:
        """The server lays the floors of its policy itself; until it says what is spent, they count here."""
        if not self.is_fleet(key):
            self.local.raise_to(key, spent, mark=mark, expires_at=expires_at)
        elif self.local.mark_once(key, f"raise:{mark}", expires_at=expires_at):
            line = Line(key, 0, 0, expires_at=expires_at)
            self.leases.prepare([line], self.clock())
            self.leases.add(key, max(0, spent - self.totals([line])[0].spent))

    def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
        """Once on this host."""
        return self.local.mark_once(key, mark, expires_at=expires_at)

    def totals(self, lines: Sequence[Line]) -> tuple[Totals, ...]:
        now = self.clock()
        views: dict[str, View] = {}
        for line in lines:
            if self.is_fleet(line.key):
                views[line.key] = self._view(line, now)
        found = self.local.totals([_of_sums(line, views.get(line.key)) for line in lines])
        return tuple([_told(sums, views.get(line.key)) for line, sums in zip(lines, found, strict=True)])

    def pace(self, key: str, move: Move, *, now: float | None = None) -> Turn:
        return self.local.pace(key, move, now=now)

    def salt(self) -> bytes:
        return self.local.salt()

    # -- all of them --------------------------------------------------------------------------------

    def sweep(self, now: float) -> Sequence[str]:
        return self.local.sweep(now)

    def take_events(self, most: int) -> Mapping[str, Mapping[str, Any]]:
        return self.local.take_events(most)

    def forget_events(self, event_ids: Iterable[str]) -> None:
        self.local.forget_events(event_ids)

    def events_dropped(self) -> int:
        return self.local.events_dropped()

    def disputed(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for key, amount in self.local.disputed().items():
            name = of_local_key(key) or key
            found[name] = found.get(name, 0) + amount
        return found

    def open_holds(self) -> int:
        return self.local.open_holds()

    def close(self) -> None:
        self.local.close()


REFUSED = Outcome("refused", 0, ())


def _with_allowance(account: Account, allowance: int | None) -> int:
    """What may be used in all while the server does not answer. What it has granted is no one else's."""
    return SEAL - 1 if allowance is None or account.unit != "usd" else account.granted + allowance


def _of_sums(line: Line, view: View | None) -> Line:
    """A line that asks for the local sums of another."""
    if view is None:
        return Line(line.key, 0, 0, also=line.also)
    return Line(view.account.local_key, 0, 0)


def _told(sums: Totals, view: View | None) -> Totals:
    return sums if view is None else view.of(sums)


def _counted(sums: Totals, view: View | None) -> Totals:
    """What counts against limits: as far as one can know."""
    if view is None:
        return sums
    held = view.stands_at - view.spent
    return Totals(sums.spent + view.spent, sums.held + held, sums.expected + view.expected)
