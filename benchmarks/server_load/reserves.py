"""Reserves at a steady rate on one hot budget; a time is that from when a request was due to its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from .kit import Clients, at

__all__ = ["Load", "reserves"]

LINES = [
    {"key": "-|global", "hold": 1000, "expected": 500},
    {"key": "-|customer:acme", "hold": 1000, "expected": 500},
]
LAST = 600.0


class Load(NamedTuple):
    """What became of the requests."""

    total: int
    seconds: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    settle_p99_ms: float
    is_exact: bool
    """Whether each budget's sums are what the answers say."""

    def __str__(self) -> str:
        return (
            f"{self.total / self.seconds:.0f} reserves/s, p50 {self.p50_ms:.1f} ms, "
            f"p99 {self.p99_ms:.1f} ms, slowest {self.slowest_ms:.0f} ms, "
            f"settle p99 {self.settle_p99_ms:.1f} ms, "
            f"sums {'exact' if self.is_exact else 'WRONG'}"
        )


async def reserves(urls: Sequence[int], token: str, rate: int, seconds: int, *, settle: bool) -> Load:
    count = rate * seconds
    clients = [Clients(port, token) for port in urls]
    took: list[float] = []
    settled: list[float] = []
    spent = held = 0

    async def call(number: int, due: float) -> None:
        nonlocal spent, held
        client = clients[number % len(clients)]
        told = {"op_id": f"op {number}", "candidates": [LINES], "ttl_s": LAST}
        outcome = await client.post("/v1/ledger/reserve", told)
        took.append(time.perf_counter() - due)
        if outcome["kind"] != "held":
            return
        if not settle:
            held += 1000
            return
        asked = time.perf_counter()
        done = await client.post(
            "/v1/ledger/settle", {"op_id": f"op {number}", "amounts": {"usd": number % 1000}}
        )
        settled.append(time.perf_counter() - asked)
        if done["done"]:
            spent += number % 1000

    # The first requests of a process parse policies and make statements.
    await asyncio.gather(*[client.post("/v1/ledger/release", {"op_id": "none"}) for client in clients])
    begun = time.perf_counter()
    tasks = []
    for number in range(count):
        due = begun + number / rate
        while (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(call(number, due)))
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    totals = (await clients[0].post("/v1/ledger/totals", {"lines": LINES}))["totals"]
    for each in clients:
        each.close()
    return Load(
        len(took),
        ended - begun,
        at(took, 0.5),
        at(took, 0.99),
        at(took, 1.0),
        at(settled, 0.99),
        all(sums[:2] == [spent, held] for sums in totals),
    )
