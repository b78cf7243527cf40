"""The rows of the ledger: a `Page` of them read and written on SQLite, and what both engines have in common.

Rows of `sums` are locked in the order of their keys, so that two servers never wait for each other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from ...ledger.base import Outcome, Totals
from .page import MOST, Charged, Hold, Key, Name, Operation, Page, Part, Reserve, Sums
from .tables import holds, leases, marks, sums

__all__ = [
    "add",
    "asked_of",
    "forget",
    "insert",
    "keys_of",
    "lock",
    "mark",
    "raise_sum",
    "read_holds",
    "read_sums",
    "work_out",
]

AT_ONCE = 2000
"""Keys of one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535."""
KEY = tuple_(sums.c.team_id, sums.c.key)
NAME = tuple_(holds.c.team_id, holds.c.op_id)
REF = tuple_(holds.c.team_id, holds.c.ref)
SUMS = (sums.c.team_id, sums.c.key, sums.c.spent, sums.c.held, sums.c.expected, sums.c.holds, sums.c.disputed)
ADDED = ("spent", "held", "expected", "holds", "disputed")
# Made once: SQLAlchemy takes longer to build a statement than SQLite to run it.
READ = select(*SUMS).where(KEY.in_(bindparam("keys", expanding=True)))
LOCKED = READ.order_by(sums.c.team_id, sums.c.key).with_for_update()
HOLDS = select(holds).where(NAME.in_(bindparam("names", expanding=True)))
DEFERRED = select(holds).where(REF.in_(bindparam("refs", expanding=True)))
ENDED = delete(holds).where(NAME.in_(bindparam("names", expanding=True)))


def insert(db: Connection, table: Any) -> Any:
    """With `on_conflict_do_…`, which both engines have."""
    return postgresql.insert(table) if db.dialect.name == "postgresql" else sqlite.insert(table)


# -- a page -----------------------------------------------------------------------------------------


def work_out(
    db: Connection, operations: Sequence[Operation], *, now: float
) -> tuple[list[Outcome | bool], Charged]:
    """The answer to each operation, an outcome or whether there was such a hold, and what was charged.

    On SQLite, where a transaction that writes is alone from its beginning. For PostgreSQL: `round_trip.py`.
    """
    page = _page_of(db, operations)
    answers = [page.reserve(each) if isinstance(each, Reserve) else page.end(each) for each in operations]
    _write(db, page, now=now)
    return answers, page.charged()


def _page_of(db: Connection, operations: Sequence[Operation]) -> Page:
    """What the operations touch."""
    names, refs = asked_of(operations)
    page = Page()
    keys = set[Key]()
    for name, hold in read_holds(db, names, refs):
        page.holds[name] = hold
        keys.update([(name[0], part.key) for part in hold.parts])
        if hold.ref is not None:
            page.refs[name[0], hold.ref] = name[1]
    changing, others = keys_of(operations)
    page.sums = read_sums(db, keys | changing.keys() | others)
    return page


def asked_of(operations: Iterable[Operation]) -> tuple[set[Name], set[Name]]:
    """The holds that are asked for, by team and `op_id` or by team and `ref`."""
    names, refs = set[Name](), set[Name]()
    for each in operations:
        if isinstance(each, Reserve) or each.ref is None:
            assert each.op_id is not None
            names.add((each.team, each.op_id))
        else:
            refs.add((each.team, each.ref))
    return names, refs


def keys_of(operations: Iterable[Operation]) -> tuple[dict[Key, float], set[Key]]:
    """The keys of lines, with when they expire, and those that are only looked at."""
    keys, others = dict[Key, float](), set[Key]()
    for each in operations:
        if isinstance(each, Reserve):
            for line in [line for lines in each.candidates for line in lines]:
                keys[each.team, line.key] = line.expires_at
                others.update([(each.team, key) for key in line.also])
    return keys, others


def read_holds(
    db: Connection, names: Collection[Name], refs: Collection[Name] = ()
) -> list[tuple[Name, Hold]]:
    found = list(db.execute(HOLDS, {"names": sorted(names)})) if names else []
    if refs:
        found += db.execute(DEFERRED, {"refs": sorted(refs)})
    return [((row.team_id, row.op_id), _hold(row)) for row in found]


def _hold(row: Any) -> Hold:
    candidate, totals = json.loads(row.outcome)
    return Hold(
        [Part(*each) for each in json.loads(row.lines)],
        Outcome("held", candidate, tuple([Totals(*each) for each in totals])),
        row.expires_at,
        row.ref,
        row.intent,
    )


def _write(db: Connection, page: Page, *, now: float) -> None:
    """Make the rows what the page says."""
    if page.ended:
        db.execute(ENDED, {"names": sorted(page.ended)})
    if page.made:
        db.execute(holds.insert(), [_hold_row(name, hold) for name, hold in page.made.items()])
    if page.added:
        add(db, [_sums_row(key, each, page.parts[key], now) for key, each in sorted(page.added.items())])


def _hold_row(name: Name, hold: Hold) -> dict[str, Any]:
    totals = [(each.spent, each.held, each.expected) for each in hold.outcome.totals]
    parts = [(each.key, each.hold, each.expected, each.unit, each.expires_at) for each in hold.parts]
    return {
        "team_id": name[0],
        "op_id": name[1],
        "ref": hold.ref,
        "lines": json.dumps(parts),
        "outcome": json.dumps([hold.outcome.candidate, totals]),
        "expires_at": hold.expires_at,
        "intent": hold.intent,
    }


def _sums_row(key: Key, added: Sums, part: Part, now: float) -> dict[str, Any]:
    return {
        "team_id": key[0],
        "key": key[1],
        "unit": part.unit,
        "spent": added.spent,
        "held": added.held,
        "expected": added.expected,
        "holds": added.holds,
        "disputed": added.disputed,
        "expires_at": part.expires_at,
        "moved_at": now,
    }


# -- sums -------------------------------------------------------------------------------------------


def lock(db: Connection, keys: Mapping[Key, float]) -> dict[Key, Sums]:
    """The sums of keys, which nobody else changes until the transaction ends; made where there are none.
    `keys`: with when they expire."""
    if not keys:
        return {}
    ordered = sorted(keys)
    found = _sums(db, LOCKED, ordered)
    if db.dialect.name == "postgresql" and len(found) < len(ordered):
        # What is not there cannot be locked.
        missing = [
            {"team_id": key[0], "key": key[1], "expires_at": keys[key]} for key in ordered if key not in found
        ]
        db.execute(postgresql.insert(sums).on_conflict_do_nothing(), missing)
        found = _sums(db, LOCKED, ordered)
    return found


def read_sums(db: Connection, keys: Iterable[Key]) -> dict[Key, Sums]:
    return _sums(db, READ, sorted(keys))


def _sums(db: Connection, of: Any, keys: Sequence[Key]) -> dict[Key, Sums]:
    found = {}
    for start in range(0, len(keys), AT_ONCE):
        row: Any
        for row in db.execute(of, {"keys": keys[start : start + AT_ONCE]}):
            found[row[0], row[1]] = Sums(*row[2:])
    return found


def add(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add to sums, in the order of their keys. A row is one of `sums`, its figures what is to be added."""
    db.execute(_adding(db.dialect.name), rows)


