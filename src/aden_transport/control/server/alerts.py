"""Which thresholds a budget has crossed, and who is told: rows, written with the spending that did it.

A threshold is told of once per window and target, whatever crosses it: a call's settlement, an event, a limit
that was lowered before. `deliveries.py` carries the rows out.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, func, select, text
from starlette.requests import HTTPConnection

from ...policy.budgets import budget_from
from ...policy.fields import Faults
from ...policy.index import Index
from ...policy.values import Budget
from .access import Caller, allowed, storage_of
from .limits import template_of
from .policies import Current, current
from .storage import Storage
from .tables import alert_deliveries as table
from .tables import sums

__all__ = ["Alerting", "Notifications", "Step", "Told", "crossed", "notifications_of", "router", "told_of"]

router = APIRouter(prefix="/v1/control", tags=["alerts"])

MAX_TARGETS = 20
"""Of one budget."""
MAX_MARKS = 100_000
MAX_TEAMS = 1_000
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_ROLLING = re.compile(r"r([0-9]+)\.([0-9]+)")
WRITE = text(
    """INSERT INTO alert_deliveries
    (team_id, mark, budget_key, channel, target, body, state, next_at, created_at, done_at)
    VALUES (:team_id, :mark, :budget_key, :channel, :target, :body, :state, :now, :now, :done_at)
    ON CONFLICT (team_id, mark) DO NOTHING"""
)


@dataclass(frozen=True, slots=True)
class Notifications:
    """Who is told of a budget, as its document says."""

    webhooks: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()


NOBODY = Notifications()


class Step(NamedTuple):
    """A threshold of a budget."""

    at: int
    percent: float
    level: str
    message: str | None
    is_limit: bool


class Told(NamedTuple):
    """A budget of a ledger key."""

    budget: Budget
    key: str
    """Of the budget: `"customer:acme"`."""
    name: str
    mark: str
    """Names the window in which each threshold is told of once."""


def notifications_of(document: Mapping[str, Any]) -> dict[str, Notifications]:
    """By the key of the budget; those that say nothing are left out."""
    found: dict[str, Notifications] = {}
    budgets = document.get("budgets")
    for item in budgets if isinstance(budgets, list) else ():
        told = item.get("notifications") if isinstance(item, Mapping) else None
        if not isinstance(told, Mapping):
            continue
        budget = budget_from(item, "", Faults(), {})
        if budget is not None:
            found[budget.key] = Notifications(_webhooks(told), _emails(told))
    return {key: each for key, each in found.items() if each != NOBODY}


def _webhooks(told: Mapping[str, Any]) -> tuple[str, ...]:
    url = told.get("webhookUrl", told.get("webhook_url"))
    return (url,) if told.get("webhook") and isinstance(url, str) and len(url) <= 2048 else ()


def _emails(told: Mapping[str, Any]) -> tuple[str, ...]:
    given = told.get("emailRecipients", told.get("email_recipients"))
    if not told.get("email") or not isinstance(given, list):
        return ()
    return tuple([mail for mail in given if isinstance(mail, str) and _MAIL.fullmatch(mail)][:MAX_TARGETS])


def crossed(budget: Budget, after: int) -> list[Step]:
    """The thresholds at or below what is spent, and the limit."""
    terms = budget.terms
    found = [
        Step(step.at, step.percent, step.level, step.message, False)
        for step in terms.ladder.alerts
        if step.at <= after
    ]
    if after >= terms.limit and not any(step.percent == 100 for step in found):
        found.append(Step(terms.limit, 100.0, "critical", None, True))
    return found


def told_of(index: Index, ledger_key: str) -> Told | None:
    """The budget that a key of the ledger is of; None where the policy has none (any more)."""
    window, _, key = ledger_key.partition("|")
    budget = index.get(key) or template_of(index, key)
    if budget is None:
        return None
    name = key.removeprefix(f"{budget.id or budget.type}:") if budget.is_template else budget.name
    name_of_window, _, generation = window.partition("#")
    rolling = _ROLLING.fullmatch(name_of_window)
    mark = f"r{rolling[1]}/{int(rolling[2]) // 60}" if rolling else name_of_window
    return Told(budget, key, name, f"{mark}#{generation}" if generation else mark)


class Alerting:
    """The alerts of all teams. For any thread."""

    def __init__(self, *, woken: Callable[[], None] = lambda: None) -> None:
        self._woken = woken
        """Called when there is something to deliver."""
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Current, dict[str, Notifications]]] = {}
        self._marks: set[tuple[str, str]] = set()
        """Those that were in the table when they were to be written, each for whom a policy tells, by its
        ETag."""

    def after_spending(
        self, db: Connection, team_id: str, spent: Iterable[tuple[str, int]], now: float
    ) -> None:
        """Write down what keys of the ledger, each with what is spent on it now, have crossed.

        In the transaction of `db`, after the sums are written: it takes no lock that anybody waits for.
        """
        policy = current(db, team_id)
        for ledger_key, own in spent:
            told = told_of(policy.index, ledger_key)
            if told is None:
                continue
            window = policy.index.window(told.budget, now)
            is_rolling = window.older and ledger_key.startswith(window.name)
            after = own + (_older(db, team_id, ledger_key, window.older) if is_rolling else 0)
            for step in crossed(told.budget, after):
                self._write(db, policy, told, step, after, now)

    def _write(self, db: Connection, policy: Current, told: Told, step: Step, after: int, now: float) -> None:
        mark = f"{told.mark}|{told.key}|{step.percent:g}"
        known = f"{policy.team_id} {policy.etag}", mark
        if known in self._marks:
            return
        body = str(orjson.dumps(_body(told, step, after, now)), "utf-8")
        new = 0
        for channel, target in self._targets(policy, told.budget.key):
            row = {
                "team_id": policy.team_id,
                "mark": f"{mark}|{channel}|{target}",
                "budget_key": told.key,
                "channel": channel,
                "target": target,
                "body": body,
                "state": "shown" if channel == "in_app" else "waiting",
                "now": now,
                "done_at": now if channel == "in_app" else None,
            }
            new += db.execute(WRITE, row).rowcount
        if new:
            self._woken()
        else:
            self._remember(known)

    def _targets(self, policy: Current, key: str) -> list[tuple[str, str]]:
        known = self._known.get(policy.team_id)
        if known is None or known[0] is not policy:
            known = policy, notifications_of(policy.document)
            with self._lock:
                if len(self._known) >= MAX_TEAMS:
                    self._known.clear()
                self._known[policy.team_id] = known
        told = known[1].get(key, NOBODY)
        return [
            ("in_app", ""),
            *[("webhook", url) for url in told.webhooks],
            *[("email", mail) for mail in told.emails],
        ]

    def _remember(self, known: tuple[str, str]) -> None:
        # Never one that this transaction has written: it may still be undone.
        with self._lock:
            if len(self._marks) >= MAX_MARKS:
                self._marks.clear()
            self._marks.add(known)


def _older(db: Connection, team_id: str, ledger_key: str, older: tuple[str, ...]) -> int:
    window, _, key = ledger_key.partition("|")
    generation = window.partition("#")[2]
    keys = [f"{name}#{generation}|{key}" if generation else f"{name}|{key}" for name in older]
    found = select(func.sum(sums.c.spent)).where(sums.c.team_id == team_id, sums.c.key.in_(keys))
    return int(db.execute(found).scalar() or 0)


def _body(told: Told, step: Step, after: int, now: float) -> dict[str, Any]:
    """Aden's `budget_alert`, and ours beside it."""
    budget = told.budget
    unit = budget.terms.unit
    scale = 1e9 if unit == "usd" else 1
    limit = budget.terms.limit
    return {
        "type": "budget_alert",
        "alert_type": "limit_reached" if step.is_limit else "threshold",
        "budget_id": told.key,
        "budget_name": told.name or budget.name or told.key,
        "budget_type": budget.type,
        "threshold": step.percent,
        "level": step.level,
        "message": step.message or f"{told.key} has reached {step.percent:g} % of its limit.",
        "action": budget.terms.limit_action,
        "unit": unit,
        "spent": after / scale,
        "limit": limit / scale,
        "usage_percent": round(after * 100 / limit, 2) if limit else None,
        "window": told.mark,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(),
    }


def alerting_of(connection: HTTPConnection) -> Alerting:
    alerting: Alerting = connection.app.state.alerting
    return alerting


@router.get("/alerts")
def get_alerts(
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> dict[str, Any]:
    """Alerts and what became of their deliveries, the latest first; `before`: only those of a lower `seq`."""
    page = select(table).where(table.c.team_id == caller.team_id)
    if before is not None:
        page = page.where(table.c.seq < before)
    with storage.read() as db:
        rows = db.execute(page.order_by(table.c.seq.desc()).limit(limit)).mappings().all()
    return {
        "alerts": [
            {
                "seq": row["seq"],
                "channel": row["channel"],
                "target": row["target"],
                "state": row["state"],
                "attempts": row["attempts"],
                "fault": row["fault"],
                "alert": orjson.loads(row["body"]),
            }
            for row in rows
        ]
    }
