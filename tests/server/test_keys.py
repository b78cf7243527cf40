"""Keys are made, listed and revoked by who may; their tokens are shown once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server import keys
from aden_transport.control.server.access import create_key
from aden_transport.control.server.storage import Storage

from .kit import Team, new_team


def test_a_key_has_what_it_was_given(client: TestClient, team: Team) -> None:
    made = client.post("/v1/keys", json={"name": "ci", "scopes": ["read"], "expires_in_s": 3600})
    assert made.status_code == 201
    headers = {"Authorization": f"Bearer {made.json()['token']}"}
    assert client.get("/v1/control/policy", headers=headers).status_code == 200
    assert client.get("/v1/keys", headers=headers).status_code == 403
    listed = client.get("/v1/keys").json()["keys"]
    assert [key["name"] for key in listed] == ["test", "ci"]
    assert listed[1]["created_by"] == team.key_id
    assert listed[1]["expires_at"] > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert made.json()["token"] not in client.get("/v1/keys").text
    assert "hash" not in listed[1]


def test_a_revoked_key_is_refused_at_once(client: TestClient) -> None:
    made = client.post("/v1/keys", json={"name": "ci"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    ends = {"op_id": "none"}
    for _ in range(2):
        assert client.get("/v1/control/policy", headers=headers).status_code == 200
        assert client.post("/v1/ledger/release", headers=headers, json=ends).status_code == 200
    assert client.delete(f"/v1/keys/{made['id']}").json() == {"success": True, "id": made["id"]}
    assert client.post("/v1/ledger/release", headers=headers, json=ends).status_code == 401
    assert client.get("/v1/control/policy", headers=headers).status_code == 401
    assert client.delete(f"/v1/keys/{made['id']}").status_code == 404
    actions = [entry["action"] for entry in client.get("/v1/audit").json()["entries"]]
    assert actions == ["key.revoke", "key.create"]


def test_a_team_does_not_reach_the_keys_of_another(client: TestClient, storage: Storage, team: Team) -> None:
    other = dict(new_team(storage, name="other").headers)
    assert client.delete(f"/v1/keys/{team.key_id}", headers=other).status_code == 404
    assert [key["id"] for key in client.get("/v1/keys", headers=other).json()["keys"]] != [team.key_id]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "expires_in_s": 0},
        {"name": "x", "expires_in_s": "1"},
        {"name": "x", "expires_in_s": True},
    ],
)
def test_a_key_that_is_not_said_well_is_not_made(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/keys", json=body).status_code == 400
    assert len(client.get("/v1/keys").json()["keys"]) == 1


def test_keys_that_have_expired_leave_room_for_others(
    client: TestClient, storage: Storage, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOST", 2)
    now = time.time()
    with storage.begin() as db:
        for _ in range(3):
            create_key(db, team.id, "ci", ("read",), now=now - 10, expires_at=now - 5)
    assert client.post("/v1/keys", json={"name": "ci", "expires_in_s": 60}).status_code == 201
    assert client.post("/v1/keys", json={"name": "ci"}).json()["error"] == "too_many"
