"""What a server answers about a single call is carried out for that call, beside what the policy says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from aden_transport import (
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    instrument,
    instrument_async,
    uninstrument,
    uninstrument_async,
)
from aden_transport.testing import FakeProvider, Reply

from .original_server import OriginalServer
from .our_server import CALL, SLOW, OurServer

DEGRADE = {
    "allowed": True,
    "action": "degrade",
    "reason": "92.0% of budget projected",
    "authoritative_spend": 9.2,
    "degrade_to_model": "gpt-4o-mini",
    "degrade_to_provider": "openai",
}
THROTTLE = {"allowed": True, "action": "throttle", "reason": "slowly", "throttle_delay_ms": 120}
Calls = Callable[..., Any]


def on_threads(server: Any, provider: FakeProvider, times: int, **options: Any) -> None:
    instrument(MeterOptions(api_key=server.key, server_url=server.url, control=SLOW, **options))
    try:
        with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            for _ in range(times):
                client.chat.completions.create(**CALL)
    finally:
        uninstrument()


def in_a_loop(server: Any, provider: FakeProvider, times: int, **options: Any) -> None:
    async def main() -> None:
        given = MeterOptions(api_key=server.key, server_url=server.url, control=SLOW, **options)
        await instrument_async(given)
        try:
            async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
                for _ in range(times):
                    await client.chat.completions.create(**CALL)
        finally:
            await uninstrument_async()

    asyncio.run(main())


both = pytest.mark.parametrize("calls", [on_threads, in_a_loop], ids=["threads", "loop"])


@pytest.fixture(autouse=True)
def ends() -> Iterator[None]:
    yield
    uninstrument()


def budget(**more: Any) -> dict[str, Any]:
    return {"id": "b1", "name": "All", "type": "global", "limit": 10.0, "spent": 6.0, **more}


def sent(provider: FakeProvider) -> list[str]:
    return [json.loads(request.body)["model"] for request in provider.requests]


# -- a server of the original protocol ----------------------------------------------------------------


@both
def test_degrade_sends_another_model_at_its_own_hold(
    calls: Calls, server: OriginalServer, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget()]}
    memory = create_memory_emitter()
    calls(server, provider, 1, emit_metric=memory)
    server.validation = DEGRADE
    calls(server, provider, 1, emit_metric=memory)
    assert sent(provider) == ["gpt-4o", "gpt-4o-mini"]
    before, event = memory.events
    assert event.decision.reason is not None
    assert event.hold_nano_usd is not None
    assert before.hold_nano_usd is not None
    assert (event.request_model, event.degraded_from) == ("gpt-4o-mini", "gpt-4o")
    assert (event.decision.action, event.decision.to_model) == ("degrade", "gpt-4o-mini")
    assert event.decision.budget_id == "b1"
    assert event.decision.reason.startswith(
        "degraded by budget b1: from gpt-4o to gpt-4o-mini, the control server says: 92.0% of budget"
    )
    assert event.hold_nano_usd < before.hold_nano_usd / 10
    assert [told["degraded_to"] for told in server.of_type("control")] == ["gpt-4o-mini"]


@both
def test_throttle_delays_the_call_once(calls: Calls, server: OriginalServer, provider: FakeProvider) -> None:
    server.policy = {"budgets": [budget()]}
    server.validation = THROTTLE

    def fails_first(_: object) -> Reply | None:
        # The SDK tries again. Were that delayed, too, it would be by half a minute.
        server.validation = {**THROTTLE, "throttle_delay_ms": 30_000}
        return Reply(status=500) if len(provider.requests) == 1 else None

    provider.script(fails_first)
    memory = create_memory_emitter()
    calls(server, provider, 1, emit_metric=memory)
    first, second = memory.events
    assert first.trace_id == second.trace_id
    assert first.throttle_ms >= 120
    assert [event.decision.delay_s for event in memory.events] == [0.12, 0.12]
    assert {event.decision.action for event in memory.events} == {"throttle"}
    assert (first.decision.reason or "").startswith(
        "delayed by budget b1: by 0.12 s, the control server says: slowly"
    )


@both
def test_alert_tells_of_it_once(calls: Calls, server: OriginalServer, provider: FakeProvider) -> None:
    server.policy = {"budgets": [budget()]}
    server.validation = {"allowed": True, "action": "alert", "reason": "look here"}
    memory, alerts = create_memory_emitter(), list[Any]()
    calls(server, provider, 3, emit_metric=memory, on_alert=alerts.append)
    assert [alert.message for alert in alerts] == ["budget b1: the control server says: look here"]
    assert {event.decision.action for event in memory.events} == {"alert"}


def test_a_policy_that_blocks_is_stricter(server: OriginalServer, provider: FakeProvider) -> None:
    server.policy = {"budgets": [budget()], "blocks": [{"reason": "not today"}]}
    server.validation = DEGRADE
    with pytest.raises(RequestCancelledError, match="not today"):
        on_threads(server, provider, 1)
    assert sent(provider) == []


@pytest.mark.parametrize(
    ("local", "asked", "model"),
    [
        ("gpt-4o-mini", "gpt-4-turbo", "gpt-4o-mini"),
        ("gpt-4-turbo", "gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini", "house-model", "house-model"),
    ],
    ids=["policy", "server", "unknown"],
)
def test_of_two_models_the_cheaper_is_sent(
    local: str, asked: str, model: str, server: OriginalServer, provider: FakeProvider
) -> None:
    steps = [{"percent": 50, "action": "degrade", "degradeTo": local}]
    server.policy = {"budgets": [budget(thresholds=steps)]}
    server.validation = {**DEGRADE, "degrade_to_model": asked}
    server.pricing = {"gpt-4-turbo": {"input": 2.0, "output": 8.0}}
    on_threads(server, provider, 1)
    assert sent(provider) == [model]


def test_the_longer_delay_counts(server: OriginalServer, provider: FakeProvider) -> None:
    steps = [{"percent": 50, "action": "throttle", "delayMs": 20}]
    server.policy = {"budgets": [budget(thresholds=steps)]}
    server.validation = THROTTLE
    memory = create_memory_emitter()
    on_threads(server, provider, 1, emit_metric=memory)
    (event,) = memory.events
    assert event.decision.delay_s == pytest.approx(0.12)


def test_in_shadow_mode_the_call_is_sent_as_it_is(server: OriginalServer, provider: FakeProvider) -> None:
    server.policy = {"budgets": [budget()]}
    server.validation = DEGRADE
    on_threads(server, provider, 1, shadow_mode=True)
    assert sent(provider) == ["gpt-4o"]


def test_a_budget_of_the_policy_holds_whatever_the_server_allows(
    server: OriginalServer, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(), budget(id="b2", limit=1.0, spent=1.2, limitAction="kill")]}
    server.validation = DEGRADE
    with pytest.raises(RequestCancelledError, match="b2"):
        on_threads(server, provider, 1)
    assert sent(provider) == []


# -- a server of ours -----------------------------------------------------------------------------------


@both
def test_ours_behind_a_proxy_that_hides_it_is_one_of_the_original_protocol(
    calls: Calls, tmp_path: Path, provider: FakeProvider
) -> None:
    with OurServer(tmp_path, is_named=False) as ours:
        # From 90 % on it degrades early; the policy itself does so at 100 %.
        degrades = budget(spent=9.5, limitAction="degrade", degradeTo="gpt-4o-mini", mode="expected")
        ours.put(budgets=[degrades])
        memory = create_memory_emitter()
        calls(ours, provider, 1, emit_metric=memory)
        assert sent(provider) == ["gpt-4o-mini"]
        (event,) = memory.events
        assert (event.degraded_from, event.decision.budget_id) == ("gpt-4o", "b1")
        assert "the control server says: Budget b1: close to its limit" in (event.decision.reason or "")
        assert ours.spent("b1") == pytest.approx(9.5 + (event.cost or 0.0))


@both
def test_under_leases_the_policy_degrades_and_nobody_is_asked(
    calls: Calls, tmp_path: Path, provider: FakeProvider
) -> None:
    with OurServer(tmp_path) as ours:
        steps = [{"percent": 50, "action": "degrade", "degradeTo": "gpt-4o-mini"}]
        ours.put(budgets=[budget(thresholds=steps)])
        memory = create_memory_emitter()
        calls(ours, provider, 2, emit_metric=memory)
        assert sent(provider)[-1] == "gpt-4o-mini"
        assert "the control server says" not in (memory.events[-1].decision.reason or "")
