"""Figures of a server process, as Prometheus reads them.

https://prometheus.io/docs/instrumenting/exposition_formats/. Of several worker processes each counts for
itself, and who asks gets the figures of one of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Metered", "Metrics", "gauge"]

BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
MOST = 2000
"""Different routes and statuses that are told apart."""


class Metrics:
    """Counts of requests, made on the loop; read on any thread."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By method, route and status."""
        self.buckets: Counter[float] = Counter()
        self.seconds = 0.0
        self.under_way = 0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        if key in self.requests or len(self.requests) < MOST:
            self.requests[key] += 1
        self.seconds += seconds
        for bound in BUCKETS_S:
            if seconds <= bound:
                self.buckets[bound] += 1

    def lines(self) -> Iterator[str]:
        """In the text format."""
        yield "# TYPE aden_server_requests_total counter"
        for (method, route, status), value in sorted(self.requests.copy().items()):
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

        self.metrics.under_way += 1
        try:
            await self.app(scope, receive, counted)
        finally:
            self.metrics.under_way -= 1
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
