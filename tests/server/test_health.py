"""What a server says of itself."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server.metrics import Metrics, gauge
from aden_transport.control.server.storage import Storage

from .kit import new_team

SAMPLE = re.compile(r'[a-z_]+(\{([a-z]+="(\\.|[^"\\])*",?)+\})? [0-9.e+-]+')

pytestmark = pytest.mark.parametrize("address", ["sqlite"], indirect=True)


def test_metrics_count_requests_by_route_and_never_by_path(client: TestClient) -> None:
    client.get("/v1/control/policies/secret-name")
    client.get("/somewhere")
    text = client.get("/metrics", headers={"Authorization": ""}).text
    for line in text.splitlines():
        assert line.startswith("# TYPE ") or SAMPLE.fullmatch(line), line
    route = 'method="GET",route="/v1/control/policies/{policy_id}",status="404"'
    assert f"aden_server_requests_total{{{route}}} 1" in text
    assert 'route="none",status="404"' in text
    assert "secret-name" not in text
    assert "somewhere" not in text


def test_metrics_have_a_teams_budgets_for_its_key_only(client: TestClient, storage: Storage) -> None:
    budget = {"type": "agent", "name": 'a"\\b', "limit": 2.5}
    client.put("/v1/control/policies/default", json=[budget])
    own = client.get("/metrics").text
    assert 'aden_budget_limit_usd{budget="agent:a\\"\\\\b"} 2.5' in own
    other = client.get("/metrics", headers=dict(new_team(storage).headers)).text
    assert "aden_budget_limit_usd{" not in other
    assert client.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
    ledger_only = dict(new_team(storage, ("ledger",)).headers)
    assert client.get("/metrics", headers=ledger_only).status_code == 403


def test_the_schema_is_published_and_names_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/v1/control/policy", "/v1/control/budget/validate", "/v1/keys", "/v1/audit", "/metrics"):
        assert path in paths


def test_different_routes_that_are_told_apart_are_bounded(address: str) -> None:
    metrics = Metrics()
    for number in range(5000):
        metrics.count("GET", f"/{number}", 200, 0.01)
    assert len(metrics.figures().requests) == 2000
    assert list(gauge("x", [({"a": "b\n"}, 1)])) == ["# TYPE x gauge", 'x{a="b\\n"} 1']
