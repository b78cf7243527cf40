"""Documents: read whole, or rejected whole with the path of each fault."""
# ruff: noqa: E501 (messages are written whole)

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.errors import ConfigurationError
from aden_transport.policy import OnUnknown, Policy, load, on_unknown
from aden_transport.policy.budgets import BUDGET, THRESHOLD
from aden_transport.policy.ladder import Target
from aden_transport.policy.window import Period

from .kit import NANO, README

SERVER: dict[str, Any] = {
    "id": "default",
    "name": "Default",
    "version": "1.4",
    "updated_at": "2025-11-22T00:00:00Z",
    "budgets": [
        {
            "id": "b1",
            "type": "customer",
            "name": "acme",
            "limit": 10.5,
            "spent": 1.25,
            "limitAction": "degrade",
            "degradeToModel": "gpt-4o-mini",
            "degradeToProvider": "openai",
            "alerts": [{"threshold": 80, "enabled": True}],
            "notifications": {"inApp": True, "email": False, "emailRecipients": [], "webhook": False},
        },
        {
            "id": "b2",
            "type": "tag",
            "name": "beta",
            "tags": ["beta", "alpha"],
            "limit": 5,
            "limitAction": "kill",
        },
    ],
    "throttles": [{"provider": "openai", "requests_per_minute": 60, "delay_ms": 500}],
    "blocks": [{"reason": "no previews", "model_pattern": "*-preview", "provider": None}],
    "degradations": [{"from_model": "gpt-4", "to_model": "gpt-4o", "trigger": "always"}],
    "alerts": [{"trigger": "model_usage", "model_pattern": "o3*", "level": "info", "message": "o3 is used"}],
}
LEGACY = {"context_id": "user-1", "limit_usd": 10, "current_spend_usd": 2, "action_on_exceed": "throttle"}


