"""What is stored of one person or customer: told to whoever may ask, and erased so that all sums stay.

A person is the value of an attribute of calls: `customer=acme`, or of any member of their metadata. Erasing
takes from their events everything but figures and times, gives the sums of their budgets a name that says
nothing, and deletes their content and alerts. What a policy or the audit says of them stays, and is counted.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, or_, select, update

from ... import _json
from ...attributes import normalized
from ...policy.values import ATTRIBUTES
from . import audit, expired
from .access import Caller, allowed, storage_of
from .alerts import told_of
from .limits import stored
from .policies import current, policy_names
from .storage import Storage
from .tables import alert_deliveries, content, events, holds, leases, marks, sums
from .tables import audit as audit_table

__all__ = ["Person", "erase", "export", "router"]

router = APIRouter(prefix="/v1/control/persons", tags=["persons"])

PART = 200
COLUMNS = {"customer": events.c.customer, "tenant": events.c.tenant, "agent": events.c.agent}
COLUMNS |= {"feature": events.c.feature, "context_id": events.c.context_id}
FIGURES = frozenset(
    (
        *("event_type", "event_id", "timestamp", "provider", "operation", "model", "request_model"),
        *("response_model", "stream", "latency_ms", "status_code", "usage", "input_tokens", "output_tokens"),
        *("total_tokens", "cached_tokens", "reasoning_tokens", "cost_usd", "cost_nano_usd", "total_cost"),
        *("charged_nano_usd", "charged_usd", "currency", "service_tier", "settled", "action"),
    )
)
"""What is left of an event: nothing of who, and no text of anybody's."""


class Person(NamedTuple):
    """Whose data it is."""

    attribute: str
    """`"customer"`, or another member of the metadata of calls."""
    name: str

    @property
    def digest(self) -> str:
        """In the place of the name, where the name must not stay."""
        return hashlib.sha256(f"{self.attribute}={self.name}".encode("utf-8", "replace")).hexdigest()[:16]

    def is_in(self, metadata: Any) -> bool:
        if not isinstance(metadata, dict):
            return False
        value = normalized(metadata).get(self.attribute)
        if isinstance(value, (tuple, list)):
            return self.name in value
        return value is not None and not isinstance(value, dict) and str(value) == self.name


def export(storage: Storage, team_id: str, person: Person, *, after: int, limit: int) -> dict[str, Any]:
    """Their events by pages; with the first sums and alerts, and in how many documents they are named."""
    with storage.read() as db:
        rows, last = _page(db, team_id, person, after, limit)
        found: dict[str, Any] = {
            "person": {"attribute": person.attribute, "name": person.name},
            "events": [orjson.loads(row.body) for row in rows],
            "cursor": last,
        }
        if not after:
            keys = [sums.c.key, sums.c.unit, sums.c.spent, sums.c.held]
            owned = _Owned(db, team_id, person)
            of_person = select(*keys).where(sums.c.team_id == team_id, _names(sums.c.key, person))
            rows_of_sums = db.execute(of_person).mappings()
            found["sums"] = [dict(row) for row in rows_of_sums if owned.has(row["key"])]
            found["alerts"] = [orjson.loads(body) for _, body in _alerts(db, team_id, owned)]
            found["calls"] = [intent for _, intent in _intents(db, team_id, person)]
            found["mentioned"] = _mentions(db, team_id, person)
        content_ids = sorted({each for row in rows for each in _content_ids(orjson.loads(row.body))})
        of_events = content.c.team_id == team_id, content.c.content_id.in_(content_ids)
        found["content"] = [
            {"content_id": row.content_id, "content": row.content}
            for row in db.execute(select(content.c.content_id, content.c.content).where(*of_events))
        ]
    return found


