"""A fake provider, and a process in which nothing is metered before and after each test."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from aden_transport import _guard, flush, uninstrument
from aden_transport.pricing import book
from aden_transport.pricing.snapshot import Snapshot
from aden_transport.testing import FakeProvider

from .kit import CHAT, VARIANTS, Metering, Variant, open_exchanges


@pytest.fixture(scope="session", autouse=True)
def prices_read_once() -> Iterator[None]:
    """Hundreds of meters live here; each would read the price data for itself."""
    shared = Snapshot()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "Snapshot", lambda: shared)
        yield


@pytest.fixture(scope="session", autouse=True)
def frozen_modules() -> Iterator[None]:
    """Collections look at what the tests make, not at all that was imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    _guard.reset_faults()
    yield
    uninstrument()
    flush(5.0)
    left = open_exchanges()
    _guard.reset_faults()
    assert left == 0, f"{left} calls were never ended"


@pytest.fixture
def no_faults() -> Iterator[None]:
    """Nothing of ours may fail in this test."""
    yield
    assert _guard.fault_counts() == {}


def make_provider() -> FakeProvider:
    return FakeProvider(clock=lambda: 1_800_000_000.0)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with make_provider() as running:
        yield running


@pytest.fixture
def twin() -> Iterator[FakeProvider]:
    """A second provider that answers request by request what the first one does."""
    with make_provider() as running:
        yield running


@pytest.fixture
def url(provider: FakeProvider) -> str:
    return provider.url + CHAT


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    chosen: Variant = request.param
    return chosen


@pytest.fixture
def metering(variant: Variant, no_faults: None) -> Iterator[Metering]:
    """A memory emitter; `start()` begins."""
    metering = Metering(variant)
    yield metering
    metering.stop()
