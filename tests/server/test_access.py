"""API keys: who asks, and what they may."""

from __future__ import annotations

import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text, update

from aden_transport.control.server.access import FAILURES, FAILURES_S, KNOWN_S, Access, create_key
from aden_transport.control.server.storage import Notice, Storage
from aden_transport.control.server.tables import api_keys
from aden_transport.control.server.wire import Fault, depth_of

from .kit import Team


def test_a_key_names_its_team_and_scopes(storage: Storage, team: Team) -> None:
    caller = Access(storage).caller(team.token, "here")
    assert (caller.team_id, caller.key_id) == (team.id, team.key_id)
    assert caller.may("admin")


@pytest.mark.parametrize(
    "token",
    [None, "", "x", "aden_", "aden_0_0", "aden__", "aden_\ud800_x", "aden_\xe9_x", "aden_" + "a" * 5000],
)
def test_no_other_token_is_taken(storage: Storage, token: str | None) -> None:
    with pytest.raises(Fault) as refused:
        Access(storage).caller(token, "here")
    assert refused.value.status_code == 401


def test_a_right_prefix_with_a_wrong_secret_is_refused(storage: Storage, team: Team) -> None:
    access = Access(storage)
    access.caller(team.token, "here")
    with pytest.raises(Fault) as refused:
        access.caller(team.token[:-1] + "!", "here")
    assert refused.value.status_code == 401


def test_a_key_expires_at_its_time(storage: Storage, team: Team) -> None:
    now = time.time()
    with storage.begin() as db:
        _, token = create_key(db, team.id, "short", ["read"], now=now, expires_at=now + 10)
    times = [now]
    access = Access(storage, clock=lambda: times[0])
    access.caller(token, "here")
    times[0] = now + 10
    with pytest.raises(Fault):
        access.caller(token, "here")


def test_a_revoked_key_is_refused_when_its_notice_arrives(storage: Storage, team: Team) -> None:
    now = time.time()
    access = Access(storage, clock=lambda: now)
    access.caller(team.token, "here")
    with storage.begin() as db:
        db.execute(update(api_keys).values(revoked_at=now))
    access.heard(Notice(team.id, "keys"))
    with pytest.raises(Fault):
        access.caller(team.token, "here")


def test_who_fails_too_often_has_to_wait_and_others_do_not(storage: Storage, team: Team) -> None:
    now = time.time()
    times = [now]
    access = Access(storage, clock=lambda: times[0])
    statuses = []
    for _ in range(FAILURES + 1):
        with pytest.raises(Fault) as refused:
            access.caller("aden_0_0", "there")
        statuses.append(refused.value.status_code)
    assert statuses == [401] * FAILURES + [429]
    assert access.caller(team.token, "here").team_id == team.id
    # A key that is known keeps working beside one that is wrong, as behind one address of a company.
    assert access.caller(team.token, "there").team_id == team.id
    times[0] += KNOWN_S
    access.heard(Notice("*", "*"))
    assert access.caller(team.token, "there").team_id == team.id
    times[0] += FAILURES_S
    with pytest.raises(Fault) as refused:
        access.caller("aden_0_0", "there")
    assert refused.value.status_code == 401


def test_no_table_holds_a_token(storage: Storage, team: Team) -> None:
    Access(storage).caller(team.token, "here")
    with storage.read() as db:
        row = db.execute(select(api_keys)).mappings().one()
    secret = team.token.split("_", 2)[2]
    assert not any(secret in str(value) for value in row.values())
    assert row["last_used_at"] is not None


def test_each_answer_names_the_server_and_health_needs_no_key(client: TestClient) -> None:
    answer = client.get("/health", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["x-aden-server"] == "aden-transport"
    assert client.get("/ready").json() == {"status": "ready"}
    missing = client.get("/nowhere")
    assert missing.status_code == 404
    assert missing.json()["error"] == "not_found"


def test_a_server_without_its_tables_is_not_ready(client: TestClient, storage: Storage) -> None:
    with storage.begin() as db:
        db.execute(text("ALTER TABLE teams RENAME TO gone"))
    assert client.get("/ready").status_code == 503


@pytest.mark.parametrize(
    ("value", "depth"), [(5, 0), ([], 1), ({"a": []}, 2), ([[[]], [1]], 3), ([{"a": {"b": 1}}], 3)]
)
def test_the_depth_of_a_body(value: object, depth: int) -> None:
    assert depth_of(value) == depth
