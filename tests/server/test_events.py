"""Events in: once by id, with what they spent, in the transaction that stores them; and out again."""

from __future__ import annotations

import gzip
import threading
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from aden_transport.control.server import events as module
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import counts, events, sums

from .kit import Team, new_team
from .test_incoming import aden_py, ours

POLICY = {
    "budgets": [
        {"type": "global", "name": "all", "limit": 100, "period": "none"},
        {"type": "customer", "name": "*", "limit": 10},
        {"type": "agent", "name": "writer", "limit": 10_000},
        {"type": "tenant", "name": "acme", "limit": 5, "id": "acme-budget"},
    ]
}


def fresh(**more: Any) -> dict[str, Any]:
    """An event of now, of a client that holds nothing."""
    told = ours(**more)
    told["timestamp"] = told["data"]["timestamp"] = None
    return told


def post(client: TestClient, *told: Any, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/control/events", json={"events": list(told)}, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def spent(storage: Storage, team: Team) -> dict[str, int]:
    with storage.read() as db:
        rows = db.execute(select(sums.c.key, sums.c.spent).where(sums.c.team_id == team.id))
        return {row.key: row.spent for row in rows}


def counted(storage: Storage, team: Team) -> dict[str, int]:
    with storage.read() as db:
        rows = db.execute(select(counts.c.name, counts.c.value).where(counts.c.team_id == team.id))
        return {row.name: row.value for row in rows}


@pytest.fixture
def budgets(client: TestClient) -> None:
    answer = client.put("/v1/control/policies/default", json=POLICY)
    assert answer.status_code == 200, answer.text


@pytest.mark.usefixtures("budgets")
def test_events_are_stored_and_their_cost_added_to_the_budgets_they_meet(
    client: TestClient, storage: Storage, team: Team
) -> None:
    told = [fresh(event_id=f"e{n}", metadata={"customer": f"c{n % 2}"}) for n in range(4)]
    answer = post(client, *told, aden_py(total_cost=0.5))
    assert answer == {"success": True, "processed": 5, "duplicates": 0, "refused": 0}
    assert spent(storage, team) == {
        "-|global:all": 4 * 75_000 + 500_000_000,
        "-|customer:c0": 150_000,
        "-|customer:c1": 150_000 + 500_000_000,
        "-|agent:writer": 500_000_000,
        "-|acme-budget": 500_000_000,
    }


@pytest.mark.usefixtures("budgets")
def test_an_event_that_comes_again_counts_once(client: TestClient, storage: Storage, team: Team) -> None:
    batch = [fresh(event_id="e1"), fresh(event_id="e2"), aden_py()]
    assert post(client, *batch)["duplicates"] == 0
    before = spent(storage, team)
    assert post(client, *batch) == {"success": True, "processed": 3, "duplicates": 3, "refused": 0}
    assert post(client, batch[0], fresh(event_id="e3"), fresh(event_id="e3"))["duplicates"] == 2
    after = spent(storage, team)
    assert after["-|global:all"] == before["-|global:all"] + 75_000


@pytest.mark.usefixtures("budgets")
def test_an_id_with_another_payload_is_refused_and_counted(
    client: TestClient, storage: Storage, team: Team
) -> None:
    post(client, fresh(event_id="e1"))
    forged = fresh(event_id="e1", cost_nano_usd=1)
    answer = post(client, forged, fresh(event_id="e2"), fresh(event_id="e2", cost_nano_usd=2))
    assert (answer["processed"], answer["refused"]) == (1, 2)
    assert spent(storage, team)["-|global:all"] == 150_000
    assert counted(storage, team)["events.refused.conflict"] == 2
    found = client.get("/v1/control/events").json()["events"]
    assert [event["cost_nano_usd"] for event in found] == [75_000, 75_000]


@pytest.mark.usefixtures("budgets")
def test_what_a_client_has_settled_is_stored_and_not_charged_again(
    client: TestClient, storage: Storage, team: Team
) -> None:
    assert post(client, fresh(event_id="e1", settled=True))["processed"] == 1
    assert spent(storage, team) == {}
    assert client.get("/v1/control/events").json()["total"] == 1


@pytest.mark.usefixtures("budgets")
def test_the_rest_of_a_batch_is_taken(client: TestClient, storage: Storage, team: Team) -> None:
    answer = post(client, None, 7, {"event_type": "x"}, fresh(event_id="e1"), {"event_id": ""})
    assert (answer["processed"], answer["refused"]) == (1, 4)
    assert answer["reasons"] == {"shape": 2, "kind": 1, "id": 1}
    assert counted(storage, team)["events.refused.shape"] == 2


def test_events_of_teams_are_apart(client: TestClient, storage: Storage, team: Team) -> None:
    other = new_team(storage)
    post(client, fresh(event_id="e1"))
    answer = post(client, fresh(event_id="e1", cost_nano_usd=9), headers=dict(other.headers))
    assert (answer["processed"], answer["duplicates"], answer["refused"]) == (1, 0, 0)
    theirs = client.get("/v1/control/events", headers=dict(other.headers)).json()["events"]
    assert [event["cost_nano_usd"] for event in theirs] == [9]


@pytest.mark.usefixtures("budgets")
def test_batches_that_come_at_the_same_time_are_counted_once(
    client: TestClient, storage: Storage, team: Team
) -> None:
    told = [fresh(event_id=f"e{n}", metadata={"customer": f"c{n % 7}"}) for n in range(60)]
    parts = [told[:40], list(reversed(told[20:])), told[10:50], list(reversed(told))]
    answers: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda part=part: answers.append(post(client, *part))) for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer["processed"] - answer["duplicates"] for answer in answers) == 60
    assert spent(storage, team)["-|global:all"] == 60 * 75_000


