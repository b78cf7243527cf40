"""What a policy says has been spent: a floor under the sum of a budget, laid once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from ...policy.floors import floors
from ...policy.values import Budget
from .tables import marks, sums

__all__ = ["insert_or_ignore", "lay_floors"]


def lay_floors(db: Connection, team_id: str, budgets: Iterable[Budget], now: float) -> None:
    """Raise what is spent to what budgets say, in the windows of `now`; each sum that is said once."""
    for floor in floors(budgets, now):
        if not insert_or_ignore(db, marks, team_id=team_id, key="floor", mark=floor.mark):
            continue
        insert_or_ignore(db, sums, team_id=team_id, key=floor.key, expires_at=floor.expires_at, moved_at=now)
        of = (sums.c.team_id == team_id) & (sums.c.key == floor.key)
        spent = db.scalar(select(sums.c.spent).where(of).with_for_update())
        db.execute(update(sums).where(of).values(spent=max(spent or 0, floor.spent), moved_at=now))


def insert_or_ignore(db: Connection, table: Table, **values: Any) -> bool:
    """Whether the row was not there."""
    insert = insert_sqlite if db.dialect.name == "sqlite" else insert_postgresql
    added = insert(table).values(**values).on_conflict_do_nothing().returning(table.c.team_id)
    return db.execute(added).first() is not None
