"""Ingestion of events, and reading them back: by pages, and as they come."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
import orjson
from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection, Select, func, select
from starlette.concurrency import run_in_threadpool

from ... import _json
from ..messages import INSTANCE_HEADER, MAX_BATCH_EVENTS, Paths
from . import agents
from .access import Caller, allowed, storage_of
from .alerts import Alerting
from .incoming import MAX_EVENT_BYTES
from .intake import Batch, Taken, read_batch, settle_order, take
from .policies import current
from .storage import Storage, fitting
from .tables import events as table
from .wire import Fault, read_body, seconds_of

__all__ = ["ingest", "router"]

router = APIRouter(tags=["events"])

MAX_WAIT_S = 30.0
LOOK_S = 0.5
"""Between two looks for new events, while someone waits for them."""
MAX_PAGE = 1000
MAX_PAGE_BYTES = 32 << 20
"""Of the events of a page, which has one at least."""


@router.post(Paths.events)
async def post_events(
    request: Request,
    caller: Annotated[Caller, Depends(allowed("ingest"))],
) -> dict[str, Any]:
    """Take a batch. What is there already counts as processed; an id that another event has is refused, and
    the others of the batch are taken."""
    data = await read_body(request)
    instance = request.headers.get(INSTANCE_HEADER)
    batch, taken = await run_in_threadpool(_take, request, caller, data, instance)
    refused = sum(batch.refused.values()) + taken.conflicts
    duplicates = batch.duplicates + taken.duplicates
    return {
        "success": True,
        "processed": len(batch.events) - taken.conflicts + batch.duplicates,
        "duplicates": duplicates,
        "refused": refused,
        **({"reasons": dict(batch.refused)} if refused else {}),
    }


def _take(request: Request, caller: Caller, data: bytes, instance: str | None) -> tuple[Batch, Taken]:
    state = request.app.state
    now = time.time()
    batch = read_batch(_events_of(data), now=now, prices=state.pricing.of(caller.team_id, now))
    return batch, ingest(state.storage, caller.team_id, batch, now, alerting=state.alerting)


def _events_of(data: bytes) -> list[Any]:
    try:
        told = _json.loads(data)
    except ValueError as exc:
        raise Fault(400, "bad_json", "The body is not JSON that can be read.") from exc
    events = told.get("events") if isinstance(told, dict) else None
    if not isinstance(events, list):
        raise Fault(400, "invalid", 'Send {"events": […]}.')
    if len(events) > MAX_BATCH_EVENTS:
        raise Fault(413, "too_many", f"Send at most {MAX_BATCH_EVENTS} events at once, in several requests.")
    return events


def ingest(
    storage: Storage,
    team_id: str,
    batch: Batch,
    now: float,
    *,
    alerting: Alerting | None = None,
) -> Taken:
    """Store a batch, in one transaction with what it spent."""

    def work(db: Connection) -> Taken:
        taken = take(db, team_id, batch, current(db, team_id).index, now)
        beats = [event for event in batch.events.values() if event.kind == "heartbeat"]
        agents.beat(db, team_id, beats, now)
        if taken.spent:
            storage.notify(db, team_id, "sums")
            if alerting is not None:
                alerting.after_spending(db, team_id, taken.spent.items(), now)
        if taken.events:
            storage.notify(db, team_id, "events")
        return taken

    return storage.transact(work)


@router.get(Paths.events)
def get_events(
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    start_date: Annotated[str | None, Query(max_length=40, description="ISO 8601, from it on")] = None,
    end_date: Annotated[str | None, Query(max_length=40, description="ISO 8601, before it")] = None,
    event_type: Annotated[str | None, Query(max_length=16)] = None,
) -> dict[str, Any]:
    """Events by their time, the latest first. `limit` of the answer is how many a page may have: fewer than
    were asked for, where they are large."""
    found = _of_team(caller.team_id)
    if start_date is not None:
        found = found.where(table.c.at >= seconds_of(start_date, "start_date"))
    if end_date is not None:
        found = found.where(table.c.at < seconds_of(end_date, "end_date"))
    if event_type is not None:
        found = found.where(table.c.kind == event_type.replace("\0", ""))
    page = found.order_by(table.c.at.desc(), table.c.seq.desc()).offset(offset)
    with storage.read() as db:
        limit = _fitting(db, page, limit)
        rows = db.execute(page.limit(limit)).all()
        total = db.execute(select(func.count()).select_from(found.subquery())).scalar_one()
    return {"events": [_shown(row) for row in rows], "total": total, "limit": limit, "offset": offset}


@router.get(f"{Paths.events}/tail")
async def tail_events(
    request: Request,
    caller: Annotated[Caller, Depends(allowed("read"))],
    cursor: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="seconds to wait for an event")] = 0,
) -> dict[str, Any]:
    """Events in the order in which they came, from a cursor on; without one, from now on. Every event comes
    once: ask again with the cursor of the answer."""
    storage: Storage = request.app.state.storage
    if cursor is None:
        return {"events": [], "cursor": await run_in_threadpool(_last, storage, caller.team_id)}
    deadline = time.monotonic() + wait
    while True:
        rows = await run_in_threadpool(_following, storage, caller.team_id, cursor, limit)
        if rows or time.monotonic() >= deadline or await request.is_disconnected():
            return {"events": [_shown(row) for row in rows], "cursor": rows[-1].seq if rows else cursor}
        await anyio.sleep(min(LOOK_S, max(0.0, deadline - time.monotonic())))


def _last(storage: Storage, team_id: str) -> int:
    with storage.read() as db:
        settle_order(db, team_id)
        found = db.execute(select(func.max(table.c.seq)).where(table.c.team_id == team_id)).scalar()
    return found or 0


def _following(storage: Storage, team_id: str, cursor: int, limit: int) -> Sequence[Any]:
    page = _of_team(team_id).where(table.c.seq > cursor).order_by(table.c.seq)
    with storage.read() as db:
        if not db.execute(page.limit(1)).first():
            return []
        settle_order(db, team_id)
        return db.execute(page.limit(_fitting(db, page, limit))).all()


def _fitting(db: Connection, page: Select[Any], limit: int) -> int:
    """How many rows of `page` are no more than a page may have: `limit`, but where they are large."""
    if limit * MAX_EVENT_BYTES <= MAX_PAGE_BYTES:
        return limit
    return fitting(db, page.limit(limit), table.c.body, MAX_PAGE_BYTES)


def _of_team(team_id: str) -> Select[Any]:
    columns = table.c.seq, table.c.event_id, table.c.received_at, table.c.cost_nano, table.c.body
    found: Select[Any] = select(*columns).where(table.c.team_id == team_id)  # pyright: ignore
    return found


def _shown(row: Any) -> dict[str, Any]:
    """The event as it was sent, with what the server knows of it beside."""
    event: dict[str, Any] = orjson.loads(row.body)
    known = {"received_at": datetime.fromtimestamp(row.received_at, UTC).isoformat(), "seq": row.seq}
    return {**event, "event_id": row.event_id, "cost_nano_usd": row.cost_nano, **known}
