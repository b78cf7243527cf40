"""The programs of a team: what their heartbeats say, and what they have reported of decisions and errors."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, case, delete, func, select, text
from sqlalchemy.engine import RowMapping

from .access import Caller, allowed, storage_of
from .incoming import Incoming
from .storage import Storage
from .tables import agents as table
from .tables import events

__all__ = ["beat", "router"]

router = APIRouter(prefix="/v1/control", tags=["agents"])

MOST = 10_000
"""Agents of a team that are kept; the longest silent go first."""
SILENT_S = 60.0
"""After which an agent is not taken for connected: six of its heartbeats."""
MAX_COUNT = 10**9
SEEN = case((table.c.last_seen_at > table.c.first_seen_at, table.c.last_seen_at), else_=table.c.first_seen_at)
"""A program that has connected and not sent a heartbeat yet was seen then."""
BEAT = text(
    """INSERT INTO agents
    (team_id, instance_id, name, status, sdk_version, first_seen_at, last_seen_at, requests, errors, body)
    VALUES (:team_id, :instance_id, :name, :status, :sdk_version, :at, :at, :requests, :errors, :body)
    ON CONFLICT (team_id, instance_id) DO UPDATE SET name = excluded.name, status = excluded.status,
    sdk_version = excluded.sdk_version, last_seen_at = excluded.last_seen_at, body = excluded.body,
    requests = agents.requests + excluded.requests, errors = agents.errors + excluded.errors
    WHERE excluded.last_seen_at > agents.last_seen_at"""
)


def beat(db: Connection, team_id: str, heartbeats: Iterable[Incoming], now: float) -> None:
    """Note heartbeats; one that is told again, or late, changes nothing."""
    rows = [_row(team_id, event) for event in sorted(heartbeats, key=_place) if event.instance_id]
    if not rows:
        return
    known = select(func.count()).select_from(table).where(table.c.team_id == team_id)
    if db.execute(known).scalar_one() >= MOST:
        _drop_oldest(db, team_id, len(rows))
    db.execute(BEAT, rows)


def _place(event: Incoming) -> tuple[str, float]:
    return event.instance_id or "", event.at


def _row(team_id: str, event: Incoming) -> dict[str, Any]:
    told = event.told
    status, version = told.get("status"), told.get("sdk_version")
    return {
        "team_id": team_id,
        "instance_id": event.instance_id,
        "name": event.agent,
        "status": status[:32] if isinstance(status, str) and status.isascii() else None,
        "sdk_version": version[:64] if isinstance(version, str) and version.isascii() else None,
        "at": event.at,
        "requests": _count(told.get("requests_since_last")),
        "errors": _count(told.get("errors_since_last")),
        "body": event.body,
    }


def _count(value: Any) -> int:
    return min(value, MAX_COUNT) if type(value) is int and value > 0 else 0


def _drop_oldest(db: Connection, team_id: str, most: int) -> None:
    own = table.c.team_id == team_id
    oldest = select(table.c.instance_id).where(own).order_by(table.c.last_seen_at).limit(most)
    db.execute(delete(table).where(own, table.c.instance_id.in_(oldest)))


@router.get("/agents")
def get_agents(
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=MOST)] = 0,
) -> dict[str, Any]:
    """Programs by their last heartbeat, the latest first."""
    now = time.time()
    page = (
        select(table)
        .where(table.c.team_id == caller.team_id)
        .order_by(SEEN.desc(), table.c.instance_id)
        .limit(limit)
        .offset(offset)
    )
    with storage.read() as db:
        rows = db.execute(page).mappings().all()
    return {"agents": [_shown(row, now) for row in rows], "limit": limit, "offset": offset}


@router.get("/agent-status")
def get_agent_status(
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
) -> dict[str, Any]:
    """How many programs there are, how many answer, and what was reported in the last hour."""
    now = time.time()
    own = table.c.team_id == caller.team_id
    recent = events.c.team_id == caller.team_id, events.c.at > now - 3600
    with storage.read() as db:
        total = db.execute(select(func.count()).select_from(table).where(own)).scalar_one()
        heard = now - SILENT_S < SEEN
        by_status = db.execute(
            select(table.c.status, func.count()).where(own, heard).group_by(table.c.status)
        ).all()
        reported = db.execute(
            select(events.c.kind, func.count()).where(*recent).group_by(events.c.kind)
        ).all()
    statuses = {status or "unknown": n for status, n in by_status}
    return {
        "total": total,
        "active": sum(statuses.values()),
        "statuses": statuses,
        "last_hour": {row[0]: row[1] for row in reported},
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
    }


def _shown(row: RowMapping, now: float) -> dict[str, Any]:
    seen = max(row["first_seen_at"], row["last_seen_at"])
    return {
        "instance_id": row["instance_id"],
        "agent_name": row["name"],
        "status": row["status"] if now - seen < SILENT_S else "silent",
        "sdk_version": row["sdk_version"],
        "first_seen_at": datetime.fromtimestamp(row["first_seen_at"], UTC).isoformat(),
        "last_seen_at": datetime.fromtimestamp(seen, UTC).isoformat(),
        "requests": row["requests"],
        "errors": row["errors"],
        "websocket_connected": row["connected"],
    }
