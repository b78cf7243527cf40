"""Content that is too large for events, kept beside them, found by its id or its hash."""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.params import Path
from sqlalchemy import ColumnElement, Connection, select, text
from sqlalchemy.engine import RowMapping

from ...core.redact import without_secrets
from ..messages import Paths
from .access import Caller, allowed, storage_of
from .intake import count
from .storage import Storage
from .tables import content as table
from .wire import Body, Fault

__all__ = ["router"]

router = APIRouter(tags=["content"])

MAX_ITEMS = 100
MAX_ITEM_BYTES = 1 << 20
STORE = text(
    """INSERT INTO content (team_id, content_id, hash, content, byte_size, stored_at)
    VALUES (:team_id, :content_id, :hash, :content, :byte_size, :now)
    ON CONFLICT (team_id, content_id) DO NOTHING"""
)


@router.post(Paths.content)
def post_content(
    caller: Annotated[Caller, Depends(allowed("ingest"))],
    body: Body,
    storage: Annotated[Storage, Depends(storage_of)],
) -> dict[str, Any]:
    """Store `{"items": [{"content_id", "content_hash", "content", "byte_size"}]}`. An item is refused whose
    hash or size is not that of its content; one that is there already stays as it is."""
    items = body.get("items")
    if not isinstance(items, list) or len(items) > MAX_ITEMS:
        raise Fault(422, "invalid", f'Send {{"items": […]}} with at most {MAX_ITEMS} items.')
    now = time.time()
    read = [_row(item, caller.team_id, now) for item in items]
    rows = sorted([row for row in read if row is not None], key=lambda row: str(row["content_id"]))
    refused = len(items) - len(rows)

    def store(db: Connection) -> None:
        if rows:
            db.execute(STORE, rows)
        count(db, caller.team_id, {"content.refused": refused})

    storage.transact(store)
    return {"success": True, "stored": len(rows), "refused": refused}


def _row(item: Any, team_id: str, now: float) -> dict[str, Any] | None:
    """None where the item is not what it says."""
    if not isinstance(item, dict):
        return None
    content_id, content = item.get("content_id"), item.get("content")
    if not (isinstance(content_id, str) and isinstance(content, str) and _is_id(content_id)):
        return None
    try:
        data = content.encode()
    except UnicodeEncodeError:
        return None
    digest = hashlib.sha256(data).hexdigest()
    if len(data) > MAX_ITEM_BYTES or digest != item.get("content_hash") or "\0" in content:
        return None
    if item.get("byte_size") not in (None, len(data)):
        return None
    return {
        "team_id": team_id,
        "content_id": content_id,
        "hash": digest,
        "content": without_secrets(content),
        "byte_size": len(data),
        "now": now,
    }


def _is_id(value: str) -> bool:
    return 0 < len(value) <= 200 and value.isascii() and value.isprintable()


@router.get(f"{Paths.content}/hash/{{content_hash}}")
def get_content_by_hash(
    content_hash: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
) -> dict[str, Any]:
    """An item by the SHA-256 of its content."""
    return _find(storage, caller, table.c.hash == content_hash)


@router.get(f"{Paths.content}/{{content_id}}")
def get_content(
    content_id: Annotated[str, Path(max_length=200)],
    caller: Annotated[Caller, Depends(allowed("read"))],
    storage: Annotated[Storage, Depends(storage_of)],
) -> dict[str, Any]:
    """An item by its id."""
    return _find(storage, caller, table.c.content_id == content_id.replace("\0", ""))


def _find(storage: Storage, caller: Caller, which: ColumnElement[bool]) -> dict[str, Any]:
    found = select(table).where(table.c.team_id == caller.team_id, which).limit(1)
    with storage.read() as db:
        row: RowMapping | None = db.execute(found).mappings().first()
    if row is None:
        raise Fault(404, "not_found", "There is no such content.")
    return {
        "content_id": row["content_id"],
        "content_hash": row["hash"],
        "content": row["content"],
        "byte_size": row["byte_size"],
    }
