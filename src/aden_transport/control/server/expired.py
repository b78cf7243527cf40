"""Calls whose holds expired, as their programs died or are silent: their events, and what they say later.

A hold comes with what the event of its call needs. When it expires, it is settled at its amount, disputed,
and the event is stored in the same transaction, under the id that the program would have given it. Where the
program's own event is there by then, the hold is settled as that says. Where it comes later, it takes the
place of ours and corrects the sums, until the dispute is resolved. So a call is one event, and what that says
was charged is what the ledger has charged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, select, tuple_, update

from ... import _json
from ...core.redact import has_secret
from ...ledger.base import Sending, Unit
from ...ledger.outbox import Row
from ...ledger.wire import MOST_INTENT
from ..agent.shapes import wire_event
from .incoming import Incoming, cleaned, is_id
from .page import Hold, Name
from .rows import add, lock, read_sums
from .tables import events, expired

__all__ = [
    "Charged",
    "correct",
    "event_id_of",
    "event_of_hold",
    "free",
    "keep",
    "kept_intent",
    "rename",
    "resolve",
    "told_by_events",
    "unconfirmed",
]

KEPT = ("seq", "team_id", "event_id", "received_at")
STORED = tuple(column.name for column in events.columns if column.name not in KEPT)
EVENT = tuple_(events.c.team_id, events.c.event_id)
EXPIRED = tuple_(expired.c.team_id, expired.c.event_id)


class Charged(NamedTuple):
    """What an expired hold has charged a key, and how much of it is disputed."""

    key: str
    unit: Unit
    expires_at: float
    charged: int
    disputed: int


def kept_intent(told: Any) -> str | None:
    """An intent as it is kept: without anything of a credential's shape.

    Raises: ValueError for what is none.
    """
    if told is None:
        return None
    if not isinstance(told, str) or len(told) > MOST_INTENT:
        raise ValueError(f"intent: text of at most {MOST_INTENT} characters")
    found = _json.loads(told)
    event, models = (found.get("event"), found.get("models")) if isinstance(found, dict) else (None, None)
    if not isinstance(event, dict) or not is_id(event.get("event_id")) or not isinstance(models, list):
        raise ValueError('intent: JSON of an object with "event", which has an "event_id", and "models"')
    # What is escaped may be what a store cannot keep.
    return str(_json.dumps(cleaned(found)), "utf-8") if "\\u" in told or has_secret(told) else told


# -- a hold that expires ----------------------------------------------------------------------------


def told_by_events(db: Connection, there: Mapping[Name, Hold]) -> dict[Name, dict[Unit, int] | None]:
    """What holds are settled at, where the events of their calls are there; None: they are released."""
    ids = {
        name: (name[0], event_id_of(hold.intent)) for name, hold in there.items() if hold.intent is not None
    }
    told = _amounts(db, set(ids.values()))
    found: dict[Name, dict[Unit, int] | None] = {}
    for name, event in ids.items():
        if event in told:
            found[name] = told[event]
        told[event] = None  # Whatever else was held for the call is not spent.
    return found


def _amounts(db: Connection, ids: set[tuple[str, str]]) -> dict[tuple[str, str], dict[Unit, int] | None]:
    """What the ledger is charged for calls, by the events that are there; None: nothing."""
    columns = events.c.team_id, events.c.event_id, events.c.settled, events.c.charged_nano
    tokens = events.c.input_tokens, events.c.output_tokens
    found = db.execute(select(*columns, *tokens).where(EVENT.in_(sorted(ids)))).all() if ids else []
    of = select(expired.c.team_id, expired.c.event_id).where(EXPIRED.in_(sorted(ids)))
    ours = {(row[0], row[1]) for row in db.execute(of)} if found else set()
    return {
        (row.team_id, row.event_id): None
        if (row.team_id, row.event_id) in ours
        else _charged(row.settled, row.charged_nano, row.input_tokens, row.output_tokens)
        for row in found
    }


def _charged(
    settled: bool, charged: int | None, input_tokens: int | None, output_tokens: int | None
) -> dict[Unit, int] | None:
    """What a call's own event says that its hold is settled at; a unit that it does not say is settled at its
    hold. None: it is released. An event that is not `settled` was added to the budgets as it came."""
    if not settled or charged is None:
        return None
    amounts: dict[Unit, int] = {"usd": charged}
    if input_tokens is not None:
        amounts["tokens"] = input_tokens + (output_tokens or 0)
    return amounts


def event_id_of(intent: str) -> str:
    found: str = _json.loads(intent)["event"]["event_id"]
    return found


def event_of_hold(hold: Hold, *, settled: bool) -> dict[str, Any]:
    """The event of the call, as a client sends it.

    Raises: TypeError, LookupError, ValueError where its intent has none.
    """
    assert hold.intent is not None
    told = _json.loads(hold.intent)
    money = max((part.hold for part in hold.parts if part.unit == "usd"), default=None)
    told |= {"hold": money, "candidate": hold.outcome.candidate}
    sending = Sending("", told.get("instance") or "", settled)
    return wire_event(Row(0, told["event"]["event_id"], sending, told))


def keep(db: Connection, name: Name, hold: Hold, event_id: str, now: float) -> None:
    """Have the call's own event correct what its hold has charged."""
    parts = [
        Charged(part.key, part.unit, part.expires_at, part.hold, part.hold if part.unit == "usd" else 0)
        for part in hold.parts
    ]
    told = {"team_id": name[0], "op_id": name[1], "event_id": event_id, "parts": _text(parts), "at": now}
    db.execute(expired.insert(), told)


