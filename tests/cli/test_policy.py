"""`aden-transport policy`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from aden_transport.cli import main
from aden_transport.ledger.base import Line
from aden_transport.ledger.opened import open_ledger
from aden_transport.policy import Index, load

from ..ledger.redis_server import shared_server

POLICY: dict[str, Any] = {
    "budgets": [
        {
            "type": "customer",
            "name": "*",
            "limit": 0.05,
            "period": "daily",
            "thresholds": [{"percent": 80, "action": "degrade", "degradeTo": "gpt-4o-mini"}],
            "limitAction": "block",
        }
    ]
}


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(POLICY))
    return str(path)


def test_check_says_what_a_policy_has(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", policy]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 budget\n")
    assert "customer:*: $0.05 each, daily" in out


def test_check_names_each_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"budgets": [{"type": "customer", "limit": "much"}]}')
    assert main(["policy", "check", str(path)]) == 2
    faults = capsys.readouterr().err
    assert "budgets[0].limit" in faults
    assert "budgets[0].name" in faults


@pytest.mark.parametrize(
    ("spent", "code", "words"),
    [
        ("0", 0, "openai gpt-4o: allow"),
        ("0.045", 0, "degrade to gpt-4o-mini"),
        ("0.0499", 1, "blocked by budget customer:acme"),
    ],
)
def test_explain_says_what_would_be_done_and_why(
    policy: str, spent: str, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "explain", policy, "--customer", "acme", "--spent", spent]) == code
    assert words in capsys.readouterr().out


def explain(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["policy", "explain", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_json_has_the_figures(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = explain(capsys, policy, "--customer", "acme", "--spent", "0.0499")
    (budget,), (why,) = found["budgets"], found["because"]
    assert (code, found["action"], why["cause"], why["budget_id"]) == (1, "block", "limit", "customer:acme")
    assert (why["spent"], why["reserved"], why["limit"]) == (0.0499, 0, 0.05)
    assert (budget["spent"], budget["limit"], budget["period"]) == (0.0499, 0.05, "daily")
    assert why["estimate"] == 0.00075
    assert "raise the limit of customer:acme" in why["remedy"]
    assert why["resets_at"] == budget["resets_at"]
    known = {"model": "gpt-4o", "most_usd": 0.0125, "expected_usd": 0.0125, "unknown": None}
    assert found["candidates"][0] == known
    assert found["size"] == "1000 tokens in, 1000 out"


LEDGERS = ["sqlite", "redis"]


@pytest.mark.parametrize("store", LEDGERS)
def test_the_sums_of_a_ledger_are_the_real_ones(
    policy: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = shared_server().url if store == "redis" else f"sqlite:///{tmp_path}/budgets.sqlite3"
    customer = f"acme-{os.urandom(4).hex()}"
    budget = load(POLICY).budgets[0]
    (match,) = Index(load(POLICY)).match({"customer": customer}, time.time())
    ledger = open_ledger(address, lasting=True)
    line = Line(match.ledger_key, 5_000_000, 5_000_000, expires_at=match.window.expires_at)
    ledger.raise_to(match.ledger_key, 35_000_000, mark="m", expires_at=match.window.expires_at)
    ledger.reserve("op", [[line]], now=time.time(), expires_at=time.time() + 60)
    code, found = explain(capsys, policy, "--customer", customer, "--ledger", address)
    assert (code, found["action"], found["to_model"]) == (0, "degrade", "gpt-4o-mini")
    assert (found["budgets"][0]["spent"], found["budgets"][0]["reserved"]) == (0.035, 0.005)
    assert main(["policy", "explain", policy, "--customer", customer, "--ledger", address]) == 0
    assert "spent $0.035, reserved $0.005" in capsys.readouterr().out
    ledger.release("op")
    ledger.close()
    assert budget.terms.limit == 50_000_000


@pytest.mark.parametrize("address", ["memory", "sqlite:////none.sqlite3", "default", "postgres://x"])
def test_a_ledger_that_is_not_there_is_said_to_be_so_and_not_made(
    policy: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["policy", "explain", policy, "--ledger", address]) == 2
    assert "ledger" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.sqlite3"))


@pytest.mark.parametrize(
    ("provider", "request_", "basis", "most"),
    [
        (
            "openai",
            {"model": "gpt-4o", "messages": [], "max_tokens": 1000},
            "chat, bytes, max_tokens",
            0.0102,
        ),
        ("openai", {"model": "gpt-4o", "input": "hi", "max_output_tokens": 1000}, "responses, bytes", 0.0102),
        ("openai", {"model": "text-embedding-3-small", "input": "hi"}, "embeddings, bytes", 4e-6),
        (
            "anthropic",
            {"model": "claude-haiku-4-5", "max_tokens": 1000, "messages": []},
            "chat, bytes, max_tokens",
            0.0052,
        ),
        (
            "gemini",
            {"model": "gemini-2.5-flash", "contents": [], "generationConfig": {"maxOutputTokens": 1000}},
            "generate_content, bytes, max_tokens",
            0.0026,
        ),
    ],
)
def test_a_request_is_sized_as_if_it_were_sent(
    policy: str,
    provider: str,
    request_: dict[str, Any],
    basis: str,
    most: float,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({**request_, "metadata": {"customer_id": "acme"}}, indent=2))
    _, found = explain(capsys, policy, "--provider", provider, "--request", str(path))
    assert found["model"] == request_["model"]
    assert [budget["budget_id"] for budget in found["budgets"]] == ["customer:acme"]
    assert found["size"].startswith(basis)
    assert most * 0.5 < found["candidates"][0]["most_usd"] < most * 1.5


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("{", (), "is not JSON"),
        ("[]", (), "is no object"),
        ('{"messages": []}', (), "names no model"),
        ('{"model": "m"}', (), "is none that openai is asked"),
        ('{"model": "m", "messages": []}', ("--provider", "nobody"), "requests are read of"),
        (None, (), "cannot be read"),
    ],
)
def test_a_request_that_cannot_be_read_is_wrong_usage(
    policy: str,
    text: str | None,
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "request.json"
    if text is not None:
        path.write_text(text)
    assert main(["policy", "explain", policy, "--request", str(path), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_model_without_a_price_is_said_to_be_one(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--customer", "acme", "--model", "no-such-model")
    assert main(["policy", "explain", policy, *asked]) == 0
    said = "candidate no-such-model: its price is not known; nothing is held for it, as on_unknown says"
    assert said in capsys.readouterr().out
    code, told = explain(capsys, policy, *asked)
    assert (code, told["candidates"][0]) == (
        0,
        {"model": "no-such-model", "most_usd": None, "expected_usd": None, "unknown": "price"},
    )


def test_what_is_taken_for_an_unknown_price_is_told_as_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"budgets": [{"limit": 5, "on_unknown": {"price": 0.5}}]}')
    assert main(["policy", "explain", str(file), "--model", "no-such-model"]) == 0
    assert "its price is not known; $0.50 is held for it" in capsys.readouterr().out
    _, told = explain(capsys, str(file), "--model", "no-such-model")
    assert (told["candidates"][0]["most_usd"], told["candidates"][0]["unknown"]) == (0.5, "price")