def faults(document: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(document)
    return str(caught.value).splitlines()[1:] or [str(caught.value)]


def test_the_servers_form_is_read_whole() -> None:
    policy = load(SERVER)
    first, second = policy.budgets
    assert (policy.id, policy.name, policy.version) == ("default", "Default", "1.4")
    assert (first.key, first.names, first.spent) == ("b1", ("acme", "b1"), 1_250_000_000)
    assert (first.terms.limit, first.terms.limit_action) == (10_500_000_000, "degrade")
    assert first.terms.target == Target("gpt-4o-mini", "openai")
    assert first.terms.thresholds[0].percent == 80
    assert (second.names, second.terms.limit_action) == (("beta", "b2", "alpha"), "block")
    assert (policy.throttles[0].requests_per_minute, policy.throttles[0].delay_s) == (60, 0.5)
    assert policy.blocks[0].reason == "no previews"
    assert policy.degradations[0].target.model == "gpt-4o"
    assert policy.alerts[0].level == "info"


def test_the_legacy_form_is_for_one_context() -> None:
    budget = load({"budgets": [LEGACY]}).budgets[0]
    assert (budget.key, budget.type, budget.name, budget.spent) == (
        "context:user-1",
        "context",
        "user-1",
        2 * NANO,
    )
    assert budget.terms.limit_action == "throttle"


def test_ours_beside_adens() -> None:
    budget = load(
        {
            "type": "customer",
            "name": "*",
            "limit": 1,
            "mode": "expected",
            "period": {"rolling": "24h"},
            "timezone": "Europe/Berlin",
            "on_unknown": {"price": "block", "size": 0.5},
            "max_output_tokens": 4096,
            "wait_ms": 2000,
            "maxDelayMs": 1500,
            "generation": 3,
        }
    ).budgets[0]
    terms = budget.terms
    assert budget.is_template
    assert (budget.key, budget.generation) == ("customer:*", 3)
    assert (terms.mode, terms.period, terms.timezone) == (
        "expected",
        Period("rolling", 86_400),
        "Europe/Berlin",
    )
    assert terms.on_unknown == OnUnknown(price="block", size=NANO // 2)
    assert (terms.max_output_tokens, terms.wait_s, terms.max_delay_s) == (4096, 2.0, 1.5)


def test_snake_case_and_camel_case_are_the_same() -> None:
    camel = {**README, "maxDelayMs": 100}
    steps = [
        {k.replace("To", "_to").replace("Ms", "_ms"): v for k, v in s.items()} for s in README["thresholds"]
    ]
    snake = {
        "type": "global",
        "limit": 100,
        "thresholds": steps,
        "limit_action": "block",
        "max_delay_ms": 100,
    }
    assert load(camel) == load(snake)


def test_the_key_is_the_id_else_type_and_name() -> None:
    documents: list[dict[str, Any]] = [
        {"limit": 1, "id": "x", "type": "agent", "name": "a"},
        {"limit": 1, "type": "agent", "name": "a"},
        {"limit": 1},
        {"limit": 1, "name": "all"},
        {"limit": 1, "type": "tag", "tags": ["a", "b"]},
        {"limit": 1, "type": "tenant", "context_id": "c"},
    ]
    keys = [budget.key for budget in load(documents).budgets]
    assert keys == ["x", "agent:a", "global", "global:all", "tag:a,b", "c"]


@pytest.mark.parametrize(
    ("dollars", "nano"),
    [
        (0.1, 100_000_000),
        (25.000000000000004, 25 * NANO),
        (1e-9, 1),
        (1e-10, 0),
        (9_000_000, 9_000_000 * NANO),
    ],
)
def test_dollars_are_exact(dollars: float, nano: int) -> None:
    assert load({"limit": dollars}).budgets[0].terms.limit == nano
    assert load({"limit": Decimal(repr(dollars))}).budgets[0].terms.limit == nano


def test_budgets_of_the_same_terms_share_them() -> None:
    budgets = load([{"type": "agent", "name": name, "limit": 1} for name in "ab"]).budgets
    assert budgets[0].terms is budgets[1].terms


def test_json_text_files_and_policies_are_loaded(tmp_path: Path) -> None:
    expected = load(SERVER)
    (tmp_path / "p.json").write_text(json.dumps(SERVER))
    (tmp_path / "p.toml").write_text('[[budgets]]\nlimit = 1.5\nperiod = { rolling = "1h" }\n')
    assert load(json.dumps(SERVER)) == load(json.dumps(SERVER).encode()) == expected
    assert load("\ufeff " + json.dumps(SERVER)) == expected
    assert load(tmp_path / "p.json") == load(str(tmp_path / "p.json")) == expected
    assert load(tmp_path / "p.toml").budgets[0].terms.period == Period("rolling", 3600)
    assert load(expected) is expected
    assert load({}) == load([]) == Policy()


def test_each_fault_is_told_with_its_path() -> None:
    document = {
        "budgets": [
            {"limit": 1},
            {"type": "custmer", "name": "a", "limit": -1},
            {"type": "agent", "limit": "10", "thresholds": [{"percent": "eighty", "action": "alert"}, 7]},
        ],
        "blocks": "all",
        "colour": "red",
    }
    assert faults(document) == [
        '"colour" is not known; there are alerts, blocks, budgets, degradations, id, name, on_unknown, '
        "policy_id, throttles, version",
        "budgets[1].limit: give dollars from 0 to 9000000, not -1",
        'budgets[1].type: give one of global, agent, tenant, customer, feature, tag, not "custmer"; '
        'did you mean "customer"?',
        'budgets[2].limit: give dollars from 0 to 9000000, not "10"',
        'budgets[2].thresholds[0].percent: give a number from 0 to 1000, not "eighty"',
        "budgets[2].thresholds[1]: give an object, not 7",
        'budgets[2].name: give the agent that it is for, or "*" for each',
        'blocks: give a list of at most 1000 objects, not "all"',
    ]


@pytest.mark.parametrize(
    ("budget", "fault"),
    [
        ({}, "limit: give dollars from 0 to 9000000; 0 blocks"),
        ({"limit": None}, "limit: give dollars from 0 to 9000000; 0 blocks"),
        ({"limit": True}, "limit: give dollars from 0 to 9000000, not true"),
        ({"limit": math.nan}, "limit: give dollars from 0 to 9000000, not nan"),
        ({"limit": math.inf}, "limit: give dollars from 0 to 9000000, not inf"),
        ({"limit": Decimal("sNaN")}, "limit: give dollars from 0 to 9000000, not sNaN"),
        ({"limit": Decimal("1e-999999")}, "limit: give dollars from 0 to 9000000, not 1E-999999"),
        ({"limit": 10**9999}, "limit: give dollars from 0 to 9000000, not a number of over 30 digits"),
        ({"limit": [1]}, "limit: give dollars from 0 to 9000000, not a list"),
        ({"limit": {1}}, "limit: give dollars from 0 to 9000000, not a set"),
        ({"limit": 1, "limit_usd": 2}, '"limit" and "limit_usd" are the same; give one'),
        ({"limit": 1, "limitActoin": "x"}, '"limitActoin" is not known; did you mean "limit_action"?'),
        ({"limit": 1, 7: 1}, "names of members are short text, not 7"),
        ({"limit": 1, "name": ""}, 'name: give text of 1 to 256 characters, not ""'),
        ({"limit": 1, "name": "\ud800"}, 'name: give text of 1 to 256 characters, not "\\ud800"'),
        ({"limit": 1, "id": "x" * 257}, f'id: give text of 1 to 256 characters, not "{"x" * 40}\\u2026"'),
        ({"limit": 1, "name": "*"}, 'name: a global budget is one for all; for a budget each, give "type", too'),
        (
            {"limit": 1, "type": "agent", "name": "team-*"},
            'name: give a whole name, or "*" alone for a budget each, not "team-*"',
        ),
        ({"limit": 1, "tags": ["a"]}, "tags: only budgets of type tag have tags, not global"),
        ({"limit": 1, "type": "tag", "name": "a", "tags": 5}, "tags: give a list of at most 1000 names, not 5"),
        ({"limit": 1, "type": "tag", "name": "a", "tags": [5]}, "tags[0]: give text of 1 to 256 characters, not 5"),
        ({"limit": 1, "type": "agent", "name": "*", "spent": 1}, "spent: each budget of a template has its own sum; "
         "leave it out"),
        ({"limit": 1, "limitAction": "degrade"}, 'degrade_to: give degradeToModel, as limitAction is "degrade"'),
        ({"limit": 1, "degradeToModel": "m"}, 'degradeToModel: limitAction is "block"; it has to be "degrade", or '
         "leave this out"),
        ({"limit": 1, "degradeToProvider": "m"}, "degradeToProvider: give the model, too"),
        ({"limit": 1, "delayMs": 5}, 'delayMs: this is the delay of limitAction "throttle"; thresholds have their own'),
        ({"limit": 1, "limitAction": "alert", "mode": "hard"}, 'mode: "hard" holds for limitAction block, kill and '
         "degrade, not alert"),
        ({"limit": 1, "mode": "soft"}, 'mode: give one of hard, expected, not "soft"'),
        ({"limit": 1, "period": "dayly"}, 'period: give one of none, hourly, daily, weekly, monthly, not "dayly"; '
         'did you mean "daily"?'),
        ({"limit": 1, "period": {"rolling": "1y"}}, 'period: give {"rolling": "24h"}, with m, h, d or w, of at most '
         "366 days"),
        ({"limit": 1, "period": {"rolling": "9999w"}}, 'period: give {"rolling": "24h"}, with m, h, d or w, of at '
         "most 366 days"),
        ({"limit": 1, "timezone": "../etc/passwd"}, 'timezone: give a name like "Europe/Berlin", not "../etc/passwd" '
         "(the package tzdata brings the names)"),
        ({"limit": 1, "timezone": "Europe"}, 'timezone: give a name like "Europe/Berlin", not "Europe" (the package '
         "tzdata brings the names)"),
        ({"limit": 1, "wait_ms": -1}, "wait_ms: give milliseconds from 0 to 600000, not -1"),
        ({"limit": 1, "maxDelayMs": 60000}, "maxDelayMs: give milliseconds from 0 to 30000, not 60000"),
        ({"limit": 1, "max_output_tokens": 1.5}, "max_output_tokens: give a whole number from 1 to 1000000000, not "
         "1.5"),
        ({"limit": 1, "on_unknown": "allow"}, 'on_unknown: give an object like {"price": "allow", "size": "block"}, '
         'not "allow"'),
        ({"limit": 1, "on_unknown": {"price": "deny"}}, 'on_unknown.price: give "allow", "block" or a sum in '
         'dollars, not "deny"'),
        ({"limit": 1, "on_unknown": {"size": -1}}, 'on_unknown.size: give "allow", "block" or dollars from 0 to '
         "9000000, not -1"),
        ({"limit": 1, "thresholds": [{"action": "alert"}]}, "thresholds[0].percent: give a number from 0 to 1000"),
        ({"limit": 1, "thresholds": [{"percent": 1}]}, "thresholds[0].action: give one of kill, block, degrade, "
         "throttle, alert"),
        ({"limit": 1, "thresholds": [{"percent": 1, "action": "degrade"}]}, "thresholds[0].degrade_to: give the "
         "model to degrade to"),
        ({"limit": 1, "thresholds": [{"percent": 1, "action": "alert", "delayMs": 1}]}, "thresholds[0].delayMs: only "
         "throttle has this, not alert"),
        ({"limit": 1, "alerts": [{"threshold": 5, "enabled": "no"}]}, "alerts[0].enabled: give true or false, not "
         '"no"'),
    ],
)  # fmt: skip
def test_faults_of_a_budget(budget: dict[Any, Any], fault: str) -> None:
    of_the_whole = fault.startswith(('"', "names"))
    assert faults({"budgets": [budget]})[0] == f"budgets[0]{': ' if of_the_whole else '.'}{fault}"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ({"throttles": [{}]}, "throttles[0]: give requests_per_minute, delay_ms or both"),
        (
            {"throttles": [{"delay_ms": 1}, {"delay_ms": 2}]},
            "throttles[1]: a rule for the same calls is there before; give each its own id",
        ),
        ({"degradations": [{"from_model": "a"}]}, "degradations[0].to_model: give from_model and to_model"),
        (
            {"degradations": [{"from_model": "a", "to_model": "b", "trigger": "budget_threshold"}]},
            "degradations[0].threshold_percent: give a number from 0 to 1000",
        ),
        ({"alerts": [{"trigger": "model_usage"}]}, "alerts[0].model_pattern: give the models whose usage is told of"),
        ({"blocks": [{"providor": "a"}]}, 'blocks[0]: "providor" is not known; did you mean "provider"?'),
        ({"budgets": [{"limit": 1}, {"limit": 2}]}, 'budgets[1]: "global" is there before; give each its own id'),
        ({"version": []}, "version: give a whole number from 0 to 9007199254740992, not a list"),
    ],
)  # fmt: skip
def test_faults_of_rules_and_of_the_whole(rules: dict[str, Any], fault: str) -> None:
    assert faults(rules) == [fault]


