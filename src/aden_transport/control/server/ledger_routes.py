"""The fleet's ledger over HTTP: holds one by one, and leases.

Every route is idempotent: the same hold is had once, a hold ends once, figures of leases only grow. Holds are
answered on the loop, when the transaction that has gathered them is committed; no thread waits for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import HTTPConnection

from ...errors import LedgerUnavailable
from ...ledger.wire import (
    amounts_of,
    candidates_of,
    lines_of,
    list_of,
    number,
    outcome_json,
    text,
    totals_json,
    whole,
)
from ..messages import Ask, Paths
from .access import Caller, allowed, allowed_soon
from .expired import kept_intent
from .ledger import SqlLedger
from .wire import Answer, Body, Fault, json_body, object_body

__all__ = ["router"]

MOST_ASKS = 1000
MOST_TTL_S = 31 * 86_400.0
"""Of a hold: no work goes on for longer."""
MOST = 2**53 - 1

router = APIRouter(prefix=Paths.ledger, tags=["ledger"])
May = Annotated[Caller, Depends(allowed("ledger"))]


def ledger_of(connection: HTTPConnection, caller: May) -> SqlLedger:
    ledger: SqlLedger = connection.app.state.ledgers.of(caller.team_id)
    return ledger


OfTeam = Annotated[SqlLedger, Depends(ledger_of)]


@contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except ValueError as exc:
        raise Fault(400, "invalid", f"Correct what is named: {exc}.") from exc
    except (LedgerUnavailable, SQLAlchemyError) as exc:
        raise Fault(
            503, "not_ready", "The database does not answer; ask again.", {"Retry-After": "1"}
        ) from exc


# -- a call -----------------------------------------------------------------------------------------


@router.post("/reserve")
async def reserve(request: Request) -> Answer:
    """Hold the first of `candidates` that fits on all its lines, for `ttl_s` seconds at most. `intent`: JSON,
    as text, of which the event of the call is made if nobody ends it by then."""
    ledger, body = await _asked(request)
    with _faults():
        expires_at = ledger.clock() + _ttl(body)
        candidates = candidates_of(body.get("candidates"))
        intent = kept_intent(body.get("intent"))
        asking = ledger.asking(text(body, "op_id"), candidates, expires_at=expires_at, intent=intent)
        return Answer(outcome_json(await asyncio.wrap_future(asking)))


@router.post("/settle")
async def settle(request: Request) -> Answer:
    """Turn a hold into spending. False where there is no such hold (any more)."""
    ledger, body = await _asked(request)
    with _faults():
        ending = ledger.ending(text(body, "op_id"), amounts_of(body.get("amounts")))
        return Answer({"done": await asyncio.wrap_future(ending)})


@router.post("/release")
async def release(request: Request) -> Answer:
    """Give a hold back whole. False where there is no such hold (any more)."""
    ledger, body = await _asked(request)
    with _faults():
        return Answer({"done": await asyncio.wrap_future(ledger.ending(text(body, "op_id"), None))})


@router.post("/settle_deferred")
async def settle_deferred(request: Request) -> Answer:
    """`settle` by the vendor's id of deferred work."""
    ledger, body = await _asked(request)
    with _faults():
        ending = ledger.ending_deferred(text(body, "ref"), amounts_of(body.get("amounts")))
        return Answer({"done": await asyncio.wrap_future(ending)})


async def _asked(request: Request) -> tuple[SqlLedger, dict[str, Any]]:
    """Without FastAPI's dependencies, whose threads would take longer than all else."""
    caller = await allowed_soon(request, "ledger")
    body = await object_body(await json_body(request))
    return ledger_of(request, caller), body


@router.post("/defer")
def defer(ledger: OfTeam, body: Body) -> dict[str, bool]:
    """Keep a hold under the vendor's id of work that goes on; `{"op_id", "ref", "ttl_s"}`."""
    with _faults():
        expires_at = ledger.clock() + _ttl(body)
        return {"done": ledger.defer(text(body, "op_id"), text(body, "ref"), expires_at=expires_at)}


# -- a key ------------------------------------------------------------------------------------------


@router.post("/raise_to")
def raise_to(ledger: OfTeam, body: Body) -> dict[str, bool]:
    """Once per key and mark, at least so much is spent; `{"key", "spent", "mark", "expires_at"}`."""
    with _faults():
        expires_at = number(body, "expires_at", 0.0)
        ledger.raise_to(
            text(body, "key"), whole(body, "spent"), mark=text(body, "mark"), expires_at=expires_at
        )
        return {"done": True}


@router.post("/mark_once")
def mark_once(ledger: OfTeam, body: Body) -> dict[str, bool]:
    """True for the first who says so; `{"key", "mark", "expires_at"}`."""
    with _faults():
        expires_at = number(body, "expires_at", 0.0)
        return {"done": ledger.mark_once(text(body, "key"), text(body, "mark"), expires_at=expires_at)}


@router.post("/totals")
def totals(ledger: OfTeam, body: Body) -> dict[str, Any]:
    """`[spent, held, expected]` of each of `lines`; each has `key`, and may have `also`."""
    with _faults():
        return {"totals": totals_json(ledger.totals(lines_of(body.get("lines"))))}


@router.get("/state")
def state(ledger: OfTeam) -> dict[str, Any]:
    """How many holds are open, and what is disputed, by key."""
    with _faults():
        return {"open_holds": ledger.open_holds(), "disputed": dict(ledger.disputed())}


# -- leases -----------------------------------------------------------------------------------------


@router.post("/leases")
def leases(connection: HTTPConnection, caller: May, body: Body) -> dict[str, Any]:
    """A grant for each ask of an owner; `{"owner", "asks"}`."""
    with _faults():
        asks = [_ask(told) for told in list_of(body.get("asks"), "asks", MOST_ASKS)]
        grants = connection.app.state.leases.answer(caller.team_id, text(body, "owner"), asks)
        return {"grants": [grant.to_json() for grant in grants]}


def _ask(told: Any) -> Ask:
    if not isinstance(told, Mapping):
        raise ValueError("an ask is an object")
    (line,) = lines_of([{**told, "hold": 0, "expected": 0}])
    final = told.get("final", False)
    if not isinstance(final, bool):
        raise ValueError("final: true or false")
    generation, seq = whole(told, "generation"), whole(told, "seq")
    if max(generation, seq) > MOST:
        raise ValueError(f"generation, seq: at most {MOST}")
    return Ask(
        key=line.key,
        generation=generation,
        seq=seq,
        used=whole(told, "used"),
        want=whole(told, "want"),
        need=whole(told, "need"),
        unit=line.unit,
        also=line.also,
        expires_at=line.expires_at,
        final=final,
    )


def _ttl(body: Mapping[str, Any]) -> float:
    return min(number(body, "ttl_s"), MOST_TTL_S)
