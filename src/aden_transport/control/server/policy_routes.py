"""The routes of policies: those of Aden's server, and their versions."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import select

from ...errors import ConfigurationError
from ...policy.document import from_json
from ...policy.verdict import iso
from ..messages import TEAM_HEADER, Paths
from .access import Caller, allowed, storage_of
from .documents import RULES, accepted, merged
from .policies import (
    DEFAULT,
    DELETED,
    Current,
    change,
    contents,
    current,
    policy_names,
    remove,
    told_exactly,
    told_with_spent,
)
from .storage import Storage, fitting
from .tables import policies
from .wire import MAX_DEPTH, Answer, Fault, depth_of, is_same, read_body, unchanged

__all__ = ["named", "policy_of", "router"]

MAX_PAGE_BYTES = 16 << 20
"""Of the documents of several versions."""

router = APIRouter(tags=["policies"])
Reader = Annotated[Caller, Depends(allowed("read"))]
Author = Annotated[Caller, Depends(allowed("policy"))]
Database = Annotated[Storage, Depends(storage_of)]


def policy_of(request: Request, policy_id: Annotated[str | None, Query(max_length=200)] = None) -> str:
    """Which policy a client wants: by the header X-Policy-ID, else `?policy_id=`, else the default."""
    return named(request.headers.get("x-policy-id") or policy_id or DEFAULT)


def named(policy_id: str) -> str:
    """Raises: Fault 400, where no policy can have this id."""
    if not re.fullmatch(r"[\w.:-]{1,100}", policy_id, re.ASCII):
        raise Fault(400, "bad_policy_id", "An id of a policy has letters, digits and _ . : - only.")
    return policy_id


async def document_body(request: Request) -> Any:
    """A document as it was sent, in which what stands twice is known to.

    Raises: Fault 400 where it is no JSON, or too deep.
    """
    try:
        found = from_json(await read_body(request), "The body")
    except ConfigurationError as exc:
        raise Fault(400, "bad_json", str(exc)) from exc
    if depth_of(found) > MAX_DEPTH:
        raise Fault(400, "too_deep", f"The body is nested deeper than {MAX_DEPTH}.")
    return found


Document = Annotated[Any, Depends(document_body)]


@router.get(Paths.policy)
def get_policy(
    caller: Reader,
    storage: Database,
    request: Request,
    policy_id: Annotated[str, Depends(policy_of)],
    spent: bool = True,
) -> Response:
    """The policy in force, each budget with what is spent of it, as aden-py reads it. With `spent=false` it
    is the document as it was written, and changes with it only. `X-Aden-Team` names the key's team."""
    answer = _policy(caller, storage, request, policy_id, spent)
    answer.headers[TEAM_HEADER] = caller.team_id
    return answer


def _policy(caller: Caller, storage: Storage, request: Request, policy_id: str, spent: bool) -> Response:
    with storage.read() as db:
        found = current(db, caller.team_id, policy_id)
        if not spent and is_same(request, found.etag):
            return unchanged(found.etag)
        answer = Answer(told_with_spent(db, found, time.time()) if spent else told_exactly(found))
    etag = hashlib.sha256(bytes(answer.body)).hexdigest()[:32] if spent else found.etag
    if is_same(request, etag):
        return unchanged(etag)
    answer.headers["ETag"] = f'"{etag}"'
    answer.headers["Cache-Control"] = "no-cache"
    return answer


