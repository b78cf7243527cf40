"""Our client with a server that speaks only Aden's original protocol."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from aden_transport import (
    ControlOptions,
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    get_control_agent,
    instrument,
    uninstrument,
)
from aden_transport.testing import FakeProvider

from .original_server import KEY, OriginalServer, eventually

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
FAST = ControlOptions(polling_interval_ms=100, heartbeat_interval_ms=100)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as made:
        yield made


@pytest.fixture
def server() -> Iterator[OriginalServer]:
    with OriginalServer() as running:
        yield running
        uninstrument()


def budget(limit: float, spent: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"id": "b1", "name": "All", "type": "global", "limit": limit, "spent": spent, **more}


def begin(server: OriginalServer, **options: Any) -> None:
    options.setdefault("control", FAST)
    instrument(MeterOptions(api_key=KEY, server_url=server.url, **options))


def call(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)


def test_a_spent_budget_blocks_the_first_call_and_the_event_is_sent(
    server: OriginalServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(10.0, 10.0, limitAction="kill")]}
    memory = create_memory_emitter()
    begin(server, emit_metric=memory)
    with pytest.raises(RequestCancelledError, match="b1"):
        call(client)
    assert provider.requests == []
    uninstrument()
    (event,) = memory.events
    assert event.decision.action == "block"
    (metric,), (control,) = server.of_type("metric"), server.of_type("control")
    assert metric["data"]["trace_id"] == event.trace_id
    assert (control["action"], control["budget_id"]) == ("block", "b1")


def test_a_call_within_its_budget_is_sent_and_metered(server: OriginalServer, client: openai.OpenAI) -> None:
    server.policy = {"budgets": [budget(10.0, 1.0)]}
    begin(server)
    assert call(client).choices
    (metric,) = eventually(lambda: server.of_type("metric"))
    assert metric["data"]["usage"]["output_tokens"] > 0
    assert metric["data"]["cost_usd"] > 0
    agent = get_control_agent()
    assert agent is not None
    assert agent.is_connected()
    assert (agent.status.speaks_leases, agent.status.is_connected) == (False, False)
