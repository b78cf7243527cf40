"""Budgets: how they stand, and what people do to them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from sqlalchemy import Connection, func, select, update

from ...ledger.base import Totals
from ...policy.index import Match
from ...policy.money import MAX_USD, to_nano
from ...policy.plan import older_keys
from ...policy.values import Budget
from ...policy.verdict import iso
from ..messages import Paths
from . import audit
from .access import Caller, allowed, storage_of
from .documents import changed
from .floors import insert_or_ignore
from .incoming import cleaned
from .policies import Current, current, lock, taken, write
from .policy_routes import policy_of
from .spending import NOTHING, made_by, match_for, totals_of
from .storage import Storage
from .tables import holds, leases, sums
from .validation import Asked, Standing, attributes_of, judged, nothing_to_judge
from .wire import Body, Fault

__all__ = ["listed", "router"]

MADE = 20
"""Budgets of a template that are listed."""
MAX_REASON = 1000

router = APIRouter(tags=["budgets"])
Reader = Annotated[Caller, Depends(allowed("read"))]
Author = Annotated[Caller, Depends(allowed("policy"))]
Database = Annotated[Storage, Depends(storage_of)]
PolicyId = Annotated[str, Depends(policy_of)]


@router.get("/v1/control/budgets")
def list_budgets(
    caller: Reader,
    storage: Database,
    policy_id: PolicyId,
    made: Annotated[int, Query(ge=0, le=1000)] = MADE,
) -> dict[str, Any]:
    """Each budget in its window of now; of each template those `made` that have spent most."""
    now = time.time()
    with storage.read() as db:
        found = current(db, caller.team_id, policy_id)
        budgets = listed(db, found, now, made=made)
    return {"budgets": budgets, "policy_id": policy_id, "policy_version": str(found.version)}


@router.post(Paths.validate)
def validate(caller: Reader, storage: Database, policy_id: PolicyId, body: Body) -> dict[str, Any]:
    """Aden's question of a client that holds nothing: may a call of `estimated_cost` dollars be made?

    Of one budget, `{"budget_id", "estimated_cost", "local_spend"}`, or of all that a call meets, `{"context":
    {"agent", "tenant_id", "customer_id", "feature", "tags"}, "estimated_cost"}`.
    """
    asked = Asked(_dollars(body, "estimated_cost"), _dollars(body, "local_spend", 0))
    context, budget_id = body.get("context"), body.get("budget_id")
    if not isinstance(context, Mapping) and not isinstance(budget_id, str):
        raise Fault(400, "no_budget", "Give `budget_id`, or the `context` of the call.")
    now = time.time()
    with storage.read() as db:
        found = current(db, caller.team_id, policy_id)
        version = str(found.version)
        if isinstance(context, Mapping):
            matches = found.index.match(attributes_of(cleaned(context)), now)
            if not matches:
                return nothing_to_judge("No budgets match the provided context", version=version)
            return judged(_standings(db, found, matches), asked, version=version)
        budget = found.budget(str(budget_id))
        if budget is None:
            return nothing_to_judge("Budget not found in policy", version=version)
        answer = judged(
            _standings(db, found, [match_for(budget, str(budget_id), now)]), asked, version=version
        )
    return {**answer, "updated_spend": answer["authoritative_spend"]}


@router.get("/v1/control/budget/{budget_id:path}/explain")
def explain(caller: Reader, storage: Database, policy_id: PolicyId, budget_id: str) -> dict[str, Any]:
    """Why a budget stands as it does: its terms, its sums, and who holds what of it."""
    now = time.time()
    with storage.read() as db:
        found = current(db, caller.team_id, policy_id)
        budget = _budget(found, budget_id)
        match = match_for(budget, budget_id, now)
        keys = (match.ledger_key, *older_keys(match))
        columns = leases.c
        wanted = (
            select(columns.owner, columns.generation, columns.granted, columns.used, columns.state)
            .where(columns.team_id == caller.team_id, columns.key.in_(keys), columns.state != "closed")
            .order_by((columns.granted - columns.used).desc())
            .limit(MADE)
        )
        leased = db.execute(wanted).mappings().all()
        wanted_sums = select(func.sum(sums.c.holds), func.sum(sums.c.disputed)).where(
            sums.c.team_id == caller.team_id, sums.c.key.in_(keys)
        )
        open_holds, disputed = db.execute(wanted_sums).one()
        all_holds = db.scalar(
            select(func.count()).select_from(holds).where(holds.c.team_id == caller.team_id)
        )
        (status,) = statuses(db, found, [(budget, budget_id)], now)
    terms = budget.terms
    return {
        **status,
        "ledger_key": match.ledger_key,
        "made_by": budget.key if budget.key != budget_id else None,
        "steps": [
            {"percent": float(step.percent), "action": step.action, "to": step.target and step.target.model}
            for step in terms.thresholds
        ],
        "open_holds": int(open_holds or 0),
        "open_holds_of_team": all_holds,
        "disputed_usd": int(disputed or 0) / 1e9,
        "leases": [
            {
                "owner": row["owner"],
                "generation": row["generation"],
                "granted_usd": row["granted"] / 1e9,
                "used_usd": row["used"] / 1e9,
                "state": row["state"],
            }
            for row in leased
        ],
    }


@router.get("/v1/control/budget/{budget_id:path}")
def one_budget(caller: Reader, storage: Database, policy_id: PolicyId, budget_id: str) -> dict[str, Any]:
    """How one budget stands."""
    now = time.time()
    with storage.read() as db:
        found = current(db, caller.team_id, policy_id)
        (status,) = statuses(db, found, [(_budget(found, budget_id), budget_id)], now)
    return status


@router.put("/v1/control/budget/{budget_id:path}")
def set_limit(
    caller: Author, storage: Database, policy_id: PolicyId, budget_id: str, body: Body
) -> dict[str, Any]:
    """`{"limit_usd": 25, "reason": "…"}`: change the limit; what is spent stays."""
    limit = _dollars(body, "limit_usd")

    def work(db: Connection, before: Current, budget: Budget, now: float) -> Current:
        document = changed(before.document, before.policy, budget, budget_id, limit=body["limit_usd"])
        _note(db, caller, "budget.set", budget_id, now, budget.terms.limit / 1e9, limit / 1e9, _reason(body))
        return _written(db, before, document, caller, now)

    return _change(storage, caller, policy_id, budget_id, work)


@router.post("/v1/control/budget/{budget_id:path}/adjust")
def adjust(
    caller: Author, storage: Database, policy_id: PolicyId, budget_id: str, body: Body
) -> dict[str, Any]:
    """`{"amount_usd": -2.5, "reason": "invoice 17"}`: correct what is spent, up or down, not below 0."""
    delta = _dollars(body, "amount_usd", lowest=-MAX_USD)
    reason = _reason(body)
    if not reason:
        raise Fault(400, "no_reason", 'Say why: {"amount_usd": …, "reason": "…"}.')

    def work(db: Connection, before: Current, budget: Budget, now: float) -> Current:
        spent = _adjust(db, caller.team_id, match_for(budget, budget_id, now), delta, now)
        _note(db, caller, "budget.adjust", budget_id, now, spent[0] / 1e9, spent[1] / 1e9, reason)
        storage.notify(db, caller.team_id, "sums")
        return before

    return _change(storage, caller, policy_id, budget_id, work)


@router.post("/v1/control/budget/{budget_id:path}/reset")
def reset(
    caller: Author, storage: Database, policy_id: PolicyId, budget_id: str, reason: str = ""
) -> dict[str, Any]:
    """Begin the window anew: the next generation of the budget has nothing spent. The sums of the one before
    stay; leases of it are taken back by and by."""

    def work(db: Connection, before: Current, budget: Budget, now: float) -> Current:
        document = changed(
            before.document, before.policy, budget, budget_id, generation=budget.generation + 1
        )
        spent = totals_of(db, caller.team_id, [match_for(budget, budget_id, now)])
        total = sum(one.spent for one in spent.values()) / 1e9
        _note(db, caller, "budget.reset", budget_id, now, total, 0.0, reason[:MAX_REASON] or None)
        storage.notify(db, caller.team_id, "sums")
        return _written(db, before, document, caller, now)

    return {"success": True, **_change(storage, caller, policy_id, budget_id, work)}


@router.post("/v1/control/budget/{budget_id:path}/freeze")
def freeze(
    caller: Author, storage: Database, policy_id: PolicyId, budget_id: str, reason: str = ""
) -> dict[str, Any]:
    """Let nothing more through, whatever the limit, until it is unfrozen."""
    return _freeze(caller, storage, policy_id, budget_id, reason, lambda frozen: frozen | {budget_id})


@router.post("/v1/control/budget/{budget_id:path}/unfreeze")
def unfreeze(
    caller: Author, storage: Database, policy_id: PolicyId, budget_id: str, reason: str = ""
) -> dict[str, Any]:
    """Let calls through again, within the limit."""
    return _freeze(caller, storage, policy_id, budget_id, reason, lambda frozen: frozen - {budget_id})


def listed(
    db: Connection, found: Current, now: float, *, made: int = MADE, most: int | None = None
) -> list[dict[str, Any]]:
    """How the budgets of a policy stand, and of each template those `made` that have spent most."""
    return statuses(db, found, islice(_all(db, found, made, now), most), now)


def statuses(
    db: Connection, found: Current, budgets: Iterable[tuple[Budget, str]], now: float
) -> list[dict[str, Any]]:
    """How budgets stand; each with its key, which a template's own budgets have instead of the template's."""
    matched = [(budget, match_for(budget, key, now)) for budget, key in budgets]
    totals = totals_of(db, found.team_id, [match for _, match in matched])
    return [
        _status(budget, match, totals.get(match.ledger_key, NOTHING), _is_frozen(found, budget, match.key))
        for budget, match in matched
    ]


def _status(budget: Budget, match: Match, totals: Totals, frozen: bool) -> dict[str, Any]:
    terms = budget.terms
    left = 0 if frozen else max(0, terms.limit - totals.spent - totals.held)
    return {
        "id": match.key,
        "type": budget.type,
        "name": match.name or budget.name,
        "template": budget.is_template and match.key == budget.key,
        "limit": terms.limit / 1e9,
        "spent": totals.spent / 1e9,
        "held": totals.held / 1e9,
        "expected": totals.expected / 1e9,
        "left": left / 1e9,
        "usage_percent": totals.spent * 100 / terms.limit if terms.limit else 100.0,
        "limitAction": terms.limit_action,
        "mode": terms.mode,
        "period": str(terms.period),
        "timezone": terms.timezone,
        "resets_at": None if match.window.resets_at is None else iso(match.window.resets_at),
        "generation": budget.generation,
        "frozen": frozen,
    }


def _all(db: Connection, found: Current, made: int, now: float) -> Iterator[tuple[Budget, str]]:
    """The budgets of a policy, each template followed by what it has made."""
    for budget in found.policy.budgets:
        yield budget, budget.key
        if budget.is_template and made:
            for key in made_by(db, found.team_id, budget, now, made):
                if found.index.get(key) is None:
                    yield budget, key


def _standings(db: Connection, found: Current, matches: Iterable[Match]) -> list[Standing]:
    matches = list(matches)
    totals = totals_of(db, found.team_id, matches)
    out = []
    for match in matches:
        sums = totals.get(match.ledger_key, NOTHING)
        out.append(Standing(match, sums.spent, sums.held, _is_frozen(found, match.budget, match.key)))
    return out


def _is_frozen(found: Current, budget: Budget, key: str) -> bool:
    return key in found.frozen or budget.key in found.frozen


def _budget(found: Current, budget_id: str) -> Budget:
    budget = found.budget(budget_id)
    if budget is None:
        raise Fault(404, "no_budget", f"The policy has no budget {budget_id[:100]!r}; see GET .../budgets.")
    return budget


_Work = Callable[[Connection, Current, Budget, float], Current]


def _change(storage: Storage, caller: Caller, policy_id: str, budget_id: str, work: _Work) -> dict[str, Any]:
    """Do something to one budget; how it stands then."""
    now = time.time()

    def transaction(db: Connection) -> dict[str, Any]:
        lock(db, caller.team_id)
        before = current(db, caller.team_id, policy_id)
        after = work(db, before, _budget(before, budget_id), now)
        if after is not before:
            storage.notify(db, caller.team_id, "policy")
        (status,) = statuses(db, after, [(_budget(after, budget_id), budget_id)], now)
        return {**status, "policy_version": str(after.version)}

    return storage.transact(transaction)


def _written(
    db: Connection, before: Current, document: Mapping[str, Any], caller: Caller, now: float
) -> Current:
    stored, _ = taken(document)
    return write(db, before, stored, by=caller.key_id, now=now)


def _freeze(
    caller: Caller,
    storage: Storage,
    policy_id: str,
    budget_id: str,
    reason: str,
    made: Callable[[frozenset[str]], frozenset[str]],
) -> dict[str, Any]:
    def work(db: Connection, before: Current, budget: Budget, now: float) -> Current:
        frozen = made(before.frozen)
        if frozen == before.frozen:
            return before
        action = "budget.freeze" if len(frozen) > len(before.frozen) else "budget.unfreeze"
        _note(db, caller, action, budget_id, now, None, None, reason[:MAX_REASON] or None)
        return write(db, before, before.document, by=caller.key_id, now=now, frozen=frozen)

    return _change(storage, caller, policy_id, budget_id, work)


def _adjust(db: Connection, team_id: str, match: Match, delta: int, now: float) -> tuple[int, int]:
    """What is spent, before and after. Of a rolling window the newest part is corrected first."""
    of_team = sums.c.team_id == team_id
    keys = (match.ledger_key, *older_keys(match))
    expires = match.window.expires_at
    insert_or_ignore(db, sums, team_id=team_id, key=keys[0], expires_at=expires)
    wanted = select(sums.c.key, sums.c.spent).where(of_team, sums.c.key.in_(keys)).order_by(sums.c.key)
    spent = {row.key: row.spent for row in db.execute(wanted.with_for_update())}
    left = delta
    for key in keys:
        if left and key in spent:
            after = max(0, spent[key] + left)
            left -= after - spent[key]
            db.execute(update(sums).where(of_team, sums.c.key == key).values(spent=after, moved_at=now))
    total = sum(spent.values())
    return total, total + delta - left


def _note(
    db: Connection,
    caller: Caller,
    action: str,
    budget_id: str,
    now: float,
    before: float | None,
    after: float | None,
    reason: str | None,
) -> None:
    audit.record(
        db,
        caller.team_id,
        caller.key_id,
        action,
        budget_id,
        now=now,
        before=before,
        after=after,
        reason=reason,
    )


def _reason(body: Mapping[str, Any]) -> str | None:
    reason = body.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise Fault(400, "bad_reason", "A reason is text.")
    return reason[:MAX_REASON] if reason else None


def _dollars(body: Mapping[str, Any], name: str, default: float | None = None, *, lowest: float = 0) -> int:
    """Nano-dollars. Raises: Fault 400."""
    value = body.get(name, default)
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not lowest <= value <= MAX_USD:
        raise Fault(400, "bad_amount", f"Give `{name}` in dollars, from {lowest} to {MAX_USD}.")
    return to_nano(value)
