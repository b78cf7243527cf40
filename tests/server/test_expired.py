"""Calls that nobody ends: each is one event, which says what the ledger has charged."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from aden_transport.control.server import expired as module
from aden_transport.control.server import ledger as ledger_module
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import counts, events, expired, holds
from aden_transport.ledger.grants import Bounds
from aden_transport.ledger.wire import MOST_INTENT, intent_text

from .kit import Team
from .test_ledger import line, policy, reserve, spent
from .test_reconciliation import event as event_of
from .test_reconciliation import reconciled, send

USD = 10**9
BUDGETS = {"id": "all", "type": "global", "limit": 100}, {"type": "customer", "name": "*", "limit": 50}
LINES = [line("-|all"), line("-|customer:acme")]


def intent(name: str = "event 1", models: tuple[str, ...] = ("gpt-4o",), **more: Any) -> str:
    told = {
        "event_id": name,
        "trace_id": "t1",
        "span_id": "s1",
        "stream": False,
        "provider": "openai",
        "operation": "chat",
        "timestamp_s": time.time(),
        "metadata": {"customer": "acme"},
        **more,
    }
    text = intent_text({"event": told, "models": models, "sending": ["server", "instance 1", True]})
    assert text is not None
    return text


def expire(client: TestClient, op_id: str = "1", *lines: dict[str, Any], **more: Any) -> None:
    """A call that is held, and whose program is never heard of again."""
    more.setdefault("intent", intent())
    assert reserve(client, op_id, *(lines or LINES), ttl_s=0, **more)["kind"] == "held"
    sweep(client)


def sweep(client: TestClient, later: float = 1.0) -> list[Any]:
    found: list[Any] = client.app.state.ledgers.sweep(time.time() + later)  # type: ignore[attr-defined]
    return found


def told(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/control/events").json()["events"]
    return found


def own(charged: int | None, *, number: int = 1, settled: bool = True, **more: Any) -> dict[str, Any]:
    """The call's own event."""
    found = event_of(number, 0.0, settled=settled, customer="acme")
    del found["data"]["cost_usd"], found["data"]["cost_nano_usd"]
    if charged is not None:
        found["data"] |= {"charged_nano_usd": charged, "cost_nano_usd": charged}
    found["data"] |= more
    return found


def budgets(client: TestClient) -> dict[str, dict[str, int]]:
    return {each.pop("key"): each for each in client.get("/v1/ledger/reconcile").json()["budgets"]}


def rows(storage: Storage, table: Any) -> int:
    with storage.read() as db:
        return len(db.execute(select(table)).all())


@pytest.fixture(autouse=True)
def _policy(client: TestClient) -> None:
    policy(client, *BUDGETS)


def test_a_call_that_nobody_ends_is_one_event_that_says_what_was_charged(client: TestClient) -> None:
    models = ("gpt-4o", "gpt-4o-mini")
    too_much = [line("-|all", 200 * USD)]
    reserve(client, "1", ttl_s=0, intent=intent(models=models), candidates=[too_much, LINES])
    sweep(client)
    sweep(client)
    (event,) = told(client)
    assert (event["event_id"], event["sdk_instance_id"], event["settled"]) == ("event 1", "instance 1", True)
    data = event["data"]
    assert (data["request_model"], data["degraded_from"]) == ("gpt-4o-mini", "gpt-4o")
    assert data["billing"] == "unknown"
    assert not {"usage", "usage_source", "cost_nano_usd"} & data.keys()
    assert (data["charged_nano_usd"], data["hold_nano_usd"]) == (USD, USD)
    assert data["metadata"] == {"customer": "acme"}
    assert reconciled(client) == (True, {"-|all": (USD, USD, 0), "-|customer:acme": (USD, USD, 0)})
    found = budgets(client)["-|all"]
    assert (found["disputed"], found["unconfirmed"], found["held"]) == (USD, USD, 0)


