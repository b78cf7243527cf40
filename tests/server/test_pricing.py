"""Prices as Aden's client reads them, and a team's own before them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.agent.received import read_prices
from aden_transport.control.server import pricing as server_pricing
from aden_transport.control.server.pricing import Pricing
from aden_transport.control.server.storage import ANY, Storage
from aden_transport.events import NormalizedUsage
from aden_transport.pricing import PriceBook
from aden_transport.pricing.snapshot import bundled

from .kit import Team, new_team

USAGE = NormalizedUsage(input_tokens=1_000_000, output_tokens=1_000_000)


def pricing(client: TestClient, **more: Any) -> dict[str, Any]:
    answer = client.get("/tsdb/pricing", **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["pricing"]
    return found


def aden_py(pricing: dict[str, Any], model: str) -> dict[str, float]:
    """As aden-py 0.4.5 looks a model up: exactly, by an alias, by the first two-way prefix."""
    prices = {name.lower(): rates for name, rates in pricing.items()}
    aliases = {alias.lower(): name for name, rates in prices.items() for alias in rates.get("aliases") or []}
    name = model.lower()
    if name in prices:
        found = prices[name]
    elif name in aliases:
        found = prices[aliases[name]]
    else:
        found = next(rates for key, rates in prices.items() if name.startswith(key) or key.startswith(name))
    return {key: found[key] for key in ("input", "output", "cached_input")}


def test_the_book_is_told_in_dollars_per_million_tokens(client: TestClient) -> None:
    found = pricing(client)
    assert len(found) > 500
    assert aden_py(found, "gpt-4o") == {"input": 2.5, "output": 10.0, "cached_input": 1.25}
    assert aden_py(found, "gpt-4o-mini-2024-07-18") == {"input": 0.15, "output": 0.6, "cached_input": 0.075}
    assert aden_py(found, "claude-3-5-sonnet-20241022")["input"] == 3
    for rates in found.values():
        assert all(rates[name] >= 0 for name in ("input", "output", "cached_input"))
        assert isinstance(rates["aliases"], list)


def test_a_team_s_own_prices_come_first_and_are_in_the_audit(
    client: TestClient, storage: Storage, team: Team
) -> None:
    own = {"input": 1, "output": 2.5, "aliases": ["Mine"]}
    told = {"pricing": {"GPT-4o": own, "openai/o1": {"input": 3, "output": 4}}, "reason": "our contract"}
    answer = client.put("/tsdb/pricing", json=told)
    assert answer.status_code == 200, answer.text
    assert pricing(client)["gpt-4o"] == {"input": 1, "output": 2.5, "aliases": ["mine"]}
    entries = client.get("/v1/audit").json()["entries"]
    assert {(each["action"], each["subject"], each["reason"]) for each in entries} == {
        ("pricing.put", "gpt-4o", "our contract"),
        ("pricing.put", "openai/o1", "our contract"),
    }
    prices = client.app.state.pricing.of(team.id, time.time())  # type: ignore[attr-defined]
    assert prices.cost("openai", "gpt-4o-2024-08-06", USAGE, time.time(), None) == 3_500_000_000
    assert prices.cost("openai", "mine", USAGE, time.time(), None) == 3_500_000_000
    assert prices.cost("openai", "o1", USAGE, time.time(), None) == 7_000_000_000
    assert client.put("/tsdb/pricing", json={"pricing": {"gpt-4o": None}}).json()["pricing"].keys() == {
        "openai/o1"
    }
    assert pricing(client)["gpt-4o"]["input"] == 2.5
    other = new_team(storage)
    assert pricing(client, headers=dict(other.headers))["openai/o1"]["input"] == 15


def test_a_client_with_data_as_new_gets_the_team_s_own_alone(client: TestClient) -> None:
    own = {"input": 1, "output": 2, "aliases": []}
    client.put("/tsdb/pricing", json={"pricing": {"mine": own}})
    as_of = bundled().as_of
    for known in (as_of, "9999-01-01"):
        assert pricing(client, params={"as_of": known}) == {"mine": own}
    assert pricing(client)["gpt-4o"]["input"] == 2.5


def test_a_client_with_older_data_gets_all_prices_by_provider(client: TestClient) -> None:
    client.put("/tsdb/pricing", json={"pricing": {"openai/gpt-4o": {"input": 1, "output": 2}}})
    found = pricing(client, params={"as_of": "2024-01-01"})
    assert found["openai/gpt-4o"]["input"] == 1
    assert found["openai/o1"]["input"] == 15
    assert len({name.partition("/")[0] for name in found}) > 20
    book = PriceBook()
    book.tell(read_prices({"pricing": found}))
    now = time.time()
    for provider, model, source in (
        ("openai", "gpt-4o", "server"),
        ("openai", "gpt-4o-mini", "genai-prices"),
        ("groq", "llama-3.3-70b-versatile", "genai-prices"),
    ):
        prices = book.find(provider, model, at=now)
        assert prices is not None
        assert prices.source.startswith(source)


@pytest.mark.parametrize("params", [{}, {"as_of": "2024-01-01"}, {"as_of": "9999-01-01"}])
def test_prices_that_are_known_are_not_told_again(client: TestClient, params: dict[str, str]) -> None:
    first = client.get("/tsdb/pricing", params=params)
    known = {"If-None-Match": first.headers["etag"]}
    again = client.get("/tsdb/pricing", params=params, headers=known)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    client.put("/tsdb/pricing", json={"pricing": {"m": {"input": 1, "output": 1}}})
    assert client.get("/tsdb/pricing", params=params, headers=known).status_code == 200


def test_another_server_hears_of_a_change(client: TestClient, storage: Storage, team: Team) -> None:
    far = Pricing(storage)
    now = time.time()
    assert far.of(team.id, now).own == {}
    client.put("/tsdb/pricing", json={"pricing": {"m": {"input": 1, "output": 1}}})
    assert far.of(team.id, now).own == {}
    far.heard(ANY)
    assert far.of(team.id, now).own.keys() == {"m"}
    known = far.of(team.id, now)
    assert far.of(team.id, now + 60) is known


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"pricing": []},
        {"pricing": {}},
        {"pricing": {"": {"input": 1, "output": 1}}},
        {"pricing": {"a\u0000": {"input": 1, "output": 1}}},
        {"pricing": {"m": 7}},
        {"pricing": {"m": {"input": 1}}},
        {"pricing": {"m": {"input": -1, "output": 1}}},
        {"pricing": {"m": {"input": True, "output": 1}}},
        {"pricing": {"m": {"input": "1", "output": 1}}},
        {"pricing": {"m": {"input": 1e300, "output": 1}}},
        {"pricing": {"m": {"input": 1, "output": 1, "free": True}}},
        {"pricing": {"m": {"input": 1, "output": 1, "aliases": "x"}}},
        {"pricing": {"m": {"input": 1, "output": 1, "aliases": [7]}}},
        {"pricing": {f"m{n}": {"input": 1, "output": 1} for n in range(1001)}},
    ],
)
def test_prices_that_cannot_be_are_said(client: TestClient, told: dict[str, Any]) -> None:
    answer = client.put("/tsdb/pricing", json=told)
    assert answer.status_code == 422
    assert answer.json()["message"]


def test_a_team_has_so_many_prices_of_its_own(client: TestClient) -> None:
    for part in range(2):
        told = {f"m{part}.{n}": {"input": 1, "output": 1} for n in range(600)}
        assert client.put("/tsdb/pricing", json={"pricing": told}).status_code == (200, 422)[part]


def test_prices_that_are_set_at_once_are_all_set(client: TestClient) -> None:
    together = threading.Barrier(4)

    def put(number: int) -> int:
        together.wait(60)
        told = {"pricing": {f"m{n}": {"input": number, "output": 1} for n in range(50)}}
        return client.put("/tsdb/pricing", json=told).status_code

    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(put, range(4))) == [200] * 4


def test_what_changes_while_prices_are_read_is_heard(
    storage: Storage, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, now = Pricing(storage), time.time()
    stored: list[dict[str, Any]] = [{}, {"m": {"input": 1, "output": 1}}]

    def read(*_: object) -> dict[str, Any]:
        if len(stored) > 1:
            told.heard(ANY)  # Of a change that this look does not see.
        return stored.pop(0)

    monkeypatch.setattr(server_pricing, "own_prices", read)
    assert told.of(team.id, now).own == {}
    assert list(told.of(team.id, now).own) == ["m"]
