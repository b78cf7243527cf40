"""The demo takes seconds, so each kind of run is made once and shared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aden_transport.testing import FakeProvider

from .programs import Place
from .support import HOSTILE, MODULES, Finished, run, run_bare


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the user of this machine has spent is nobody's business here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def text() -> Finished:
    """With all SDKs, 80 columns, piped."""
    return run("demo", COLUMNS="80")


@pytest.fixture(scope="session")
def documents() -> Finished:
    """With all SDKs and `--json`, in an environment that points elsewhere and has real-looking keys."""
    return run("demo", "--json", **HOSTILE)


@pytest.fixture(scope="session", params=sorted(MODULES))
def without_one(request: pytest.FixtureRequest) -> tuple[str, Finished]:
    """A vendor whose SDK is missing, and the run."""
    vendor = str(request.param)
    return vendor, run("demo", "--json", hidden=[MODULES[vendor]])


@pytest.fixture(scope="session")
def bare() -> Finished:
    """Without any SDK, 80 columns, piped."""
    return run_bare("demo", COLUMNS="80")


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """The address of a fake provider."""
    with FakeProvider() as fake:
        yield fake.url


@pytest.fixture
def place(tmp_path: Path, provider: str) -> Iterator[Place]:
    """Where programs are run that call the provider."""
    place = Place(tmp_path, provider)
    yield place
    place.close()
