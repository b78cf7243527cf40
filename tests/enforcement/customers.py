"""Customers of a template, by the thousand. Each asks until it is refused.

`python -m tests.enforcement.customers LEDGER PART PARTS COUNT PREFIX` prints the highest hold, and for each
customer its calls and nano-dollars.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

import httpx2
from tests.enforcement.offline import PATIENT_MS, URL, Vendor, asked

from aden_transport import (
    BudgetExceededError,
    MeterOptions,
    RequestCancelledError,
    context,
    create_memory_emitter,
    instrument,
    uninstrument,
)

LIMIT = 0.02
OVERRIDES = {"c7": 0.05, "c8": 0.0, "c9": 0.03}
MOST = 500
"""Output tokens of each call: about four of them fit a budget of `LIMIT`."""
TASKS = 16


def policy(prefix: str) -> dict[str, Any]:
    template = {"type": "customer", "limitAction": "block", "wait_ms": 20_000}
    named = [{**template, "name": f"{prefix}{name}", "limit": limit} for name, limit in OVERRIDES.items()]
    return {"budgets": [{**template, "name": "*", "limit": LIMIT}, *named]}


async def until_refused(client: httpx2.AsyncClient) -> int:
    sent = 0
    while True:
        try:
            await client.post(URL, json=asked(MOST, MOST))
            sent += 1
        except BudgetExceededError:
            return sent
        except RequestCancelledError:
            pass  # the ledger was too busy to say


async def spend(names: list[str]) -> dict[str, int]:
    """Every customer until it is refused, `TASKS` of them at once."""
    sent = dict.fromkeys(names, 0)
    pending = iter(names)
    async with httpx2.AsyncClient(transport=Vendor()) as client:

        async def work() -> None:
            for name in pending:
                with context(customer=name):
                    sent[name] = await until_refused(client)

        await asyncio.gather(*(work() for _ in range(TASKS)))
    return sent


def main(ledger: str, part: int, parts: int, count: int, prefix: str) -> None:
    memory = create_memory_emitter()
    instrument(
        MeterOptions(
            emit_metric=memory,
            async_emit=False,
            policy=policy(prefix),
            ledger=ledger,
            on_unknown={"store": "block"},
            store_timeout_ms=PATIENT_MS,
        )
    )
    names = [f"{prefix}c{number}" for number in range(count)]
    # Two processes each meet at every customer.
    random.Random(part * 2 // parts).shuffle(names)
    sent = asyncio.run(spend(names))
    uninstrument()
    charged = dict.fromkeys(names, 0)
    most = 0
    for event in memory.events:
        assert event.metadata is not None
        charged[event.metadata["customer"]] += event.charged_nano_usd or 0
        most = max(most, event.hold_nano_usd or 0)
    print(json.dumps({"hold": most, "customers": {name: (sent[name], charged[name]) for name in names}}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
