"""Our control server on a free port of this machine, in a thread of the test, with one team."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Self

import httpx2
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aden_transport import ControlOptions
from aden_transport.control.messages import SERVER_HEADER
from aden_transport.control.server.access import ADMIN, create_key, create_team
from aden_transport.control.server.app import create_app
from aden_transport.control.server.storage import Storage

__all__ = ["CALL", "PATIENT_MS", "SLOW", "OurServer"]

CALL: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}
PATIENT_MS = 30_000
"""However busy the machine, the host's file and the server answer within that."""
SLOW = ControlOptions(
    # So that what arrives was not polled for.
    polling_interval_ms=3_600_000,
    server_validation_timeout_ms=PATIENT_MS,
    timeout_ms=PATIENT_MS,
)


class OurServer:
    """Runs while it is entered; on SQLite, in `folder`."""

    def __init__(self, folder: Path, *, is_named: bool = True) -> None:
        """`is_named`: whether its answers say that it is one of ours; some proxies take that out."""
        self.storage = Storage(f"sqlite:///{folder}/server.sqlite3")
        self.storage.prepare()
        with self.storage.begin() as db:
            self.team = create_team(db, "acme", now=time.time())
            _, self.key = create_key(db, self.team, "test", ADMIN, now=time.time())
        self._is_named = is_named
        app = create_app(self.storage)
        config = uvicorn.Config(
            app if is_named else Unnamed(app),
            port=0,
            log_level="warning",
            ws="wsproto",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx2.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=30
        )
        if not self._is_named:
            # Who does not know it asks for the prices of all models; made here, they would hold up the test.
            self.client.get("/tsdb/pricing").raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()
        self.storage.close()

    def stop(self) -> None:
        """As if the host was gone."""
        self._server.should_exit = True
        self._thread.join(20)

    def drop_sockets(self) -> None:
        """End all connections, as a proxy does that is started anew."""
        loop = self._server.servers[0].get_loop()
        for connection in list(self._server.server_state.connections):
            loop.call_soon_threadsafe(connection.transport.close)

    def put(self, **members: Any) -> None:
        """Change the team's policy."""
        self.client.put("/v1/control/policies/default", json=members).raise_for_status()

    def policy(self) -> dict[str, Any]:
        """As a client gets it, sums included."""
        answer = self.client.get("/v1/control/policy")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def spent(self, budget_id: str) -> float:
        """Dollars."""
        return next(float(b["spent"]) for b in self.policy()["budgets"] if b["id"] == budget_id)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Those of one kind that it has stored."""
        answer = self.client.get("/v1/control/events", params={"limit": 1000})
        answer.raise_for_status()
        return [event for event in answer.json()["events"] if event.get("event_type") == kind]


class Unnamed:
    """What a proxy leaves of the answers of `app` that lets only headers through that it knows."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def passed(message: Message) -> None:
            if "headers" in message:
                ours = SERVER_HEADER.encode()
                message["headers"] = [pair for pair in message["headers"] if pair[0] != ours]
            await send(message)

        await self.app(scope, receive, passed)
