"""Every shape of call of every SDK makes one event, with the model, the usage and the ids of its answer."""

from __future__ import annotations

import pytest

from aden_transport import MetricEvent
from aden_transport.testing import FakeProvider, Reply

from .support import ANTHROPIC_WAYS, GEMINI_WAYS, OPENAI_WAYS, WAYS, Clients, Recorder, Way, async_client

ANSWER = Reply(input_tokens=23, output_tokens=11)
ids = [way.id for way in WAYS]


def check(event: MetricEvent, way: Way) -> None:
    assert (event.provider, event.operation, event.stream) == (way.sdk, way.operation, way.stream)
    assert event.status_code == 200
    assert event.error is None
    assert event.usage_source == "reported"
    assert event.input_tokens == 23
    assert event.output_tokens == (0 if way.operation == "embeddings" else 11)
    assert event.faults == ()
    assert event.attempt == 0
    assert event.decision.action == "allow"
    assert event.cost_usd is not None
    assert event.cost_usd > 0
    assert event.latency_ms > 0
    assert (event.time_to_first_chunk_ms is not None) == way.stream


@pytest.mark.usefixtures("known_openai_for")
@pytest.mark.parametrize("way", WAYS, ids=ids)
def test_a_sync_call_makes_one_event(
    way: Way, provider: FakeProvider, clients: Clients, events: Recorder
) -> None:
    provider.push(ANSWER)
    way.sync(clients.of(way.sdk))
    check(events.only(), way)
    assert len(provider.requests) == 1


@pytest.mark.anyio
@pytest.mark.usefixtures("known_openai_for")
@pytest.mark.parametrize("way", OPENAI_WAYS + ANTHROPIC_WAYS, ids=lambda way: way.id)
async def test_an_async_call_makes_one_event(way: Way, provider: FakeProvider, events: Recorder) -> None:
    provider.push(ANSWER)
    async with async_client(provider, way.sdk) as client:
        await way.asynchronous(client)
    check(events.only(), way)
    assert len(provider.requests) == 1


class TestGemini:
    @pytest.fixture
    def anyio_backend(self) -> str:
        """google-genai's async client works on asyncio alone."""
        return "asyncio"

    @pytest.mark.anyio
    @pytest.mark.parametrize("way", GEMINI_WAYS, ids=lambda way: way.id)
    async def test_an_async_call_makes_one_event(
        self, way: Way, provider: FakeProvider, events: Recorder
    ) -> None:
        provider.push(ANSWER)
        async with async_client(provider, way.sdk) as client:
            await way.asynchronous(client)
        check(events.only(), way)
        assert len(provider.requests) == 1


@pytest.fixture
def known_openai_for(way: Way, request: pytest.FixtureRequest) -> None:
    """Chat streams report usage only where they are asked to."""
    if way.sdk == "openai":
        request.getfixturevalue("known_openai")
