"""What is no name reaches no budget by chance, and no application as an error."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from aden_transport import BudgetExceededError

from .kit import HELLO, Enforced, enforced

BLOCKED: dict[str, Any] = {
    "budgets": [
        {"type": kind, "name": name, "limit": 0, "limitAction": "block"}
        for kind in ("agent", "tenant", "customer", "feature", "tag")
        for name in ("True", "1", "None", "null", "[]", "{}", "acme", "{'a': 1}")
    ],
    "blocks": [{"agent": "True"}, {"customer": "a*me"}, {"context_id": "[*]"}],
}
"""Whoever is taken for one of these is blocked."""
NAMES = ("agent", "tenant_id", "customer", "feature", "tags", "context_id")
WRONG: list[Any] = [
    True,
    None,
    [],
    {},
    {"a": 1},
    [["acme"]],
    "ACME",
    "acme ",
    "*",
    "",
    0.5,
    -1,
    10**40,
    "x" * 100_000,
    "\ud800",
    "acme\x00",
    [{"a": 1}] * 1000,
]


def post(run: Enforced, metadata: Any) -> None:
    """Whatever the vendor says to it."""
    body = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 5, "metadata": metadata}
    url = f"{run.provider.openai_base_url}/chat/completions"
    httpx2.post(url, content=json.dumps(body), headers={"user-agent": "OpenAI/Python 3"})


def test_metadata_of_wrong_types_matches_nothing_and_raises_nothing() -> None:
    with enforced(BLOCKED) as run:
        for value in WRONG:
            post(run, dict.fromkeys(NAMES, value))
            post(run, {**dict.fromkeys(map(str, range(100)), value), "order": value})
            post(run, value)
        found = [(event.decision.action, event.faults) for event in run.events]
        assert found == [("allow", ())] * (3 * len(WRONG))


def test_deep_metadata_is_a_name_like_any_other() -> None:
    template = {"type": "customer", "name": "*", "limit": 0.001, "limitAction": "block"}
    with enforced(template) as run:
        for _ in range(2):
            with pytest.raises(BudgetExceededError):
                value: Any = "acme"
                for _ in range(900):
                    value = [value]
                while True:
                    post(run, {"customer": value})
        assert run.events[-1].decision.budget_id == "customer:<list>"


def test_a_limit_of_0_blocks_every_call_and_sends_nothing() -> None:
    for policy in ({"limit": 0}, {"limit": 0.0, "limitAction": "degrade", "degradeToModel": "gpt-4o-mini"}):
        with enforced(policy) as run:
            before = run.provider.bytes_received
            if "limitAction" in policy:
                run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=5)
                assert run.events[0].request_model == "gpt-4o-mini"
                continue
            with pytest.raises(BudgetExceededError):
                run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=5)
            assert run.provider.bytes_received == before
