"""What stands in `sums`, read for budgets rather than for calls."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from ...ledger.base import Totals
from ...policy.index import Match, match_of
from ...policy.plan import older_keys
from ...policy.values import Budget
from .tables import sums

__all__ = ["NOTHING", "made_by", "match_for", "totals_of"]

AT_ONCE = 500
"""Keys of one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535."""
NOTHING = Totals(0, 0, 0)


def match_for(budget: Budget, key: str, at: float) -> Match:
    """`budget`, or the one of key `key` that it makes as a template, in its window."""
    match = match_of(budget, at)
    if key == budget.key:
        return match
    ledger_key = match.ledger_key[: -len(budget.key)] + key
    return match._replace(key=key, name=key.partition(":")[2], ledger_key=ledger_key)


def totals_of(db: Connection, team_id: str, matches: Iterable[Match]) -> dict[str, Totals]:
    """The sums of each match, by its ledger key; those of the older parts of a rolling window included."""
    owners: dict[str, list[str]] = {}
    for match in matches:
        for key in (match.ledger_key, *older_keys(match)):
            owners.setdefault(key, []).append(match.ledger_key)
    found: dict[str, Totals] = {}
    asked = list(owners)
    for start in range(0, len(asked), AT_ONCE):
        part = asked[start : start + AT_ONCE]
        wanted = select(sums.c.key, sums.c.spent, sums.c.held, sums.c.expected)
        for key, spent, held, expected in db.execute(
            wanted.where(sums.c.team_id == team_id, sums.c.key.in_(part))
        ):
            for owner in owners[key]:
                before = found.get(owner, NOTHING)
                found[owner] = Totals(before.spent + spent, before.held + held, before.expected + expected)
    return found


def made_by(db: Connection, team_id: str, template: Budget, at: float, most: int) -> list[str]:
    """Keys of the budgets that a template has made and that have spent most in its window."""
    match = match_of(template, at)
    window = match.ledger_key[: -len(template.key)]
    prefix = f"{window}{template.id or template.type}:"
    # By its characters, as LIKE would take "%" and "_" of a name for more than they are.
    wanted = (
        select(sums.c.key)
        .where(
            sums.c.team_id == team_id,
            func.substr(sums.c.key, 1, len(prefix)) == prefix,
            sums.c.key != match.ledger_key,
        )
        .order_by(sums.c.spent.desc(), sums.c.key)
        .limit(most)
    )
    return [key[len(window) :] for key in db.scalars(wanted)]
