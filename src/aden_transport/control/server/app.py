"""The application: the routers of all subjects, and what holds for each request."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ... import __version__
from ...ledger.grants import Bounds
from ..messages import SERVER_HEADER, SERVER_NAME
from . import (
    agents,
    alerts,
    audit,
    budgets,
    content,
    disputes,
    events,
    health,
    keys,
    ledger_routes,
    persons,
    policy_routes,
    pricing,
    push,
    reconciliation,
)
from .access import Access
from .deliveries import AlertSettings, Deliverer
from .leases import Leases
from .ledger import Ledgers
from .metrics import Metered, Metrics
from .openapi import describe
from .retention import Keeper, Retention
from .rooms import Rooms
from .storage import Storage
from .sweeping import Sweeping
from .wire import Answer, Fault
from .workers import Workers

__all__ = ["Settings", "create_app"]

ROUTERS = (
    health.router,
    ledger_routes.router,
    disputes.router,
    reconciliation.router,
    policy_routes.router,
    budgets.router,
    audit.router,
    keys.router,
    events.router,
    agents.router,
    content.router,
    pricing.router,
    alerts.router,
    persons.router,
    push.router,
)


SWEEP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server is told beside its database."""

    threads: int = 16
    """Requests that are worked on at a time; fewer than a process may have connections to the database."""
    bounds: Bounds = field(default_factory=Bounds)
    """Of leases."""
    sweep_s: float = SWEEP_S
    """Between two looks for holds that have expired and owners of leases that are silent."""
    alerts: AlertSettings = field(default_factory=AlertSettings)
    retention: Retention = field(default_factory=Retention)
    workers: Path | None = None
    """The folder in which the worker processes of one server tell what they have counted."""


def create_app(
    storage: Storage, settings: Settings | None = None, *, clock: Callable[[], float] = time.time
) -> FastAPI:
    """The application over `storage`, whose tables are there. Close `storage` when it has ended."""
    settings = settings or Settings()
    access = Access(storage)
    ledgers = Ledgers(storage, clock=clock, dispute_ttl_s=settings.bounds.dispute_ttl_s)
    leases = Leases(ledgers, settings.bounds)
    prices = pricing.Pricing(storage)
    deliverer = Deliverer(storage, settings.alerts)
    alerting = alerts.Alerting(woken=deliverer.wake)
    ledgers.after_spending = alerting.after_spending
    rooms = Rooms(storage)
    metrics = Metrics(lambda: rooms.listeners)
    workers = Workers(metrics, settings.workers)
    keeper = Keeper(storage, settings.retention)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = settings.threads
        stops = [storage.listen(told) for told in (access.heard, prices.heard, rooms.hear)]
        sweeping = Sweeping(ledgers, leases, every_s=settings.sweep_s)
        deliverer.start()
        keeper.start()
        workers.start()
        try:
            async with rooms.running():
                yield
        finally:
            for stop in (sweeping.close, ledgers.close, *stops, deliverer.close, keeper.close, workers.close):
                stop()

    app = FastAPI(
        title="aden-transport control server",
        version=__version__,
        # The schema is published; pages that load scripts from elsewhere are not.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        default_response_class=Answer,
        exception_handlers={
            StarletteHTTPException: _refused,
            RequestValidationError: _invalid,
            Exception: _failed,
        },
    )
    app.state.storage, app.state.settings, app.state.access = storage, settings, access
    app.state.ledgers, app.state.leases, app.state.rooms = ledgers, leases, rooms
    app.state.pricing, app.state.alerting = prices, alerting
    app.state.workers = workers
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Metered, metrics=metrics)
    app.add_middleware(Named)
    describe(app)
    return app


STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Named:
    """Says in each answer which server this is, so that clients know what it speaks."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] in STARTS:
                name = (SERVER_HEADER.encode(), SERVER_NAME.encode())
                message["headers"] = [*message.get("headers", ()), name]
            await send(message)

        await self.app(scope, receive, named)


async def _refused(_: Request, exc: Exception) -> Answer:
    assert isinstance(exc, StarletteHTTPException)
    body = exc.body if isinstance(exc, Fault) else {"error": _code(exc.status_code), "message": exc.detail}
    return Answer(body, exc.status_code, dict(exc.headers or {}))


async def _invalid(_: Request, exc: Exception) -> Answer:
    assert isinstance(exc, RequestValidationError)
    faults = [
        {"path": ".".join(str(part) for part in error["loc"]), "message": error["msg"]}
        for error in exc.errors()[:20]
    ]
    return Answer({"error": "invalid", "message": "Correct what `faults` names.", "faults": faults}, 422)


async def _failed(_: Request, __: Exception) -> Answer:
    # Starlette raises it again for the server to log.
    told = {"error": "internal", "message": "The server failed; its log says where."}
    return Answer(told, 500, {SERVER_HEADER: SERVER_NAME})


def _code(status: int) -> str:
    return {404: "not_found", 405: "method_not_allowed"}.get(status, "error")
