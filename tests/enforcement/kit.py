"""Policies on real calls: SDKs over sockets against the fake provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import openai
import redis

from aden_transport import MeterOptions, create_memory_emitter, instrument, uninstrument
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.events import AlertEvent, MetricEvent
from aden_transport.ledger.base import Ledger, Line
from aden_transport.meter import counted_ids, state
from aden_transport.testing import FakeProvider

from ..ledger.redis_server import shared_server
from .offline import PATIENT_MS

HELLO: Any = [{"role": "user", "content": "hello"}]
LADDER: dict[str, Any] = {
    "type": "global",
    "limit": 0.05,
    "thresholds": [
        {"percent": 50, "action": "alert"},
        {"percent": 80, "action": "degrade", "degradeTo": "gpt-4o-mini"},
        {"percent": 95, "action": "throttle", "delayMs": 20},
    ],
    "limitAction": "block",
}
"""The ladder of the specification's README."""
USD = 1_000_000_000


def address(store: str, folder: Path) -> str:
    """Of an empty ledger of that kind."""
    match store:
        case "sqlite":
            return f"sqlite:///{folder}/budgets.sqlite3"
        case "redis":
            # The tests of ledgers use the other database.
            url = shared_server().url.removesuffix("0") + "1"
            with redis.Redis.from_url(url) as client:
                client.flushdb()
            return url
        case _:
            return "memory"


class Enforced(NamedTuple):
    provider: FakeProvider
    memory: MemoryEmitter
    alerts: list[AlertEvent]
    clients: list[openai.OpenAI]
    """To be closed at the end."""

    @property
    def events(self) -> list[MetricEvent]:
        return list(self.memory.events)

    @property
    def ledger(self) -> Ledger:
        meter = state.everything
        assert meter is not None
        assert meter.budgets is not None
        meter.flush(5.0)
        return meter.budgets.ledger

    def spent(self, key: str = "-|global") -> int:
        """Nano-dollars."""
        return self.ledger.totals([Line(key, 0, 0)])[0].spent

    def client(self, **given: Any) -> openai.OpenAI:
        self.clients.append(openai.OpenAI(base_url=self.provider.openai_base_url, api_key="any", **given))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def async_client(self, **given: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.provider.openai_base_url, api_key="any", **given)


@contextmanager
def enforced(policy: Any, *, patient: bool = True, **options: Any) -> Iterator[Enforced]:
    memory, alerts = create_memory_emitter(), list[AlertEvent]()
    options.setdefault("ledger", "memory")
    if patient:
        options.setdefault("store_timeout_ms", PATIENT_MS)
    counted_ids.clear()  # each provider begins to number its work anew
    instrument(
        MeterOptions(emit_metric=memory, on_alert=alerts.append, async_emit=False, policy=policy, **options)
    )
    try:
        with FakeProvider() as provider:
            run = Enforced(provider, memory, alerts, [])
            try:
                yield run
            finally:
                run.close()
    finally:
        uninstrument()
