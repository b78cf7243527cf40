"""Spends as much as a shared budget lets it: `python -m tests.enforcement.spender LEDGER CALLS`."""

from __future__ import annotations

import random
import sys

import httpx2
from tests.enforcement.offline import PATIENT_MS

from aden_transport import (
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    instrument,
    uninstrument,
)
from aden_transport.testing import FakeProvider, Reply

POLICY = {"type": "global", "limit": 1.0, "spent": 0.9, "limitAction": "block"}
MESSAGES = [{"role": "user", "content": "hi"}]


def main(ledger: str, calls: int) -> None:
    memory = create_memory_emitter()
    options = MeterOptions(
        emit_metric=memory, policy=POLICY, ledger=ledger, async_emit=False, store_timeout_ms=PATIENT_MS
    )
    instrument(options)
    rng = random.Random(calls)
    with FakeProvider() as provider, httpx2.Client(base_url=provider.openai_base_url) as client:
        for _ in range(calls):
            most = rng.choice([500, 2_000, 8_000, 35_000])
            provider.push(Reply(text="x", output_tokens=most))
            body = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": most}
            try:
                client.post("/chat/completions", json=body)
            except RequestCancelledError:
                provider.reset()
    uninstrument()
    sent = [event for event in memory.events if event.decision.action != "block"]
    print(len(sent), sum(event.cost_nano_usd or 0 for event in sent), len(memory.events))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
