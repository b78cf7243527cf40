"""Whether the ledger's sums are what the events of their calls say.

For each budget of a policy, in its window: what is spent by the ledger, less what is disputed, and what the
events cost that meet it, less those that stand for what is disputed. They are equal when no call is under way
and every event has come; what policies and people have set, and disputes that were resolved, are the
difference, and stand in the audit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, select
from starlette.requests import HTTPConnection

from ..._json import loads
from ...attributes import normalized
from ...policy.index import Index
from ...policy.verdict import iso
from ..messages import Paths
from .access import Caller, allowed, storage_of
from .expired import unconfirmed
from .limits import stored
from .policies import DEFAULT, current
from .policy_routes import policy_of
from .storage import Storage
from .tables import events, sums
from .wire import seconds_of

__all__ = ["reconciled", "router"]

AT_ONCE = 1000
router = APIRouter(prefix=Paths.ledger, tags=["ledger"])
COLUMNS = (events.c.event_id, events.c.at, events.c.body, events.c.cost_nano, events.c.charged_nano)


def reconciled(db: Connection, team: str, *, now: float, policy_id: str = DEFAULT) -> list[dict[str, Any]]:
    """Of each budget of dollars that something was spent on in the window of `now`: nano-dollars by the
    ledger, and by the events. In one transaction, so that both are of one moment."""
    index = current(db, team, policy_id).index
    told, doubtful = _of_events(db, team, index, now)
    keys = {stored(key) for key in told} | _keys(db, team, index, now)
    found = {row.key: row for row in _sums(db, team, sorted(keys)) if row.unit == "usd"}
    events_of, unconfirmed_of = (
        Counter({stored(key): amount for key, amount in each.items()}) for each in (told, doubtful)
    )
    return [
        {
            "key": key,
            "spent": row.spent,
            "disputed": row.disputed,
            "events": events_of[key],
            "unconfirmed": unconfirmed_of[key],
            "difference": row.spent - row.disputed - (events_of[key] - unconfirmed_of[key]),
            "held": row.held,
        }
        for key, row in sorted(found.items())
    ]


def _sums(db: Connection, team: str, keys: Sequence[str]) -> Iterator[Any]:
    """In parts, as a statement takes so many parameters."""
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        yield from db.execute(select(sums).where(sums.c.team_id == team, sums.c.key.in_(part)))


def _of_events(db: Connection, team: str, index: Index, now: float) -> tuple[Counter[str], Counter[str]]:
    """What the events of now's windows cost, by key; and those of them that stand for calls whose holds have
    expired, and which may still say what they spent."""
    current_keys = _Windows(index, now)
    doubted = unconfirmed(db, team)
    found, doubtful = Counter[str](), Counter[str]()
    of = select(*COLUMNS).where(events.c.team_id == team, events.c.kind == "metric")
    for rows in db.execute(of.where(events.c.at >= current_keys.start)).partitions(AT_ONCE):
        for row in rows:
            amount = _charged(row)
            if not amount:
                continue
            for match in index.match(_attributes(row.body), row.at):
                if match.terms.unit == "usd" and current_keys.has(match.ledger_key):
                    found[match.ledger_key] += amount
                    if row.event_id in doubted:
                        doubtful[match.ledger_key] += amount
    return found, doubtful


def _charged(row: Any) -> int:
    """What a call was charged, else what it cost; 0: nobody knows."""
    return (row.cost_nano if row.charged_nano is None else row.charged_nano) or 0


def of_models(db: Connection, team: str, *, since: float, until: float) -> list[dict[str, Any]]:
    """What the calls of each day and model were charged, and what they cost as far as that is known."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    columns = events.c.at, events.c.provider, events.c.model, events.c.cost_nano, events.c.charged_nano
    of = select(*columns).where(events.c.team_id == team, events.c.kind == "metric")
    for rows in db.execute(of.where(events.c.at >= since, events.c.at <= until)).partitions(AT_ONCE):
        for row in rows:
            key = (iso(row.at)[:10], row.provider or "", row.model or "")
            sums_of = found.setdefault(key, dict.fromkeys(("calls", "charged", "cost", "unconfirmed"), 0))
            charged = _charged(row)
            sums_of["calls"] += 1
            sums_of["charged"] += charged
            sums_of["cost"] += row.cost_nano or 0
            # Nobody has said what was used.
            sums_of["unconfirmed"] += charged if row.cost_nano is None else 0
    return [
        {"day": day, "provider": provider, "model": model, **sums_of}
        for (day, provider, model), sums_of in sorted(found.items())
    ]


class _Windows:
    """Which windows those of `now` are, and when the first of them began."""

    def __init__(self, index: Index, now: float) -> None:
        windows = [index.window(budget, now) for budget in index.policy.budgets]
        self.start = max(0.0, min([window.start for window in windows], default=now))
        self._names = {window.name for window in windows}

    def has(self, ledger_key: str) -> bool:
        return ledger_key.partition("|")[0].partition("#")[0] in self._names


def _keys(db: Connection, team: str, index: Index, now: float) -> set[str]:
    """Of budgets without a template: those that were spent on without any event."""
    return {stored(match.ledger_key) for match in index.match({}, now)}


def _attributes(body: str) -> dict[str, Any]:
    """As the event brought them: by these its call met its budgets."""
    told = loads(body)
    metadata = told.get("data", told).get("metadata")
    return normalized(metadata) if isinstance(metadata, dict) else {}


def is_exact(found: Iterable[Mapping[str, Any]]) -> bool:
    return not any(each["difference"] for each in found)


@router.get("/reconcile")
def reconcile(
    connection: HTTPConnection,
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
    policy_id: Annotated[str, Depends(policy_of)],
    at: Annotated[str | None, Query(max_length=40, description="ISO 8601: in the windows of then")] = None,
    since: Annotated[str | None, Query(max_length=40, description="ISO 8601: models from then on")] = None,
) -> dict[str, Any]:
    """What is spent by the ledger and by the events, in nano-dollars, of each budget in its window. With
    `since`, also what the calls from then on were charged and cost, by day and model."""
    now = connection.app.state.ledgers.clock()
    at_s = now if at is None else max(0.0, min(now, seconds_of(at, "at")))
    with storage.read() as db:
        found = reconciled(db, caller.team_id, now=at_s, policy_id=policy_id)
        told: dict[str, Any] = {"exact": is_exact(found), "budgets": found}
        if since is not None:
            told["models"] = of_models(db, caller.team_id, since=seconds_of(since, "since"), until=at_s)
    return told
