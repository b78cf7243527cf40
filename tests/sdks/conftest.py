"""One fake provider and at most one meter per test; nothing may be left open, and nothing may fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from aden_transport import MeterOptions, _guard, instrument, is_instrumented, register_vendor, uninstrument
from aden_transport.core import attempts
from aden_transport.meter import classifier, counted_ids
from aden_transport.testing import FakeProvider

from .support import Clients, Metered, Recorder, anthropic_sync, gemini_sync, open_calls, openai_sync

# On trio the SDKs leave generators unfinished, with and without us; which are told of is up to the
# garbage collector.
SDK_GENERATORS = "ignore:Async generator '(openai|anthropic|httpx2|httpcore2)[.]:ResourceWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings(SDK_GENERATORS))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both loops, for SDKs that work on both; a test overrides this where its SDK does not."""
    return str(request.param)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider of unknown host: calls are told by user agent, and nothing is asked for in streams."""
    with FakeProvider(clock=lambda: 1_800_000_000.0) as running:
        yield running


@pytest.fixture
def known_openai(provider: FakeProvider) -> Iterator[None]:
    """The provider's host is one of OpenAI's, so streams are asked for their usage."""
    hosts = [f"127.0.0.1:{provider.port}"]
    vendor = register_vendor("openai", hosts=hosts, accepts_stream_options=True)
    yield
    classifier.unregister(vendor)


@pytest.fixture
def known_azure(provider: FakeProvider) -> Iterator[None]:
    """The provider's host is one of Azure's."""
    hosts = [f"127.0.0.1:{provider.port}"]
    vendor = register_vendor("azure", hosts=hosts, like="azure", accepts_stream_options=True)
    yield
    classifier.unregister(vendor)


@pytest.fixture
def metered() -> Iterator[Metered]:
    """`metered(**options)` instruments with a recorder."""
    recorder = Recorder()
    # Tests share a context, in which a call that failed might be taken up by the next test's.
    attempts._unfinished.set(None)
    # Each fake provider begins its ids anew.
    counted_ids.clear()
    _guard.reset_faults()

    def start(**options: Any) -> Recorder:
        instrument(MeterOptions(emit_metric=recorder, **options))
        return recorder

    yield start
    left = open_calls() if is_instrumented() else 0
    faults = _guard.fault_counts()
    uninstrument()
    _guard.reset_faults()
    assert left == 0, "calls were left open"
    assert faults == recorder.faults


@pytest.fixture
def events(metered: Metered) -> Recorder:
    """Metering alone."""
    return metered()


@pytest.fixture
def clients(provider: FakeProvider) -> Iterator[Clients]:
    made = Clients(provider)
    yield made
    made.close()


@pytest.fixture
def openai_client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai_sync(provider) as client:
        yield client


@pytest.fixture
def anthropic_client(provider: FakeProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic_sync(provider) as client:
        yield client


@pytest.fixture
def gemini_client(provider: FakeProvider) -> Iterator[genai.Client]:
    with gemini_sync(provider) as client:
        yield client