def test_an_event_that_comes_later_takes_its_place_and_corrects_the_sums(client: TestClient) -> None:
    expire(client)
    late = own(USD // 4, response_model="gpt-4o-2024-08-06")
    for _ in range(2):
        send(client, late)
        (event,) = told(client)
        assert event["data"]["response_model"] == "gpt-4o-2024-08-06"
        assert reconciled(client) == (
            True,
            {"-|all": (USD // 4, USD // 4, 0), "-|customer:acme": (USD // 4, USD // 4, 0)},
        )
        assert budgets(client)["-|all"]["disputed"] == 0
    other = client.post("/v1/control/events", json={"events": [own(7)]}).json()
    assert (other["refused"], other["duplicates"]) == (1, 0)
    assert reconciled(client)[1]["-|all"] == (USD // 4, USD // 4, 0)


def test_more_than_was_held_is_charged_too(client: TestClient) -> None:
    expire(client, "1", line("-|all"))
    send(client, own(3 * USD))
    assert reconciled(client) == (True, {"-|all": (3 * USD, 3 * USD, 0)})


def test_a_call_that_was_not_billed_gives_its_hold_back(client: TestClient) -> None:
    expire(client)
    send(client, own(None, settled=False, error="HTTP 429"))
    assert len(told(client)) == 1
    assert reconciled(client) == (True, {"-|all": (0, 0, 0)})
    assert spent(client, "-|all", "-|customer:acme") == [[0, 0, 0]] * 2


def test_an_event_that_came_before_settles_the_hold(client: TestClient) -> None:
    """Its program died between delivering it and settling."""
    reserve(client, "1", *LINES, ttl_s=0, intent=intent())
    send(client, own(USD // 8))
    sweep(client)
    assert len(told(client)) == 1
    assert reconciled(client) == (
        True,
        {"-|all": (USD // 8, USD // 8, 0), "-|customer:acme": (USD // 8, USD // 8, 0)},
    )
    assert budgets(client)["-|all"]["disputed"] == 0


def test_an_event_of_a_call_that_was_not_billed_releases_it(client: TestClient) -> None:
    reserve(client, "1", *LINES, ttl_s=0, intent=intent())
    send(client, own(None, settled=False))
    sweep(client)
    assert reconciled(client) == (True, {"-|all": (0, 0, 0)})
    assert spent(client, "-|all", "-|customer:acme") == [[0, 0, 0]] * 2


@pytest.mark.parametrize("together", [True, False])
def test_of_a_call_that_held_twice_one_hold_is_charged(client: TestClient, together: bool) -> None:
    for op_id in ("1", "1'"):
        reserve(client, op_id, *LINES, ttl_s=0, intent=intent())
        if not together:
            sweep(client)
    sweep(client)
    assert len(told(client)) == 1
    assert reconciled(client)[1]["-|all"] == (USD, USD, 0)


def test_units_are_settled_as_the_event_says(client: TestClient) -> None:
    lines = line("-|all"), line("-|t", 500, unit="tokens"), line("-|c", 1, unit="calls")
    expire(client, "1", *lines)
    keys = [each["key"] for each in lines]
    assert [each[0] for each in spent(client, *keys)] == [USD, 500, 1]
    usage = {"input_tokens": 30, "output_tokens": 12}
    send(client, own(5, usage=usage))
    assert [each[0] for each in spent(client, *keys)] == [5, 42, 1]


def test_what_was_freed_is_charged_again_by_what_the_call_says(client: TestClient) -> None:
    expire(client)
    freed = {"key": "-|all", "reason": "it was a test"}
    client.post("/v1/ledger/disputes/release", json=freed).raise_for_status()
    assert reconciled(client)[0]
    assert budgets(client)["-|all"]["spent"] == 0
    send(client, own(USD // 2))
    half = (USD // 2, USD // 2, 0)
    assert reconciled(client) == (True, {"-|all": half, "-|customer:acme": half})


def test_after_a_day_it_stands(client: TestClient, storage: Storage) -> None:
    expire(client)
    sweep(client, Bounds().dispute_ttl_s + 2)
    assert rows(storage, expired) == 0
    found = budgets(client)["-|all"]
    assert (found["spent"], found["disputed"], found["unconfirmed"]) == (USD, 0, 0)
    late = client.post("/v1/control/events", json={"events": [own(5)]}).json()
    assert late["refused"] == 1
    assert reconciled(client) == (True, {"-|all": (USD, USD, 0), "-|customer:acme": (USD, USD, 0)})


def test_an_end_in_time_leaves_nothing(client: TestClient, storage: Storage) -> None:
    for op_id in ("settled", "released", "deferred"):
        reserve(client, op_id, *LINES, intent=intent(op_id))
    client.post("/v1/ledger/settle", json={"op_id": "settled", "amounts": {"usd": 3}}).raise_for_status()
    client.post("/v1/ledger/release", json={"op_id": "released"}).raise_for_status()
    client.post("/v1/ledger/defer", json={"op_id": "deferred", "ref": "r", "ttl_s": 0}).raise_for_status()
    sweep(client)
    assert (rows(storage, holds), rows(storage, expired), rows(storage, events)) == (0, 0, 0)


def test_what_only_a_run_has_held_is_added_by_its_event(client: TestClient, storage: Storage) -> None:
    """No budget of the server was charged by its hold."""
    expire(client, "1", line("-|run:1"))
    assert rows(storage, expired) == 0
    assert reconciled(client) == (True, {"-|all": (USD, USD, 0), "-|customer:acme": (USD, USD, 0)})


def test_an_event_that_comes_amid_the_sweep_counts(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    if client.app.state.storage.is_sqlite:  # type: ignore[attr-defined]
        pytest.skip("a transaction of SQLite is alone")
    reserve(client, "1", *LINES, ttl_s=0, intent=intent())
    late = [own(USD // 4)]

    def between(db: Any, there: Any) -> Any:
        found = module.told_by_events(db, there)
        if late:
            send(client, late.pop())
        return found

    monkeypatch.setattr(ledger_module, "told_by_events", between)
    sweep(client)
    assert len(told(client)) == 1
    quarter = (USD // 4, USD // 4, 0)
    assert reconciled(client) == (True, {"-|all": quarter, "-|customer:acme": quarter})


# -- intents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        7,
        "{",
        "[]",
        '{"event": {}, "models": []}',
        '{"event": {"event_id": "\\u0000"}, "models": []}',
        '{"event": {"event_id": "1"}}',
        json.dumps({"event": {"event_id": "1"}, "models": ["m" * MOST_INTENT]}),
        "[" * (MOST_INTENT - 1),
    ],
)
def test_what_is_no_intent_is_refused(client: TestClient, bad: Any) -> None:
    body = {"op_id": "1", "candidates": [LINES], "ttl_s": 9, "intent": bad}
    answer = client.post("/v1/ledger/reserve", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid")


@pytest.mark.parametrize(
    "members",
    [{"timestamp_s": 1e300}, {"timestamp_s": "now"}, {"metadata": 7, "timestamp_s": []}, {"usage": "none"}],
)
def test_an_intent_that_makes_no_event_keeps_no_hold_from_its_end(
    client: TestClient, team: Team, storage: Storage, members: dict[str, Any]
) -> None:
    expire(client, "1", *LINES, intent=intent(**members))
    assert budgets(client)["-|all"]["spent"] == USD
    with storage.read() as db:
        of = counts.c.team_id == team.id, counts.c.name == "events.refused.intent"
        assert db.execute(select(counts.c.value).where(*of)).scalar() == 1
    assert told(client) == []


def test_no_credential_is_kept(client: TestClient, storage: Storage) -> None:
    metadata = {"customer": "acme", "note": "sk-CANARY-0123456789", "odd": "\ud800"}
    reserve(client, "1", *LINES, ttl_s=0, intent=intent(metadata=metadata))
    with storage.read() as db:
        kept = db.execute(select(holds.c.intent)).scalar_one()
    assert "CANARY" not in kept
    sweep(client)
    (event,) = told(client)
    assert event["data"]["metadata"] == {"customer": "acme", "note": "[redacted]", "odd": "\\ud800"}


def test_a_client_sends_what_fits() -> None:
    event = {"event_id": "1", "metadata": {"text": "x" * MOST_INTENT}}
    text = intent_text({"event": event, "models": ["gpt-4o"]})
    assert text is not None
    assert json.loads(text) == {"event": {"event_id": "1"}, "models": ["gpt-4o"], "instance": None}
    assert intent_text({"event": event, "models": ["x" * MOST_INTENT]}) is None


def test_who_is_erased_is_in_no_intent_and_no_correction(client: TestClient, storage: Storage) -> None:
    expire(client)
    reserve(client, "2", line("-|all"), intent=intent("event 2"))
    path = "/v1/control/persons/customer/acme"
    assert len(client.get(path).json()["calls"]) == 1
    client.delete(path).raise_for_status()
    with storage.read() as db:
        kept = [*db.scalars(select(holds.c.intent)), *db.scalars(select(expired.c.parts))]
    assert len(kept) == 2
    assert not any("acme" in each for each in kept)
    sweep(client, 700)
    assert not any("acme" in json.dumps(event) for event in told(client))
