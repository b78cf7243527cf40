"""What is forgotten when: events, content, alerts and agents by their age, the ledger's sums by their window.

Sums and marks carry the time at which nobody needs them any more; the audit is never forgotten. Each run
takes rows in small parts, so that nobody waits for it, and any number of servers may run it at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, select, true, tuple_
from sqlalchemy.exc import SQLAlchemyError

from ..._fork import draw
from .storage import Storage
from .tables import agents, alert_deliveries, content, events

__all__ = ["LEAST_DAYS", "Keeper", "Retention", "forget_old"]

DAY_S = 86_400.0
LEAST_DAYS = 8
"""For events: one may be sent again for a week, and is known by its row."""
PART = 500
"""Rows of one transaction."""
PAUSE_S = 0.02
"""Between two parts, for those who wait to write."""
EVERY_S = 3600.0
log = logging.getLogger("aden.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days that things are kept; 0: for ever. Sums outlast the events that made them."""

    events: float = 90.0
    """At least `LEAST_DAYS`."""
    content: float = 30.0
    alerts: float = 90.0
    agents: float = 30.0


def forget_old(
    storage: Storage,
    retention: Retention,
    now: float,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> dict[str, int]:
    """Delete what is older; how many rows of each table."""
    is_over = alert_deliveries.c.state != "waiting"
    old = (
        _Old(events, retention.events, events.c.received_at, events.c.seq),
        _Old(content, retention.content, content.c.stored_at, content.c.stored_at),
        _Old(
            alert_deliveries,
            retention.alerts,
            alert_deliveries.c.created_at,
            alert_deliveries.c.seq,
            is_over,
        ),
        _Old(agents, retention.agents, agents.c.last_seen_at, agents.c.last_seen_at),
    )
    return {each.table.name: _forget(storage, each, now, pause) for each in old if each.days > 0}


class _Old(NamedTuple):
    """What of a table is too old."""

    table: Table
    days: float
    at: Column[Any]
    order: Column[Any]
    """An index of it finds the oldest rows."""
    only: ColumnElement[bool] = true()


def _forget(storage: Storage, old: _Old, now: float, pause: Callable[[float], object]) -> int:
    keys = list(old.table.primary_key.columns)
    # Rows come by an order that is nearly that of their age: a part without an old one is the last.
    oldest = select(*keys, and_(old.only, old.at < now - old.days * DAY_S).label("is_old"))
    page = oldest.order_by(old.order).limit(PART)

    def work(db: Connection) -> int:
        gone = [tuple(row[:-1]) for row in db.execute(page) if row.is_old]
        if gone:
            db.execute(delete(old.table).where(tuple_(*keys).in_(gone)))
        return len(gone)

    total = 0
    while forgotten := storage.transact(work):
        total += forgotten
        pause(PAUSE_S)
    return total


class Keeper:
    """A thread that forgets, now and then."""

    def __init__(self, storage: Storage, retention: Retention) -> None:
        self._storage = storage
        self._retention = retention
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aden-retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def _run(self) -> None:
        # Not at once, nor all servers of a fleet at the same time.
        while not self._ended.wait(EVERY_S * (0.2 + 0.8 * draw())):
            try:
                forget_old(self._storage, self._retention, time.time(), pause=self._ended.wait)
            except SQLAlchemyError as exc:
                log.warning("nothing is forgotten: %s", type(exc).__name__)
