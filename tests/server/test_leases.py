"""Leases on a server's tables, their ends, and what is stranded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from aden_transport.control.messages import Ask, Grant
from aden_transport.control.server.app import Settings, create_app
from aden_transport.control.server.leases import KEPT_S, Leases
from aden_transport.control.server.ledger import Ledgers
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import leases
from aden_transport.ledger.base import Line, Totals
from aden_transport.ledger.grants import Bounds

from .kit import Team, new_team, wait_for

NOON = 1_790_000_000.0
BOUNDS = Bounds(ttl_s=60, clock_skew=0.1, longest_s=100, dispute_ttl_s=1000)
USD = 10**9
LIMIT = {"id": "b", "type": "global", "limit": 10}


class Server:
    """The ledger and leases of a server at a time of ours."""

    def __init__(self, storage: Storage, team: Team) -> None:
        self.now = NOON
        self.team = team.id
        self.ledgers = Ledgers(storage, clock=lambda: self.now)
        self.leases = Leases(self.ledgers, BOUNDS)

    def ask(self, owner: str, **told: Any) -> Grant:
        given: dict[str, Any] = {"key": "-|b", "generation": 1, "seq": 1, "used": 0, "want": 0, "need": 0}
        return self.leases.answer(self.team, owner, [Ask(**given | told)])[0]

    def sums(self, key: str = "-|b") -> tuple[int, int]:
        found = self.ledgers.of(self.team).totals([Line(key, 0, 0)])[0]
        return found.spent, found.held

    def sweep(self, now: float) -> int:
        self.now = now
        return self.leases.sweep(now)


@pytest.fixture
def server(storage: Storage, team: Team, client: TestClient) -> Iterator[Server]:
    client.put("/v1/control/policies/default", json={"budgets": [LIMIT]}).raise_for_status()
    found = Server(storage, team)
    yield found
    found.ledgers.close()


# -- asks -------------------------------------------------------------------------------------------


def test_leases_and_holds_share_a_limit(server: Server) -> None:
    ledger = server.ledgers.of(server.team)
    ledger.reserve("1", [[Line("-|b", 4 * USD, 1)]], now=NOON, expires_at=NOON + 60)
    assert server.ask("a", want=6 * USD, need=6 * USD).granted == 6 * USD
    assert ledger.reserve("2", [[Line("-|b", 1, 1)]], now=NOON, expires_at=NOON + 60).kind == "refused"
    assert server.ask("b", want=1, need=1).granted == 0
    assert ledger.release("1")
    grant = server.ask("b", seq=2, want=USD, need=USD)
    assert (grant.granted, grant.limit, grant.spent, grant.held) == (USD, 10 * USD, 0, 7 * USD)
    assert server.sums() == (0, 7 * USD)


def test_the_same_ask_changes_nothing(server: Server) -> None:
    first = server.ask("a", want=USD, used=5)
    assert server.ask("a", want=USD, used=5) == first
    assert server.ask("a", seq=0, want=9 * USD, used=3) == first
    assert server.sums() == (5, USD - 5)


def test_asks_of_one_message_are_answered_in_their_order(server: Server) -> None:
    server.ask("a", want=10 * USD, need=10 * USD)
    both = [
        Ask(key="-|b", generation=2, seq=1, used=0, want=3 * USD, need=3 * USD),
        Ask(key="-|b", generation=1, seq=2, used=USD, want=0, need=0, final=True),
        Ask(key="none|b", generation=1, seq=2, used=USD, want=0, need=0),
    ]
    new, old, other = server.leases.answer(server.team, "a", both)
    assert (new.generation, new.granted, new.state) == (2, 3 * USD, "open")
    assert (old.generation, old.used, old.state) == (1, USD, "closed")
    assert (other.key, other.state) == ("none|b", "fenced")
    assert server.sums() == (USD, 3 * USD)
    assert server.leases.answer(server.team, "a", []) == []


def test_an_earlier_generation_is_fenced(server: Server) -> None:
    server.ask("a", want=USD)
    server.ask("a", generation=2, want=USD)
    late = server.ask("a", seq=2, used=7, want=5 * USD, need=5 * USD)
    assert (late.state, late.granted, late.used) == ("fenced", USD, 7)
    assert server.sums() == (7, 2 * USD - 7)


def test_owners_have_leases_of_their_own(server: Server, storage: Storage) -> None:
    for owner in "abc":
        server.ask(owner, want=USD)
    other = new_team(storage)
    stranger = server.leases.answer(
        other.id, "a", [Ask(key="-|b", generation=1, seq=1, used=0, want=5, need=0)]
    )
    assert (stranger[0].granted, stranger[0].limit) == (5, None)
    assert server.sums() == (0, 3 * USD)
    assert server.ask("a", seq=2, want=9 * USD).granted == (7 * USD + USD) // 4


def test_a_budget_that_is_frozen_takes_reports_only(server: Server, client: TestClient) -> None:
    server.ask("a", want=USD)
    client.post("/v1/control/budget/b/freeze", json={"reason": "stop"}).raise_for_status()
    grant = server.ask("a", seq=2, used=3, want=2 * USD, need=2 * USD)
    assert (grant.state, grant.granted, grant.spent) == ("fenced", USD, 3)
    client.post("/v1/control/budget/b/unfreeze", json={"reason": "go"}).raise_for_status()
    assert server.ask("a", seq=3, used=3, want=2 * USD, need=2 * USD).granted == 2 * USD


def test_a_limit_that_is_cut_grants_no_more(server: Server, client: TestClient) -> None:
    server.ask("a", want=4 * USD, need=4 * USD)
    cut = {"budgets": [{**LIMIT, "limit": 3}]}
    client.put("/v1/control/policies/default", json=cut).raise_for_status()
    grant = server.ask("a", seq=2, used=USD, want=5 * USD, need=5 * USD)
    assert (grant.granted, grant.limit) == (4 * USD, 3 * USD)


def test_many_owners_at_once_never_have_more_than_the_limit(server: Server) -> None:
    granted: dict[str, int] = {}

    def run(owner: str) -> None:
        have = 0
        for seq in range(1, 8):
            have = server.ask(owner, seq=seq, want=have + USD // 2, need=have + USD // 4).granted
        granted[owner] = have

    threads = [threading.Thread(target=run, args=(f"owner {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted.values()) == server.sums()[1] <= 10 * USD
    assert sum(granted.values()) > 9.7 * USD


def test_a_rolling_window_counts_its_older_parts(server: Server, client: TestClient) -> None:
    rolling = {**LIMIT, "period": {"rolling": "1h"}}
    client.put("/v1/control/policies/default", json={"budgets": [rolling]}).raise_for_status()
    part = int(NOON // 60)
    assert server.ask("a", key=f"r3600.{part}|b", want=7 * USD, need=7 * USD).granted == 7 * USD
    server.now += 600
    late = server.ask("b", key=f"r3600.{part + 10}|b", want=4 * USD, need=4 * USD)
    assert (late.granted, late.held) == (0, 7 * USD)
    assert server.ask("b", key=f"r3600.{part + 10}|b", seq=2, want=3 * USD, need=3 * USD).granted == 3 * USD
    assert server.ask("c", key=f"r3600.{part}|b", want=1).state == "fenced"


# -- silence ----------------------------------------------------------------------------------------


def test_silence_is_disputed_and_a_late_word_corrects_it(server: Server) -> None:
    server.ask("a", want=4 * USD, need=4 * USD)
    assert server.sweep(NOON + 165) == 0
    assert server.sweep(NOON + 166) == 1
    assert server.sweep(NOON + 167) == 0
    assert server.sums() == (4 * USD, 0)
    assert server.ledgers.of(server.team).disputed() == {"-|b": 4 * USD}
    final = server.ask("a", seq=2, used=USD, final=True)
    assert (final.state, final.spent, final.held) == ("closed", USD, 0)
    assert server.ledgers.of(server.team).disputed() == {}


def test_a_dispute_is_resolved_in_time_and_forgotten_later(server: Server, storage: Storage) -> None:
    server.ask("a", want=4 * USD, need=4 * USD)
    server.sweep(NOON + 166)
    assert server.sweep(NOON + 1166) == 1
    assert server.sums() == (4 * USD, 0)
    assert server.ledgers.of(server.team).disputed() == {}
    assert server.ask("a", seq=2, used=5 * USD).spent == 5 * USD
    server.sweep(NOON + 1200 + KEPT_S)
    with storage.read() as db:
        assert db.execute(select(func.count()).select_from(leases)).scalar_one() == 0
    assert server.sums() == (5 * USD, 0)


def test_leases_of_a_window_that_is_over_are_forgotten_with_it(server: Server, storage: Storage) -> None:
    server.ask("a", key="x|run", want=5, expires_at=NOON + 1000)
    server.sweep(NOON + 166)
    server.ledgers.sweep(NOON + 1001)
    with storage.read() as db:
        assert db.execute(select(func.count()).select_from(leases)).scalar_one() == 0
    assert server.sums("x|run") == (0, 0)


def test_two_servers_dispute_a_lease_once(server: Server, storage: Storage) -> None:
    for number in range(30):
        server.ask(f"owner {number}", want=USD // 10, need=USD // 10)
    changed: list[int] = []
    threads = [
        threading.Thread(target=lambda: changed.append(server.leases.sweep(NOON + 166))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(changed) == 30
    assert server.sums() == (3 * USD, 0)


# -- stranded money ---------------------------------------------------------------------------------


def test_stranded_money_is_listed_and_freed_for_a_reason(server: Server, client: TestClient) -> None:
    server.ask("a", want=4 * USD, need=4 * USD, used=USD)
    ledger = server.ledgers.of(server.team)
    ledger.reserve("1", [[Line("-|b", 2 * USD, 1)]], now=NOON, expires_at=NOON + 60)
    server.ledgers.sweep(NOON + 60)
    server.sweep(NOON + 166)
    listed = client.get("/v1/ledger/disputes").json()["disputes"]
    assert [(each["key"], each.get("owner"), each["amount"]) for each in listed] == [
        ("-|b", "a", 3 * USD),
        ("-|b", None, 2 * USD),
    ]
    assert server.sums() == (6 * USD, 0)

    def free(**told: Any) -> Any:
        return client.post("/v1/ledger/disputes/release", json={"key": "-|b"} | told)

    assert free(reason=" ").status_code == 400
    assert free(reason="x", owner=5).status_code == 400
    assert free(reason="pod was killed", owner="nobody", generation=1).status_code == 404
    freed = free(reason="pod was killed", owner="a", generation=1)
    assert freed.json() == {"released": 3 * USD}
    assert free(reason="again", owner="a", generation=1).status_code == 404
    assert free(reason="vendor's invoice").json() == {"released": 2 * USD}
    assert free(reason="again").status_code == 404
    assert client.get("/v1/ledger/disputes").json() == {"disputes": []}
    assert server.sums() == (USD, 0)
    assert ledger.totals([Line("-|b", 0, 0)])[0] == Totals(USD, 0, 0)
    entries = client.get("/v1/audit?limit=2").json()["entries"]
    assert [(each["action"], each["reason"]) for each in entries] == [
        ("dispute.release", "vendor's invoice"),
        ("dispute.release", "pod was killed"),
    ]


def test_freeing_needs_its_scope_and_its_team(server: Server, client: TestClient, storage: Storage) -> None:
    server.ask("a", want=USD, need=USD)
    server.sweep(NOON + 166)
    told = {"key": "-|b", "owner": "a", "generation": 1, "reason": "x"}
    for scopes, status in ((("read", "ledger"), 403), (("policy",), 404)):
        other = new_team(storage, scopes)  # type: ignore[arg-type]
        answer = client.post("/v1/ledger/disputes/release", json=told, headers=dict(other.headers))
        assert answer.status_code == status
    assert server.sums() == (USD, 0)


def test_the_server_looks_for_the_silent_by_itself(storage: Storage, team: Team) -> None:
    settings = Settings(bounds=Bounds(ttl_s=0.0, longest_s=0.0), sweep_s=0.01)
    with TestClient(create_app(storage, settings), headers=dict(team.headers)) as client:
        ask = {"key": "-|b", "generation": 1, "seq": 1, "used": 0, "want": 5, "need": 0}
        answer = client.post("/v1/ledger/leases", json={"owner": "a", "asks": [ask]}).json()
        assert answer["grants"][0]["granted"] == 5
        wait_for(lambda: client.get("/v1/ledger/state").json()["disputed"] == {"-|b": 5})
