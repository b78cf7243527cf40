"""The published description is of all routes, and the file in docs/ is what the server publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from aden_transport.control.server.app import create_app
from aden_transport.control.server.openapi import BODIES, PUBLIC, published
from aden_transport.control.server.storage import Storage

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_description_is_current() -> None:
    told = json.dumps(published(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    current = COMMITTED.read_text("utf-8") == told
    assert current, "routes have changed: run scripts/build_openapi.py"


def test_it_is_what_a_server_publishes(prepared_file: Path) -> None:
    storage = Storage(f"sqlite:///{prepared_file}")
    with TestClient(create_app(storage)) as client:
        assert client.get("/openapi.json").json() == published()
    storage.close()


def test_every_route_says_what_it_does_and_what_it_needs() -> None:
    for method, path, operation in _operations(published()):
        name = f"{method} {path}"
        assert operation.get("description"), f"{name}: write a docstring"
        assert ("security" in operation) != (path in PUBLIC), name
        assert operation.get("tags"), name
        assert ("requestBody" in operation) == (method in ("post", "put")), name


def test_every_body_is_one_of_a_route() -> None:
    routes = {(method, path) for method, path, _ in _operations(published())}
    assert set(BODIES) <= routes


def _operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
