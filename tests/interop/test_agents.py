"""Several servers, keys and meters in one process: each call is held to the policy of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import func, select

from aden_transport import (
    BudgetExceededError,
    ConfigurationError,
    MeterOptions,
    create_memory_emitter,
    get_control_agent,
    instrument,
    make_metered_openai,
    ready,
    uninstrument,
)
from aden_transport.control.server.access import ADMIN, create_key, create_team
from aden_transport.control.server.tables import leases
from aden_transport.testing import FakeProvider

from .original_server import eventually
from .our_server import CALL, SLOW, OurServer

BUDGET = {"id": "b1", "name": "All", "type": "global", "limit": 1.0, "limitAction": "kill"}
UNITS = 1_000_000_000


class Team:
    """One of the server's, with a budget."""

    def __init__(self, server: OurServer, name: str) -> None:
        self.server = server
        with server.storage.begin() as db:
            self.team = create_team(db, name, now=0.0)
            _, self.key = create_key(db, self.team, name, ADMIN, now=0.0)
        self.put(limit=1.0)

    def put(self, **terms: Any) -> None:
        told = {"budgets": [{**BUDGET, **terms}]}
        headers = {"authorization": f"Bearer {self.key}"}
        self.server.client.put("/v1/control/policies/default", json=told, headers=headers).raise_for_status()

    def spent(self) -> int:
        headers = {"authorization": f"Bearer {self.key}"}
        told = self.server.client.get("/v1/control/policy", headers=headers).raise_for_status().json()
        return round(float(told["budgets"][0]["spent"]) * UNITS)

    def leased(self) -> int:
        """What is granted and neither used nor given back."""
        open_ones = leases.c.team_id == self.team, leases.c.state != "closed"
        with self.server.storage.read() as db:
            return int(db.scalar(select(func.count()).select_from(leases).where(*open_ones)) or 0)

    def options(self, **more: Any) -> MeterOptions:
        return MeterOptions(api_key=self.key, server_url=self.server.url, control=SLOW, **more)


@pytest.fixture
def server(tmp_path: Path, provider: FakeProvider) -> Iterator[OurServer]:
    with OurServer(tmp_path) as running:
        yield running
        uninstrument()


@pytest.fixture
def teams(server: OurServer) -> tuple[Team, Team]:
    return Team(server, "one"), Team(server, "two")


@pytest.fixture
def clients(provider: FakeProvider) -> Iterator[list[openai.OpenAI]]:
    made = [openai.OpenAI(base_url=provider.openai_base_url, api_key="any") for _ in range(2)]
    yield made
    for client in made:
        client.close()


def cost(memory: Any) -> int:
    return sum(event.charged_nano_usd or 0 for event in memory.events)


def test_a_client_with_a_key_of_its_own_spends_with_that_key(
    teams: tuple[Team, Team], clients: list[openai.OpenAI]
) -> None:
    everything, alone = create_memory_emitter(), create_memory_emitter()
    instrument(teams[0].options(emit_metric=everything))
    assert ready(30)
    make_metered_openai(clients[1], teams[1].options(emit_metric=alone))
    for _ in range(3):
        for client in clients:
            client.chat.completions.create(**CALL)
    # What was attached last is not all that is seen to.
    eventually(lambda: (teams[0].spent(), teams[1].spent()) == (cost(everything), cost(alone)), within=30)
    assert (len(everything.events), len(alone.events)) == (3, 3)
    uninstrument()
    assert teams[0].leased() == 0


def test_each_policy_holds_for_its_own(teams: tuple[Team, Team], clients: list[openai.OpenAI]) -> None:
    teams[0].put(limit=0.0)
    instrument(teams[0].options())
    make_metered_openai(clients[1], teams[1].options())
    with pytest.raises(BudgetExceededError, match="b1"):
        clients[0].chat.completions.create(**CALL)
    assert clients[1].chat.completions.create(**CALL).choices


def test_one_file_is_not_had_by_two_keys(
    teams: tuple[Team, Team], clients: list[openai.OpenAI], tmp_path: Path
) -> None:
    ledger = f"sqlite:///{tmp_path}/sums.sqlite3"
    instrument(teams[0].options(ledger=ledger))
    with pytest.raises(ConfigurationError, match="leave ledger=… out, so that each has a file of its own"):
        make_metered_openai(clients[1], teams[1].options(ledger=ledger))
    make_metered_openai(clients[1], teams[1].options(ledger=f"sqlite:///{tmp_path}/others.sqlite3"))
    assert clients[1].chat.completions.create(**CALL).choices
    uninstrument()
    # One that has ended is in nobody's way.
    instrument(teams[0].options(ledger=ledger))


def test_a_file_of_another_team_is_not_spent_from(
    teams: tuple[Team, Team], clients: list[openai.OpenAI], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, memories = f"sqlite:///{tmp_path}/sums.sqlite3", [create_memory_emitter() for _ in teams]
    for team, memory in zip(teams, memories, strict=True):
        instrument(team.options(ledger=ledger, emit_metric=memory))
        assert ready(30)
        clients[0].chat.completions.create(**CALL)
        uninstrument()
    assert [team.spent() for team in teams] == [cost(memory) for memory in memories]
    assert [team.leased() for team in teams] == [0, 0]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "The file that MeterOptions(ledger=…) names keeps what another team leases: this process spends for "
        "itself. Leave ledger=… out, so that each key has a file of its own, or name another file"
    ]


def test_what_a_meter_that_was_replaced_has_leased_in_memory_goes_back(
    teams: tuple[Team, Team], clients: list[openai.OpenAI]
) -> None:
    memories = [create_memory_emitter() for _ in range(2)]
    agents = []
    for memory in memories:
        instrument(teams[0].options(ledger="memory", emit_metric=memory))
        assert ready(30)
        clients[0].chat.completions.create(**CALL)
        agents.append(get_control_agent())
    assert agents[0] is agents[1]
    uninstrument()
    assert teams[0].spent() == sum(map(cost, memories))
    assert teams[0].leased() == 0
