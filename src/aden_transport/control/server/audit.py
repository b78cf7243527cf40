"""Who changed what, when and why. Rows are only ever added."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, insert, select

from ...policy.verdict import iso
from .access import Caller, allowed, storage_of
from .storage import Storage
from .tables import api_keys, audit

__all__ = ["record", "router"]

MAX_TEXT = 2000

router = APIRouter(tags=["audit"])


def record(
    db: Connection,
    team_id: str,
    actor: str | None,
    action: str,
    subject: str,
    *,
    now: float,
    before: object = None,
    after: object = None,
    reason: str | None = None,
) -> None:
    """Add a row, in the transaction of the change. `actor`: the id of a key; None: the server itself."""
    db.execute(
        insert(audit).values(
            team_id=team_id,
            at=now,
            actor=actor,
            action=action,
            subject=_text(subject),
            before=_text(before),
            after=_text(after),
            reason=_text(reason),
        )
    )


@router.get("/v1/audit")
def entries(
    caller: Annotated[Caller, Depends(allowed("admin"))],
    storage: Annotated[Storage, Depends(storage_of)],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> dict[str, Any]:
    """The latest changes first; `before` the `seq` of the last one for those that came earlier."""
    wanted = (
        select(audit, api_keys.c.name.label("actor_name"))
        .outerjoin(api_keys, (api_keys.c.id == audit.c.actor) & (api_keys.c.team_id == audit.c.team_id))
        .where(audit.c.team_id == caller.team_id)
        .order_by(audit.c.seq.desc())
        .limit(limit)
    )
    if before is not None:
        wanted = wanted.where(audit.c.seq < before)
    with storage.read() as db:
        rows = db.execute(wanted).mappings().all()
    return {"entries": [_shown(row) for row in rows]}


def _shown(row: Any) -> dict[str, Any]:
    shown = {
        name: value for name, value in row.items() if name not in ("team_id", "at") and value is not None
    }
    return {**shown, "at": iso(row["at"])}


def _text(value: object) -> str | None:
    if value is None:
        return None
    # PostgreSQL keeps no NUL, and neither keeps half a surrogate pair.
    text = str(value)[:MAX_TEXT].replace("\0", "\ufffd")
    return text.encode("utf-8", "backslashreplace").decode()
