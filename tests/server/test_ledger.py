"""The ledger over HTTP: its limits, its teams, its scopes, and what it makes of what is no request."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server.ledger import Ledgers
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import sums
from aden_transport.ledger.base import Ledger, Line
from aden_transport.ledger.memory import MemoryLedger

from .kit import Team, new_team

USD = 10**9


def line(key: str = "-|b", hold: int = USD, **more: Any) -> dict[str, Any]:
    return {"key": key, "hold": hold, "expected": hold // 2, **more}


def reserve(client: TestClient, op_id: str, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    told = {"op_id": op_id, "candidates": [list(lines)], "ttl_s": 600, **more}
    answer = client.post("/v1/ledger/reserve", json=told)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def spent(client: TestClient, *keys: str) -> list[list[int]]:
    told = {"lines": [{"key": key, "hold": 0, "expected": 0} for key in keys]}
    found: list[list[int]] = client.post("/v1/ledger/totals", json=told).json()["totals"]
    return found


def policy(client: TestClient, *budgets: dict[str, Any]) -> None:
    answer = client.put("/v1/control/policies/default", json={"budgets": list(budgets)})
    assert answer.status_code == 200, answer.text


def test_the_servers_limit_holds_whatever_a_client_says(client: TestClient) -> None:
    policy(client, {"id": "b", "type": "global", "limit": 3})
    outcomes = [reserve(client, str(n), line(limit_held=100 * USD))["kind"] for n in range(5)]
    assert outcomes == ["held"] * 3 + ["refused"] * 2
    policy(client, {"id": "b", "type": "global", "limit": 4})
    assert reserve(client, "more", line())["kind"] == "held"
    policy(client, {"id": "b", "type": "global", "limit": 1})
    assert reserve(client, "less", line(hold=1))["kind"] == "refused"
    assert client.post("/v1/ledger/settle", json={"op_id": "0", "amounts": {"usd": 7}}).json()["done"]
    assert spent(client, "-|b") == [[7, 3 * USD, 3 * USD // 2]]


def test_a_frozen_budget_refuses_and_settles(client: TestClient) -> None:
    policy(client, {"id": "b", "type": "global", "limit": 3})
    reserve(client, "1", line())
    client.post("/v1/control/budget/b/freeze", json={"reason": "stop"}).raise_for_status()
    assert reserve(client, "2", line(hold=0))["kind"] == "refused"
    assert client.post("/v1/ledger/settle", json={"op_id": "1", "amounts": {}}).json()["done"]
    client.post("/v1/control/budget/b/unfreeze", json={"reason": "go"}).raise_for_status()
    assert reserve(client, "3", line())["kind"] == "held"


def test_a_hold_lives_by_the_servers_clock(storage: Storage, team: Team) -> None:
    ledgers = Ledgers(storage, clock=lambda: 1000.0)
    ledger = ledgers.of(team.id)
    ledger.reserve("1", [[Line("-|b", 5, 5)]], now=0, expires_at=1600.0)
    assert ledgers.sweep(1599.9) == []
    assert ledgers.sweep(1600.0) == [(team.id, "1")]
    assert ledger.disputed() == {"-|b": 5}
    ledgers.close()


def test_state_tells_of_open_holds_and_disputes(client: TestClient) -> None:
    reserve(client, "1", line())
    assert client.get("/v1/ledger/state").json() == {"open_holds": 1, "disputed": {}}


def test_teams_do_not_meet(client: TestClient, storage: Storage) -> None:
    """Operations of three teams with the same ids, refs and keys: each has sums of its own."""
    teams = [new_team(storage, name=str(n)).id for n in range(3)]
    dice, ledgers = random.Random(5), Ledgers(storage)
    model = {team: MemoryLedger() for team in teams}
    for _ in range(150):
        team, number = dice.choice(teams), dice.randrange(4)
        op_id, ref, key = f"op {number}", f"ref {dice.randrange(3)}", f"-|{dice.choice('ab')}"
        both: list[Ledger] = [ledgers.of(team), model[team]]
        found: list[Any]
        match dice.randrange(6):
            case 0 | 1:
                found = [one.reserve(op_id, [[Line(key, 9, 4)]], now=0, expires_at=9e9) for one in both]
            case 2:
                found = [one.settle(op_id, {"usd": number}) for one in both]
            case 3:
                found = [one.defer(op_id, ref, expires_at=9e9) for one in both]
            case 4:
                found = [one.settle_deferred(ref, {"usd": number}) for one in both]
            case _:
                found = [one.mark_once(key, ref) for one in both]
        assert found[0] == found[1]
    asked = [Line("-|a", 0, 0), Line("-|b", 0, 0)]
    for team in teams:
        assert ledgers.of(team).totals(asked) == model[team].totals(asked)
    assert spent(client, "-|a", "-|b") == [[0, 0, 0], [0, 0, 0]]
    ledgers.close()


def test_the_ledger_needs_its_scope(client: TestClient, storage: Storage) -> None:
    reader = new_team(storage, ("read", "ingest", "policy", "admin"))
    for operation in WHOLE:
        answer = client.post(f"/v1/ledger/{operation}", json={}, headers=dict(reader.headers))
        assert answer.status_code == 403
    assert client.post("/v1/ledger/settle", json={}, headers={"Authorization": ""}).status_code == 401


BAD: tuple[Any, ...] = (None, True, -1, 2**70, 1.5, "x" * 30_000, [5], {"key": 5})
WHOLE: dict[str, dict[str, Any]] = {
    "reserve": {"op_id": "1", "candidates": [[line()]], "ttl_s": 5},
    "settle": {"op_id": "1", "amounts": {"usd": 1}},
    "release": {"op_id": "1"},
    "settle_deferred": {"ref": "r", "amounts": {"usd": 1}},
    "defer": {"op_id": "1", "ref": "r", "ttl_s": 5},
    "raise_to": {"key": "-|b", "spent": 1, "mark": "m", "expires_at": 0},
    "mark_once": {"key": "-|b", "mark": "m", "expires_at": 0},
    "totals": {"lines": [line()]},
    "leases": {
        "owner": "o",
        "asks": [{"key": "-|b", "generation": 1, "seq": 1, "used": 0, "want": 5, "need": 0}],
    },
}


def test_what_is_no_request_is_refused_and_said_why(client: TestClient) -> None:
    for operation, whole in WHOLE.items():
        for name in whole:
            for bad in BAD:
                answer = client.post(f"/v1/ledger/{operation}", json=whole | {name: bad})
                fits = answer.status_code == 200 and type(bad) in (int, float, bool)
                assert fits or (answer.status_code, answer.json()["error"]) == (400, "invalid"), (name, bad)
        assert client.post(f"/v1/ledger/{operation}", json=whole).status_code == 200
    assert client.post("/v1/ledger/settle", json=[1]).status_code == 400


@pytest.mark.parametrize(
    "ask",
    [
        {"generation": -1},
        {"seq": 2**60},
        {"used": "5"},
        {"final": 1},
        {"unit": "eur"},
        {"also": "x"},
        {"expires_at": float("-1")},
        {"need": None},
    ],
)
def test_what_is_no_ask_is_refused(client: TestClient, ask: dict[str, Any]) -> None:
    whole = {"key": "-|b", "generation": 1, "seq": 1, "used": 0, "want": 5, "need": 0}
    answer = client.post("/v1/ledger/leases", json={"owner": "o", "asks": [whole | ask]})
    assert answer.status_code == 400


def test_a_database_that_fails_is_said_to(client: TestClient, storage: Storage) -> None:
    reserve(client, "1", line())
    with storage.begin() as db:
        db.exec_driver_sql("ALTER TABLE holds RENAME TO gone")
    told = {"op_id": "2", "candidates": [[line()]], "ttl_s": 5}
    answer = client.post("/v1/ledger/reserve", json=told)
    assert (answer.status_code, answer.json()["error"]) == (503, "not_ready")
    assert client.get("/v1/ledger/state").status_code == 503
    with storage.begin() as db:
        db.exec_driver_sql("ALTER TABLE gone RENAME TO holds")
    assert reserve(client, "2", line())["kind"] == "held"


def test_sums_tell_when_they_moved(client: TestClient, storage: Storage) -> None:
    reserve(client, "1", line("-|x"))
    with storage.read() as db:
        (row,) = db.execute(sums.select()).all()
    assert (row.key, row.holds) == ("-|x", 1)
    assert row.moved_at > 1e9
