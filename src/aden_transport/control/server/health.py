"""Whether the server is up, and whether it can work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ... import __version__
from ..messages import SERVER_NAME, Paths
from .access import storage_of
from .storage import Storage
from .wire import Fault

__all__ = ["router"]

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
