"""Whether the server is up, whether it can work, and how much it does."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import PlainTextResponse

from ... import __version__
from ..messages import SERVER_NAME, Paths
from .access import caller_of, storage_of
from .budgets import listed
from .metrics import gauge
from .policies import current
from .storage import Storage
from .wire import Fault
from .workers import Workers

__all__ = ["router"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
MOST_BUDGETS = 1000

router = APIRouter(tags=["health"])


@router.get(Paths.health)
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "server": SERVER_NAME, "version": __version__}


@router.get("/ready")
def ready(storage: Annotated[Storage, Depends(storage_of)]) -> dict[str, str]:
    """The database answers."""
    try:
        with storage.read() as db:
            db.execute(text("SELECT 1 FROM teams WHERE 1 = 0"))
    except SQLAlchemyError as exc:
        raise Fault(503, "not_ready", f"The database does not answer: {type(exc).__name__}") from exc
    return {"status": "ready"}


@router.get("/metrics")
def metrics(request: Request, storage: Annotated[Storage, Depends(storage_of)]) -> PlainTextResponse:
    """Figures of all worker processes in the text format of Prometheus; with an API key, also those of the
    team's budgets."""
    workers: Workers = request.app.state.workers
    lines = list(workers.figures().lines())
    if request.headers.get("authorization"):
        lines += _of_team(storage, request)
    return PlainTextResponse("\n".join(lines) + "\n", media_type=TEXT)


def _of_team(storage: Storage, request: Request) -> list[str]:
    caller = caller_of(request)
    if not caller.may("read"):
        raise Fault(403, "forbidden", 'This key has not the scope "read".')
    with storage.read() as db:
        budgets = listed(db, current(db, caller.team_id), time.time(), most=MOST_BUDGETS)
    lines: list[str] = []
    for figure in ("limit", "spent", "held"):
        values = [({"budget": one["id"]}, one[figure]) for one in budgets]
        lines += gauge(f"aden_budget_{figure}_usd", values)
    return lines
