"""A server that speaks Aden's published protocol over HTTP and nothing else: no ETag, no header of ours, no
push, no leases. What it answers can be spoiled.

Written from the protocol as its published client (aden-py 0.4.5) speaks it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

__all__ = ["KEY", "OriginalServer", "Seen", "eventually", "hang", "send"]

KEY = "aden_test_key"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Spoil = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request in its own way, on the connection."""


@dataclass
class OriginalServer:
    """Runs on a free port of this machine while it is entered."""

    policy: dict[str, Any] = field(default_factory=dict)
    pricing: dict[str, Any] = field(default_factory=dict)
    spoil: Spoil | None = None
    validates: bool = True
    validation: dict[str, Any] | None = None
    """What it answers about a budget, whatever it has counted."""
    delay_s: float = 0.0
    key: str | None = KEY
    """The one that it takes; None: any."""
    seen: list[Seen] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_GET(self) -> None:
                server._answer(self, None)

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                server._answer(self, json.loads(self.rfile.read(length)))

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The client went away."""

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def asked(self, path: str) -> list[Seen]:
        """The requests to one path so far."""
        return [seen for seen in list(self.seen) if seen.path == path]

    def of_type(self, event_type: str) -> list[dict[str, Any]]:
        """The events of one kind so far."""
        return [event for event in list(self.events) if event["event_type"] == event_type]

    def _answer(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.seen.append(Seen(handler.command, handler.path, headers, body))
        if self.spoil is not None:
            self.spoil(handler)
            return
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return send(handler, 401, {"error": "unauthorized"})
        match handler.command, handler.path:
            case "GET", "/v1/control/policy":
                return send(handler, 200, self._document())
            case "GET", "/tsdb/pricing":
                return send(handler, 200, {"pricing": self.pricing})
            case "POST", "/v1/control/events":
                self.events += body["events"]
                return send(handler, 200, {"success": True, "processed": len(body["events"])})
            case "POST", "/v1/control/budget/validate" if self.validates:
                return send(handler, 200, self._validated(body))
        return send(handler, 404, {"error": "not found"})

    def _document(self) -> dict[str, Any]:
        lists = ("budgets", "throttles", "blocks", "degradations", "alerts")
        return {"version": "1", **{name: [] for name in lists}, **self.policy}

    def _validated(self, body: dict[str, Any]) -> dict[str, Any]:
        """Spend is the larger of the two sums; what is projected at the limit or over it is not allowed."""
        if self.validation is not None:
            return self.validation
        found = next((b for b in self.policy["budgets"] if b["id"] == body["budget_id"]), None)
        if found is None:
            return {"allowed": True, "action": "allow", "authoritative_spend": 0}
        spent = max(body.get("local_spend") or 0, found.get("spent", 0))
        percent = 100 * (spent + body["estimated_cost"]) / found["limit"]
        blocked = percent >= 100
        return {
            "allowed": not blocked,
            "action": "block" if blocked else "allow",
            "reason": f"{percent:.1f}% of budget projected",
            "authoritative_spend": spent,
            "budget_limit": found["limit"],
            "projected_percent": percent,
        }


def send(handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    body = json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Take the request and say nothing, until the client goes away."""
    handler.close_connection = True
    handler.connection.settimeout(30)
    handler.connection.recv(1)


def eventually(condition: Callable[[], Any], *, within: float = 10.0) -> Any:
    """What `condition()` gives once it is truthy.

    Raises: AssertionError after `within` seconds.
    """
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)
    return found