@router.get("/v1/control/policies")
def list_policies(
    caller: Reader,
    storage: Database,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> dict[str, Any]:
    """All policies of the team."""
    with storage.read() as db:
        names = policy_names(db, caller.team_id)
        shown = [current(db, caller.team_id, name) for name in names[offset : offset + limit]]
    return {"policies": [{**told_exactly(one), "etag": one.etag} for one in shown], "count": len(shown)}


@router.post("/v1/control/policies", status_code=201)
def create_policy(caller: Author, storage: Database, document: Document) -> dict[str, Any]:
    """A new policy with an id of its own; `name` is its name."""
    if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
        raise Fault(400, "no_name", 'Give the policy a name: {"name": "…"}.')
    policy_id = f"policy_{secrets.token_hex(8)}"
    return told_exactly(change(storage, caller, policy_id, lambda _: document, "policy.create"))


@router.get("/v1/control/policies/{policy_id}")
def get_one_policy(caller: Reader, storage: Database, policy_id: str, request: Request) -> Response:
    """One policy, as `GET /v1/control/policy?spent=false` gives it."""
    with storage.read() as db:
        found = current(db, caller.team_id, named(policy_id))
    if is_same(request, found.etag):
        return unchanged(found.etag)
    return Answer(told_exactly(found), headers={"ETag": f'"{found.etag}"', "Cache-Control": "no-cache"})


@router.get("/v1/control/policies/{policy_id}/versions")
def list_versions(
    caller: Reader,
    storage: Database,
    policy_id: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> dict[str, Any]:
    """The versions of a policy, the latest first, with their documents: fewer where these are large."""
    columns = policies.c
    wanted = (
        select(policies)
        .where(columns.team_id == caller.team_id, columns.policy_id == named(policy_id))
        .order_by(columns.version.desc())
    )
    if before is not None:
        wanted = wanted.where(columns.version < before)
    with storage.read() as db:
        fits = fitting(db, wanted.limit(limit), columns.document, MAX_PAGE_BYTES)
        rows = db.execute(wanted.limit(fits)).all()
    return {"versions": [_version(row) for row in rows]}


@router.put("/v1/control/policies/{policy_id}")
def put_policy(
    caller: Author, storage: Database, policy_id: str, document: Document, request: Request
) -> Response:
    """Replace the members that are given, the others stay; a policy that is not there is made. With
    `If-Match`, only the version that has this ETag is replaced."""
    after = change(
        storage,
        caller,
        named(policy_id),
        lambda before: merged(before.document, document),
        "policy.put",
        if_match=request.headers.get("if-match"),
    )
    return Answer(told_exactly(after), headers={"ETag": f'"{after.etag}"'})


@router.delete("/v1/control/policies/{policy_id}")
def delete_policy(caller: Author, storage: Database, policy_id: str) -> dict[str, Any]:
    """Take a policy away. The default one can only be cleared."""
    if named(policy_id) == DEFAULT:
        raise Fault(400, "default", "The default policy stays; DELETE its /rules instead.")
    remove(storage, caller, policy_id)
    return {"success": True, "id": policy_id}


@router.delete("/v1/control/policies/{policy_id}/rules")
def clear_policy(caller: Author, storage: Database, policy_id: str) -> dict[str, Any]:
    """Take all budgets and rules out of a policy."""
    empty: dict[str, Any] = {name: [] for name in RULES}
    after = change(storage, caller, named(policy_id), lambda one: {**one.document, **empty}, "policy.clear")
    return told_exactly(after)


@router.post("/v1/control/policies/{policy_id}/{kind}")
def add_rule(
    caller: Author,
    storage: Database,
    policy_id: str,
    kind: Literal["budgets", "throttles", "blocks", "degradations", "alerts"],
    rule: Document,
) -> dict[str, Any]:
    """Add a budget or a rule; a budget takes the place of the one with its id."""

    def added(before: Current) -> dict[str, Any]:
        entries = list(before.document.get(kind) or ())
        if kind == "budgets":
            _, policy = accepted({"budgets": [rule]})
            keys = [budget.key for budget in before.policy.budgets]
            if policy.budgets[0].key in keys:
                entries.pop(keys.index(policy.budgets[0].key))
        return {**before.document, kind: [*entries, rule]}

    return told_exactly(change(storage, caller, named(policy_id), added, f"{kind}.add"))


def _version(row: Any) -> dict[str, Any]:
    document, frozen, at = contents(row)
    return {
        "version": row.version,
        "etag": row.etag,
        "created_at": iso(at),
        "created_by": row.created_by,
        "frozen": frozen,
        "deleted": row.etag == DELETED,
        "document": document,
    }
