"""The keys of a team: made, listed and revoked; a token is shown once."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from sqlalchemy import Connection, func, select, update

from ...policy.verdict import iso
from . import audit
from .access import AGENT, SCOPES, Caller, Scope, allowed, create_key, storage_of
from .storage import Storage
from .tables import api_keys
from .wire import Body, Fault

__all__ = ["router"]

MOST = 1000
"""Of a team, that are in force."""
SHOWN = ("id", "prefix", "name", "created_by")
TIMES = ("created_at", "expires_at", "revoked_at", "last_used_at")

router = APIRouter(prefix="/v1/keys", tags=["keys"])
Admin = Annotated[Caller, Depends(allowed("admin"))]
Database = Annotated[Storage, Depends(storage_of)]


@router.get("")
def list_keys(caller: Admin, storage: Database) -> dict[str, Any]:
    """All keys of the team, without their tokens."""
    wanted = select(api_keys).where(api_keys.c.team_id == caller.team_id).order_by(api_keys.c.created_at)
    with storage.read() as db:
        rows = db.execute(wanted).mappings().all()
    return {"keys": [_shown(row) for row in rows]}


@router.post("", status_code=201)
def add_key(caller: Admin, storage: Database, body: Body) -> dict[str, Any]:
    """`{"name": "agents", "scopes": ["read", "ingest", "ledger"], "expires_in_s": 86400}`: the answer has the
    token, which is kept nowhere."""
    name, scopes, expires_in = body.get("name"), body.get("scopes", list(AGENT)), body.get("expires_in_s")
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise Fault(400, "no_name", "Give the key a name that says who has it.")
    if not isinstance(scopes, list) or not scopes or any(scope not in SCOPES for scope in scopes):
        raise Fault(400, "bad_scopes", f"Give `scopes`, a list of: {', '.join(SCOPES)}.")
    if expires_in is not None and not _is_time(expires_in):
        raise Fault(400, "bad_expiry", "Give `expires_in_s`, in seconds from now.")
    now = time.time()
    expires_at = None if expires_in is None else now + expires_in
    chosen: list[Scope] = scopes

    def work(db: Connection) -> tuple[str, str]:
        in_force = api_keys.c.revoked_at.is_(None) & (func.coalesce(api_keys.c.expires_at, math.inf) > now)
        counted = select(func.count()).select_from(api_keys).where(api_keys.c.team_id == caller.team_id)
        if (db.scalar(counted.where(in_force)) or 0) >= MOST:
            raise Fault(409, "too_many", f"A team has at most {MOST} keys; revoke one.")
        made = create_key(db, caller.team_id, name, chosen, now=now, expires_at=expires_at, by=caller.key_id)
        scoped = " ".join(chosen)
        audit.record(db, caller.team_id, caller.key_id, "key.create", made[0], now=now, after=scoped)
        return made

    key_id, token = storage.transact(work)
    return {"id": key_id, "token": token, "name": name, "scopes": scopes}


@router.delete("/{key_id}")
def revoke_key(caller: Admin, storage: Database, key_id: str) -> dict[str, Any]:
    """The key is refused from now on, by other server processes within seconds."""
    now = time.time()

    def work(db: Connection) -> None:
        found = update(api_keys).where(
            api_keys.c.team_id == caller.team_id,
            api_keys.c.id == key_id.replace("\0", ""),
            api_keys.c.revoked_at.is_(None),
        )
        if db.execute(found.values(revoked_at=now)).rowcount == 0:
            raise Fault(404, "no_key", "The team has no such key that is in force.")
        audit.record(db, caller.team_id, caller.key_id, "key.revoke", key_id, now=now)
        storage.notify(db, caller.team_id, "keys")

    storage.transact(work)
    return {"success": True, "id": key_id}


def _shown(row: Any) -> dict[str, Any]:
    times = {name: None if row[name] is None else iso(row[name]) for name in TIMES}
    return {**{name: row[name] for name in SHOWN}, "scopes": row["scopes"].split(), **times}


def _is_time(value: Any) -> bool:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return good and math.isfinite(value) and 0 < value <= 10 * 366 * 86_400
