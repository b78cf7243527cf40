"""No secret in any table, file or log of a server: neither keys of ours, nor those of vendors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from traceback import format_exception

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from aden_transport.control.server.access import create_key
from aden_transport.control.server.backup import backup
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import metadata

from .kit import Team
from .served import served
from .test_content import item
from .test_incoming import aden_py, ours

CANARY = "CANARY4f1d9c72a8"
SECRETS = [
    f"sk-proj-{CANARY}abcdef0123456789",
    f"sk-ant-api03-{CANARY}abcdef",
    f"AIzaSy{CANARY}abcdef0123456789",
    f"Bearer {CANARY}abcdef0123456789",
    f"https://api.example.com/v1/models?key={CANARY}abcdef",
    f"aden_0123456789ab_{CANARY}abcdefghijklmnop",
]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_no_secret_stays_anywhere(storage: Storage, team: Team, address: str, tmp_path: Path) -> None:
    folder = tmp_path / "of-the-server"
    folder.mkdir()
    with served(address, folder) as server:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            _tell_everything(client, team)
        log = server.log
    backup(storage, folder / "copy.jsonl", portable=True)
    told = {"log": log, "tables": _tables(storage)}
    # Beside the tables: journals, copies, and what else lies there.
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    told |= {str(path.name): path.read_bytes().decode("latin-1") for path in files}
    for where, all_of_it in told.items():
        assert CANARY not in all_of_it, f"{where}: {_around(all_of_it, CANARY)}"
        assert team.token not in all_of_it, where
        assert team.token.split("_", 2)[2] not in all_of_it, where
    # It was looked for where it would be.
    assert "[redacted]" in told["tables"]
    assert "POST /v1/control/events" in log
    assert hashlib.sha256(team.token.encode()).hexdigest() in told["tables"]


def _tell_everything(client: httpx.Client, team: Team) -> None:
    headers = dict(team.headers)
    for n, secret in enumerate(SECRETS):
        events = [
            ours(f"e{n}", error=f"401 for {secret}", request_id=secret, metadata={"customer": secret}),
            aden_py(error=secret, span_id=f"{n:016x}", call_stack=[secret], metadata={secret: secret}),
            {"event_type": "error", "event_id": f"r{n}", "message": secret, "stack": f"at {secret}"},
            {"event_type": "control", "event_id": f"c{n}", "reason": secret, "original_model": secret},
            {"event_type": "heartbeat", "sdk_instance_id": f"i{n}", "agent_name": secret, "x": [secret]},
        ]
        answer = client.post("/v1/control/events", json={"events": events}, headers=headers)
        assert answer.json()["processed"] == 5
        content = f"my key is {secret}"
        digest = hashlib.sha256(content.encode()).hexdigest()
        item = {"content_id": f"c{n}", "content_hash": digest, "content": content}
        client.post("/v1/control/content", json={"items": [item]}, headers=headers)
        # Keys that are none of ours, wherever a client may put one by mistake.
        client.get("/v1/control/events", headers={"Authorization": f"Bearer {secret}"})
        client.get("/v1/control/events", headers={"Authorization": secret, "X-API-Key": secret})
        client.get("/v1/control/events", headers={**headers, "Cookie": f"key={secret}"})
        client.post("/v1/control/events", content=secret.encode(), headers=headers)
        client.post("/v1/ledger/leases", json={"owner": 7, "asks": secret}, headers=headers)


def _tables(storage: Storage) -> str:
    with storage.read() as db:
        names = [table.name for table in metadata.sorted_tables]
        return repr([db.execute(text(f"SELECT * FROM {name}")).all() for name in names])


def _around(told: str, canary: str) -> str:
    at = told.find(canary)
    return told[max(0, at - 200) : at + 100]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_key_is_stored_as_its_hash_and_shown_once(storage: Storage, team: Team) -> None:
    with storage.begin() as db:
        _, token = create_key(db, team.id, "another", ["read"], now=0)
    assert token.split("_", 2)[2] not in _tables(storage)


def test_an_error_of_the_database_does_not_say_what_was_written(storage: Storage, client: TestClient) -> None:
    with storage.begin() as db:
        db.exec_driver_sql("ALTER TABLE content RENAME TO elsewhere")
    told = {"items": [item("c1", f"a prompt with {CANARY}")]}
    with pytest.raises(DBAPIError) as caught:
        client.post("/v1/control/content", json=told)
    assert "content" in str(caught.value)
    assert CANARY not in "".join(format_exception(caught.value))