def erase(storage: Storage, team_id: str, person: Person, *, actor: str | None, now: float) -> dict[str, Any]:
    """Returns how much was erased, what could not be yet, and what mentions them still. To be asked again
    does no harm: what is erased stays so."""
    erased, deleted, after = 0, 0, 0
    while after is not None:
        start = after

        def part(db: Connection, start: int = start) -> tuple[int, int, int | None]:
            rows, last = _page(db, team_id, person, start, PART)
            return len(rows), _erase_events(db, team_id, rows), last

        events_of_part, content_of_part, following = storage.transact(part)
        erased += events_of_part
        deleted += content_of_part
        if following is None:
            break
        after = following

    def rest(db: Connection) -> dict[str, Any]:
        owned = _Owned(db, team_id, person)
        renamed, kept = _rename_sums(db, team_id, owned)
        for op_id, intent in _intents(db, team_id, person):
            del intent["event"]["metadata"]
            one = holds.c.team_id == team_id, holds.c.op_id == op_id
            db.execute(update(holds).where(*one).values(intent=str(orjson.dumps(intent), "utf-8")))
        alerts = [{"number": seq} for seq, _ in _alerts(db, team_id, owned)]
        if alerts:
            db.execute(delete(alert_deliveries).where(alert_deliveries.c.seq == bindparam("number")), alerts)
        found = {
            "events": erased,
            "content": deleted,
            "sums": renamed,
            "alerts": len(alerts),
            "held": kept,
            "mentioned": _mentions(db, team_id, person),
        }
        said = {name: found[name] for name in ("events", "content", "sums", "alerts")} | {"held": len(kept)}
        subject = f"{person.attribute} {person.digest}"
        audit.record(db, team_id, actor, "person.erase", subject, now=now, after=said)
        return found

    return storage.transact(rest)


def _page(
    db: Connection, team_id: str, person: Person, after: int, limit: int
) -> tuple[Sequence[Any], int | None]:
    """Events of the person from a number on, and the number to go on from; None where there are no more."""
    wanted = select(events.c.seq, events.c.body).where(events.c.team_id == team_id, events.c.seq > after)
    column = COLUMNS.get(person.attribute)
    if column is not None:
        wanted = wanted.where(column == person.name)
    elif person.attribute == "tags":
        wanted = wanted.where(events.c.tags.is_not(None))
    rows = db.execute(wanted.order_by(events.c.seq).limit(limit)).all()
    last = rows[-1].seq if len(rows) == limit else None
    if column is None:
        rows = [row for row in rows if person.is_in(_data(orjson.loads(row.body)).get("metadata"))]
    return rows, last


def _data(event: Mapping[str, Any]) -> Mapping[str, Any]:
    data = event.get("data")
    return data if isinstance(data, dict) else event


def _erase_events(db: Connection, team_id: str, rows: Iterable[Any]) -> int:
    """Returns how much content went with them."""
    changes, content_ids = [], set[str]()
    for row in rows:
        event = orjson.loads(row.body)
        content_ids |= _content_ids(event)
        left = {name: value for name, value in event.items() if name in FIGURES}
        if isinstance(event.get("data"), dict):
            left["data"] = {name: value for name, value in event["data"].items() if name in FIGURES}
        changes.append({"number": row.seq, "left": str(orjson.dumps({**left, "erased": True}), "utf-8")})
    if changes:
        names = ("trace_id", "instance_id", "agent", "tenant", "customer", "feature", "tags", "context_id")
        of_row = events.c.seq == bindparam("number")
        cleared = update(events).where(of_row).values(body=bindparam("left"), **dict.fromkeys(names))
        db.execute(cleared, changes)
    of_events = content.c.team_id == team_id, content.c.content_id.in_(sorted(content_ids))
    return db.execute(delete(content).where(*of_events)).rowcount if content_ids else 0


def _intents(db: Connection, team_id: str, person: Person) -> list[tuple[str, dict[str, Any]]]:
    """What is known of their calls that are under way, by the id of their holds."""
    of = select(holds.c.op_id, holds.c.intent).where(holds.c.team_id == team_id, holds.c.intent.is_not(None))
    found = [(row.op_id, _json.loads(row.intent)) for row in db.execute(of)]
    return [(op_id, intent) for op_id, intent in found if person.is_in(intent["event"].get("metadata"))]


def _content_ids(value: Any, depth: int = 64) -> set[str]:
    """What an event refers to."""
    if isinstance(value, list) and depth:
        return {each for item in value for each in _content_ids(item, depth - 1)}
    if not isinstance(value, dict) or not depth:
        return set()
    own = value.get("content_id")
    found = {own} if isinstance(own, str) else set()
    return found | {each for item in value.values() for each in _content_ids(item, depth - 1)}


