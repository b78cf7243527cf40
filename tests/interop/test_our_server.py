"""Our client with our server: leases, and changes that arrive by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import trio

from aden_transport import (
    BudgetExceededError,
    ControlAgent,
    MeterOptions,
    create_memory_emitter,
    get_control_agent,
    instrument,
    instrument_async,
    ready,
    uninstrument,
    uninstrument_async,
)
from aden_transport.meter import state
from aden_transport.testing import FakeProvider

from .original_server import eventually
from .our_server import CALL, PATIENT_MS, SLOW, OurServer


@pytest.fixture
def server(tmp_path: Path, provider: FakeProvider) -> Iterator[OurServer]:
    with OurServer(tmp_path) as running:
        yield running
        uninstrument()


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as made:
        yield made


def budget(limit: float, **more: Any) -> dict[str, Any]:
    return {"id": "b1", "name": "All", "type": "global", "limit": limit, "limitAction": "kill", **more}


def options(server: OurServer, **more: Any) -> MeterOptions:
    more.setdefault("control", SLOW)
    more.setdefault("store_timeout_ms", PATIENT_MS)
    return MeterOptions(api_key=server.key, server_url=server.url, **more)


def agent() -> ControlAgent:
    found = get_control_agent()
    assert found is not None
    return found


def pushed() -> None:
    """Wait until changes come by themselves."""
    assert ready(30)
    eventually(lambda: agent().status.is_connected, within=30)


def test_calls_are_spent_under_leases_and_what_is_left_goes_back(
    server: OurServer, client: openai.OpenAI
) -> None:
    server.put(budgets=[budget(1.0)])
    memory = create_memory_emitter()
    instrument(options(server, emit_metric=memory))
    for _ in range(3):
        assert client.chat.completions.create(**CALL).choices
    assert agent().status.speaks_leases
    uninstrument()
    cost = sum(event.cost or 0.0 for event in memory.events)
    assert server.spent("b1") == pytest.approx(cost)
    events = server.events("metric")
    assert {event["event_id"] for event in events} == {event.event_id for event in memory.events}


def test_a_change_of_policy_arrives_within_a_second(server: OurServer, client: openai.OpenAI) -> None:
    server.put(budgets=[budget(1.0)])
    instrument(options(server))
    pushed()
    assert client.chat.completions.create(**CALL).choices
    before = agent().status.policy_version
    server.put(budgets=[budget(0.0)])
    changed = time.monotonic()
    eventually(lambda: agent().status.policy_version != before, within=30)
    # A figure for the benchmark; here it is only not a poll, which is an hour away.
    assert time.monotonic() - changed < 30
    with pytest.raises(BudgetExceededError, match="b1"):
        client.chat.completions.create(**CALL)


def test_a_change_of_prices_arrives_though_nobody_looks(server: OurServer, client: openai.OpenAI) -> None:
    memory = create_memory_emitter()
    instrument(options(server, emit_metric=memory))
    pushed()
    meter = state.everything
    assert meter is not None
    prices = meter.settings.prices
    server.client.put("/tsdb/pricing", json={"pricing": {"openai/gpt-4o": {"input": 2500, "output": 10000}}})
    eventually(lambda: prices.version == 1, within=30)
    client.chat.completions.create(**CALL)
    server.client.put("/tsdb/pricing", json={"pricing": {"openai/gpt-4o": None}})
    eventually(lambda: prices.version == 2, within=30)
    client.chat.completions.create(**CALL)
    dear, usual = memory.events
    assert usual.cost_nano_usd
    assert dear.cost_nano_usd == 1000 * usual.cost_nano_usd
    assert (dear.price_source, usual.price_source) == ("server", "genai-prices 0.2.3 openai/gpt-4o")


def test_a_lost_socket_is_opened_anew(server: OurServer) -> None:
    instrument(options(server))
    pushed()
    server.drop_sockets()
    eventually(lambda: not agent().status.is_connected, within=30)
    eventually(lambda: agent().status.is_connected, within=30)


Run = Callable[[Callable[[], Awaitable[None]]], None]


def in_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    asyncio.run(run())


@pytest.mark.parametrize("run", [in_asyncio, trio.run], ids=["asyncio", "trio"])
def test_block_degrade_throttle_and_alert_in_a_loop(
    run: Run, server: OurServer, provider: FakeProvider
) -> None:
    server.put(budgets=LADDER)
    alerts: list[Any] = []

    async def main() -> None:
        memory = create_memory_emitter()
        await instrument_async(options(server, emit_metric=memory, on_alert=alerts.append))
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            for name in ("degraded", "throttled", "alerted"):
                metadata = {"metadata": {"customer": name}}
                for _ in range(2):
                    await client.chat.completions.create(**CALL, extra_body=metadata)
            with pytest.raises(BudgetExceededError):
                await client.chat.completions.create(**CALL, extra_body={"metadata": {"customer": "blocked"}})
        await uninstrument_async()
        assert decided(memory.events) == EXPECTED

    run(main)
    seen_by(server, alerts)


def test_block_degrade_throttle_and_alert_on_threads(server: OurServer, client: openai.OpenAI) -> None:
    server.put(budgets=LADDER)
    alerts: list[Any] = []
    memory = create_memory_emitter()
    instrument(options(server, emit_metric=memory, on_alert=alerts.append))
    for name in ("degraded", "throttled", "alerted"):
        for _ in range(2):
            client.chat.completions.create(**CALL, extra_body={"metadata": {"customer": name}})
    with pytest.raises(BudgetExceededError):
        client.chat.completions.create(**CALL, extra_body={"metadata": {"customer": "blocked"}})
    uninstrument()
    assert decided(memory.events) == EXPECTED
    seen_by(server, alerts)


def ladder(name: str, **step: Any) -> dict[str, Any]:
    """In force from the first call on that finds anything spent."""
    steps = [{"percent": 0.0001, **step}]
    return {"id": name, "type": "customer", "name": name, "limit": 1.0, "thresholds": steps}


LADDER = [
    ladder("degraded", action="degrade", degradeTo="gpt-4o-mini"),
    ladder("throttled", action="throttle", delayMs=10),
    ladder("alerted", action="alert", message="some of it is spent"),
    {"id": "blocked", "type": "customer", "name": "blocked", "limit": 0.0},
]
EXPECTED = {"degrade", "throttle", "block"}


def decided(events: list[Any]) -> set[str]:
    return {event.decision.action for event in events} - {"allow", "alert"}


def seen_by(server: OurServer, alerts: list[Any]) -> None:
    """The server has heard of all that was done."""
    assert "some of it is spent" in [alert.message for alert in alerts]
    assert {event["action"] for event in server.events("control")} >= EXPECTED


def test_a_server_that_is_gone_leaves_what_was_granted(
    server: OurServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.put(budgets=[budget(1.0)])
    memory = create_memory_emitter()
    instrument(options(server, emit_metric=memory, fail_open=False))
    for _ in range(3):
        client.chat.completions.create(**CALL)
    server.stop()
    meter = state.everything
    assert meter is not None
    assert meter.budgets is not None
    meter.budgets.asking.timeout_s = 0.2
    sent = 0
    with pytest.raises(BudgetExceededError, match="no lease covers it"):
        for _ in range(10_000):
            client.chat.completions.create(**CALL)
            sent += 1
    assert len(provider.requests) == 3 + sent
    uninstrument()
