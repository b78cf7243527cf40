"""Thresholds that are crossed are told of: once, signed, and again where the receiver fails."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from aden_transport.control.server import deliveries
from aden_transport.control.server.alerts import (
    Notifications,
    crossed,
    notifications_of,
    told_of,
)
from aden_transport.control.server.app import Settings, create_app
from aden_transport.control.server.deliveries import (
    CAP_S,
    MAX_ATTEMPTS,
    TAKE,
    TAKE_OF_TEAM,
    AlertSettings,
    Deliverer,
    Smtp,
    delay_after,
    signature,
    subject_of,
)
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import alert_deliveries
from aden_transport.ledger.base import Line
from aden_transport.policy import Index
from aden_transport.policy.document import parse

from .kit import Team, new_team, wait_for
from .receivers import Hooks, dripping, hooks, mails
from .test_events import fresh, post

SECRET = "s3cret-of-the-operator"


def document(*, url: str | None = None, mail: str | None = None, **more: Any) -> dict[str, Any]:
    notifications = {
        "inApp": True,
        "email": mail is not None,
        "emailRecipients": [mail],
        "webhook": url is not None,
        "webhookUrl": url,
    }
    budget = {
        "type": "customer",
        "name": "*",
        "limit": 0.001,
        "limitAction": "alert",
        "alerts": [{"threshold": 50, "enabled": True}, {"threshold": 80, "enabled": True}],
        "notifications": notifications,
        **more,
    }
    return {"budgets": [budget]}


def rows(storage: Storage) -> list[Any]:
    with storage.read() as db:
        return list(db.execute(select(alert_deliveries).order_by(alert_deliveries.c.seq)).mappings())


# -- values -----------------------------------------------------------------------------------------


def test_the_document_says_who_is_told() -> None:
    found = notifications_of(document(url="https://example.com/h", mail="a@example.com"))
    assert found == {"customer:*": Notifications(("https://example.com/h",), ("a@example.com",))}
    assert notifications_of(document()) == {}
    assert notifications_of({"budgets": 7}) == {}
    told = {"email": True, "emailRecipients": ["a@b.c\nBcc: d@e.f", "no", 7, "x@y.example"]}
    budgets = {"budgets": [{"name": "n", "limit": 1, "notifications": told}, {"notifications": told}, 7]}
    assert notifications_of(budgets)["global:n"] == Notifications((), ("x@y.example",))


@pytest.mark.parametrize(
    ("spent", "steps"), [(0, []), (499_999, []), (500_000, [50]), (999_999, [50, 80]), (10**9, [50, 80, 100])]
)
def test_what_is_spent_crosses_thresholds_and_the_limit(spent: int, steps: list[float]) -> None:
    (budget,) = parse(document()).budgets
    assert [step.percent for step in crossed(budget, spent)] == steps


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("2026-11|customer:acme", ("customer:*", "customer:acme", "acme", "2026-11")),
        ("2026-11#3|customer:a:b", ("customer:*", "customer:a:b", "a:b", "2026-11#3")),
        ("r3600.7300#1|b1", ("b1", "b1", "x", "r3600/121#1")),
        ("-|t1:y", ("t1", "t1:y", "y", "-")),
        ("-|tenant:nobody", None),
        ("nothing", None),
    ],
)
def test_a_key_of_the_ledger_names_its_budget(key: str, found: tuple[str, ...] | None) -> None:
    budgets: list[dict[str, Any]] = [
        {"type": "customer", "name": "*", "limit": 1},
        {"type": "tenant", "name": "x", "id": "b1", "limit": 1, "period": {"rolling": "1h"}},
        {"type": "agent", "name": "*", "id": "t1", "limit": 1},
    ]
    told = told_of(Index(parse({"budgets": budgets})), key)
    assert (told and (told.budget.key, *told[1:])) == found


def test_waits_grow_and_are_bounded() -> None:
    assert [delay_after(n, 1.0) for n in (1, 2, 3)] == [4.0, 8.0, 16.0]
    assert delay_after(1, 0.25) == 1.0
    assert delay_after(100, 1.0) == CAP_S


def test_subjects_are_one_line() -> None:
    assert subject_of({"level": "critical", "message": "a\r\nBcc: b"}) == "[critical] a Bcc: b"


# -- a server ---------------------------------------------------------------------------------------


@pytest.fixture
def receiver() -> Iterator[Hooks]:
    with hooks() as found:
        yield found


@pytest.fixture
def server(storage: Storage, team: Team) -> Iterator[TestClient]:
    settings = Settings(alerts=AlertSettings(webhook_secret=SECRET, allow=("127.0.0.1",)))
    with TestClient(create_app(storage, settings), headers=dict(team.headers)) as found:
        yield found


def put(client: TestClient, told: dict[str, Any]) -> None:
    answer = client.put("/v1/control/policies/default", json=told)
    assert answer.status_code == 200, answer.text


def test_a_threshold_that_events_cross_is_told_of_once_and_signed(
    server: TestClient, storage: Storage, receiver: Hooks
) -> None:
    put(server, document(url=receiver.url))
    for n in range(12):
        post(server, fresh(event_id=f"e{n}", metadata={"customer": "acme"}))
    wait_for(lambda: len(receiver.received) == 2)
    bodies = []
    for path, headers, body in receiver.received:
        assert path == "/hook"
        mac = hmac.new(SECRET.encode(), f"{headers['x-aden-timestamp']}.".encode() + body, hashlib.sha256)
        assert headers["x-aden-signature"] == "v1=" + mac.hexdigest()
        assert headers["x-aden-signature"] == signature(SECRET, headers["x-aden-timestamp"], body)
        assert headers["host"] == f"127.0.0.1:{receiver.port}"
        bodies.append(orjson.loads(body))
    assert sorted(body["threshold"] for body in bodies) == [50, 80]
    (first,) = [body for body in bodies if body["threshold"] == 50]
    assert first["type"] == "budget_alert"
    assert (first["alert_type"], first["budget_id"]) == ("threshold", "customer:acme")
    assert (first["budget_name"], first["budget_type"]) == ("acme", "customer")
    assert (first["limit"], first["spent"]) == (0.001, 0.000525)
    wait_for(lambda: all(row["state"] != "waiting" for row in rows(storage)))
    shown = server.get("/v1/control/alerts").json()["alerts"]
    assert sorted(each["channel"] for each in shown) == ["in_app", "in_app", "webhook", "webhook"]
    post(server, fresh(event_id="more", metadata={"customer": "acme"}))
    assert len(rows(storage)) == 4


def test_who_is_named_later_is_told_with_the_next_spending(
    server: TestClient, storage: Storage, receiver: Hooks
) -> None:
    put(server, document())
    for n in range(12):
        post(server, fresh(event_id=f"e{n}", metadata={"customer": "acme"}))
    assert [row["channel"] for row in rows(storage)] == ["in_app", "in_app"]
    put(server, document(url=receiver.url))
    post(server, fresh(event_id="next", metadata={"customer": "acme"}))
    wait_for(lambda: len(receiver.received) == 2)


def test_a_limit_that_a_settlement_reaches_is_told_of(
    server: TestClient, storage: Storage, team: Team
) -> None:
    put(server, document(limitAction="block", alerts=[]))
    ledger = server.app.state.ledgers.of(team.id)  # type: ignore[attr-defined]
    line = Line(key="-|customer:acme", hold=1_000_000, expected=1, limit_held=1_000_000)
    now = time.time()
    assert ledger.reserve("op1", [[line]], now=now, expires_at=now + 60).kind == "held"
    assert rows(storage) == []
    assert ledger.settle("op1", {"usd": 1_000_000})
    (row,) = rows(storage)
    alert = orjson.loads(row["body"])
    assert (alert["alert_type"], alert["threshold"], alert["action"]) == ("limit_reached", 100, "block")


def test_a_threshold_that_a_lower_limit_has_moved_is_told_of_with_the_next_spending(
    server: TestClient, storage: Storage
) -> None:
    put(server, document(limit=100))
    post(server, fresh(event_id="e1", cost_nano_usd=10**9, metadata={"customer": "acme"}))
    assert rows(storage) == []
    put(server, document(limit=1))
    post(server, fresh(event_id="e2", metadata={"customer": "acme"}))
    assert len(rows(storage)) == 3


def test_sums_of_a_rolling_window_count_together(server: TestClient, storage: Storage) -> None:
    put(server, document(period={"rolling": "2m"}, limit=0.0002, alerts=[]))
    # In other sub-buckets of two seconds, or in the same one: the sum is what counts.
    for n in range(3):
        post(server, fresh(event_id=f"e{n}", metadata={"customer": "acme"}))
    assert [orjson.loads(row["body"])["threshold"] for row in rows(storage)] == [100]


def test_a_receiver_that_fails_is_asked_again(storage: Storage, team: Team, receiver: Hooks) -> None:
    deliverer = _write_one(storage, team, receiver.url)
    receiver.statuses = [500, 429]
    now = time.time()
    for attempt, state in enumerate(["waiting", "waiting", "delivered"]):
        assert deliverer.deliver_due(now) == 1
        (row,) = rows(storage)
        assert (row["state"], row["attempts"]) == (state, attempt + 1)
        now = time.time() + CAP_S
    assert len({headers["x-aden-delivery"] for _, headers, _ in receiver.received}) == 1
    assert rows(storage)[0]["fault"] is None


def test_a_receiver_that_always_fails_is_given_up(storage: Storage, team: Team, receiver: Hooks) -> None:
    deliverer = _write_one(storage, team, receiver.url)
    receiver.statuses = [503] * MAX_ATTEMPTS
    for n in range(MAX_ATTEMPTS + 2):
        deliverer.deliver_due(time.time() + n * CAP_S)
    (row,) = rows(storage)
    assert (row["state"], row["attempts"]) == ("failed", MAX_ATTEMPTS)
    assert row["fault"] == "the receiver answers 503"


def test_a_redirect_is_not_followed(storage: Storage, team: Team, receiver: Hooks) -> None:
    deliverer = _write_one(storage, team, receiver.url)
    receiver.statuses, receiver.location = [302], receiver.url + "/inside"
    deliverer.deliver_due(time.time())
    assert [path for path, _, _ in receiver.received] == ["/hook"]
    assert rows(storage)[0]["state"] == "refused"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://169.254.169.254/", "https://localhost/"])
def test_a_webhook_inside_is_never_asked(storage: Storage, team: Team, url: str) -> None:
    deliverer = _write_one(storage, team, url, allow=())
    deliverer.deliver_due(time.time())
    (row,) = rows(storage)
    assert (row["state"], row["attempts"]) == ("refused", 1)
    assert url not in row["fault"]


def test_a_name_that_leads_inside_when_it_is_looked_up_is_never_asked(
    storage: Storage, team: Team, receiver: Hooks
) -> None:
    url = f"https://rebind.example.com:{receiver.port}/"
    deliverer = _write_one(storage, team, url, allow=(), lookup=["127.0.0.1"])
    deliverer.deliver_due(time.time())
    assert rows(storage)[0]["state"] == "refused"
    assert receiver.received == []


def test_the_connection_goes_to_the_address_that_was_judged(
    storage: Storage, team: Team, receiver: Hooks
) -> None:
    url = f"http://hooks.example:{receiver.port}/x?y=1"
    deliverer = _write_one(storage, team, url, allow=("hooks.example",), lookup=["127.0.0.1"])
    deliverer.deliver_due(time.time())
    ((path, headers, _),) = receiver.received
    assert (path, headers["host"]) == ("/x?y=1", f"hooks.example:{receiver.port}")


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(
    storage: Storage, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "TIMEOUT_S", 0.5)
    with dripping() as port:
        deliverer = _write_one(storage, team, f"http://127.0.0.1:{port}/")
        thread = threading.Thread(target=deliverer.deliver_due, args=(time.time(),))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    (row,) = rows(storage)
    assert (row["state"], row["fault"]) == ("waiting", "TimeoutError")


def test_the_alerts_of_one_team_do_not_keep_others_waiting(
    storage: Storage, team: Team, receiver: Hooks
) -> None:
    other = new_team(storage, name="other")
    deliverer = _write_one(storage, team, receiver.url)
    now = time.time()
    with storage.begin() as db:
        (row,) = db.execute(select(alert_deliveries)).mappings()
        for n in range(2 * TAKE):
            ids = {"seq": row["seq"] + 1 + n, "mark": f"{n}"}
            db.execute(alert_deliveries.insert().values(**{**row, **ids}))
        ids = {"seq": row["seq"] + 3 * TAKE, "team_id": other.id, "next_at": now}
        db.execute(alert_deliveries.insert().values(**{**row, **ids}))
    taken = storage.transact(lambda db: deliverer._take(db, now))
    assert [each.team_id for each in taken] == [team.id] * TAKE_OF_TEAM + [other.id]
    while deliverer.deliver_due(now):
        pass
    assert [each["state"] for each in rows(storage)].count("delivered") == 2 * TAKE - TAKE_OF_TEAM + 1


def test_servers_share_the_table(storage: Storage, team: Team, receiver: Hooks) -> None:
    deliverer = _write_one(storage, team, receiver.url)
    now = time.time()
    taken = storage.transact(lambda db: deliverer._take(db, now))
    assert len(taken) == 1
    assert storage.transact(lambda db: deliverer._take(db, now)) == []
    # A server that died with it leaves it to the others, later; its own word does not count then.
    assert deliverer.deliver_due(now + 3600) == 1
    deliverer._deliver(taken[0])
    assert rows(storage)[0]["attempts"] == 2


def test_mail_is_handed_in(storage: Storage, team: Team) -> None:
    with mails() as box:
        smtp = Smtp(host="127.0.0.1", port=box.port, sender="aden@example.com", starttls=False)
        deliverer = _write_one(storage, team, "ops@example.com", channel="email", smtp=smtp)
        deliverer.deliver_due(time.time())
    ((recipient, text),) = box.received
    assert recipient == "ops@example.com"
    assert "Subject: [warning] customer:acme" in text
    assert "From: aden@example.com" in text
    assert rows(storage)[0]["state"] == "delivered"


def test_mail_without_settings_is_said(storage: Storage, team: Team) -> None:
    deliverer = _write_one(storage, team, "ops@example.com", channel="email")
    deliverer.deliver_due(time.time())
    assert rows(storage)[0]["fault"] == "the server has no settings for e-mail"


def test_settings_do_not_show_their_secrets() -> None:
    shown = repr(AlertSettings(webhook_secret=SECRET, smtp=Smtp(host="h", password=SECRET)))
    assert SECRET not in shown


def _write_one(
    storage: Storage,
    team: Team,
    target: str,
    *,
    channel: str = "webhook",
    allow: tuple[str, ...] = ("127.0.0.1",),
    lookup: list[str] | None = None,
    smtp: Smtp | None = None,
) -> Deliverer:
    """A deliverer with one alert to deliver."""
    body = {"type": "budget_alert", "level": "warning", "message": "customer:acme has reached 50 %"}
    with storage.begin() as db:
        db.execute(
            alert_deliveries.insert().values(
                team_id=team.id,
                mark=f"-|customer:acme|50|{channel}",
                budget_key="customer:acme",
                channel=channel,
                target=target,
                body=str(orjson.dumps(body), "utf-8"),
                next_at=0,
                created_at=0,
            )
        )
        db.execute(update(alert_deliveries).values(attempts=0))
    settings = AlertSettings(allow=allow, smtp=smtp)
    return Deliverer(storage, settings, lookup=None if lookup is None else lambda *_: lookup)