@cache
def _adding(engine: str) -> Any:
    into = postgresql.insert(sums) if engine == "postgresql" else sqlite.insert(sums)
    changed: dict[str, Any] = {name: sums.c[name] + into.excluded[name] for name in ADDED}
    # No sum leaves the integers that JSON's readers and Lua count exactly.
    too_much = sums.c.spent > MOST - into.excluded.spent
    changed["spent"] = case((too_much, MOST), else_=changed["spent"])
    taken = {name: into.excluded[name] for name in ("unit", "expires_at", "moved_at")}
    return into.on_conflict_do_update(index_elements=["team_id", "key"], set_=changed | taken)


def mark(db: Connection, team: str, key: str, name: str, expires_at: float) -> bool:
    """Whether the mark is new."""
    row = {"team_id": team, "key": key, "mark": name, "expires_at": expires_at}
    made = insert(db, marks).values(row).on_conflict_do_nothing().returning(marks.c.mark)
    return db.execute(made).first() is not None


def raise_sum(db: Connection, team: str, key: str, spent: int, expires_at: float, now: float) -> None:
    into = insert(db, sums).values(team_id=team, key=key, spent=spent, expires_at=expires_at, moved_at=now)
    more = case((sums.c.spent > into.excluded.spent, sums.c.spent), else_=into.excluded.spent)
    db.execute(into.on_conflict_do_update(index_elements=["team_id", "key"], set_={"spent": more}))


def forget(db: Connection, now: float, most: int) -> None:
    """Some of the sums and marks that have expired, and that nothing is held on."""
    expired = select(sums.c.team_id, sums.c.key).where(
        sums.c.expires_at > 0, sums.c.expires_at <= now, sums.c.holds == 0, sums.c.held == 0
    )
    found = expired.order_by(sums.c.team_id, sums.c.key).limit(most).with_for_update(skip_locked=True)
    gone = [tuple(row) for row in db.execute(found)]
    if gone:
        db.execute(delete(leases).where(tuple_(leases.c.team_id, leases.c.key).in_(gone)))
        db.execute(delete(sums).where(KEY.in_(gone)))
    over = select(marks.c.team_id, marks.c.key, marks.c.mark)
    over = over.where(marks.c.expires_at > 0, marks.c.expires_at <= now).limit(most)
    found_marks = [tuple(row) for row in db.execute(over)]
    if found_marks:
        db.execute(delete(marks).where(tuple_(marks.c.team_id, marks.c.key, marks.c.mark).in_(found_marks)))
