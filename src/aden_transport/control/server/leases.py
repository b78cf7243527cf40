"""Leases on the tables of a server: asks are judged on the sums of their keys, which wait for nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from ...ledger.grants import Bounds, Change, Lease, Standing, dispute, judge, resolve
from ..messages import Ask, Grant
from .ledger import Ledgers
from .limits import Limit, stored
from .page import Key, Sums, total
from .rows import add, insert, lock, read_sums
from .tables import leases

__all__ = ["Leases", "Place", "lease_of", "put"]

MOST_ID = 200
SWEPT = 200
"""Leases that one transaction of a sweep looks at."""
KEPT_S = 6 * 3600.0
"""How long a closed lease is kept: so long a late copy of a word is known for one."""

Place: TypeAlias = tuple[str, str, str, int]
"""Of a lease: team, owner, key and generation."""
PLACE = tuple_(leases.c.team_id, leases.c.owner, leases.c.key, leases.c.generation)


class Leases:
    """Of all teams of a database."""

    def __init__(self, ledgers: Ledgers, bounds: Bounds | None = None) -> None:
        self._ledgers = ledgers
        self._storage = ledgers.storage
        self.bounds = bounds or Bounds()

    def answer(self, team: str, owner: str, asks: Sequence[Ask]) -> list[Grant]:
        """A grant for each ask, in their order."""
        if not asks:
            return []
        owner = stored(owner, MOST_ID)
        return self._storage.transact(lambda db: self._answer(db, team, owner, asks))

    def _answer(self, db: Connection, team: str, owner: str, asks: Sequence[Ask]) -> list[Grant]:
        now = self._ledgers.clock()
        limits = self._ledgers.policies.read(db, [team])[team]
        seen = {ask.key: limits.of(stored(ask.key), now) for ask in asks}
        table = _Table.read(db, team, owner, [_within(ask, seen[ask.key]) for ask in asks], now, self.bounds)
        grants: dict[int, Grant] = {}
        # What an older generation gives back is there for the next.
        for index in sorted(range(len(asks)), key=lambda each: asks[each].generation):
            ask = asks[index]
            grants[index] = table.judge(_within(ask, seen[ask.key]), seen[ask.key], now, self.bounds)
        table.write(db, now)
        if self._ledgers.after_spending is not None and (charged := table.charged()):
            self._ledgers.after_spending(db, team, charged, now)
        return [replace(grants[index], key=ask.key) for index, ask in enumerate(asks)]

    # -- silence ------------------------------------------------------------------------------------

    def sweep(self, now: float) -> int:
        """Dispute what silent owners have, resolve what was disputed for long, and forget what has ended; how
        many leases it changed. Any number of servers may do so at once."""
        bounds = self.bounds
        silent = (leases.c.state == "open") & (leases.c.heard_at <= now - bounds.silent_s)
        stale = (leases.c.state == "disputed") & (leases.c.disputed_at <= now - bounds.dispute_ttl_s)
        changed = self._change_all(silent, lambda lease: dispute(lease, now))
        changed += self._change_all(stale, resolve)
        self._storage.transact(lambda db: _forget(db, now))
        return changed

    def _change_all(self, which: ColumnElement[bool], change: Callable[[Lease], tuple[Lease, Change]]) -> int:
        count = 0
        while True:
            found = self._storage.transact(lambda db: self._change_some(db, which, change))
            count += found
            if found < SWEPT:
                return count

    def _change_some(
        self, db: Connection, which: ColumnElement[bool], change: Callable[[Lease], tuple[Lease, Change]]
    ) -> int:
        places = select(leases.c.team_id, leases.c.owner, leases.c.key, leases.c.generation)
        found: list[Place] = [
            (row[0], row[1], row[2], row[3]) for row in db.execute(places.where(which).limit(SWEPT))
        ]
        lock(db, {(place[0], place[2]): 0.0 for place in found})
        # What has changed before the lock was had is left alone.
        rows = db.execute(select(leases).where(PLACE.in_(found), which)).all() if found else []
        for row in rows:
            after, moved = change(lease_of(row))
            put(db, [(row, after, moved)], self._ledgers.clock())
        return len(rows)


def _within(ask: Ask, limit: Limit | None) -> Ask:
    """The ask as the tables keep it, with what the server knows of its key."""
    if limit is None:
        return replace(ask, key=stored(ask.key), also=tuple([stored(key) for key in ask.also]))
    also = limit.also if limit.is_current else ()
    return replace(ask, key=stored(ask.key), also=also, unit=limit.unit, expires_at=limit.expires_at)


class _Table:
    """What the asks of one owner touch."""

    def __init__(self, team: str, owner: str) -> None:
        self.team, self.owner = team, owner
        self.sums: dict[Key, Sums] = {}
        self.leases: dict[tuple[str, int], Lease] = {}
        self.latest: dict[str, int] = {}
        """The last generation of each key."""
        self.others: dict[str, int] = {}
        """How many others have a lease on a key."""
        self.changed: dict[tuple[str, int], tuple[Ask, Lease]] = {}
        self.moved: dict[str, tuple[Ask, Change]] = {}

    @classmethod
    def read(
        cls, db: Connection, team: str, owner: str, asks: Sequence[Ask], now: float, bounds: Bounds
    ) -> _Table:
        table = cls(team, owner)
        keys = {ask.key: ask.expires_at for ask in asks}
        also = {(team, key) for ask in asks for key in ask.also}
        table.sums = lock(db, {(team, key): expires_at for key, expires_at in keys.items()})
        if also:
            table.sums = read_sums(db, also) | table.sums
        of_keys = (leases.c.team_id == team) & leases.c.key.in_(sorted(keys))
        of_owner = of_keys & (leases.c.owner == owner)
        asked = sorted({ask.generation for ask in asks})
        for row in db.execute(select(leases).where(of_owner, leases.c.generation.in_(asked))):
            table.leases[row.key, row.generation] = lease_of(row)
        latest = select(leases.c.key, func.max(leases.c.generation)).where(of_owner).group_by(leases.c.key)
        table.latest = {row[0]: row[1] for row in db.execute(latest)}
        heard = (leases.c.state == "open") & (leases.c.heard_at > now - bounds.ttl_s)
        count = func.count(leases.c.owner.distinct())
        of = select(leases.c.key, count).where(of_keys, heard, leases.c.owner != owner).group_by(leases.c.key)
        table.others = {row[0]: row[1] for row in db.execute(of)}
        return table

    def judge(self, ask: Ask, limit: Limit | None, now: float, bounds: Bounds) -> Grant:
        sums = total([self.sums.get((self.team, key)) for key in (ask.key, *ask.also)])
        latest = self.latest[ask.key] = max(ask.generation, self.latest.get(ask.key, ask.generation))
        standing = Standing(
            sums.spent,
            sums.held,
            None if limit is None else limit.limit,
            1 + self.others.get(ask.key, 0),
            latest,
            limit is None or (limit.is_current and not limit.is_frozen),
        )
        place = (ask.key, ask.generation)
        lease, change, grant = judge(ask, self.leases.get(place), standing, now=now, bounds=bounds)
        self.leases[place] = lease
        self.changed[place] = ask, lease
        before = self.moved.get(ask.key, (ask, Change(0, 0, 0)))[1]
        self.moved[ask.key] = ask, Change(*[one + more for one, more in zip(before, change, strict=True)])
        held = self.sums.setdefault((self.team, ask.key), Sums())
        held.spent += change.spent
        held.held += change.held
        return grant

    def charged(self) -> list[tuple[str, int]]:
        """Keys of which more is spent than before, each with what is spent now."""
        moved = [key for key, (_, change) in self.moved.items() if change.spent > 0]
        return [(key, self.sums[self.team, key].spent) for key in moved]

    def write(self, db: Connection, now: float) -> None:
        if any(any(change) for _, change in self.moved.values()):
            rows = [
                _moved(self.team, key, ask.unit, ask.expires_at, change, now)
                for key, (ask, change) in sorted(self.moved.items())
            ]
            add(db, rows)
        _put(db, [_row(self.team, self.owner, ask, lease) for ask, lease in self.changed.values()])


# -- rows -------------------------------------------------------------------------------------------


def lease_of(row: Any) -> Lease:
    return Lease(
        generation=row.generation,
        seq=row.seq,
        granted=row.granted,
        used=row.used,
        booked=row.booked,
        state=row.state,
        heard_at=row.heard_at,
        disputed_at=row.disputed_at,
    )


def put(db: Connection, changed: Iterable[tuple[Any, Lease, Change]], now: float) -> None:
    """Make rows of `leases` what they are to be, and their sums. Lock their keys first."""
    for row, lease, change in changed:
        add(db, [_moved(row.team_id, row.key, row.unit, row.expires_at, change, now)])
        told = dict(row._mapping) | _figures(lease)
        _put(db, [told])


def _moved(team: str, key: str, unit: str, expires_at: float, change: Change, now: float) -> dict[str, Any]:
    return {
        "team_id": team,
        "key": key,
        "unit": unit,
        "spent": change.spent,
        "held": change.held,
        "expected": change.held,
        "holds": 0,
        "disputed": change.disputed if unit == "usd" else 0,
        "expires_at": expires_at,
        "moved_at": now,
    }


def _row(team: str, owner: str, ask: Ask, lease: Lease) -> dict[str, Any]:
    place: dict[str, Any] = {"team_id": team, "owner": owner, "key": ask.key, "generation": lease.generation}
    return place | {"unit": ask.unit, "expires_at": ask.expires_at} | _figures(lease)


def _figures(lease: Lease) -> dict[str, Any]:
    return {
        "seq": lease.seq,
        "granted": lease.granted,
        "used": lease.used,
        "booked": lease.booked,
        "state": lease.state,
        "heard_at": lease.heard_at,
        "disputed_at": lease.disputed_at,
    }


def _put(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    into = insert(db, leases)
    place = ["team_id", "owner", "key", "generation"]
    told = {name: into.excluded[name] for name in (*_figures(Lease(generation=0)), "unit", "expires_at")}
    db.execute(into.on_conflict_do_update(index_elements=place, set_=told), rows)


def _forget(db: Connection, now: float) -> None:
    """Closed leases of whom nobody will speak any more."""
    over = (leases.c.state == "closed") & (leases.c.heard_at <= now - KEPT_S)
    places = select(leases.c.team_id, leases.c.owner, leases.c.key, leases.c.generation)
    found = [tuple(row) for row in db.execute(places.where(over).limit(SWEPT))]
    if found:
        db.execute(leases.delete().where(PLACE.in_(found)))
