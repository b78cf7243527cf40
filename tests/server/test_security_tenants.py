"""No team reads or changes what is another's, whatever key it shows and whatever it names; scopes are kept.

`scripts/security/tenants.py` is the long form, of 10,000 requests.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server import access
from aden_transport.control.server.access import SCOPES, create_key
from aden_transport.control.server.app import Settings, create_app
from aden_transport.control.server.storage import Storage

from .tenants import PUBLIC, Victim, attempts, fill, rows_of, try_all

# What a team may see is in the statements, which are the same for both engines.
pytestmark = pytest.mark.parametrize("address", ["sqlite"], indirect=True)


@pytest.fixture
def open_client(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """Without a key of its own, and as patient with failures as these tests need."""
    monkeypatch.setattr(access, "FAILURES", 1_000_000)
    with TestClient(create_app(storage, Settings(sweep_s=3600)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def victim(open_client: TestClient, storage: Storage) -> Victim:
    return fill(open_client, storage)


def test_the_victim_has_rows_everywhere(storage: Storage, victim: Victim) -> None:
    empty = [name for name, rows in rows_of(storage, victim.team_id).items() if not rows]
    assert set(empty) <= {"counts"}


def test_no_team_reaches_another(open_client: TestClient, storage: Storage, victim: Victim) -> None:
    tried = try_all(open_client, storage, victim, requests=1, seed=1)
    assert tried.requests > 400
    assert tried._replace(requests=0) == (0, [], [], [])


def test_each_route_needs_one_scope_and_no_other_will_do(
    open_client: TestClient, storage: Storage, victim: Victim
) -> None:
    with storage.begin() as db:
        now = time.time()
        tokens: dict[str, str] = {}
        for scope in SCOPES:
            tokens[scope] = create_key(db, victim.team_id, scope, [scope], now=now)[1]
        tokens["none"] = create_key(db, victim.team_id, "none", [], now=now)[1]
    schema = open_client.get("/openapi.json").json()
    found: dict[str, list[str]] = {}
    for one in attempts(schema, victim, random.Random(1)):
        if one.path in PUBLIC:
            continue
        statuses: dict[str, int] = {}
        for name, token in tokens.items():
            # Nothing is to be changed here: a body that no route takes.
            body: Any = None if one.body is None else {"unheard_of": 1}
            headers = {"Authorization": f"Bearer {token}"}
            answer = open_client.request(one.method, one.url, json=body, headers=headers)
            statuses[name] = answer.status_code
        admitting = [name for name, status in statuses.items() if status != 403]
        assert 401 not in statuses.values()
        assert len(admitting) == 1, f"{one.method} {one.path} {statuses}"
        found.setdefault(admitting[0], []).append(f"{one.method} {one.path}")
    assert set(found) <= set(SCOPES)
    changing = [route for route in found["read"] if not route.startswith("GET ")]
    # They answer what they are asked, and change nothing.
    assert changing == ["POST /v1/control/budget/validate"]
    assert found["ingest"] == ["POST /v1/control/events", "POST /v1/control/content"]
    assert all(route.split(" ")[1].startswith("/v1/ledger/") for route in found["ledger"])


def test_a_key_that_is_revoked_opens_nothing_any_more(
    open_client: TestClient, storage: Storage, victim: Victim
) -> None:
    from sqlalchemy import update

    from aden_transport.control.server.storage import Notice
    from aden_transport.control.server.tables import api_keys

    headers = {"Authorization": f"Bearer {victim.token}"}
    assert open_client.get("/v1/control/events", headers=headers).status_code == 200
    with storage.begin() as db:
        db.execute(update(api_keys).values(revoked_at=time.time()))
    open_client.app.state.access.heard(Notice(victim.team_id, "keys"))  # type: ignore[attr-defined]
    schema = open_client.get("/openapi.json").json()
    for one in attempts(schema, victim, random.Random(1)):
        answer = open_client.request(one.method, one.url, json=one.body, headers=headers)
        assert answer.status_code == 401 or one.path in PUBLIC


def test_no_body_is_read_of_who_may_not_send_it(
    open_client: TestClient, storage: Storage, victim: Victim
) -> None:
    with storage.begin() as db:
        token = create_key(db, victim.team_id, "none", [], now=time.time())[1]
    headers = {"Authorization": f"Bearer {token}"}
    schema = open_client.get("/openapi.json").json()
    for one in attempts(schema, victim, random.Random(1)):
        if one.body is not None:
            answer = open_client.request(one.method, one.url, content=b"no JSON", headers=headers)
            assert answer.status_code == 403, f"{one.method} {one.path} {answer.text}"
