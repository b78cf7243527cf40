"""Whatever is sent to whichever route, the server does not fail.

`scripts/security/fuzz.py` is the long form.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server.app import Settings, create_app
from aden_transport.control.server.storage import Storage

from .fuzzing import fuzz
from .tenants import body_for, fill

# The stricter of the two about what text may hold; the long form is for either.
pytestmark = pytest.mark.parametrize("address", ["postgresql"], indirect=True)


@pytest.fixture
def open_client(storage: Storage) -> Iterator[TestClient]:
    settings = Settings(sweep_s=3600)
    with TestClient(create_app(storage, settings), raise_server_exceptions=False) as client:
        yield client


def test_no_request_makes_the_server_fail(open_client: TestClient, storage: Storage) -> None:
    victim = fill(open_client, storage)
    open_client.headers["Authorization"] = f"Bearer {victim.token}"
    found = fuzz(open_client, lambda path, chance: body_for(path, victim, chance), examples=2, start=7)
    assert found.failed == []
    schema = open_client.get("/openapi.json").json()
    routes = {f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods}
    assert found.routes == routes