# -- its call's own event comes ---------------------------------------------------------------------


def correct(
    db: Connection, team: str, late: Mapping[str, Incoming], now: float
) -> tuple[list[Incoming], dict[str, int]]:
    """Of events under ids that others have: those that were ours and are replaced now, and what is spent on
    each key that this has charged more."""
    of = select(expired).where(expired.c.team_id == team, expired.c.event_id.in_(sorted(late)))
    keys = {(team, part.key): part.expires_at for row in db.execute(of) for part in parts_of(row)}
    if not keys:
        return [], {}
    # Sums before all else, in the order of their keys; what was forgotten meanwhile is not made anew.
    here = read_sums(db, keys)
    here = lock(db, {key: expires_at for key, expires_at in keys.items() if key in here})
    rows = db.execute(of.with_for_update()).all()
    moved: dict[str, tuple[Charged, int, int]] = {}
    for row in rows:
        event = late[row.event_id]
        _put_in_place(db, team, event, now)
        for part in parts_of(row):
            if (team, part.key) in here:
                _, spent, disputed = moved.get(part.key, (part, 0, 0))
                moved[part.key] = part, spent + _spent(event, part) - part.charged, disputed - part.disputed
    db.execute(delete(expired).where(expired.c.team_id == team, expired.c.op_id.in_([r.op_id for r in rows])))
    _add(db, [(team, *each) for _, each in sorted(moved.items())], now)
    more = {key: here[team, key].spent + spent for key, (_, spent, _) in moved.items() if spent > 0}
    return [late[row.event_id] for row in rows], more


def _spent(event: Incoming, part: Charged) -> int:
    amounts = _charged(event.settled, event.charged_nano, event.input_tokens, event.output_tokens)
    return 0 if amounts is None else amounts.get(part.unit, part.charged)


def _put_in_place(db: Connection, team: str, event: Incoming, now: float) -> None:
    values = {name: getattr(event, name) for name in STORED}
    this = (events.c.team_id == team) & (events.c.event_id == event.event_id)
    db.execute(update(events).where(this).values(received_at=now, **values))


# -- nobody says anything ---------------------------------------------------------------------------


def free(db: Connection, team: str, key: str) -> None:
    """What expired holds have charged a key was freed; its row of `sums` is locked."""
    _change(db, team, key, lambda part: part._replace(charged=part.charged - part.disputed, disputed=0))


def rename(db: Connection, team: str, key: str, name: str) -> None:
    """A key has another name; its row of `sums` is locked."""
    _change(db, team, key, lambda part: part._replace(key=name))


def _change(db: Connection, team: str, key: str, change: Callable[[Charged], Charged]) -> None:
    for row in db.execute(select(expired).where(expired.c.team_id == team)).all():
        before = parts_of(row)
        after = [change(part) if part.key == key else part for part in before]
        if after != before:
            this = (expired.c.team_id == team) & (expired.c.op_id == row.op_id)
            db.execute(update(expired).where(this).values(parts=_text(after)))


def resolve(db: Connection, before: float, now: float, most: int) -> None:
    """What has been disputed since `before` is spent for good; of so many calls at most."""
    of = select(expired).where(expired.c.at <= before).limit(most)
    rows = db.execute(of).all()
    keys = {(row.team_id, part.key): part.expires_at for row in rows for part in parts_of(row)}
    here = lock(db, {key: keys[key] for key in read_sums(db, keys)}) if keys else {}
    moved: dict[tuple[str, str], tuple[Charged, int]] = {}
    for row in rows:
        this = (expired.c.team_id == row.team_id) & (expired.c.op_id == row.op_id)
        gone = db.execute(delete(expired).where(this).returning(expired.c.parts)).first()
        for part in () if gone is None else parts_of(gone):
            if (row.team_id, part.key) in here:
                _, before = moved.get((row.team_id, part.key), (part, 0))
                moved[row.team_id, part.key] = part, before - part.disputed
    _add(db, [(team, part, 0, change) for (team, _), (part, change) in sorted(moved.items())], now)


def unconfirmed(db: Connection, team: str) -> frozenset[str]:
    """The ids of events of ours that may still be replaced."""
    return frozenset(db.scalars(select(expired.c.event_id).where(expired.c.team_id == team)))


def parts_of(row: Any) -> list[Charged]:
    return [Charged(*each) for each in orjson.loads(row.parts)]


def _text(parts: Sequence[Charged]) -> str:
    return str(orjson.dumps([tuple(part) for part in parts]), "utf-8")


def _add(db: Connection, changes: Sequence[tuple[str, Charged, int, int]], now: float) -> None:
    rows = [
        {
            "team_id": team,
            "key": part.key,
            "unit": part.unit,
            "expires_at": part.expires_at,
            "moved_at": now,
            "spent": spent,
            "disputed": disputed,
            **dict.fromkeys(("held", "expected", "holds"), 0),
        }
        for team, part, spent, disputed in changes
    ]
    if rows:
        add(db, rows)