class _Owned:
    """Which keys of the ledger are of a person's budgets: `eu:acme` and the tenant `acme` are not `acme`."""

    def __init__(self, db: Connection, team_id: str, person: Person) -> None:
        self.person = person
        self._indexes = [current(db, team_id, name).index for name in policy_names(db, team_id)]

    def has(self, ledger_key: str) -> bool:
        """Of one that ends in the person's name."""
        told = [found for index in self._indexes if (found := told_of(index, ledger_key)) is not None]
        if told:
            return any(self._is_of(one.budget.type, one.name) for one in told)
        # No policy has the budget any more: by its type, where its key begins with one.
        kind, _, name = ledger_key.partition("|")[2].partition(":")
        return kind not in ATTRIBUTES or self._is_of(kind, name)

    def _is_of(self, kind: str, name: str) -> bool:
        is_attribute = (kind, self.person.attribute) in ATTRIBUTES.items()
        return is_attribute and stored(name) == stored(self.person.name)


def _rename_sums(db: Connection, team_id: str, owned: _Owned) -> tuple[int, list[str]]:
    """How many sums have another name now, and those that cannot yet, as something is held on them."""
    person, nameless = owned.person, f"erased-{secrets.token_hex(8)}"
    of_person = sums.c.team_id == team_id, _names(sums.c.key, person)
    found = db.execute(select(sums).where(*of_person).order_by(sums.c.key).with_for_update())
    rows = [row for row in found if owned.has(row.key)]
    is_open = leases.c.team_id == team_id, leases.c.state == "open", _names(leases.c.key, person)
    leased = set(db.scalars(select(leases.c.key).where(*is_open)))
    kept = [row.key for row in rows if row.holds or row.held or row.key in leased]
    for row in rows:
        if row.key in kept:
            continue
        name = row.key.removesuffix(stored(person.name)) + nameless
        for table in (sums, leases, marks):
            one = table.c.team_id == team_id, table.c.key == row.key
            db.execute(update(table).where(*one).values(key=name))
        expired.rename(db, team_id, row.key, name)
    return len(rows) - len(kept), kept


def _names(key: ColumnElement[str], person: Person) -> ColumnElement[bool]:
    """Whether a key of the ledger is of a budget that bears the person's name."""
    name = stored(f":{person.name}")
    after_bar = func.substr(key, func.length(key) - len(name) + 1) == name
    return after_bar & key.like("%|%")


def _alerts(db: Connection, team_id: str, owned: _Owned) -> list[tuple[int, str]]:
    """Number and body of each alert of the person's budgets."""
    columns = alert_deliveries.c
    name = stored(f":{owned.person.name}")
    ending = func.substr(columns.budget_key, func.length(columns.budget_key) - len(name) + 1)
    of = select(columns.seq, columns.budget_key, columns.body)
    rows = db.execute(of.where(columns.team_id == team_id, ending == name).order_by(columns.seq))
    return [(row.seq, row.body) for row in rows if owned.has(f"|{row.budget_key}")]


def _mentions(db: Connection, team_id: str, person: Person) -> dict[str, int]:
    """In how many policies in force, and entries of the audit, the name stands."""
    documents = [current(db, team_id, name).document for name in policy_names(db, team_id)]
    columns = audit_table.c.subject, audit_table.c.before, audit_table.c.after
    said = or_(*[func.coalesce(column, "").contains(person.name, autoescape=True) for column in columns])
    entries = select(func.count()).where(audit_table.c.team_id == team_id, said)
    return {
        "policies": sum(person.name in str(orjson.dumps(one), "utf-8") for one in documents),
        "audit": db.execute(entries).scalar_one(),
    }


Attribute = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Name = Annotated[str, Path(min_length=1, max_length=256)]


@router.get("/{attribute}/{name:path}")
def get_person(
    attribute: Attribute,
    name: Name,
    caller: Annotated[Caller, Depends(allowed("admin"))],
    storage: Annotated[Storage, Depends(storage_of)],
    cursor: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> dict[str, Any]:
    """All that is stored of a person: events by pages until `cursor` is null, the rest with the first."""
    return export(storage, caller.team_id, _person(attribute, name), after=cursor, limit=limit)


@router.delete("/{attribute}/{name:path}")
def delete_person(
    attribute: Attribute,
    name: Name,
    caller: Annotated[Caller, Depends(allowed("admin"))],
    storage: Annotated[Storage, Depends(storage_of)],
) -> dict[str, Any]:
    """Erase a person; sums stay. `held`: sums on which calls hold money; ask again when these have ended."""
    person = _person(attribute, name)
    return erase(storage, caller.team_id, person, actor=caller.key_id, now=time.time())


def _person(attribute: str, name: str) -> Person:
    found = next(iter(normalized({attribute: name}).items()))
    value = found[1][0] if isinstance(found[1], tuple) else found[1]
    return Person(found[0], value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode())
