"""Policies in versions: each change is a new one, and none is ever taken back."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select

from ..._json import dumps, loads
from ...attributes import MAX_CHARS
from ...errors import ConfigurationError
from ...policy.index import Index
from ...policy.values import Budget, Policy
from . import audit
from .access import Caller
from .documents import accepted, as_reset, told
from .floors import lay_floors
from .spending import NOTHING, match_for, totals_of
from .storage import Storage
from .tables import policies, teams
from .wire import Fault

__all__ = [
    "DEFAULT",
    "DELETED",
    "Current",
    "change",
    "contents",
    "current",
    "lock",
    "note",
    "policy_names",
    "remove",
    "taken",
    "told_exactly",
    "told_with_spent",
    "write",
]

DEFAULT = "default"
DELETED = "deleted"
"""In the place of an ETag."""
MOST_POLICIES = 1000
"""Of a team."""
MOST_KEPT = 1000
"""Policies that a process keeps parsed."""
MOST_BUDGETS = 200_000
"""In all of them."""


@dataclass(frozen=True, slots=True)
class Current:
    """A policy of a team as it is now."""

    team_id: str
    policy_id: str
    version: int
    """0: none was ever written."""
    etag: str
    document: Mapping[str, Any]
    policy: Policy
    index: Index
    frozen: frozenset[str]
    """Keys of budgets that let nothing through."""
    changed_at: float

    def budget(self, key: str) -> Budget | None:
        """The budget of a key, or the template that makes it."""
        found = self.index.get(key)
        return found if found is not None else _template(self.index, key)


_keeping = threading.Lock()
_kept: OrderedDict[tuple[str, str, str], Current] = OrderedDict()
"""By team, policy and ETag, which no other version has."""


def current(db: Connection, team_id: str, policy_id: str = DEFAULT) -> Current:
    """The policy as it is now. The default policy is empty until it is written.

    Raises: Fault 404, where the team has no such policy.
    """
    wanted = (
        select(policies.c.version, policies.c.etag)
        .where(policies.c.team_id == team_id, policies.c.policy_id == policy_id)
        .order_by(policies.c.version.desc())
        .limit(1)
    )
    row = db.execute(wanted).first()
    version, etag = (0, "0") if row is None else (row.version, row.etag)
    if policy_id != DEFAULT and (row is None or etag == DELETED):
        raise Fault(404, "no_policy", f"There is no policy {policy_id!r}; PUT it first.")
    kept = _kept.get((team_id, policy_id, etag))
    if kept is None:
        kept = _read(db, team_id, policy_id, version, etag)
        _keep(kept)
    return kept


def _keep(found: Current) -> None:
    """The latest that were read stay."""
    with _keeping:
        _kept[found.team_id, found.policy_id, found.etag] = found
        budgets = sum(len(one.policy.budgets) for one in _kept.values())
        while len(_kept) > 1 and (len(_kept) > MOST_KEPT or budgets > MOST_BUDGETS):
            _, gone = _kept.popitem(last=False)
            budgets -= len(gone.policy.budgets)


def write(
    db: Connection,
    before: Current,
    document: Mapping[str, Any],
    *,
    by: str | None,
    now: float,
    frozen: frozenset[str] | None = None,
) -> Current:
    """A new version, in the place of `before`; `lock` the team first. `document`: as `accepted` gives it."""
    version = before.version + 1
    data = dumps(document).decode()
    kept = dumps(sorted(before.frozen if frozen is None else frozen)).decode()
    etag = hashlib.sha256(f"{before.team_id} {version} {kept} {data}".encode()).hexdigest()[:32]
    db.execute(
        insert(policies).values(
            team_id=before.team_id,
            policy_id=before.policy_id,
            version=version,
            document=data,
            frozen=kept,
            etag=etag,
            created_at=now,
            created_by=by,
        )
    )
    return current(db, before.team_id, before.policy_id)


def change(
    storage: Storage,
    caller: Caller,
    policy_id: str,
    made: Callable[[Current], Any],
    action: str,
    *,
    if_match: str | None = None,
) -> Current:
    """A new version with the document that `made` makes of the one before.

    Raises: Fault 400 where it cannot be used, with the path of each fault; 412 where `if_match` is another's.
    """
    now = time.time()

    def work(db: Connection) -> Current:
        lock(db, caller.team_id)
        before = _or_empty(db, caller.team_id, policy_id)
        is_new = before.etag == "0" and policy_id != DEFAULT
        if is_new and len(policy_names(db, caller.team_id)) >= MOST_POLICIES:
            raise Fault(409, "too_many", f"A team has at most {MOST_POLICIES} policies; delete one.")
        if if_match not in (None, "*", f'"{before.etag}"'):
            raise Fault(412, "changed", "The policy was changed meanwhile; get it, and change that.")
        try:
            document, policy = as_reset(*accepted(made(before)), before.policy)
        except ConfigurationError as exc:
            raise _invalid(exc) from exc
        after = write(db, before, document, by=caller.key_id, now=now)
        lay_floors(db, caller.team_id, policy.budgets, now)
        note(storage, db, caller, action, before, after, now)
        return after

    return storage.transact(work)


def taken(document: Any) -> tuple[dict[str, Any], Policy]:
    """`accepted`. Raises: Fault 400 where it cannot be used, with the path of each fault."""
    try:
        return accepted(document)
    except ConfigurationError as exc:
        raise _invalid(exc) from exc


def remove(storage: Storage, caller: Caller, policy_id: str) -> None:
    """Take a policy away, which is a version, too. Raises: Fault 404, where there is none."""
    now = time.time()

    def work(db: Connection) -> None:
        lock(db, caller.team_id)
        before = current(db, caller.team_id, policy_id)
        row = {"document": "{}", "frozen": "[]", "etag": DELETED, "created_at": now}
        ids = {"team_id": caller.team_id, "policy_id": policy_id, "version": before.version + 1}
        db.execute(insert(policies).values(**ids, **row, created_by=caller.key_id))
        note(storage, db, caller, "policy.delete", before, None, now)

    storage.transact(work)


def lock(db: Connection, team_id: str) -> None:
    """Nobody else writes a policy of the team until the end of the transaction."""
    db.execute(select(teams.c.id).where(teams.c.id == team_id).with_for_update())


def told_exactly(found: Current, spent: Callable[[Budget], int] | None = None) -> dict[str, Any]:
    """The policy as our clients get it: as it was written, with what the server knows of it."""
    frozen = {key: budget for key in sorted(found.frozen) if (budget := found.budget(key)) is not None}
    return told(
        found.document,
        found.policy,
        frozen,
        policy_id=found.policy_id,
        version=found.version,
        updated_at=found.changed_at,
        spent=spent,
    )


def told_with_spent(db: Connection, found: Current, now: float) -> dict[str, Any]:
    """The policy as aden-py reads it, with what is spent of each budget."""
    matches = [match_for(one, one.key, now) for one in found.policy.budgets if not one.is_template]
    totals = totals_of(db, found.team_id, matches)
    spent = {one.key: totals.get(one.ledger_key, NOTHING).spent for one in matches}
    return told_exactly(found, lambda budget: spent.get(budget.key, 0))


def _read(db: Connection, team_id: str, policy_id: str, version: int, etag: str) -> Current:
    row = db.execute(
        select(policies).where(
            policies.c.team_id == team_id,
            policies.c.policy_id == policy_id,
            policies.c.version == version,
        )
    ).first()
    document, frozen, at = ({}, (), 0.0) if row is None else contents(row)
    _, policy = accepted(document)
    return Current(team_id, policy_id, version, etag, document, policy, Index(policy), frozenset(frozen), at)


def _or_empty(db: Connection, team_id: str, policy_id: str) -> Current:
    """The policy that is to be changed; an empty one, where there is none (any more)."""
    wanted = select(func.max(policies.c.version)).where(
        policies.c.team_id == team_id, policies.c.policy_id == policy_id
    )
    version = db.scalar(wanted) or 0
    try:
        return current(db, team_id, policy_id)
    except Fault:
        empty = Policy()
        return Current(team_id, policy_id, version, "0", {}, empty, Index(empty), frozenset(), 0.0)


def _template(index: Index, key: str) -> Budget | None:
    """The template whose type, or id, stands before a colon of the key, and a name of calls after it."""
    templates = [budget for budget in index.policy.budgets if budget.is_template]
    made = [budget for budget in templates if key.startswith(f"{budget.id or budget.type}:")]
    found = max(made, key=lambda budget: len(budget.id or budget.type), default=None)
    name = "" if found is None else key.removeprefix(f"{found.id or found.type}:")
    return found if 0 < len(name) <= MAX_CHARS and "\0" not in name else None


def contents(row: Any) -> tuple[dict[str, Any], list[str], float]:
    """The document of a row, what is frozen, and when it was written."""
    return loads(row.document), loads(row.frozen), row.created_at


def policy_names(db: Connection, team_id: str) -> list[str]:
    """The ids of a team's policies, the default one first."""
    latest = (
        select(policies.c.policy_id, func.max(policies.c.version).label("version"))
        .where(policies.c.team_id == team_id)
        .group_by(policies.c.policy_id)
        .subquery()
    )
    wanted = (
        select(policies.c.policy_id)
        .join(
            latest,
            (latest.c.policy_id == policies.c.policy_id) & (latest.c.version == policies.c.version),
        )
        .where(policies.c.team_id == team_id, policies.c.etag != DELETED)
        .order_by(policies.c.policy_id)
    )
    names = list(db.scalars(wanted))
    return [DEFAULT, *(name for name in names if name != DEFAULT)]


def note(
    storage: Storage,
    db: Connection,
    caller: Caller,
    action: str,
    before: Current,
    after: Current | None,
    now: float,
) -> None:
    versions = f"version {before.version}", after and f"version {after.version}"
    audit.record(
        db,
        caller.team_id,
        caller.key_id,
        action,
        before.policy_id,
        now=now,
        before=versions[0],
        after=versions[1],
    )
    storage.notify(db, caller.team_id, "policy")


def _invalid(exc: ConfigurationError) -> Fault:
    """With the path of each fault."""
    first, *lines = str(exc).splitlines()
    faults = [dict(zip(("path", "message"), _parted(line), strict=True)) for line in lines or [first]]
    return Fault(400, "invalid_policy", "Nothing was changed. Correct what `faults` names.", faults=faults)


def _parted(line: str) -> tuple[str, str]:
    path, colon, message = line.partition(": ")
    return (path, message) if colon and " " not in path else ("", line)
