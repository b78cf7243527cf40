"""Events into their table, and what they spent into the sums, in one transaction and once by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

from ...events import NormalizedUsage
from ...ledger.leased import is_fleet_key
from ...policy.index import Index, Match
from . import tables
from .expired import correct, event_id_of, event_of_hold, keep
from .incoming import Incoming, Prices, Refused, read_event
from .limits import stored
from .page import Hold, Name
from .policies import current

__all__ = ["Batch", "Overtaken", "Taken", "add_spent", "count", "read_batch", "store_expired", "take"]

MOST = 2**53 - 1
"""Larger sums count as this one."""
COLUMNS = (
    *(
        "event_id",
        "digest",
        "kind",
        "at",
        "trace_id",
        "instance_id",
        "agent",
        "tenant",
        "customer",
        "feature",
    ),
    *("tags", "context_id", "provider", "model", "action", "cost_nano", "charged_nano", "input_tokens"),
    *("output_tokens", "settled", "body"),
)
_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]
_TYPES = {column.name: column.type.compile(_POSTGRES) for column in tables.events.columns}
_NAMES = ", ".join(COLUMNS)
INSERT_SQLITE = f"""INSERT INTO events (team_id, received_at, {_NAMES})
    VALUES (?, ?, {", ".join("?" * len(COLUMNS))})"""  # noqa: S608 - names of ours
KNOWN_SQLITE = """SELECT event_id, digest FROM events
    WHERE team_id = ? AND event_id IN (SELECT value FROM json_each(?))"""
# As one document: arrays of text are escaped by the driver, which takes three times as long as all the rest.
INSERT_POSTGRES = f"""INSERT INTO events (team_id, received_at, {_NAMES})
    SELECT %s, %s, {_NAMES} FROM json_to_recordset(%s::json) AS told(
    {", ".join(f"{name} {_TYPES[name]}" for name in COLUMNS[:-1])}, body json)
    ON CONFLICT (team_id, event_id) DO NOTHING RETURNING event_id"""  # noqa: S608 - names of ours
KNOWN_POSTGRES = "SELECT event_id, digest FROM events WHERE team_id = %s AND event_id = ANY(%s)"
WRITING = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
READING = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
ADDED = f"""ON CONFLICT (team_id, key) DO UPDATE SET moved_at = excluded.moved_at, spent =
    CASE WHEN sums.spent > {MOST} - excluded.spent THEN {MOST} ELSE sums.spent + excluded.spent END"""
ADD_SQLITE = f"""INSERT INTO sums (team_id, moved_at, key, unit, spent, expires_at)
    VALUES (?, ?, ?, ?, ?, ?) {ADDED}"""  # noqa: S608 - figures of ours
SUMS_SQLITE = "SELECT key, spent FROM sums WHERE team_id = ? AND key IN (SELECT value FROM json_each(?))"
ADD_POSTGRES = f"""INSERT INTO sums (team_id, moved_at, key, unit, spent, expires_at)
    SELECT %s, %s, * FROM json_to_recordset(%s::json) AS told(
    key text, unit varchar, spent bigint, expires_at float8)
    {ADDED} RETURNING key, spent"""  # noqa: S608 - figures of ours
COUNT = text("""INSERT INTO counts (team_id, name, value) VALUES (:team_id, :name, :value)
    ON CONFLICT (team_id, name) DO UPDATE SET value = counts.value + excluded.value""")


@dataclass(slots=True)
class Batch:
    """The events of one request, as far as they can be taken."""

    events: dict[str, Incoming] = field(default_factory=dict)
    """By id, in the order of their ids, so that two batches wait for each other one way only."""
    duplicates: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """How many, by why."""
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Taken:
    """What became of a batch."""

    events: Sequence[Incoming]
    """Those that were not known before."""
    duplicates: int
    conflicts: int
    """Ids that are taken by other events."""
    spent: Mapping[str, int]
    """What is spent on each key that was charged, with it."""


def read_batch(values: Iterable[Any], *, now: float, prices: Prices) -> Batch:
    batch = Batch()
    found: dict[str, Incoming] = {}
    for value in values:
        try:
            event = read_event(value, now=now, prices=prices)
        except Refused as exc:
            batch.refused[str(exc)] += 1
            continue
        before = found.setdefault(event.event_id, event)
        if before is event:
            batch.notes.update(event.notes)
        elif before.digest == event.digest:
            batch.duplicates += 1
        else:
            batch.refused["conflict"] += 1
    batch.events = dict(sorted(found.items()))
    return batch


def take(db: Connection, team_id: str, batch: Batch, index: Index, now: float) -> Taken:
    """Store the events that are new, and add what they spent to the budgets that they meet."""
    kept = {event_id: event for event_id, event in batch.events.items() if event.kind != "heartbeat"}
    known = _store(db, team_id, kept, now) if kept else {}
    new = [event for event_id, event in kept.items() if event_id not in known]
    others = {each: kept[each] for each, digest in known.items() if kept[each].digest != digest}
    late, spent = correct(db, team_id, others, now) if others else ([], {})
    new += late
    conflicts = len(others) - len(late)
    spent |= add_spent(db, team_id, _amounts(new, index), now)
    refused = batch.refused + Counter({"conflict": conflicts})
    counted = {f"events.refused.{why}": n for why, n in refused.items()}
    count(db, team_id, counted | {f"events.{note}": n for note, n in batch.notes.items()})
    return Taken(new, len(known) - len(others), conflicts, spent)


def _store(db: Connection, team_id: str, events: Mapping[str, Incoming], now: float) -> dict[str, str]:
    """Insert what is new; the digests of what was there, by id."""
    if db.dialect.name == "sqlite":
        return _store_sqlite(db, team_id, events, now)
    # Numbers are given when rows are written, and seen when they are committed: see `settle_order`.
    db.exec_driver_sql(WRITING, (f"events {team_id}",))
    rows = str(orjson.dumps([_told(event) for event in events.values()]), "utf-8")
    written = db.exec_driver_sql(INSERT_POSTGRES, (team_id, now, rows)).scalars().all()
    if len(written) == len(events):
        return {}
    others = list(events.keys() - set(written))
    found = db.exec_driver_sql(KNOWN_POSTGRES, (team_id, others))
    return {row[0]: row[1] for row in found}


def _told(event: Incoming) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in COLUMNS}
    row["body"] = orjson.Fragment(event.body)
    return row


def _store_sqlite(db: Connection, team_id: str, events: Mapping[str, Incoming], now: float) -> dict[str, str]:
    ids = str(orjson.dumps(list(events)), "utf-8")
    known = {row[0]: row[1] for row in db.exec_driver_sql(KNOWN_SQLITE, (team_id, ids))}
    rows = [
        (team_id, now, *[getattr(event, name) for name in COLUMNS])
        for event_id, event in events.items()
        if event_id not in known
    ]
    if rows:
        db.exec_driver_sql(INSERT_SQLITE, rows)
    return known


class Overtaken(Exception):
    """The event of a call has come meanwhile: it says what was spent."""


def store_expired(db: Connection, disputed: Mapping[Name, Hold], now: float) -> set[str]:
    """The events of calls whose holds have expired; the teams that have any.

    Raises: Overtaken where such an event came from its call meanwhile.
    """
    of_team: dict[str, dict[str, tuple[Name, Hold, Any]]] = {}
    for name, hold in disputed.items():
        if hold.intent is not None:
            try:
                told = event_of_hold(hold, settled=_is_settled(hold))
            except Exception:  # noqa: BLE001 - whatever a client has sent, the hold ends
                count(db, name[0], {"events.refused.intent": 1})
                continue
            of_team.setdefault(name[0], {})[event_id_of(hold.intent)] = name, hold, told
    for team, found in of_team.items():
        batch = read_batch([told for _, _, told in found.values()], now=now, prices=_NO_PRICES)
        taken = take(db, team, batch, current(db, team).index, now)
        if len(taken.events) < len(batch.events):
            raise Overtaken
        for event_id, (name, hold, _) in found.items():
            # Of another, the budgets of the server are charged by its event, and once.
            if event_id in batch.events and _is_settled(hold):
                keep(db, name, hold, event_id, now)
    return set(of_team)


def _is_settled(hold: Hold) -> bool:
    """Whether budgets of the server were charged by the hold."""
    return any(is_fleet_key(part.key) for part in hold.parts)


class _NoPrices:
    def cost(
        self, provider: str, model: str, usage: NormalizedUsage, at: float, tier: str | None
    ) -> int | None:
        """Nothing is known of what was used."""


_NO_PRICES = _NoPrices()


def settle_order(db: Connection, team_id: str) -> None:
    """Wait until the events of all transactions that have begun to write are there or will never be, so that
    none appears later below a number that was read."""
    if db.dialect.name != "sqlite":
        db.exec_driver_sql(READING, (f"events {team_id}",))


def _amounts(events: Iterable[Incoming], index: Index) -> dict[str, tuple[Match, int]]:
    """What each key is charged."""
    found: dict[str, tuple[Match, int]] = {}
    for event in events:
        amounts = event.amounts
        if not amounts:
            continue
        for match in index.match(event.attributes, event.at):
            amount = amounts.get(match.terms.unit, 0)
            if amount:
                key = stored(match.ledger_key)
                _, before = found.get(key, (match, 0))
                found[key] = match, min(before + amount, MOST)
    return found


def add_spent(
    db: Connection, team_id: str, amounts: Mapping[str, tuple[Match, int]], now: float
) -> dict[str, int]:
    """Add to the sums, in the order of their keys, as all do that take several; what each then is."""
    rows = [
        (key, match.terms.unit, amount, match.window.expires_at)
        for key, (match, amount) in sorted(amounts.items())
    ]
    if not rows:
        return {}
    if db.dialect.name == "sqlite":
        db.exec_driver_sql(ADD_SQLITE, [(team_id, now, *row) for row in rows])
        keys = str(orjson.dumps([row[0] for row in rows]), "utf-8")
        found = db.exec_driver_sql(SUMS_SQLITE, (team_id, keys))
    else:
        names = ("key", "unit", "spent", "expires_at")
        told = orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])
        found = db.exec_driver_sql(ADD_POSTGRES, (team_id, now, str(told, "utf-8")))
    return {row[0]: row[1] for row in found}


def count(db: Connection, team_id: str, counts: Mapping[str, int]) -> None:
    rows = [{"team_id": team_id, "name": name, "value": n} for name, n in sorted(counts.items()) if n]
    if rows:
        db.execute(COUNT, rows)