def test_a_name_that_no_table_can_hold_is_charged_under_one_that_it_can(
    client: TestClient, storage: Storage, team: Team
) -> None:
    client.put("/v1/control/policies/default", json={"budgets": [POLICY["budgets"][1]]})
    data = orjson.dumps({"events": [fresh(event_id="e1", metadata={"customer": "a\0b"})]})
    lone = orjson.dumps({"events": [fresh(event_id="e2", metadata={"customer": "SURROGATE"})]})
    for body in (data, lone.replace(b"SURROGATE", b"\\ud800")):
        assert client.post("/v1/control/events", content=body).json()["processed"] == 1
    assert sorted(spent(storage, team)) == ["-|customer:\\ud800", "-|customer:a\\x00b"]


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bodies_may_be_compressed(client: TestClient, coding: str) -> None:
    data = orjson.dumps({"events": [fresh(event_id="e1")]})
    zstd = pytest.importorskip("zstandard")
    sent = gzip.compress(data) if coding == "gzip" else zstd.ZstdCompressor().compress(data)
    answer = client.post("/v1/control/events", content=sent, headers={"Content-Encoding": coding})
    assert answer.json()["processed"] == 1


def test_pages_are_by_time_and_dates(client: TestClient) -> None:
    told = []
    for n in range(5):
        event = fresh(event_id=f"e{n}")
        event["data"]["timestamp"] = None
        told.append(event)
    for event in told:
        post(client, event)
    first = client.get("/v1/control/events", params={"limit": 2}).json()
    assert first["total"] == 5
    assert [event["event_id"] for event in first["events"]] == ["e4", "e3"]
    rest = client.get("/v1/control/events", params={"limit": 9, "offset": 2}).json()
    assert [event["event_id"] for event in rest["events"]] == ["e2", "e1", "e0"]
    none = client.get("/v1/control/events", params={"end_date": "2020-01-01"}).json()
    assert none["events"] == []
    assert client.get("/v1/control/events", params={"start_date": "2020-01-01"}).json()["total"] == 5
    assert client.get("/v1/control/events", params={"start_date": "soon"}).status_code == 422


def test_a_tail_gives_every_event_once_in_their_order(client: TestClient) -> None:
    post(client, fresh(event_id="before"))
    cursor = client.get("/v1/control/events/tail").json()["cursor"]
    post(client, fresh(event_id="e1"), fresh(event_id="e2"))
    seen = []
    for _ in range(3):
        page = client.get("/v1/control/events/tail", params={"cursor": cursor, "limit": 1}).json()
        seen += [event["event_id"] for event in page["events"]]
        cursor = page["cursor"]
    assert seen == ["e1", "e2"]
    all_of_them = client.get("/v1/control/events/tail", params={"cursor": 0}).json()["events"]
    assert [event["event_id"] for event in all_of_them] == ["before", "e1", "e2"]


