"""What is old is forgotten, in parts; what still counts is not."""

from __future__ import annotations

import time

from fastapi.testclient import TestClient
from sqlalchemy import select, update

from aden_transport.control.server import retention
from aden_transport.control.server.retention import DAY_S, Keeper, Retention, forget_old
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import agents, alert_deliveries, content, events

from .kit import Team
from .test_alerts import _write_one
from .test_content import item
from .test_events import fresh, post, spent


def test_old_rows_are_forgotten_and_sums_stay(
    client: TestClient, storage: Storage, team: Team, monkeypatch: object
) -> None:
    client.put("/v1/control/policies/default", json={"budgets": [{"name": "all", "limit": 1}]})
    beat = {"event_type": "heartbeat", "sdk_instance_id": "i1"}
    post(client, *[fresh(event_id=f"e{n}") for n in range(5)], beat)
    client.post("/v1/control/content", json={"items": [item()]})
    _write_one(storage, team, "https://example.com/")
    now = time.time()
    pauses: list[float] = []
    assert forget_old(storage, Retention(), now, pause=pauses.append) == {
        "events": 0,
        "content": 0,
        "alert_deliveries": 0,
        "agents": 0,
    }
    before = spent(storage, team)
    with storage.begin() as db:
        db.execute(update(alert_deliveries).values(state="delivered"))
    later = now + 91 * DAY_S
    post(client, fresh(event_id="new"))
    with storage.begin() as db:
        db.execute(update(events).where(events.c.event_id == "new").values(received_at=later))
    assert forget_old(storage, Retention(), later, pause=pauses.append) == {
        "events": 5,
        "content": 1,
        "alert_deliveries": 1,
        "agents": 1,
    }
    with storage.read() as db:
        assert db.scalars(select(events.c.event_id)).all() == ["new"]
        for table in (content, agents, alert_deliveries):
            assert db.execute(select(table)).all() == []
    assert spent(storage, team)["-|global:all"] == before["-|global:all"] + 75_000


def test_what_is_kept_for_ever_is_kept(client: TestClient, storage: Storage) -> None:
    post(client, fresh(event_id="e1"))
    for_ever = Retention(events=0, content=0, alerts=0, agents=0)
    assert forget_old(storage, for_ever, time.time() + 9999 * DAY_S) == {}


def test_many_rows_go_in_parts(client: TestClient, storage: Storage) -> None:
    for part in range(3):
        post(client, *[fresh(event_id=f"e{part}.{n}") for n in range(400)])
    pauses: list[float] = []
    found = forget_old(storage, Retention(), time.time() + 91 * DAY_S, pause=pauses.append)
    assert found["events"] == 1200
    assert len(pauses) == 1200 // retention.PART + 1


def test_an_alert_that_waits_is_not_forgotten(storage: Storage, team: Team) -> None:
    _write_one(storage, team, "https://example.com/")
    assert forget_old(storage, Retention(), time.time())["alert_deliveries"] == 0


def test_a_keeper_ends_when_it_is_told_to(storage: Storage) -> None:
    keeper = Keeper(storage, Retention())
    keeper.close()
    keeper = Keeper(storage, Retention())
    keeper.start()
    keeper.close()
