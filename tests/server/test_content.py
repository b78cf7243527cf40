"""Content beside events: what it says it is, found again, of its team only."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aden_transport.control.server.content import MAX_ITEM_BYTES
from aden_transport.control.server.storage import Storage

from .kit import new_team


def item(content_id: str = "c1", content: str = "a long prompt", **more: Any) -> dict[str, Any]:
    data = content.encode()
    digest = hashlib.sha256(data).hexdigest()
    told = {"content_id": content_id, "content_hash": digest, "content": content, "byte_size": len(data)}
    return told | more


def post(client: TestClient, *items: Any) -> tuple[int, int]:
    answer = client.post("/v1/control/content", json={"items": list(items)})
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    return answer.json()["stored"], answer.json()["refused"]


def test_content_is_found_by_id_and_by_hash(client: TestClient, storage: Storage) -> None:
    told = item()
    assert post(client, told, item("c/2?x", "ü")) == (2, 0)
    assert client.get("/v1/control/content/c1").json() == told
    assert client.get(f"/v1/control/content/hash/{told['content_hash']}").json() == told
    assert client.get("/v1/control/content/c2").status_code == 404
    assert client.get("/v1/control/content/hash/x").status_code == 422
    other = new_team(storage)
    assert client.get("/v1/control/content/c1", headers=dict(other.headers)).status_code == 404


def test_content_that_is_there_stays(client: TestClient) -> None:
    post(client, item())
    assert post(client, item(content="another")) == (1, 0)
    assert client.get("/v1/control/content/c1").json()["content"] == "a long prompt"


@pytest.mark.parametrize(
    "told",
    [
        7,
        {},
        item(content_hash="0" * 64),
        item(byte_size=1),
        item(content_id=""),
        item(content_id="a" * 201),
        item(content_id="ü"),
        {**item(), "content_id": 7},
        item(content="a\0b"),
        item(content="a" * (MAX_ITEM_BYTES + 1)),
        {**item(), "content": None},
    ],
)
def test_content_that_is_not_what_it_says_is_refused(client: TestClient, told: Any) -> None:
    assert post(client, told, item("good")) == (1, 1)
    assert client.get("/v1/control/content/good").status_code == 200


def test_so_many_items_at_once(client: TestClient) -> None:
    assert client.post("/v1/control/content", json={"items": [7] * 101}).status_code == 422
    assert client.post("/v1/control/content", json={"items": 7}).status_code == 422


def test_no_credential_is_kept(client: TestClient) -> None:
    post(client, item(content="my key is sk-proj-CANARY0123456789"))
    assert "CANARY" not in client.get("/v1/control/content/c1").text
