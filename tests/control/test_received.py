"""What a server sends, read whole or refused whole."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport import ConfigurationError
from aden_transport.control.agent.received import is_older, read_policy, read_prices

NANO = 1_000_000_000


def document(**members: Any) -> dict[str, Any]:
    budget = {"id": "b1", "type": "global", "limit": 10.0, "spent": 2.5, "limitAction": "kill"}
    return {"id": "default", "version": "7", "budgets": [budget], **members}


def test_sums_are_told_apart_from_the_policy() -> None:
    one, other = read_policy(document(), expected=False), read_policy(document(version="8"), expected=False)
    assert one.spent == {"b1": round(2.5 * NANO)}
    assert one.policy.budgets[0].spent == 0
    assert one.policy == other.policy
    assert (one.version, other.version) == ("7", "8")


def test_limits_of_a_server_without_leases_are_of_what_is_expected() -> None:
    (hard,) = read_policy(document(), expected=False).policy.budgets
    (expected,) = read_policy(document(), expected=True).policy.budgets
    assert (hard.terms.mode, expected.terms.mode) == ("hard", "expected")


HOSTILE: list[Any] = [
    None,
    7,
    "x",
    [],
    {"budgets": 7},
    {"budgets": [{"type": "global", "limit": "10"}]},
    {"budgets": [{"type": "global", "limit": float("nan")}]},
    {"budgets": [{"type": "global", "limit": float("inf")}]},
    {"budgets": [{"type": "global", "limit": -1}]},
    {"budgets": [{"type": "global", "limit": 1, "spent": -1}]},
    {"budgets": [{"type": "global", "limit": 1e300}]},
    {"budgets": [{"type": "universe", "limit": 1}]},
    {"budgets": [{"type": "global", "limit": 1, "thresholds": [{"percent": 50, "action": "exec"}]}]},
    {"budgets": [{"type": "global", "limit": 1, "delayMs": 1e12, "limitAction": "throttle"}]},
    {"budgets": [{"type": "global", "limit": 1, "capture_content": True}]},
    {"capture_content": True, "budgets": []},
    {"emit_url": "https://elsewhere.example.com", "budgets": []},
    {"blocks": [{"reason": "x" * 1_000_000}]},
    {"blocks": [{"reason": "x", "model_pattern": "*" * 300}]},
    {"budgets": [{"id": "a", "limit": 1}, {"id": "a", "limit": 2}]},
]


@pytest.mark.parametrize("told", HOSTILE)
def test_what_cannot_be_used_is_refused_whole(told: Any) -> None:
    with pytest.raises(ConfigurationError, match="policy cannot be used"):
        read_policy(told, expected=False)


@pytest.mark.parametrize(
    ("known", "new", "older"),
    [
        ({"version": "7"}, {"version": "6"}, True),
        ({"version": "7"}, {"version": "7"}, False),
        ({"version": "9"}, {"version": "10"}, False),
        ({"version": 10}, {"version": 9}, True),
        ({"version": "a"}, {"version": "b"}, False),
        ({"version": "7"}, {"version": "6", "id": "another"}, False),
        (
            {"version": "1.0", "updated_at": "2026-11-22T10:00:00Z"},
            {"version": "1.1", "updated_at": "2026-11-22T09:00:00Z"},
            True,
        ),
        (
            {"version": None, "updated_at": "2026-11-22T10:00:00"},
            {"version": None, "updated_at": "2026-11-22T10:00:01+00:00"},
            False,
        ),
        ({"version": None, "updated_at": "soon"}, {"version": None, "updated_at": 7}, False),
    ],
)
def test_a_policy_never_goes_back(known: dict[str, Any], new: dict[str, Any], older: bool) -> None:
    before, after = (
        read_policy(document(**known), expected=False),
        read_policy(document(**new), expected=False),
    )
    assert is_older(after, before) is older


def test_prices_are_by_lower_case_name_and_alias() -> None:
    told = {
        "pricing": {
            "GPT-4o": {
                "input": 2.5,
                "output": 10,
                "cached_input": 1.25,
                "aliases": ["gpt-4o-latest", "other"],
            },
            "other": {"input": 1, "output": 2},
            "unpriced": {"input": None, "output": None},
        }
    }
    prices = read_prices(told)
    assert set(prices) == {"gpt-4o", "gpt-4o-latest", "other"}
    assert prices["gpt-4o-latest"].cached_per_mtok == 1.25
    assert prices["other"].input_per_mtok == 1
    assert prices.get("unpriced") is None
    assert len(prices) == 3


def test_unusual_prices_count_where_they_can() -> None:
    amounts = {"a": "2.5", "b": 0, "c": 1e-12, "d": 5e8}
    prices = read_prices({"pricing": {name: {"input": each, "output": 1} for name, each in amounts.items()}})
    assert {name: price.input_per_mtok for name, price in prices.items()} == amounts


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"pricing": []},
        {"pricing": {"": {"input": 1, "output": 1}}},
        {"pricing": {"x" * 300: {"input": 1, "output": 1}}},
        {"pricing": {"a": 7}},
        {"pricing": {"a": {"input": -1, "output": 1}}},
        {"pricing": {"a": {"input": float("nan"), "output": 1}}},
        {"pricing": {"a": {"input": "free", "output": 1}}},
        {"pricing": {"a": {"input": True, "output": 1}}},
        {"pricing": {"a": {"input": 1, "output": 1e300}}},
        {"pricing": {"a": {"input": 1, "output": 1, "cached_input": [1]}}},
        {"pricing": {"a": {"input": 1, "output": 1, "aliases": "b"}}},
    ],
)
def test_prices_that_cannot_be_used_are_refused_whole(told: Any) -> None:
    with pytest.raises(ConfigurationError):
        read_prices(told)
