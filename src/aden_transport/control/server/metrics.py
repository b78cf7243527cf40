"""Figures of a server, as Prometheus reads them.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Figures", "Metered", "Metrics", "gauge"]

BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
MOST = 2000
"""Different routes and statuses that are told apart."""


@dataclass(slots=True)
class Figures:
    """Of one process, or of several."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By method, route and status."""
    buckets: Counter[float] = field(default_factory=Counter)
    seconds: float = 0.0
    under_way: int = 0
    connections: int = 0
    """That listen to the push channel."""
    workers: int = 1
    """Processes."""

    def add(self, other: Figures) -> None:
        self.requests.update(other.requests)
        self.buckets.update(other.buckets)
        self.seconds += other.seconds
        self.under_way += other.under_way
        self.connections += other.connections
        self.workers += other.workers

    def copy(self) -> Figures:
        """At one moment, as far as one may have it while the loop counts."""
        return Figures(
            self.requests.copy(),
            self.buckets.copy(),
            self.seconds,
            self.under_way,
            self.connections,
            self.workers,
        )

    def lines(self) -> Iterator[str]:
        """In the text format."""
        yield "# TYPE aden_server_requests_total counter"
        for (method, route, status), value in sorted(self.requests.items()):
            labels = _labels({"method": method, "route": route, "status": str(status)})
            yield f"aden_server_requests_total{labels} {value}"
        total = sum(self.requests.values())
        yield "# TYPE aden_server_request_seconds histogram"
        for bound in BUCKETS_S:
            yield f'aden_server_request_seconds_bucket{{le="{bound:g}"}} {self.buckets[bound]}'
        yield f'aden_server_request_seconds_bucket{{le="+Inf"}} {total}'
        yield f"aden_server_request_seconds_sum {self.seconds:.6f}"
        yield f"aden_server_request_seconds_count {total}"
        yield from gauge("aden_server_requests_under_way", [({}, self.under_way)])
        yield from gauge("aden_server_push_connections", [({}, self.connections)])
        yield from gauge("aden_server_workers", [({}, self.workers)])

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": [[*key, value] for key, value in self.requests.items()],
            "buckets": [[bound, value] for bound, value in self.buckets.items()],
            "seconds": self.seconds,
            "under_way": self.under_way,
            "connections": self.connections,
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Figures:
        return cls(
            Counter({(method, route, status): value for method, route, status, value in told["requests"]}),
            Counter(dict(told["buckets"])),
            told["seconds"],
            told["under_way"],
            told["connections"],
        )


class Metrics:
    """What a process counts, on its loop."""

    def __init__(self, connections: Callable[[], int] = int) -> None:
        self.counted = Figures()
        self._connections = connections

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        counted, key = self.counted, (method, route, status)
        if key in counted.requests or len(counted.requests) < MOST:
            counted.requests[key] += 1
        counted.seconds += seconds
        for bound in BUCKETS_S:
            if seconds <= bound:
                counted.buckets[bound] += 1

    def figures(self) -> Figures:
        """As they are; on any thread."""
        figures = self.counted.copy()
        figures.connections = self._connections()
        return figures


class Metered:
    """Counts each request when it has been answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.counted.under_way += 1
        try:
            await self.app(scope, receive, counted)
        finally:
            self.metrics.counted.under_way -= 1
            # Never the path: it has ids and names in it, and anybody may make up more of them.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.count(scope["method"], route, status, time.perf_counter() - began)


def gauge(name: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """A figure that goes up and down, with labels."""
    yield f"# TYPE {name} gauge"
    for labels, value in values:
        yield f"{name}{_labels(labels)} {value:.9g}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
