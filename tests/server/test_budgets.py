"""Budgets on the server: how they stand, and what people do to them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from aden_transport.control.server.policies import current
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import leases, sums

from .kit import Team, new_team

USD = 1_000_000_000
POLICY = [
    {"limit": 100},
    {"type": "customer", "name": "acme", "limit": 10, "id": "b1"},
    {"type": "tenant", "name": "*", "limit": 5, "thresholds": [{"percent": 80, "action": "alert"}]},
    {"type": "agent", "name": "a/b", "limit": 1, "period": {"rolling": "1h"}},
]


@pytest.fixture(autouse=True)
def policy(client: TestClient) -> None:
    assert client.put("/v1/control/policies/default", json=POLICY).status_code == 200


def spend(storage: Storage, team: Team, **nano: int) -> None:
    with storage.begin() as db:
        for key, value in nano.items():
            db.execute(insert(sums).values(team_id=team.id, key=key, spent=value, held=value // 2))


def listed(client: TestClient) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in client.get("/v1/control/budgets").json()["budgets"]}


def test_the_list_has_what_templates_made_the_dearest_first(
    client: TestClient, storage: Storage, team: Team
) -> None:
    spend(storage, team, **{"-|tenant:x": 1 * USD, "-|tenant:y": 2 * USD, "-|b1": 4 * USD})
    found = listed(client)
    assert list(found) == ["global", "b1", "tenant:*", "tenant:y", "tenant:x", "agent:a/b"]
    acme = found["b1"]
    assert (acme["spent"], acme["held"], acme["left"], acme["usage_percent"]) == (4.0, 2.0, 4.0, 40.0)
    assert (acme["name"], acme["type"], acme["template"]) == ("acme", "customer", False)
    assert (found["tenant:*"]["template"], found["tenant:y"]["template"]) == (True, False)
    assert found["tenant:y"]["left"] == 2.0
    one = client.get("/v1/control/budgets?made=1").json()["budgets"]
    assert [budget["id"] for budget in one][2:4] == ["tenant:*", "tenant:y"]


def test_one_budget_is_found_by_its_id_whatever_is_in_it(client: TestClient) -> None:
    assert client.get("/v1/control/budget/agent:a/b").json()["period"] == "rolling 60 min"
    assert client.get("/v1/control/budget/tenant:new").json()["limit"] == 5.0
    missing = client.get("/v1/control/budget/nothing")
    assert (missing.status_code, missing.json()["error"]) == (404, "no_budget")


def test_a_limit_is_set_and_what_is_spent_stays(client: TestClient, storage: Storage, team: Team) -> None:
    spend(storage, team, **{"-|b1": 4 * USD})
    after = client.put("/v1/control/budget/b1", json={"limit_usd": 20.5, "reason": "more work"}).json()
    assert (after["limit"], after["spent"], after["policy_version"]) == (20.5, 4.0, "2")
    assert listed(client)["b1"]["limit"] == 20.5
    (entry,) = client.get("/v1/audit?limit=1").json()["entries"]
    assert (entry["action"], entry["before"], entry["after"]) == ("budget.set", "10.0", "20.5")
    assert entry["reason"] == "more work"


def test_a_budget_of_a_template_gets_terms_of_its_own(
    client: TestClient, storage: Storage, team: Team
) -> None:
    spend(storage, team, **{"-|tenant:x": 1 * USD})
    after = client.put("/v1/control/budget/tenant:x", json={"limit_usd": 7}).json()
    assert (after["id"], after["limit"], after["spent"]) == ("tenant:x", 7.0, 1.0)
    policy = client.get("/v1/control/policy?spent=false").json()
    assert policy["budgets"][4] == {
        "type": "tenant",
        "name": "x",
        "id": "tenant:x",
        "limit": 7,
        "thresholds": [{"percent": 80, "action": "alert"}],
    }
    assert listed(client)["tenant:*"]["limit"] == 5.0


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body", [{}, {"limit_usd": -1}, {"limit_usd": "5"}, {"limit_usd": 1e12}, {"limit_usd": True}]
)
def test_a_limit_has_to_be_an_amount(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.put("/v1/control/budget/b1", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_amount")
    assert listed(client)["b1"]["limit"] == 10.0


def test_what_is_spent_is_corrected_with_a_reason_and_not_below_nothing(
    client: TestClient, storage: Storage, team: Team
) -> None:
    spend(storage, team, **{"-|b1": 4 * USD})
    address = "/v1/control/budget/b1/adjust"
    assert client.post(address, json={"amount_usd": 1}).json()["error"] == "no_reason"
    assert client.post(address, json={"amount_usd": -1.5, "reason": "invoice"}).json()["spent"] == 2.5
    assert client.post(address, json={"amount_usd": -9, "reason": "invoice"}).json()["spent"] == 0.0
    assert client.post(address, json={"amount_usd": 3, "reason": "invoice"}).json()["spent"] == 3.0
    actions = [entry["action"] for entry in client.get("/v1/audit?limit=3").json()["entries"]]
    assert actions == ["budget.adjust"] * 3
    made = client.post("/v1/control/budget/tenant:new/adjust", json={"amount_usd": 1, "reason": "x"})
    assert made.json()["spent"] == 1.0


def test_a_rolling_budget_is_corrected_from_its_newest_part(
    client: TestClient, storage: Storage, team: Team
) -> None:
    address = "/v1/control/budget/agent:a/b"
    newest = client.get(f"{address}/explain").json()["ledger_key"]
    window, _, name = newest.partition("|")
    length, _, number = window.partition(".")
    older = f"{length}.{int(number) - 1}|{name}"
    spend(storage, team, **{newest: USD // 10, older: USD // 2})
    after = client.post(f"{address}/adjust", json={"amount_usd": -0.3, "reason": "x"}).json()
    assert after["spent"] == pytest.approx(0.3)
    with storage.read() as db:
        assert sum(db.scalars(select(sums.c.spent))) == 3 * USD // 10


def test_a_reset_opens_another_generation(client: TestClient, storage: Storage, team: Team) -> None:
    spend(storage, team, **{"-|b1": 4 * USD, "-|tenant:x": 1 * USD})
    after = client.post("/v1/control/budget/b1/reset").json()
    assert after["success"] is True
    assert (after["id"], after["spent"], after["generation"]) == ("b1", 0.0, 1)
    spend(storage, team, **{"-#1|b1": 1 * USD})
    again = client.post("/v1/control/budget/b1/reset?reason=new+month").json()
    assert (again["spent"], again["generation"]) == (0.0, 2)
    assert client.get("/v1/audit?limit=1").json()["entries"][0]["before"] == "1.0"
    client.post("/v1/control/budget/tenant:x/reset")
    found = listed(client)
    assert (found["tenant:x"]["spent"], found["tenant:x"]["generation"]) == (0.0, 1)
    with storage.read() as db:
        policy = current(db, team.id).policy
    assert {budget.key: budget.generation for budget in policy.budgets}["b1"] == 2


def test_a_frozen_budget_lets_nothing_through_and_keeps_its_terms(
    client: TestClient, storage: Storage, team: Team
) -> None:
    frozen = client.post("/v1/control/budget/b1/freeze?reason=odd+calls").json()
    assert (frozen["frozen"], frozen["limit"], frozen["left"]) == (True, 10.0, 0.0)
    client.post("/v1/control/budget/tenant:x/freeze")
    told = client.get("/v1/control/policy?spent=false").json()["budgets"]
    assert told[1] == {"type": "customer", "name": "acme", "id": "b1", "limit": 0, "limitAction": "kill"}
    assert told[4] == {"type": "tenant", "name": "x", "id": "tenant:x", "limit": 0, "limitAction": "kill"}
    aden = client.get("/v1/control/policy").json()["budgets"][1]
    assert (aden["limit"], aden["spent"]) == (1e-9, 1e-9)
    blocked = client.post("/v1/control/budget/validate", json={"budget_id": "b1", "estimated_cost": 0})
    assert blocked.json()["action"] == "block"
    assert client.post("/v1/control/budget/b1/freeze").json()["policy_version"] == "3"
    assert client.post("/v1/control/budget/b1/unfreeze").json()["frozen"] is False
    assert client.post("/v1/control/budget/tenant:x/unfreeze").json()["frozen"] is False
    assert client.get("/v1/control/policy?spent=false").json()["budgets"][1]["limit"] == 10
    actions = [entry["action"] for entry in client.get("/v1/audit?limit=4").json()["entries"]]
    assert actions == ["budget.unfreeze"] * 2 + ["budget.freeze"] * 2


def test_explain_says_who_holds_what(client: TestClient, storage: Storage, team: Team) -> None:
    spend(storage, team, **{"-|b1": 4 * USD})
    with storage.begin() as db:
        row = {"granted": 3 * USD, "used": USD, "state": "open", "heard_at": time.time()}
        db.execute(insert(leases).values(team_id=team.id, owner="host", key="-|b1", generation=1, **row))
    told = client.get("/v1/control/budget/b1/explain").json()
    assert told["ledger_key"] == "-|b1"
    (lease,) = told["leases"]
    assert (lease["owner"], lease["granted_usd"], lease["used_usd"]) == ("host", 3.0, 1.0)
    made = client.get("/v1/control/budget/tenant:x/explain").json()
    assert (made["made_by"], made["steps"][0]["percent"]) == ("tenant:*", 80.0)


def test_validation_by_budget_and_by_context(client: TestClient, storage: Storage, team: Team) -> None:
    spend(storage, team, **{"-|b1": 4 * USD})

    def ask(**body: Any) -> dict[str, Any]:
        answer = client.post("/v1/control/budget/validate", json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    single = ask(budget_id="b1", estimated_cost=1.0)
    assert (single["action"], single["updated_spend"], single["policy_version"]) == ("allow", 4.0, "1")
    assert ask(budget_id="b1", estimated_cost=4.0)["action"] == "block"
    assert ask(budget_id="b1", estimated_cost=0, local_spend=12)["authoritative_spend"] == 12.0
    assert ask(budget_id="gone", estimated_cost=1)["reason"] == "Budget not found in policy"
    several = ask(context={"customer_id": "acme", "tenant_id": "x"}, estimated_cost=6)
    assert [one["budget_id"] for one in several["budgets_checked"]] == ["global", "tenant:x", "b1"]
    assert several["restricting_budget_id"] in ("tenant:x", "b1")
    client.delete("/v1/control/policies/default/rules")
    assert ask(context={"agent": "x"}, estimated_cost=1)["budgets_checked"] == []


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        {"budget_id": "b1"},
        {"budget_id": "b1", "estimated_cost": -1},
        {"budget_id": "b1", "estimated_cost": "1"},
        {"budget_id": "b1", "estimated_cost": 1, "local_spend": -1},
        {"estimated_cost": 1},
        {"estimated_cost": 1, "context": "x"},
        [],
    ],
)
def test_a_question_that_says_too_little_is_refused(client: TestClient, body: Any) -> None:
    assert client.post("/v1/control/budget/validate", json=body).status_code == 400


def test_another_team_has_other_budgets(client: TestClient, storage: Storage) -> None:
    other = dict(new_team(storage).headers)
    assert client.get("/v1/control/budgets", headers=other).json()["budgets"] == []
    assert client.post("/v1/control/budget/b1/freeze", headers=other).status_code == 404
    reader = dict(new_team(storage, ("read",)).headers)
    for path in ("adjust", "reset", "freeze", "unfreeze"):
        assert client.post(f"/v1/control/budget/b1/{path}", json={}, headers=reader).status_code == 403


@pytest.mark.parametrize("name", ["%00x", "", "x" * 300])
def test_a_template_makes_no_budget_that_no_call_can_meet(client: TestClient, name: str) -> None:
    address = f"/v1/control/budget/tenant:{name}"
    adjusted = {"amount_usd": 1, "reason": "invoice"}
    answers = [
        *[client.get(address), client.get(f"{address}/explain"), client.put(address, json={"limit_usd": 2})],
        *[client.post(f"{address}/{what}", json=adjusted) for what in ("adjust", "reset", "freeze")],
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)


def test_a_context_is_read_as_events_are(client: TestClient, storage: Storage, team: Team) -> None:
    spend(storage, team, **{"-|tenant:a\\x00b": 5 * USD})
    asked = {"context": {"tenant_id": "a\0b"}, "estimated_cost": 1}
    assert client.post("/v1/control/budget/validate", json=asked).json()["action"] == "block"


def test_a_change_that_the_policy_cannot_take_is_refused(client: TestClient) -> None:
    same = [{"type": "tenant", "name": "x", "limit": 5, "id": f"same {n}"} for n in range(100)]
    assert client.put("/v1/control/policies/default", json=[*POLICY, *same]).status_code == 200
    answer = client.put("/v1/control/budget/tenant:x", json={"limit_usd": 2})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_policy")
