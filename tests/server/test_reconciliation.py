"""The ledger's sums against the events of the calls."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server import reconciliation

from .kit import Team
from .test_ledger import line, policy, reserve

USD = 10**9


def event(number: int, cost: float, *, settled: bool = False, **metadata: str) -> dict[str, Any]:
    told = {
        "provider": "openai",
        "model": "gpt-4o",
        "cost_usd": cost,
        "cost_nano_usd": int(cost * USD),
        "metadata": metadata,
    }
    found = {
        "event_type": "metric",
        "event_id": f"event {number}",
        "timestamp": datetime.fromtimestamp(time.time(), UTC).isoformat(),
        "data": told,
    }
    return found | ({"settled": True} if settled else {})


def reconciled(client: TestClient) -> tuple[bool, dict[str, tuple[int, int, int]]]:
    told = client.get("/v1/ledger/reconcile").json()
    sums = {each["key"]: (each["spent"], each["events"], each["difference"]) for each in told["budgets"]}
    return told["exact"], sums


def send(client: TestClient, *events: dict[str, Any]) -> None:
    client.post("/v1/control/events", json={"events": list(events)}).raise_for_status()


def test_sums_are_those_of_the_events(client: TestClient, team: Team) -> None:
    """A call that was held here, one under a lease, and one of a client that holds nothing."""
    budgets = {"id": "all", "type": "global", "limit": 9}, {"type": "customer", "name": "*", "limit": 5}
    policy(client, *budgets)
    assert reconciled(client) == (True, {})
    reserve(client, "1", line("-|all"), line("-|customer:acme"))
    client.post("/v1/ledger/settle", json={"op_id": "1", "amounts": {"usd": USD // 2}})
    exact, found = reconciled(client)
    assert (exact, found["-|all"]) == (False, (USD // 2, 0, USD // 2))
    send(client, event(1, 0.5, settled=True, customer_id="acme"))
    assert reconciled(client)[0]
    ask = {"key": "-|all", "generation": 1, "seq": 1, "used": 0, "want": USD, "need": 0}
    for told in (ask, ask | {"seq": 2, "used": USD // 4, "final": True}):
        client.post("/v1/ledger/leases", json={"owner": "a", "asks": [told]}).raise_for_status()
    send(
        client,
        event(2, 0.25, settled=True),
        event(3, 2.0, customer_id="acme"),
        event(3, 2.0, customer_id="acme"),
    )
    exact, found = reconciled(client)
    assert exact
    assert found == {
        "-|all": (USD * 11 // 4, USD * 11 // 4, 0),
        "-|customer:acme": (USD * 5 // 2, USD * 5 // 2, 0),
    }


def test_what_is_disputed_is_no_difference(client: TestClient) -> None:
    policy(client, {"id": "all", "type": "global", "limit": 9})
    reserve(client, "1", line("-|all"), ttl_s=0)
    client.app.state.ledgers.sweep(time.time() + 1)  # type: ignore[attr-defined]
    assert reconciled(client) == (True, {"-|all": (USD, 0, 0)})


def test_calls_are_told_by_day_and_model(client: TestClient) -> None:
    unknown = event(3, 0.0, settled=True)
    del unknown["data"]["cost_usd"], unknown["data"]["cost_nano_usd"]
    unknown["data"] |= {"charged_nano_usd": 7, "model": "gpt-4o-mini"}
    dearer = event(2, 0.25, settled=True)
    dearer["data"]["charged_nano_usd"] = USD
    send(client, event(1, 0.5, settled=True), dearer, unknown)
    told = client.get("/v1/ledger/reconcile", params={"since": "2026-01-01"}).json()["models"]
    found = [tuple(each.values())[1:] for each in told]
    assert found == [
        ("openai", "gpt-4o", 2, USD * 3 // 2, USD * 3 // 4, 0),
        ("openai", "gpt-4o-mini", 1, 7, 0, 7),
    ]
    for since in ("9999-01-01", "0001-01-01T00:00:00+14:00"):
        client.get("/v1/ledger/reconcile", params={"since": since, "at": since}).raise_for_status()
    assert client.get("/v1/ledger/reconcile", params={"at": "noon"}).status_code == 422


def test_more_budgets_are_compared_than_a_statement_takes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "AT_ONCE", 2)
    policy(client, {"type": "customer", "name": "*", "limit": 9})
    send(client, *[event(number, 0.5, customer_id=f"c{number}") for number in range(5)])
    exact, found = reconciled(client)
    assert exact
    assert found == {f"-|customer:c{number}": (USD // 2, USD // 2, 0) for number in range(5)}
    assert client.get("/v1/ledger/reconcile", params={"policy_id": "a\0b"}).status_code == 400
