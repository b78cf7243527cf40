"""Batches of events at a steady rate, as our clients send them, of 500 customers with a budget each."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from aden_transport.control.agent.shapes import encoders

from .kit import Clients, at

__all__ = ["Ingested", "event", "events"]

POLICY = {
    "budgets": [
        {"type": "global", "name": "all", "limit": 1_000_000, "period": "daily"},
        {"type": "customer", "name": "*", "limit": 1_000, "period": "monthly"},
        {"type": "agent", "name": "writer", "limit": 1_000_000},
    ]
}
CUSTOMERS = 500
COST = 360_000
"""Nano-dollars of each event."""


class Ingested(NamedTuple):
    """What became of the events."""

    total: int
    batch: int
    seconds: float
    p50_ms: float
    """Of a batch."""
    p99_ms: float
    slowest_ms: float
    body_bytes: float
    """Of an event, packed."""
    is_exact: bool
    """Whether all were stored, and the sum of the budget that all meet is what they cost."""

    def __str__(self) -> str:
        return (
            f"{self.total / self.seconds:.0f} events/s in batches of {self.batch} "
            f"({self.body_bytes:.0f} bytes an event), p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, "
            f"slowest {self.slowest_ms:.0f} ms, sums {'exact' if self.is_exact else 'WRONG'}"
        )


async def events(
    ports: Sequence[int],
    token: str,
    rate: int,
    seconds: int,
    *,
    batch: int,
    settled: bool,
    coding: str,
) -> Ingested:
    clients = [Clients(port, token) for port in ports]
    await clients[0].send("/v1/control/policies/default", orjson.dumps(POLICY), method="PUT")
    pack: Callable[[bytes], bytes] = encoders().get(coding, bytes)
    bodies = [
        pack(orjson.dumps({"events": [event(n * batch + each, settled) for each in range(batch)]}))
        for n in range(rate * seconds // batch)
    ]
    warm = orjson.dumps({"events": [event(0, True)]})
    for client in clients:
        await client.send("/v1/control/events", warm)
    took: list[float] = []
    answers: list[dict[str, Any]] = []

    async def post(number: int, due: float) -> None:
        client = clients[number % len(clients)]
        head = "" if coding == "identity" else f"Content-Encoding: {coding}\r\n"
        answers.append(await client.send("/v1/control/events", bodies[number], head))
        took.append(time.perf_counter() - due)

    begun = time.perf_counter()
    tasks = []
    for number in range(len(bodies)):
        due = begun + number * batch / rate
        while (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(post(number, due)))
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    stored = sum(answer["processed"] - answer["duplicates"] for answer in answers)
    spent = await _spent(clients[0])
    for client in clients:
        client.close()
    return Ingested(
        len(bodies) * batch,
        batch,
        ended - begun,
        at(took, 0.5),
        at(took, 0.99),
        at(took, 1.0),
        sum(map(len, bodies)) / (len(bodies) * batch),
        stored == len(bodies) * batch and spent == (0 if settled else stored * COST),
    )


async def _spent(client: Clients) -> int:
    key = f"{datetime.now(UTC).date().isoformat()}|global:all"
    told = await client.post("/v1/ledger/totals", {"lines": [{"key": key, "hold": 0, "expected": 0}]})
    spent: int = told["totals"][0][0]
    return spent


def event(number: int, settled: bool) -> dict[str, Any]:
    """One of a client of ours."""
    now = datetime.now(UTC).isoformat()
    event_id = uuid.uuid4().hex
    usage = {"input_tokens": 1200, "output_tokens": 300, "total_tokens": 1500}
    return {
        "event_type": "metric",
        "event_id": event_id,
        "timestamp": now,
        "sdk_instance_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "agent_name": "writer",
        **({"settled": True} if settled else {}),
        "data": {
            "timestamp": now,
            "model": "gpt-4o-mini-2024-07-18",
            "event_id": event_id,
            "trace_id": uuid.uuid4().hex,
            "span_id": event_id[:16],
            "provider": "openai",
            "operation": "chat",
            "request_model": "gpt-4o-mini",
            "response_model": "gpt-4o-mini-2024-07-18",
            "response_id": f"chatcmpl-{event_id}",
            "request_id": f"req_{event_id}",
            "stream": True,
            "latency_ms": 812.1234,
            "time_to_first_chunk_ms": 321.12,
            "status_code": 200,
            "usage": usage | {"reasoning_tokens": 0, "cached_tokens": 0},
            **usage,
            "cost_nano_usd": COST,
            "charged_nano_usd": COST,
            "hold_nano_usd": 9_000_000,
            "hold_basis": "bytes, max_tokens",
            "price_source": "genai-prices 0.2.3 openai/gpt-4o-mini",
            "finish_reasons": ["stop"],
            "service_tier": "default",
            "rate_limit": {"limit_requests": 10000, "remaining_requests": 9999},
            "decision": {"action": "allow", "source": "policy"},
            "metadata": {"agent": "writer", "customer": f"c{number % CUSTOMERS}", "feature": "summaries"},
        },
    }
