"""Several servers on one database, one of them killed: every event counts once, and is read once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server.storage import Storage

from .kit import Team, wait_for
from .served import Served, served
from .test_events import fresh, post, spent

COST = 75_000
POLICY = {"budgets": [{"name": "all", "limit": 100}, {"type": "customer", "name": "*", "limit": 10}]}


def batches(count: int, size: int) -> list[list[dict[str, Any]]]:
    """The second half of each is the first half of the next: whoever sends them sends everything twice."""
    told = [fresh(event_id=f"e{n:05}", metadata={"customer": f"c{n % 5}"}) for n in range(count * size)]
    half = size // 2
    return [told[start : start + size] for start in range(0, len(told), half)]


@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_two_servers_one_killed_and_every_event_counts_once(
    storage: Storage, team: Team, address: str, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    work = batches(20, 20)
    with served(address, folders[0]) as one, served(address, folders[1]) as other:
        _put(one, team)
        senders = [
            threading.Thread(target=_send, args=(team, part, [one, other]))
            for part in (work, list(reversed(work)), work[::2], work[1::2])
        ]
        for sender in senders:
            sender.start()
        wait_for(lambda: spent(storage, team).get("-|global:all", 0) >= 60 * COST)
        one.process.kill()
        for sender in senders:
            sender.join()
        assert "Traceback" not in other.log
    found = spent(storage, team)
    assert found["-|global:all"] == 400 * COST
    assert [found[f"-|customer:c{n}"] for n in range(5)] == [80 * COST] * 5


def _put(server: Served, team: Team) -> None:
    url = f"{server.url}/v1/control/policies/default"
    assert httpx.put(url, json=POLICY, headers=dict(team.headers), trust_env=False).status_code == 200


def _send(team: Team, work: Sequence[list[dict[str, Any]]], servers: Sequence[Served]) -> None:
    """Each batch until a server has acknowledged it."""
    turn = 0
    with httpx.Client(headers=dict(team.headers), trust_env=False, timeout=60) as client:
        for batch in work:
            while True:
                turn += 1
                url = f"{servers[turn % len(servers)].url}/v1/control/events"
                try:
                    answer = client.post(url, json={"events": batch})
                except httpx.TransportError:
                    continue
                assert answer.status_code == 200, answer.text
                assert answer.json()["processed"] == len(batch)
                break


def test_whoever_follows_the_tail_misses_nothing(client: TestClient) -> None:
    cursor = client.get("/v1/control/events/tail").json()["cursor"]
    parts = [[[fresh(event_id=f"e{n}.{m}.{k}") for k in range(3)] for m in range(12)] for n in range(4)]
    writers = [
        threading.Thread(target=lambda part=part: [post(client, *batch) for batch in part]) for part in parts
    ]
    for writer in writers:
        writer.start()
    seen: list[str] = []
    while len(seen) < 4 * 12 * 3:
        params = {"cursor": cursor, "limit": 7, "wait": 10}
        page = client.get("/v1/control/events/tail", params=params).json()
        assert page["events"], "nothing came for ten seconds"
        seen += [event["event_id"] for event in page["events"]]
        cursor = page["cursor"]
    for writer in writers:
        writer.join()
    assert sorted(seen) == sorted(event["event_id"] for part in parts for batch in part for event in batch)
    assert client.get("/v1/control/events/tail", params={"cursor": cursor}).json()["events"] == []
