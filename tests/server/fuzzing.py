"""Requests made up from the schema that the server publishes: proper ones, and ones that break it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core import NotSet
from starlette.testclient import TestClient

__all__ = ["Fuzzed", "fuzz"]

CHECKS: list[Any] = list(HealthCheck)
NASTY: list[Any] = [
    *(None, True, 0, -1, 2**63, -(2**70), 10**400, 1e308, float("nan"), float("inf"), 0.1),
    *("", " ", "\0", "\ud800", "a" * 5000, "'; DROP TABLE sums; --", "-|customer:x", "|", "#|"),
    *([], {}, [[]], [None], {"": None}, "NaN", "../../etc/passwd", "%", "2026-13-45", "{}", "é" * 300),
]


class Fuzzed(NamedTuple):
    requests: int
    failed: list[str]
    """What was answered with 5xx, or not at all."""
    routes: set[str]


def fuzz(
    client: TestClient, bodies: Callable[[str, random.Random], Any], *, examples: int, start: int
) -> Fuzzed:
    """So many requests of each kind to each route, with the client's key. The same `start`: the same ones.

    `bodies(path, chance)` gives a proper body, of which members are replaced by nasty ones.
    """
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    results: Any = schema.get_all_operations()
    operations = [result.ok() for result in results]
    failed, routes, asked = list[str](), set[str](), 0
    chance = random.Random(start)
    for operation in operations:
        cases = [*_made(operation, examples, start), *_spoiled(operation, bodies, examples, chance)]
        for case in cases:
            asked += 1
            routes.add(f"{operation.method.upper()} {operation.path}")
            failed += _send(client, case)
    return Fuzzed(asked, failed, routes)


class Case(NamedTuple):
    method: str
    path: str
    query: dict[str, Any]
    body: bytes | None


def _made(operation: Any, examples: int, start: int) -> list[Case]:
    """What the schema admits, and what it does not."""
    found: list[Case] = []
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @seed(start)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=CHECKS,
        )
        @given(operation.as_strategy(generation_mode=mode))
        def keep(case: Any) -> None:
            body = None if isinstance(case.body, NotSet) else case.body
            query = {name: value for name, value in (case.query or {}).items() if name != "wait"}
            found.append(Case(case.method, case.formatted_path, query, _json(body)))

        try:
            keep()
        except Unsatisfiable:
            pass  # Nothing that this route is asked can break its schema.
    return found


def _spoiled(
    operation: Any, bodies: Callable[[str, random.Random], Any], examples: int, chance: random.Random
) -> Iterator[Case]:
    if operation.method.lower() not in ("post", "put"):
        return
    for _ in range(examples):
        body = _spoil(bodies(operation.path, chance), chance, chance.randint(1, 3))
        path = operation.path
        while "{" in path:
            head, _, rest = path.partition("{")
            path = (
                head
                + chance.choice(["default", "x", "customer:a", "%00", "budgets", "a" * 300])
                + rest.partition("}")[2]
            )
        yield Case(operation.method, path, {}, _json(body))


def _spoil(value: Any, chance: random.Random, times: int) -> Any:
    """With some members, somewhere in it, of another kind."""
    for _ in range(times):
        if isinstance(value, dict) and value and chance.random() < 0.9:
            name = chance.choice(sorted(value))
            value = {**value, name: _spoil(value[name], chance, 1)}
        elif isinstance(value, list) and value and chance.random() < 0.7:
            at = chance.randrange(len(value))
            value = [*value[:at], _spoil(value[at], chance, 1), *value[at + 1 :]]
        else:
            value = chance.choice(NASTY)
    return value


def _json(body: Any) -> bytes | None:
    return None if body is None else json.dumps(body, default=str).encode("ascii")


def _send(client: TestClient, case: Case) -> list[str]:
    said = f"{case.method} {case.path} {case.query} {(case.body or b'')[:300]!r}"
    try:
        answer = client.request(case.method, case.path, params=case.query, content=case.body)
    except (httpx.InvalidURL, UnicodeEncodeError):
        return []  # What no client can send.
    return [f"{answer.status_code} {said}"] if answer.status_code >= 500 else []
