"""What each test has of its own: a folder of states, a provider that nobody has asked yet, a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aden_transport import uninstrument
from aden_transport._guard import reset_faults
from aden_transport.testing import FakeProvider

from .original_server import OriginalServer


@pytest.fixture(autouse=True)
def state_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """So that nothing is kept from one test for the next."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ADEN_API_KEY", "ADEN_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state"


@pytest.fixture(scope="module")
def running_provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


@pytest.fixture
def provider(running_provider: FakeProvider) -> FakeProvider:
    running_provider.reset()
    return running_provider


@pytest.fixture
def server(provider: FakeProvider) -> Iterator[OriginalServer]:
    """One of the original protocol."""
    reset_faults()
    with OriginalServer() as running:
        yield running
        uninstrument()