def test_what_is_not_a_document_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "bad.toml").write_text("a = [" * 3)
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert faults(7) == ['The policy cannot be used: give an object like {"budgets": […]}, not 7']
    assert "The policy is not JSON" in faults("{")[0]
    assert "not JSON" in faults("[" * 100_000)[0]
    assert "cannot be read: No such file" in faults(tmp_path / "none.json")[0]
    assert "cannot be read: ValueError" in faults("a\0b")[0]
    assert "bad.json" in faults(tmp_path / "bad.json")[0]
    assert "is not TOML" in faults(tmp_path / "bad.toml")[0]
    assert "nested too deeply" in faults(tmp_path / "deep.toml")[0]
    assert "is not TOML" in faults(tmp_path / "binary.toml")[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"limit": 5, "limit": 500}', 'budgets[0]: "limit" is there twice; give one'),
        ('{"budgets": [], "budgets": [{"limit": 1}]}', '"budgets" is there twice; give one'),
        (
            '{"budgets": [{"limit": 5, "on_unknown": {"price": "block", "price": "allow"}}]}',
            'budgets[0].on_unknown: "price" is there twice; give one',
        ),
        (
            '{"limit": 1, "thresholds": [{"percent": 9, "percent": 99, "action": "alert"}]}',
            'budgets[0].thresholds[0]: "percent" is there twice; give one',
        ),
        ('{"limit": 1, "period": {"rolling": "1h", "rolling": "9h"}}', "budgets[0].period: give {"),
        ('{"limit": Infinity}', "budgets[0].limit: give dollars from 0 to 9000000, not inf"),
        ('{"limit": -Infinity}', "budgets[0].limit: give dollars from 0 to 9000000, not -inf"),
        ('{"limit": NaN}', "budgets[0].limit: give dollars from 0 to 9000000, not nan"),
        ('{"limit": 1e999}', "budgets[0].limit: give dollars from 0 to 9000000, not inf"),
        ('{"limit": 1' + "0" * 400 + "}", "budgets[0].limit: give dollars from 0 to 9000000, not a number"),
        ('{"limit": 1' + "0" * 5000 + "}", "The policy is not JSON: Exceeds the limit"),
        ('{"limit": "5"}', 'budgets[0].limit: give dollars from 0 to 9000000, not "5"'),
        ('{"limit": 1, "name": "\\ud800"}', "budgets[0].name: give text of 1 to 256 characters"),
        ('{"limit": 1, "__proto__": {}}', 'budgets[0]: "__proto__" is not known'),
    ],
)
def test_faults_of_json_text(text: str, fault: str) -> None:
    assert faults(text)[0].startswith(fault)
    assert faults(text.encode())[0].startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("limit = 2026-01-01", "budgets[0].limit: give dollars from 0 to 9000000, not a date"),
        ("limit = 07:32:00", "budgets[0].limit: give dollars from 0 to 9000000, not a time"),
        (
            "limit = 1\nperiod = 1979-05-27T07:32:00Z",
            "budgets[0].period: give one of none, hourly, daily, weekly, monthly, not a datetime",
        ),
        ("limit = nan", "budgets[0].limit: give dollars from 0 to 9000000, not nan"),
        ("limit = -inf", "budgets[0].limit: give dollars from 0 to 9000000, not -inf"),
        ("limit = 0x7fffffffffffffffffff", "budgets[0].limit: give dollars from 0 to 9000000, not 6044"),
        ("limit = 1\nlimit = 2", "The policy file "),
        ("[budgets]\nlimit = 1", "budgets: give a list of at most 1000000 objects, not an object"),
        ("[[budgets]]\nlimit = 1\nname = 5", "budgets[0].name: give text of 1 to 256 characters, not 5"),
        ("[[budgets]]\nlimt = 1", "budgets[0]: "),
    ],
)
def test_faults_of_toml(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    assert faults(path)[0].startswith(fault)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_byte_order_mark_is_passed_over_and_other_encodings_refused(tmp_path: Path, suffix: str) -> None:
    text = '{"limit": 2}' if suffix == "json" else "limit = 2\n"
    path = tmp_path / f"policy.{suffix}"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load(path).budgets[0].terms.limit == 2 * NANO
    for data in (b"\xff" + text.encode(), text.encode().replace(b"2", b'"\xe9"'), b"\x00" * 64):
        path.write_bytes(data)
        assert "policy file" in faults(path)[0]


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_an_empty_file_is_no_policy(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"policy.{suffix}"
    path.write_text(" \n")
    assert faults(path)[0].endswith("is empty")


def test_deep_nesting_is_refused_in_files_and_text(tmp_path: Path) -> None:
    deep = '{"budgets":' * 100_000
    (tmp_path / "deep.json").write_text(deep)
    assert "nested too deeply" in faults(tmp_path / "deep.json")[0]
    assert "nested too deeply" in faults(deep)[0]
    nested = "[" * 500 + "]" * 500
    assert faults(f'{{"limit": {nested}}}') == [
        "budgets[0].limit: give dollars from 0 to 9000000, not a list"
    ]


def test_more_than_a_million_budgets_are_refused_at_once() -> None:
    assert faults({"budgets": [7] * 1_000_001}) == [
        "budgets: give a list of at most 1000000 objects, not a list"
    ]


@pytest.mark.parametrize("kind", ["global", "customer", "tag"])
def test_one_call_meets_a_bounded_number_of_budgets(kind: str) -> None:
    name = {} if kind == "global" else {"name": "same"}
    budgets = [{"id": str(n), "type": kind, "limit": 1, **name} for n in range(102)]
    assert len(load(budgets[:100]).budgets) == 100
    of = "" if kind == "global" else "same"
    assert faults(budgets) == [
        f"budgets[{n}]: over 100 budgets are for the same calls: {kind} {of}" for n in (100, 101)
    ]


def steps(document: Any) -> int:
    """How many functions of Python are called to read a document."""
    count = 0

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        load(document)
    except ConfigurationError:
        pass
    finally:
        sys.setprofile(None)
    return count


def many(item: Any) -> Callable[[int], Any]:
    return lambda number: [item(n) for n in range(number)]


@pytest.mark.parametrize(
    "document",
    [
        many(lambda n: {"type": "customer", "name": str(n), "limit": 1}),
        many(lambda n: {"type": "customer", "name": "same", "id": str(n), "limit": 1}),
        many(lambda n: {"id": str(n), "limit": 1}),
        many(lambda n: {"type": "tag", "id": str(n), "tags": [f"{n}-{i}" for i in range(9)], "limit": 1}),
        many(lambda n: {"limit": -1, f"member{n}": 1}),
        many(lambda n: 7),
        lambda number: {"blocks": [{"model_pattern": "*a" * 100, "reason": str(n)} for n in range(number)]},
        lambda number: {"throttles": [{"id": str(n), "delay_ms": 1} for n in range(number)]},
    ],
    ids=["names", "one name", "global", "tags", "faults", "no objects", "globs", "throttles"],
)
def test_reading_takes_steps_in_proportion(document: Callable[[int], Any]) -> None:
    once, twice = steps(document(400)), steps(document(800))
    assert twice <= 2.01 * once + 200


def test_files_and_text_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aden_transport.policy.document.MAX_BYTES", 10)
    (tmp_path / "large.json").write_text("[" + " " * 20 + "]")
    assert "is larger than" in faults(tmp_path / "large.json")[0]
    assert "is larger than" in faults("[" + " " * 20 + "]")[0]


def test_many_faults_are_counted_and_huge_lists_refused() -> None:
    lines = faults([{"limit": -1, "type": "agent", "name": str(n)} for n in range(150)])
    assert len(lines) == 101
    assert lines[-1] == "… and 50 more"
    assert faults({"limit": 1, "thresholds": [{}] * 101}) == [
        "budgets[0].thresholds: give a list of at most 100 objects, not a list"
    ]
    assert "give at most 64 members, not 65" in faults([{str(n): 1 for n in range(65)}])[0]
    assert "names of members are short text" in faults([{"limit": 1, "x" * 300: 1}])[0]


def test_deep_values_are_not_descended_into() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert faults({"limit": deep, "limit_usd": deep})
    assert faults({"budgets": [deep]})
    load({"limit": 1, "notifications": deep})


def test_nothing_secret_or_long_is_shown() -> None:
    assert len(faults({"limit": "x" * 1_000_000})[0]) < 200


def test_the_option_on_unknown() -> None:
    assert on_unknown({"price": "allow", "size": "block", "store": 0.25, "server": 1}) == OnUnknown(
        "allow", "block", NANO // 4, NANO
    )
    assert on_unknown(None) == OnUnknown()
    assert on_unknown(OnUnknown("block")) == OnUnknown("block")
    with pytest.raises(ConfigurationError, match=r'on_unknown\.price: give "allow"'):
        on_unknown({"price": "no"})
    assert OnUnknown("block").over(OnUnknown("allow", 5)) == OnUnknown("block", 5)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.decimals(),
    st.binary(max_size=4),
    st.sampled_from(["block", "degrade", "daily", "*", "global", "tag", "hard", 0, 100, 1e308, -0.0, "24h"]),
)
KEYS = st.one_of(
    st.sampled_from(
        [*BUDGET, *THRESHOLD, "rolling", "budgets", "throttles", "blocks", "degradations", "alerts"]
    ),
    st.sampled_from(["provider", "trigger", "to_model", "from_model", "limitAction", "requests_per_minute"]),
    st.text(max_size=4),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=30,
)


@settings(max_examples=400)
@given(VALUES.filter(lambda value: not isinstance(value, (str, bytes))))
def test_any_value_is_a_policy_or_a_configuration_error(value: Any) -> None:
    try:
        assert isinstance(load(value), Policy)
    except ConfigurationError:
        pass


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(),
        st.sampled_from(["block", "degrade", "daily", "*", "customer", "tag", "alert", "", "gpt-*", "24h"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)
PLACE = re.compile(r"(?P<path>[A-Za-z_]\w*(\[\d+\])?(\.\w+(\[\d+\])?)*): \S|\"|names of members|give at most")


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["budgets", "blocks", "alerts", "throttles"]), JSON, max_size=3))
def test_any_json_is_a_policy_or_refused_with_the_path_of_each_fault(document: Any) -> None:
    text = json.dumps(document)
    try:
        assert load(text) == load(document)
    except ConfigurationError as exc:
        first, *lines = str(exc).splitlines()
        assert first == "The policy cannot be used:"
        for line in lines:
            found = PLACE.match(line)
            assert found is not None, line
            if found["path"] is not None:
                assert_is_there(document, found["path"])


def assert_is_there(document: Any, path: str) -> None:
    """Each step of a path but the last leads somewhere; the last may be what is missing."""
    steps = re.findall(r"\w+|\[\d+\]", path)
    at = document
    for step in steps[:-1]:
        at = at[int(step[1:-1])] if step.startswith("[") else at[step]


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60)))
def test_any_text_is_a_policy_or_a_configuration_error(text: Any) -> None:
    try:
        load(text)
    except ConfigurationError:
        pass


@given(st.dictionaries(st.sampled_from([*BUDGET]), SCALARS, min_size=3))
def test_a_budget_alone_may_be_anything(budget: dict[str, Any]) -> None:
    try:
        load([{"limit": 1, **budget}])
    except ConfigurationError:
        pass
