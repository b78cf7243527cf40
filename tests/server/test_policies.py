"""Policies: taken in whole or not at all, kept in versions, told as each client reads them."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, update

from aden_transport.control.server import policies, policy_routes
from aden_transport.control.server.limits import VERSIONS
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import policies as table
from aden_transport.control.server.tables import sums
from aden_transport.policy import load

from .kit import Team, new_team

GLOBAL = {"limit": 100.0, "limitAction": "kill"}
LADDER = {
    "type": "customer",
    "name": "acme",
    "limit_usd": 10,
    "limit_action": "degrade",
    "degrade_to": "gpt-4o-mini",
    "thresholds": [{"percent": 50, "action": "alert"}],
}
TEMPLATE = {"type": "tenant", "name": "*", "limit": 5}


def put(client: TestClient, document: Any, name: str = "default", **headers: str) -> Any:
    answer = client.put(f"/v1/control/policies/{name}", json=document, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def spend(storage: Storage, team: Team, key: str, nano: int) -> None:
    with storage.begin() as db:
        db.execute(insert(sums).values(team_id=team.id, key=key, spent=nano))


def test_a_new_team_has_an_empty_policy(client: TestClient) -> None:
    policy = client.get("/v1/control/policy").json()
    assert policy["budgets"] == policy["blocks"] == []
    assert policy["version"] == "0"
    assert load(policy).budgets == ()


def test_each_budget_is_told_as_aden_py_reads_it(client: TestClient, storage: Storage, team: Team) -> None:
    put(client, {"budgets": [GLOBAL, LADDER, TEMPLATE]})
    spend(storage, team, "-|customer:acme", 2_500_000_000)
    every, acme, template = client.get("/v1/control/policy").json()["budgets"]
    assert every == {"id": "global", "type": "global", "limit": 100.0, "spent": 0.0, "limitAction": "kill"}
    assert acme["spent"] == 2.5
    assert (acme["id"], acme["limit"], acme["limitAction"]) == ("customer:acme", 10.0, "degrade")
    assert acme["degradeToModel"] == "gpt-4o-mini"
    assert "limit_usd" not in acme
    assert template == TEMPLATE


def test_a_limit_of_zero_blocks_aden_py_too(client: TestClient) -> None:
    put(client, {"budgets": [{"limit": 0}]})
    (budget,) = client.get("/v1/control/policy").json()["budgets"]
    assert 0 < budget["limit"] <= budget["spent"]


def test_ours_get_it_as_it_was_written(client: TestClient, storage: Storage, team: Team) -> None:
    put(client, {"name": "ours", "budgets": [LADDER, TEMPLATE], "on_unknown": {"price": "block"}})
    spend(storage, team, "-|customer:acme", 1)
    told = client.get("/v1/control/policy", params={"spent": False}).json()
    assert told["budgets"] == [{**LADDER, "id": "customer:acme"}, TEMPLATE]
    assert load(told).on_unknown.price == "block"
    assert told["name"] == "ours"


@pytest.mark.parametrize("spent", [True, False])
def test_an_unchanged_policy_is_not_sent_again(
    client: TestClient, storage: Storage, team: Team, spent: bool
) -> None:
    put(client, {"budgets": [GLOBAL]})

    def get(etag: str) -> Any:
        return client.get("/v1/control/policy", params={"spent": spent}, headers={"If-None-Match": etag})

    etag = get("").headers["etag"]
    again = get(etag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (again.headers["x-aden-team"], get("").headers["x-aden-team"]) == (team.id, team.id)
    spend(storage, team, "-|global", 5)
    assert get(etag).status_code == (200 if spent else 304)
    put(client, {"budgets": [{**GLOBAL, "limit": 101}]})
    assert get(etag).status_code == 200


def test_a_client_may_choose_its_policy(client: TestClient) -> None:
    put(client, {"budgets": [GLOBAL]}, "night")
    assert client.get("/v1/control/policy").json()["budgets"] == []
    assert len(client.get("/v1/control/policy?policy_id=night").json()["budgets"]) == 1
    assert len(client.get("/v1/control/policy", headers={"X-Policy-ID": "night"}).json()["budgets"]) == 1
    missing = client.get("/v1/control/policy?policy_id=day")
    assert (missing.status_code, missing.json()["error"]) == (404, "no_policy")
    assert client.get("/v1/control/policy", params={"policy_id": "a b\0"}).status_code == 400


def test_a_change_replaces_the_members_that_are_given(client: TestClient) -> None:
    put(client, {"name": "one", "budgets": [GLOBAL], "blocks": [{"reason": "no", "provider": "x"}]})
    after = put(client, {"budgets": [LADDER]})
    assert after["name"] == "one"
    assert len(after["blocks"]) == 1
    assert [budget["id"] for budget in after["budgets"]] == ["customer:acme"]
    assert after["version"] == "2"


def test_what_was_pulled_can_be_put_back(client: TestClient) -> None:
    put(client, {"budgets": [GLOBAL, LADDER, TEMPLATE]})
    pulled = client.get("/v1/control/policy?spent=false").json()
    again = put(client, pulled)
    assert {**again, "version": "1", "updated_at": ""} == {**pulled, "version": "1", "updated_at": ""}


HOSTILE: list[tuple[Any, str]] = [
    ({"budgets": [{"limit": -1}]}, "budgets[0].limit"),
    ({"budgets": [GLOBAL, {"limit": "10", "type": "agent", "name": "a"}]}, "budgets[1].limit"),
    ({"budgets": [{"limit": 1, "limitAction": "explode"}]}, "budgets[0].limitAction"),
    ({"budgets": [{"limit": 1, "name": "x\0", "type": "agent"}]}, ""),
    ({"budgets": [{"limt": 1}]}, "budgets[0]"),
    ({"budgets": 5}, "budgets"),
    ({"bugdets": []}, ""),
    ([GLOBAL, GLOBAL], "budgets[1]"),
    ("text", ""),
    (None, ""),
    ({"budgets": [{"limit": 10**400}]}, "budgets[0].limit"),
    ({"budgets": [{"limit": 1, "period": {"rolling": "1y"}}]}, "budgets[0].period"),
]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("document", "path"), HOSTILE)
def test_a_policy_that_cannot_be_used_is_refused_whole(client: TestClient, document: Any, path: str) -> None:
    put(client, {"budgets": [GLOBAL]})
    answer = client.put("/v1/control/policies/default", content=json.dumps(document))
    assert answer.status_code == 400, answer.text
    assert path in [fault["path"] for fault in answer.json()["faults"]]
    kept = client.get("/v1/control/policy").json()
    assert (kept["version"], len(kept["budgets"])) == ("1", 1)


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"budgets": [{"limit": 5, "limit": 500}]}', "invalid_policy"),
        ('{"budgets": [{"limit": NaN}]}', "invalid_policy"),
        ("{", "bad_json"),
        ("", "bad_json"),
        ("\xff", "bad_json"),
        ('{"budgets":' * 100 + "1" + "}" * 100, "too_deep"),
        ("[" * 100_000, "bad_json"),
    ],
)
def test_a_body_that_is_no_document_is_refused(client: TestClient, body: str, error: str) -> None:
    answer = client.put("/v1/control/policies/default", content=body.encode("latin-1"))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_only_the_version_that_was_read_is_replaced(client: TestClient) -> None:
    put(client, {"budgets": [GLOBAL]})
    etag = client.get("/v1/control/policies/default").headers["etag"]
    put(client, {"budgets": []}, **{"If-Match": etag})
    late = client.put("/v1/control/policies/default", json={}, headers={"If-Match": etag})
    assert late.status_code == 412
    same = client.get("/v1/control/policies/default", headers={"If-None-Match": etag})
    assert same.status_code == 200


def test_versions_are_kept_and_never_taken_back(client: TestClient, team: Team) -> None:
    put(client, {"budgets": [GLOBAL]})
    put(client, {"budgets": []})
    found = client.get("/v1/control/policies/default/versions").json()["versions"]
    assert [one["version"] for one in found] == [2, 1]
    assert found[1]["document"]["budgets"] == [GLOBAL]
    assert found[0]["created_by"] == team.key_id
    older = client.get("/v1/control/policies/default/versions?before=2").json()["versions"]
    assert [one["version"] for one in older] == [1]


def test_a_deleted_policy_is_gone_and_comes_back_with_a_later_version(client: TestClient) -> None:
    put(client, {"budgets": [GLOBAL]}, "night")
    assert client.delete("/v1/control/policies/night").json() == {"success": True, "id": "night"}
    assert client.get("/v1/control/policies/night").status_code == 404
    assert client.delete("/v1/control/policies/night").status_code == 404
    assert [one["id"] for one in client.get("/v1/control/policies").json()["policies"]] == ["default"]
    assert put(client, {"budgets": []}, "night")["version"] == "3"
    assert client.delete("/v1/control/policies/default").status_code == 400


def test_rules_are_added_one_by_one_and_cleared_at_once(client: TestClient) -> None:
    address = "/v1/control/policies/default"
    budget = {"id": "b1", "name": "all", "limit": 5, "spent": 1, "limitAction": "kill", "alerts": []}
    notifications = {"inApp": True, "email": False, "emailRecipients": [], "webhook": False}
    rules: dict[str, dict[str, Any]] = {
        "budgets": {**budget, "notifications": notifications},
        "throttles": {"delay_ms": 100},
        "blocks": {"reason": "no", "model_pattern": "gpt-4*"},
        "degradations": {"from_model": "a", "to_model": "b", "trigger": "always", "provider": "openai"},
        "alerts": {"trigger": "always", "level": "info", "message": "hello"},
    }
    for kind, rule in rules.items():
        assert client.post(f"{address}/{kind}", json=rule).status_code == 200
    policy = client.get("/v1/control/policy").json()
    assert [len(policy[kind]) for kind in rules] == [1] * 5
    assert policy["budgets"][0]["spent"] == 1.0
    replaced = client.post(f"{address}/budgets", json={"id": "b1", "limit": 6}).json()
    assert [entry["limit"] for entry in replaced["budgets"]] == [6]
    assert client.post(f"{address}/blocks", json={"resaon": "x"}).status_code == 400
    assert client.post(f"{address}/nothing", json={}).status_code == 422
    cleared = client.delete(f"{address}/rules").json()
    assert [cleared[kind] for kind in rules] == [[]] * 5


def test_a_new_policy_gets_an_id(client: TestClient) -> None:
    made = client.post("/v1/control/policies", json={"name": "night"})
    assert made.status_code == 201
    assert client.get(f"/v1/control/policies/{made.json()['id']}").json()["name"] == "night"
    assert client.post("/v1/control/policies", json={}).status_code == 400


def test_what_a_policy_says_is_spent_is_a_floor_laid_once(
    client: TestClient, storage: Storage, team: Team
) -> None:
    put(client, {"budgets": [{**GLOBAL, "spent": 3}]})
    assert client.get("/v1/control/policy").json()["budgets"][0]["spent"] == 3.0
    with storage.begin() as db:
        db.execute(update(sums).values(spent=1))
    put(client, {"budgets": [{**GLOBAL, "spent": 3}]})
    assert client.get("/v1/control/policy").json()["budgets"][0]["spent"] == 1e-9


def test_each_change_stands_in_the_audit(client: TestClient, team: Team) -> None:
    put(client, {"budgets": [GLOBAL]})
    client.delete("/v1/control/policies/default/rules")
    entries = client.get("/v1/audit").json()["entries"]
    assert [entry["action"] for entry in entries] == ["policy.clear", "policy.put"]
    assert entries[0]["before"] == "version 1"
    assert (entries[0]["actor"], entries[0]["actor_name"]) == (team.key_id, "test")
    assert client.get(f"/v1/audit?before={entries[0]['seq']}").json()["entries"] == entries[1:]


def test_writers_at_once_make_a_version_each(client: TestClient) -> None:
    def write() -> None:
        for number in range(5):
            put(client, {"budgets": [{"limit": number}]})

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("/v1/control/policy").json()["version"] == "20"


@pytest.mark.parametrize("scopes", [("read",), ("ingest", "ledger")])
def test_a_key_without_the_scope_changes_nothing(
    client: TestClient, storage: Storage, team: Team, scopes: Any
) -> None:
    other = new_team(storage, scopes)
    headers = dict(other.headers)
    read = client.get("/v1/control/policy", headers=headers)
    assert read.status_code == (200 if "read" in scopes else 403)
    for method, path in (("PUT", ""), ("DELETE", "/rules"), ("POST", "/budgets"), ("DELETE", "")):
        answer = client.request(method, f"/v1/control/policies/x{path}", json={}, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
    assert client.get("/v1/audit", headers=headers).status_code == 403


def test_a_team_sees_nothing_of_another(client: TestClient, storage: Storage) -> None:
    put(client, {"budgets": [GLOBAL]})
    put(client, {"budgets": [GLOBAL]}, "night")
    other = dict(new_team(storage, name="other").headers)
    assert client.get("/v1/control/policy", headers=other).json()["budgets"] == []
    assert client.get("/v1/control/policies/night", headers=other).status_code == 404
    assert client.get("/v1/control/policies/night/versions", headers=other).json() == {"versions": []}
    assert client.get("/v1/audit", headers=other).json() == {"entries": []}


def test_a_team_has_so_many_policies(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "MOST_POLICIES", 3)
    for name in ("a", "b"):
        put(client, {"budgets": []}, name)
    for answer in (
        client.put("/v1/control/policies/c", json={"budgets": []}),
        client.post("/v1/control/policies/c/budgets", json={"limit": 1}),
        client.delete("/v1/control/policies/c/rules"),
        client.post("/v1/control/policies", json={"name": "c"}),
    ):
        assert (answer.status_code, answer.json()["error"]) == (409, "too_many")
    put(client, {"budgets": [GLOBAL]})
    put(client, {"budgets": [GLOBAL]}, "b")
    assert client.delete("/v1/control/policies/a").status_code == 200
    put(client, {"budgets": []}, "a")


def test_the_latest_version_of_each_policy_is_found(storage: Storage, team: Team) -> None:
    other, empty = new_team(storage), new_team(storage)
    names = {team.id: {"default": 3, "a": 1, "B": 12, "_": 2}, other.id: {"default": 1, "a-b": 9}}
    columns = {"document": "{}", "etag": "e", "created_at": 0}
    with storage.begin() as db:
        for team_id, latest in names.items():
            for name, version in latest.items():
                ids = [{"team_id": team_id, "policy_id": name, "version": 1 + n} for n in range(version)]
                db.execute(table.insert(), [columns | each for each in ids])
    with storage.read() as db:
        found = db.execute(VERSIONS, {"teams": [team.id, other.id, empty.id]}).all()
        assert sorted(map(tuple, found)) == sorted(
            (team_id, name, version) for team_id, latest in names.items() for name, version in latest.items()
        )
        assert [row[1:] for row in db.execute(VERSIONS, {"teams": [empty.id]})] == []


def test_large_versions_come_a_few_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_routes, "MAX_PAGE_BYTES", 300)
    for limit in range(1, 6):
        put(client, {"budgets": [{"type": "agent", "name": "x" * 100, "limit": limit}]})
    seen, before = list[int](), 6
    while page := client.get("/v1/control/policies/default/versions", params={"before": before}).json()[
        "versions"
    ]:
        assert len(page) < 3
        seen += [one["version"] for one in page]
        before = seen[-1]
    assert seen == [5, 4, 3, 2, 1]
