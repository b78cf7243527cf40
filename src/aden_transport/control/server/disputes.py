"""Stranded money: what counts as spent because nobody has said what was. It is listed, and can be freed.

It comes from leases whose owners are silent, which their owners' word corrects until they are resolved, and
from holds that expired, which the event of their call corrects, where the hold said which that is.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy import Connection, select
from starlette.requests import HTTPConnection

from ...ledger.grants import write_off
from ...ledger.wire import text, whole
from ...policy.verdict import iso
from ..messages import Paths
from . import audit, expired
from .access import Caller, allowed, storage_of
from .leases import Leases, lease_of, put
from .limits import stored
from .rows import add, lock
from .storage import Storage
from .tables import leases, sums
from .wire import Body, Fault

__all__ = ["disputes", "release", "router"]

MOST_LISTED = 1000
MOST_REASON = 2000

router = APIRouter(prefix=f"{Paths.ledger}/disputes", tags=["ledger"])


def disputes(db: Connection, team: str, *, most: int = MOST_LISTED) -> list[dict[str, Any]]:
    """The largest first. What expired holds have left is one entry of each key, without an owner."""
    of_leases = select(leases).where(leases.c.team_id == team, leases.c.state == "disputed")
    rows = db.execute(of_leases.order_by((leases.c.used - leases.c.booked), leases.c.key).limit(most)).all()
    found = [
        {
            "key": row.key,
            "unit": row.unit,
            "amount": row.booked - row.used,
            "owner": row.owner,
            "generation": row.generation,
            "disputed_at": row.disputed_at,
        }
        for row in rows
    ]
    of_keys = select(sums.c.key, sums.c.disputed).where(sums.c.team_id == team, sums.c.disputed > 0)
    for row in db.execute(of_keys.order_by(sums.c.disputed.desc(), sums.c.key).limit(most)).all():
        left = row.disputed - _of_leases(db, team, row.key)
        if left > 0:
            found.append({"key": row.key, "unit": "usd", "amount": left})
    return sorted(found, key=lambda each: -each["amount"])[:most]


def release(
    db: Connection,
    team: str,
    key: str,
    *,
    owner: str | None,
    generation: int | None,
    actor: str | None,
    reason: str,
    now: float,
) -> int:
    """Free what a lease, or without an owner the expired holds of a key, have left; how much. 0: nothing."""
    lock(db, {(team, key): 0.0})
    if owner is None:
        freed = _free_holds(db, team, key, now)
    else:
        freed = _free_lease(db, team, key, owner, generation or 0, now)
    if freed:
        subject = key if owner is None else f"{key} {owner} {generation}"
        audit.record(
            db, team, actor, "dispute.release", subject, now=now, before=freed, after=0, reason=reason
        )
    return freed


def _free_holds(db: Connection, team: str, key: str, now: float) -> int:
    of = select(sums.c.disputed, sums.c.unit, sums.c.expires_at)
    row = db.execute(of.where(sums.c.team_id == team, sums.c.key == key)).one()
    left: int = row.disputed - _of_leases(db, team, key)
    if left > 0:
        figures = {"spent": -left, "disputed": -left, "held": 0, "expected": 0, "holds": 0}
        told = {"unit": row.unit, "expires_at": row.expires_at, "moved_at": now}
        add(db, [{"team_id": team, "key": key} | figures | told])
        expired.free(db, team, key)
    return max(0, left)


def _free_lease(db: Connection, team: str, key: str, owner: str, generation: int, now: float) -> int:
    of = (leases.c.team_id == team) & (leases.c.owner == owner) & (leases.c.key == key)
    row = db.execute(select(leases).where(of, leases.c.generation == generation)).first()
    if row is None or row.state != "disputed":
        return 0
    lease, change = write_off(lease_of(row))
    put(db, [(row, lease, change)], now)
    return -change.spent


def _of_leases(db: Connection, team: str, key: str) -> int:
    """Of a key's disputed dollars."""
    of = select(leases.c.booked, leases.c.used).where(
        leases.c.team_id == team,
        leases.c.key == key,
        leases.c.state == "disputed",
        leases.c.unit == "usd",
    )
    return sum(row.booked - row.used for row in db.execute(of))


# -- routes -----------------------------------------------------------------------------------------


@router.get("")
def listed(
    connection: HTTPConnection,
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
) -> dict[str, Any]:
    """What is disputed, the largest amounts first, in nano-dollars, tokens or calls."""
    granting: Leases = connection.app.state.leases
    with storage.read() as db:
        found = disputes(db, caller.team_id)
    for each in found:
        at = each.pop("disputed_at", None)
        if at is not None:
            each["disputed_at"] = iso(at)
            each["resolves_at"] = iso(at + granting.bounds.dispute_ttl_s)
    return {"disputes": found}


@router.post("/release")
def released(
    connection: HTTPConnection,
    caller: Annotated[Caller, Depends(allowed("policy"))],
    storage: Annotated[Storage, Depends(storage_of)],
    body: Body,
) -> dict[str, Any]:
    """Free an entry of the list, as its money was not spent; `{"key", "owner", "generation", "reason"}`, the
    last for the audit, the two before it for a lease."""
    try:
        key, reason = text(body, "key"), text(body, "reason").strip()
        owner = text(body, "owner") if body.get("owner") is not None else None
        generation = whole(body, "generation") if owner is not None else None
    except ValueError as exc:
        raise Fault(400, "invalid", f"Correct what is named: {exc}.") from exc
    if not 0 < len(reason) <= MOST_REASON:
        raise Fault(400, "no_reason", f"Give a reason of 1 to {MOST_REASON} characters, for the audit.")
    now = connection.app.state.ledgers.clock()
    freed = storage.transact(
        lambda db: release(
            db,
            caller.team_id,
            stored(key),
            owner=owner,
            generation=generation,
            actor=caller.key_id,
            reason=reason,
            now=now,
        )
    )
    if not freed:
        raise Fault(404, "not_disputed", "There is no such entry (any more); get the list anew.")
    return {"released": freed}
