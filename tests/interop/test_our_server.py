"""Our client with our server: leases, and changes that arrive by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
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

from .original_server import eventually
from .our_server import OurServer

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
SLOW = ControlOptions(polling_interval_ms=3_600_000)
"""So that what arrives was not polled for."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OurServer]:
    with OurServer(tmp_path) as running:
        yield running
        uninstrument()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as made:
        yield made


def budget(limit: float, **more: Any) -> dict[str, Any]:
    return {"id": "b1", "name": "All", "type": "global", "limit": limit, "limitAction": "kill", **more}


def begin(server: OurServer, **options: Any) -> None:
    options.setdefault("control", SLOW)
    instrument(MeterOptions(api_key=server.key, server_url=server.url, **options))


def call(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)


def test_calls_are_spent_under_leases_and_what_is_left_goes_back(
    server: OurServer, client: openai.OpenAI
) -> None:
    server.put(budgets=[budget(1.0)])
    memory = create_memory_emitter()
    begin(server, emit_metric=memory)
    for _ in range(3):
        assert call(client).choices
    agent = get_control_agent()
    assert agent is not None
    assert agent.status.speaks_leases
    uninstrument()
    cost = sum(event.cost or 0.0 for event in memory.events)
    assert server.spent("b1") == pytest.approx(cost)


def test_a_spent_budget_blocks(server: OurServer, client: openai.OpenAI, provider: FakeProvider) -> None:
    server.put(budgets=[budget(0.00001)])
    begin(server)
    with pytest.raises(RequestCancelledError, match="b1"):
        call(client)
    assert provider.requests == []
    eventually(lambda: get_control_agent() is not None)
