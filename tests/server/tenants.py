"""Two teams on one server, and requests of one that try to reach what is the other's."""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi.testclient import TestClient
from sqlalchemy import select

from aden_transport.control.server.access import SCOPES, Scope, create_key, create_team
from aden_transport.control.server.app import Settings, create_app
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import metadata

__all__ = [
    "PUBLIC",
    "SECRET",
    "Role",
    "Tried",
    "Victim",
    "attempts",
    "body_for",
    "fill",
    "filled_server",
    "roles",
    "rows_of",
    "try_all",
]

SECRET = "canary-7c1f-of-the-victim"
"""Stands in all that the victim has stored, and in no id."""
PUBLIC = {"/health", "/ready", "/metrics"}
"""Paths that nobody needs a key for."""
AHEAD_S = 86_400.0


@dataclass(frozen=True)
class Victim:
    """A team, and the names of what it has: whoever attacks knows them."""

    team_id: str
    key_id: str
    token: str = field(repr=False)
    ids: Mapping[str, str]


class Role(NamedTuple):
    """Who asks."""

    name: str
    headers: Mapping[str, str]
    may_nothing: bool


class Attempt(NamedTuple):
    method: str
    path: str
    url: str
    params: dict[str, Any]
    headers: dict[str, str]
    body: Any


class Tried(NamedTuple):
    requests: int
    crossed: list[str]
    """What reached the other team: 0 if all is well."""
    failed: list[str]
    """What the server failed at."""
    admitted: list[str]
    """What was answered to somebody who may nothing."""


@contextmanager
def filled_server(database: str | None) -> Iterator[tuple[TestClient, Storage, Victim]]:
    """A server on an empty database, with a team in it. None: a file that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage(database or f"sqlite:///{folder}/server.sqlite3")
        storage.prepare()
        app = create_app(storage, Settings(sweep_s=3600))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client, storage, fill(client, storage)
        storage.close()


def fill(client: TestClient, storage: Storage) -> Victim:
    """A team with rows in every table."""
    with storage.begin() as db:
        team_id = create_team(db, SECRET, now=time.time())
        key_id, token = create_key(db, team_id, SECRET, SCOPES, now=time.time())
    content = f"prompt {SECRET}"
    ids = {
        "policy_id": "victims-policy",
        "budget_id": "customer:victims-customer",
        "content_id": "victims-content",
        "content_hash": hashlib.sha256(content.encode()).hexdigest(),
        "event_id": "victims-event",
        "op_id": "victims-op",
        "owner": "victims-host",
        "key": "-|customer:victims-customer",
        "instance": "victims-instance",
    }
    victim = Victim(team_id, key_id, token, ids)
    headers = {"Authorization": f"Bearer {token}"}

    def ask(method: str, path: str, body: Any) -> None:
        answer = client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 300, f"{path} {answer.text}"

    budget = {"type": "customer", "name": "*", "limit": 10, "alerts": [{"threshold": 0.001}]}
    notified = {"webhook": False, "webhookUrl": f"https://{SECRET}.example/", "email": False}
    policy = {
        "name": SECRET,
        "budgets": [{**budget, "notifications": notified}],
        "alerts": [{"trigger": "always", "level": "info", "message": SECRET}],
    }
    ask("PUT", "/v1/control/policies/default", policy)
    ask("PUT", f"/v1/control/policies/{ids['policy_id']}", policy)
    ask("PUT", "/tsdb/pricing", {"pricing": {SECRET: {"input": 1, "output": 1}}, "reason": SECRET})
    item = {"content_id": ids["content_id"], "content_hash": ids["content_hash"], "content": content}
    ask("POST", "/v1/control/content", {"items": [item]})
    event = {
        "event_id": ids["event_id"],
        "provider": "openai",
        "model": SECRET,
        "cost_nano_usd": 10**9,
        "metadata": {"customer": "victims-customer", "agent": SECRET, "note": SECRET},
    }
    beat = {"event_type": "heartbeat", "sdk_instance_id": ids["instance"], "agent_name": SECRET}
    ask("POST", "/v1/control/events", {"events": [event, beat]})
    lease = {"key": ids["key"], "generation": 1, "seq": 1, "used": 1, "want": 1000, "need": 1}
    ask("POST", "/v1/ledger/leases", {"owner": ids["owner"], "asks": [lease]})
    ledger = client.app.state.ledgers.of(team_id)  # type: ignore[attr-defined]
    from aden_transport.ledger.base import Line

    line = Line(key=ids["key"], hold=5, expected=5)
    now = time.time()
    call = {"trace_id": SECRET, "span_id": SECRET, "provider": "openai", "operation": "chat", "stream": False}
    for op_id, expires_at in ((ids["op_id"], now + AHEAD_S), ("victims-late-op", 0.0)):
        known = {"event": {**call, "event_id": f"{op_id}-event", "timestamp_s": now}, "models": [SECRET]}
        ledger.reserve(op_id, [[line]], now=now, expires_at=expires_at, intent=known)
    ledger.sweep(now)
    ledger.mark_once(ids["key"], SECRET)
    return victim


def rows_of(storage: Storage, team_id: str) -> dict[str, list[Any]]:
    """All that a team has, but for when its keys were used."""
    found = {}
    with storage.read() as db:
        for table in metadata.sorted_tables:
            owner = table.c.id if table.name == "teams" else table.c.team_id
            columns = [column for column in table.columns if column.name != "last_used_at"]
            rows = db.execute(select(*columns).where(owner == team_id).order_by(*table.primary_key))
            found[str(table.name)] = [tuple(row) for row in rows]
    return found


def roles(storage: Storage, victim: Victim) -> list[Role]:
    """Another team's keys of each scope, of all and of none; and those who have no key that is in force."""
    now = time.time()
    with storage.begin() as db:
        team_id = create_team(db, "attacker", now=now)

        def key(*scopes: Scope, expires_at: float | None = None) -> dict[str, str]:
            token = create_key(db, team_id, "attacker", scopes, now=now, expires_at=expires_at)[1]
            return {"Authorization": f"Bearer {token}"}

        found = [Role(scope, key(scope), False) for scope in SCOPES]
        found += [Role("all scopes", key(*SCOPES), False), Role("no scope", key(), True)]
        found += [Role("expired", key(*SCOPES, expires_at=now - 1), True)]
    prefix = victim.token.split("_")[1]
    forged = {"Authorization": f"Bearer aden_{prefix}_{'A' * 43}"}
    return [
        *found,
        Role("no key", {}, True),
        Role("forged", forged, True),
        Role("key id", {"Authorization": f"Bearer {victim.key_id}"}, True),
        Role("other scheme", {"Authorization": f"Basic {victim.token}"}, True),
    ]


