"""One person's data, told and erased, with all sums as they were."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import events, sums
from aden_transport.ledger.base import Line

from .kit import Team, new_team
from .test_content import item
from .test_events import fresh, post, spent

ANNA = "anna-4711@example.com"
POLICY = {
    "budgets": [
        {"type": "global", "name": "all", "limit": 100},
        {"type": "customer", "name": "*", "limit": 0.0001, "limitAction": "alert"},
    ]
}


@pytest.fixture
def filled(client: TestClient, storage: Storage) -> None:
    assert client.put("/v1/control/policies/default", json=POLICY).status_code == 200
    client.post("/v1/control/content", json={"items": [item("of-anna"), item("of-bert")]})
    for n in range(6):
        who = ANNA if n % 2 else "bert"
        content = {"content_id": "of-anna" if n % 2 else "of-bert"}
        event = fresh(event_id=f"e{n}", metadata={"customer": who, "user": f"u-{who}"}, content=content)
        event["data"]["error"] = f"no quota for {who}"
        post(client, event)


def everything(storage: Storage) -> str:
    """All rows of all tables, as text."""
    with storage.read() as db:
        names = ["events", "sums", "content", "alert_deliveries", "agents", "marks", "leases", "audit"]
        return repr([db.execute(text(f"SELECT * FROM {name}")).all() for name in names])


def totals(storage: Storage) -> tuple[int, int, int]:
    with storage.read() as db:
        cost = db.execute(select(func.sum(events.c.cost_nano), func.count())).one()
        return int(cost[0]), cost[1], int(db.execute(select(func.sum(sums.c.spent))).scalar_one())


def path(who: str = ANNA, attribute: str = "customer") -> str:
    return f"/v1/control/persons/{attribute}/{who}"


@pytest.mark.usefixtures("filled")
def test_all_that_is_stored_of_a_person_is_told(client: TestClient) -> None:
    told = client.get(path()).json()
    assert [event["event_id"] for event in told["events"]] == ["e1", "e3", "e5"]
    assert [(each["key"], each["spent"]) for each in told["sums"]] == [(f"-|customer:{ANNA}", 225_000)]
    assert [each["content_id"] for each in told["content"]] == ["of-anna"]
    assert [each["budget_name"] for each in told["alerts"]] == [ANNA]
    assert (told["cursor"], told["mentioned"]) == (None, {"policies": 0, "audit": 0})
    assert "bert" not in client.get(path()).text


@pytest.mark.usefixtures("filled")
def test_it_is_told_by_pages(client: TestClient) -> None:
    seen: list[Any] = []
    cursor: int | None = 0
    while cursor is not None:
        page = client.get(path(), params={"cursor": cursor, "limit": 1}).json()
        seen += page["events"]
        cursor = page["cursor"]
    assert [event["event_id"] for event in seen] == ["e1", "e3", "e5"]


@pytest.mark.usefixtures("filled")
def test_a_person_is_erased_and_the_sums_stay(client: TestClient, storage: Storage, team: Team) -> None:
    before = totals(storage)
    answer = client.request("DELETE", path())
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "events": 3,
        "content": 1,
        "sums": 1,
        "alerts": 1,
        "held": [],
        "mentioned": {"policies": 0, "audit": 0},
    }
    assert "anna" not in everything(storage)
    assert "bert" in everything(storage)
    assert totals(storage) == before
    assert spent(storage, team)["-|global:all"] == 6 * 75_000
    (renamed,) = [key for key in spent(storage, team) if "erased" in key]
    assert spent(storage, team)[renamed] == 225_000
    left = [event for event in client.get("/v1/control/events").json()["events"] if event.get("erased")]
    assert [event["data"]["usage"]["input_tokens"] for event in left] == [10, 10, 10]
    again = client.request("DELETE", path()).json()
    assert (again["events"], again["sums"]) == (0, 0)


@pytest.mark.usefixtures("filled")
def test_an_erased_event_that_comes_again_stays_erased(client: TestClient, storage: Storage) -> None:
    client.request("DELETE", path())
    content = {"content_id": "of-anna"}
    event = fresh(event_id="e1", metadata={"customer": ANNA, "user": f"u-{ANNA}"}, content=content)
    event["data"]["error"] = f"no quota for {ANNA}"
    assert post(client, event)["duplicates"] == 1
    assert "anna" not in everything(storage)


@pytest.mark.usefixtures("filled")
def test_the_audit_says_that_it_was_done_and_not_to_whom(client: TestClient, team: Team) -> None:
    client.request("DELETE", path())
    (entry,) = [
        each for each in client.get("/v1/audit").json()["entries"] if each["action"] == "person.erase"
    ]
    digest = hashlib.sha256(f"customer={ANNA}".encode()).hexdigest()[:16]
    assert (entry["subject"], entry["actor"]) == (f"customer {digest}", team.key_id)


@pytest.mark.usefixtures("filled")
def test_persons_are_found_by_any_member_of_the_metadata(client: TestClient, storage: Storage) -> None:
    assert len(client.get(path(f"u-{ANNA}", "user")).json()["events"]) == 3
    assert client.request("DELETE", path(f"u-{ANNA}", "user")).json()["events"] == 3
    told = everything(storage)
    assert f"u-{ANNA}" not in told
    assert f"customer:{ANNA}" in told


def test_tags_and_tenants_are_found_under_either_name(client: TestClient) -> None:
    post(client, fresh(event_id="e1", metadata={"tenant_id": "acme", "tags": ["vip", "x/y z%"]}))
    for attribute, name in (
        ("tenant", "acme"),
        ("tenant_id", "acme"),
        ("tags", "vip"),
        ("tag", "x%2Fy z%25"),
    ):
        assert len(client.get(path(name, attribute)).json()["events"]) == 1, attribute


@pytest.mark.usefixtures("filled")
def test_money_that_is_held_is_not_lost(client: TestClient, storage: Storage, team: Team) -> None:
    ledger = client.app.state.ledgers.of(team.id)  # type: ignore[attr-defined]
    key = f"-|customer:{ANNA}"
    now = time.time()
    assert ledger.reserve("op", [[Line(key=key, hold=7, expected=7)]], now=now, expires_at=now + 60)
    told = client.request("DELETE", path()).json()
    assert (told["sums"], told["held"]) == (0, [key])
    assert ledger.settle("op", {"usd": 5})
    told = client.request("DELETE", path()).json()
    assert (told["sums"], told["held"]) == (1, [])
    assert "anna" not in everything(storage)


def test_who_is_named_in_a_policy_or_the_audit_is_said(client: TestClient) -> None:
    policy = {"budgets": [{"type": "customer", "name": ANNA, "limit": 1}]}
    client.put("/v1/control/policies/default", json=policy)
    client.put("/tsdb/pricing", json={"pricing": {ANNA: {"input": 1, "output": 1}}})
    assert client.request("DELETE", path()).json()["mentioned"] == {"policies": 1, "audit": 1}


@pytest.mark.usefixtures("filled")
def test_another_team_s_person_is_another_person(client: TestClient, storage: Storage) -> None:
    other = new_team(storage)
    headers = dict(other.headers)
    assert client.get(path(), headers=headers).json()["events"] == []
    assert client.request("DELETE", path(), headers=headers).json()["events"] == 0
    assert len(client.get(path()).json()["events"]) == 3


@pytest.mark.parametrize("name", ["%25", "_", "a%00b", "%F0%9F%98%80", "..", "'; DROP TABLE events; --"])
def test_names_are_only_names(client: TestClient, name: str) -> None:
    post(client, fresh(event_id="e1", metadata={"customer": "someone"}))
    assert client.get(path(f"x{name}")).json()["events"] == []
    assert client.request("DELETE", path(f"x{name}")).json()["events"] == 0


def test_names_that_end_alike_are_other_persons_and_keep_their_sums(
    client: TestClient, storage: Storage, team: Team
) -> None:
    budgets = [
        {"type": "customer", "name": "*", "limit": 0.0001, "limitAction": "alert"},
        {"type": "customer", "name": "*", "limit": 10, "id": "per customer"},
        {"type": "tenant", "name": "acme", "limit": 0.0001, "limitAction": "alert"},
    ]
    assert client.put("/v1/control/policies/default", json={"budgets": budgets}).status_code == 200
    for number, who in enumerate(({"customer": "acme"}, {"customer": "eu:acme"}, {"tenant": "acme"})):
        post(client, *[fresh(event_id=f"e{number}{n}", metadata=who) for n in range(2)])
    before = spent(storage, team)
    told = client.get(path("acme")).json()
    assert sorted(each["key"] for each in told["sums"]) == ["-|customer:acme", "-|per customer:acme"]
    assert [each["budget_id"] for each in told["alerts"]] == ["customer:acme"]
    erased = client.request("DELETE", path("acme")).json()
    assert (erased["sums"], erased["alerts"]) == (2, 1)
    after = spent(storage, team)
    others = ["-|customer:eu:acme", "-|per customer:eu:acme", "-|tenant:acme"]
    assert [after[key] for key in others] == [before[key] for key in others] == [150_000] * 3
    assert not {"-|customer:acme", "-|per customer:acme"} & after.keys()
    assert sum(after.values()) == sum(before.values())
    left = {each["alert"]["budget_id"] for each in client.get("/v1/control/alerts").json()["alerts"]}
    assert left == {"customer:eu:acme", "tenant:acme"}


def test_of_budgets_that_are_gone_those_of_other_types_are_not_the_person_s(
    client: TestClient, storage: Storage, team: Team
) -> None:
    with storage.begin() as db:
        for key in ("-|customer:acme", "-|customer:eu:acme", "-|tenant:acme", "-|a:acme", "-|a:b:acme"):
            db.execute(sums.insert().values(team_id=team.id, key=key, spent=7))
    assert client.request("DELETE", path("acme")).json()["sums"] == 3
    left = sorted(key for key in spent(storage, team) if "acme" in key)
    assert left == ["-|customer:eu:acme", "-|tenant:acme"]
