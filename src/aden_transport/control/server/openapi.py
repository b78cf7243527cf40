"""The published description of all routes: what FastAPI finds, and the bodies that routes read by themselves.

Bodies are read within limits of ours, which FastAPI's own reading does not know, so their shapes stand here.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..messages import MAX_BATCH_EVENTS, Paths

__all__ = ["BODIES", "PUBLIC", "describe", "published"]

PUBLIC = frozenset({"/health", "/ready", "/metrics"})
TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer", "minimum": 0}
NUMBER: dict[str, Any] = {"type": "number", "minimum": 0}
TIME: dict[str, Any] = {"type": "number", "description": "seconds since the epoch"}
REASON: dict[str, Any] = {"type": "string", "description": "stands in the audit"}
OBJECT: dict[str, Any] = {"type": "object"}


def _object(*required: str, **members: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": members}
    return found | ({"required": list(required)} if required else {})


def _list(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


LINE = _object(
    "key",
    "hold",
    "expected",
    key=TEXT,
    hold=WHOLE,
    expected=WHOLE,
    limit_held={"type": "integer"},
    limit_expected={"type": "integer"},
    degrade_at={"type": "integer"},
    throttle_at={"type": "integer"},
    unit={"enum": ["usd", "tokens", "calls"]},
    also=_list(TEXT),
    expires_at=TIME,
)
AMOUNTS = {"type": "object", "additionalProperties": WHOLE, "description": "nano-dollars, tokens, calls"}
BUDGET = _object(
    id=TEXT,
    type={"enum": ["global", "agent", "tenant", "customer", "feature", "tag"]},
    name=TEXT,
    limit=NUMBER,
    limitAction={"enum": ["kill", "block", "throttle", "degrade", "alert"]},
    period={},
    thresholds=_list(OBJECT),
    alerts=_list(OBJECT),
    notifications=OBJECT,
)
POLICY = _object(
    name=TEXT,
    budgets=_list(BUDGET),
    throttles=_list(OBJECT),
    blocks=_list(OBJECT),
    degradations=_list(OBJECT),
    alerts=_list(OBJECT),
)
EVENT = _object(
    event_type={"enum": ["metric", "control", "heartbeat", "error"]},
    event_id={"type": "string", "minLength": 1, "maxLength": 200},
    timestamp={"type": "string", "format": "date-time"},
    sdk_instance_id=TEXT,
    settled={"type": "boolean", "description": "the call was charged under a lease or hold of this server"},
    data={"type": "object", "description": "of a metric"},
)
ASK = _object(
    *("key", "generation", "seq", "used", "want", "need"),
    key=TEXT,
    generation=WHOLE,
    seq=WHOLE,
    used=WHOLE,
    want=WHOLE,
    need=WHOLE,
    unit={"enum": ["usd", "tokens", "calls"]},
    also=_list(TEXT),
    expires_at=TIME,
    final={"type": "boolean"},
)
ITEM = _object(
    *("content_id", "content_hash", "content"),
    content_id=TEXT,
    content_hash={"type": "string", "pattern": "^[0-9a-f]{64}$"},
    content=TEXT,
    byte_size=WHOLE,
)
PRICE = _object("input", "output", input=NUMBER, output=NUMBER, cached_input=NUMBER, aliases=_list(TEXT))
OP_ID = {"type": "string", "maxLength": 200}

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", Paths.events): _object("events", events=_list(EVENT, maxItems=MAX_BATCH_EVENTS)),
    ("post", Paths.content): _object("items", items=_list(ITEM, maxItems=100)),
    ("put", Paths.pricing): _object(
        "pricing", pricing={"type": "object", "additionalProperties": PRICE}, reason=REASON
    ),
    ("post", Paths.leases): _object("owner", "asks", owner=TEXT, asks=_list(ASK)),
    ("post", f"{Paths.ledger}/reserve"): _object(
        *("op_id", "candidates", "ttl_s"),
        op_id=OP_ID,
        candidates=_list(_list(LINE), minItems=1),
        ttl_s=NUMBER,
        intent=TEXT,
    ),
    ("post", f"{Paths.ledger}/settle"): _object("op_id", "amounts", op_id=OP_ID, amounts=AMOUNTS),
    ("post", f"{Paths.ledger}/release"): _object("op_id", op_id=OP_ID),
    ("post", f"{Paths.ledger}/defer"): _object("op_id", "ref", "ttl_s", op_id=OP_ID, ref=TEXT, ttl_s=NUMBER),
    ("post", f"{Paths.ledger}/settle_deferred"): _object("ref", "amounts", ref=TEXT, amounts=AMOUNTS),
    ("post", f"{Paths.ledger}/raise_to"): _object(
        *("key", "spent", "mark"), key=TEXT, spent=WHOLE, mark=TEXT, expires_at=TIME
    ),
    ("post", f"{Paths.ledger}/mark_once"): _object("key", "mark", key=TEXT, mark=TEXT, expires_at=TIME),
    ("post", f"{Paths.ledger}/totals"): _object("lines", lines=_list(LINE)),
    ("post", f"{Paths.ledger}/disputes/release"): _object(
        "key", "reason", key=TEXT, owner=TEXT, generation=WHOLE, reason=REASON
    ),
    ("post", Paths.validate): _object(
        "estimated_cost", budget_id=TEXT, estimated_cost=NUMBER, local_spend=NUMBER, context=OBJECT
    ),
    ("post", "/v1/control/policies"): POLICY,
    ("put", "/v1/control/policies/{policy_id}"): POLICY,
    ("post", "/v1/control/policies/{policy_id}/{kind}"): OBJECT,
    ("put", "/v1/control/budget/{budget_id}"): BUDGET,
}
"""By method and path; of other routes that take one, any object."""


def describe(app: FastAPI) -> None:
    """Have `app` publish the whole at `/openapi.json`."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            _complete(found)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def published() -> dict[str, Any]:
    """The description, without a server."""
    from .app import create_app
    from .storage import Storage

    with TemporaryDirectory() as folder:
        storage = Storage(f"sqlite:///{folder}/none.sqlite3")
        found: dict[str, Any] = create_app(storage).openapi()
        storage.close()
    return found


def _complete(schema: dict[str, Any]) -> None:
    schema.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if path not in PUBLIC:
                operation["security"] = [{"key": []}]
                operation["responses"] |= {
                    "401": {"description": "no valid key"},
                    "403": {"description": "the key has not the scope"},
                }
            body = BODIES.get((method, path), OBJECT if method in ("post", "put") else None)
            if body is not None:
                content = {"application/json": {"schema": body}}
                operation["requestBody"] = {"required": True, "content": content}
