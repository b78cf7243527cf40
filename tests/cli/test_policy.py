"""`aden-transport policy`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aden_transport.cli import main

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


def test_a_model_without_a_price_is_said_to_be_one(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "explain", policy, "--customer", "acme", "--model", "no-such-model"]) == 0
    assert "no-such-model" in capsys.readouterr().out