def attempts(schema: Mapping[str, Any], victim: Victim, chance: random.Random) -> Iterator[Attempt]:
    """Each route once, with names of the victim's wherever a name goes."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            values = {
                "attribute": chance.choice(["customer", "agent", "note"]),
                "name": chance.choice(["victims-customer", SECRET[:6]]),
                "wait": "0",
                "kind": chance.choice(["budgets", "throttles", "blocks", "degradations", "alerts"]),
                **victim.ids,
            }
            url, params = path, {}
            for parameter in operation.get("parameters", ()):
                name = parameter["name"]
                if parameter["in"] == "path":
                    url = url.replace(f"{{{name}}}", quote(values.get(name, victim.team_id), safe=""))
                elif parameter["in"] == "query" and chance.random() < 0.5:
                    params[name] = values.get(name, chance.choice([0, 1, 5]))
            yield Attempt(
                method.upper(),
                path,
                url,
                params | chance.choice([{}, {"team_id": victim.team_id}, {"policy_id": "victims-policy"}]),
                chance.choice(
                    [{}, {"X-Policy-ID": "victims-policy"}, {"X-SDK-Instance-ID": "victims-instance"}]
                ),
                body_for(path, victim, chance) if method in ("post", "put", "patch") else None,
            )


def body_for(path: str, victim: Victim, chance: random.Random) -> Any:
    ids = victim.ids
    line = {"key": ids["key"], "hold": 1, "expected": 1, "unit": "usd", "also": [], "expires_at": 0}
    event = {"event_id": ids["event_id"], "provider": "openai", "cost_nano_usd": 5, "team_id": victim.team_id}
    ask = {"key": ids["key"], "generation": 1, "seq": 9, "used": 900, "want": 0, "need": 0, "final": True}
    common = {
        "team_id": victim.team_id,
        "op_id": ids["op_id"],
        "owner": ids["owner"],
        "key": ids["key"],
        "ref": ids["op_id"],
        "budget_id": ids["budget_id"],
        "policy_id": ids["policy_id"],
        "generation": 1,
        "reason": "attack",
        "limit": chance.choice([0, 1, 1000]),
        "amount": 1,
        "amounts": {"usd": 0},
        "estimated_cost": 0.5,
        "context": {"customer": "victims-customer"},
        "mark": SECRET[:6],
        "spent": 10**12,
        "lines": [line],
        "candidates": [[line]],
        "now": time.time(),
        "expires_at": time.time() + 60,
        "events": [event, {**event, "event_id": f"a{chance.getrandbits(40)}"}],
        "asks": [ask],
        "items": [{"content_id": ids["content_id"], "content_hash": ids["content_hash"], "content": "x"}],
        "pricing": {"gpt-4o": {"input": 0, "output": 0}},
        "budgets": [{"type": "customer", "name": "*", "limit": 1}],
        "by": 1,
        "name": "attacker",
    }
    if "polic" in path:
        return chance.choice([{"budgets": common["budgets"]}, {"name": "x", "limit": 1}, common])
    if chance.random() < 0.2:
        return {name: common[name] for name in chance.sample(sorted(common), 6)}
    return common


def try_all(client: TestClient, storage: Storage, victim: Victim, *, requests: int, seed: int) -> Tried:
    """At least so many requests, every route by every role; what came of them."""
    chance = random.Random(seed)
    asking = roles(storage, victim)
    schema = client.get("/openapi.json").json()
    before = rows_of(storage, victim.team_id)
    crossed, failed, admitted = list[str](), list[str](), list[str]()
    done = 0
    while done < requests:
        for role in asking:
            for one in attempts(schema, victim, chance):
                done += 1
                answer = client.request(
                    one.method,
                    one.url,
                    params=one.params,
                    json=one.body,
                    headers={**one.headers, **role.headers, "X-Forwarded-For": "127.0.0.1"},
                )
                said = f"{role.name} {one.method} {one.url} {answer.status_code}"
                if SECRET in answer.text or victim.key_id in answer.text:
                    crossed.append(f"{said} {answer.text[:200]}")
                if answer.status_code >= 500:
                    failed.append(f"{said} {answer.text[:200]}")
                if role.may_nothing and answer.status_code < 400 and one.path not in PUBLIC:
                    admitted.append(said)
    after = rows_of(storage, victim.team_id)
    crossed += [f"{name} has changed" for name in before if before[name] != after[name]]
    return Tried(done, crossed, failed, admitted)