def test_a_tail_waits_for_the_next_event(client: TestClient) -> None:
    cursor = client.get("/v1/control/events/tail").json()["cursor"]
    late = threading.Timer(0.3, lambda: post(client, fresh(event_id="late")))
    late.start()
    page = client.get("/v1/control/events/tail", params={"cursor": cursor, "wait": 30}).json()
    late.join()
    assert [event["event_id"] for event in page["events"]] == ["late"]


def test_heartbeats_make_the_list_of_agents(client: TestClient, storage: Storage) -> None:
    def beat(at: str | None, requests: int, instance: str = "i1") -> dict[str, Any]:
        return {
            "event_type": "heartbeat",
            "timestamp": at,
            "sdk_instance_id": instance,
            "agent_name": "writer",
            "status": "healthy",
            "requests_since_last": requests,
            "errors_since_last": 1,
            "policy_cache_age_seconds": -1,
            "websocket_connected": False,
            "sdk_version": "0.4.5",
        }

    first = beat(None, 5)
    post(client, first)
    found = client.get("/v1/control/agents").json()["agents"]
    assert [(agent["instance_id"], agent["agent_name"], agent["status"]) for agent in found] == [
        ("i1", "writer", "healthy")
    ]
    post(client, beat("2026-01-01T00:00:00Z", 3, "i2"), beat(None, -7), beat(None, 2, "i3"))
    status = client.get("/v1/control/agent-status").json()
    assert (status["total"], status["active"]) == (3, 3)
    assert status["statuses"] == {"healthy": 3}
    with storage.read() as db:
        assert db.execute(select(events.c.seq)).all() == []


def test_a_heartbeat_that_is_told_again_counts_once(client: TestClient) -> None:
    import datetime

    at = datetime.datetime.now(datetime.UTC).isoformat()
    beat = {
        "event_type": "heartbeat",
        "timestamp": at,
        "sdk_instance_id": "i1",
        "requests_since_last": 5,
        "errors_since_last": 1,
    }
    for _ in range(3):
        post(client, beat)
    (agent,) = client.get("/v1/control/agents").json()["agents"]
    assert (agent["requests"], agent["errors"]) == (5, 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"events": 7}', 400),
        (b'{"events": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", 400),
        (orjson.dumps({"events": [{}] * 1001}), 413),
    ],
)
def test_what_is_no_batch_is_said(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/control/events", content=body)
    assert answer.status_code == status
    assert answer.json()["message"]


@pytest.mark.parametrize("value", ["1e999", "1" + "0" * 400, "[" * 150 + "]" * 150, "[" * 980 + "]" * 980])
def test_no_event_keeps_the_others_from_being_read(client: TestClient, value: str) -> None:
    odd = f'{{"event_id": "odd", "metadata": {{"a": {value}, "large": {2**70}}}}}'
    answer = client.post("/v1/control/events", content=f'{{"events": [{odd}, {{"event_id": "good"}}]}}')
    assert answer.status_code == 200, answer.text
    for path in ("/v1/control/events", "/v1/control/events/tail?cursor=0"):
        assert "good" in [event["event_id"] for event in client.get(path).json()["events"]]


def test_a_page_of_large_events_has_fewer(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 5000)
    post(
        client, *[fresh(event_id=f"e{n}", metadata={"note": "x" * (9000 if n == 3 else 1)}) for n in range(9)]
    )
    seen, offset, total = list[str](), 0, 9
    while offset < total:
        page = client.get("/v1/control/events", params={"limit": 5, "offset": offset}).json()
        assert 0 < len(page["events"]) <= page["limit"] < 6
        seen += [event["event_id"] for event in page["events"]]
        offset, total = offset + page["limit"], page["total"]
    assert sorted(seen) == [f"e{n}" for n in range(9)]
    tailed, cursor = list[str](), 0
    while found := client.get("/v1/control/events/tail", params={"cursor": cursor}).json()["events"]:
        assert len(found) < 9
        tailed += [event["event_id"] for event in found]
        cursor = found[-1]["seq"]
    assert tailed == [f"e{n}" for n in range(9)]
