"""What the server's policy makes of a client's lines: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aden_transport.control.server.limits import Limits, stored
from aden_transport.ledger.base import NEVER, Line
from aden_transport.policy import Index, load

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
USD = 10**9


def limits(*budgets: dict[str, Any], frozen: tuple[str, ...] = ()) -> Limits:
    return Limits([Index(load({"budgets": list(budgets)}))], frozen)


def taken(found: Limits, line: Line) -> Line:
    return found.line(line, NOW)


def test_a_clients_limit_is_lowered_and_never_raised() -> None:
    found = limits({"id": "b", "limit": 5})
    assert taken(found, Line("-|b", 1, 1)).limit_held == 5 * USD
    assert taken(found, Line("-|b", 1, 1, limit_held=9 * USD)).limit_held == 5 * USD
    assert taken(found, Line("-|b", 1, 1, limit_held=2 * USD)).limit_held == 2 * USD


def test_a_limit_of_expectation_stays_one() -> None:
    found = taken(limits({"id": "b", "limit": 5, "mode": "expected"}), Line("-|b", 1, 1))
    assert (found.limit_held, found.limit_expected) == (NEVER, 5 * USD)


def test_what_a_limit_degrades_to_is_not_held_to_it() -> None:
    degrading = {"limitAction": "degrade", "degradeTo": "gpt-4o-mini", "mode": "hard"}
    found = limits({"id": "b", "limit": 5, **degrading})
    assert taken(found, Line("-|b", 1, 1)).limit_held == NEVER
    assert taken(found, Line("-|b", 1, 1, limit_held=9 * USD)).limit_held == 5 * USD


def test_a_key_of_no_budget_is_what_the_client_says() -> None:
    line = Line("-|run:1", 1, 1, limit_held=7)
    assert taken(limits({"id": "b", "limit": 5}), line) == line
    assert limits().of("no window", NOW) is None


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        ({"type": "customer", "name": "*", "limit": 3}, "customer:acme"),
        ({"type": "customer", "name": "*", "limit": 3}, "customer:a:b"),
        ({"id": "each:one", "type": "customer", "name": "*", "limit": 3}, "each:one:acme"),
        ({"type": "global", "limit": 3}, "global"),
    ],
)
def test_a_template_limits_what_it_makes(budget: dict[str, Any], key: str) -> None:
    limit = limits(budget).of(f"-|{key}", NOW)
    assert limit is not None
    assert (limit.key, limit.limit, limit.is_current) == (f"-|{key}", 3 * USD, True)


def test_an_exact_budget_goes_before_its_template() -> None:
    found = limits(
        {"type": "customer", "name": "*", "limit": 3}, {"type": "customer", "name": "acme", "limit": 8}
    )
    limit = found.of("-|customer:acme", NOW)
    assert limit is not None
    assert limit.limit == 8 * USD


@pytest.mark.parametrize(
    ("window", "is_current"),
    [("2026-11-22", True), ("2026-11-21", False), ("2026-11-23", False), ("2031-01-01", False)],
)
def test_the_window_is_that_of_the_servers_clock(window: str, is_current: bool) -> None:
    found = limits({"id": "b", "limit": 5, "period": "daily"})
    limit = found.of(f"{window}|b", NOW)
    assert limit is not None
    assert limit.is_current is is_current
    line = taken(found, Line(f"{window}|b", 1, 1))
    assert line.key == "2026-11-22|b"
    assert line.expires_at == datetime(2026, 11, 24, tzinfo=UTC).timestamp()


def test_clocks_may_differ_by_some_minutes() -> None:
    found = limits({"id": "b", "limit": 5, "period": "daily"})
    midnight = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    for at in (midnight - 200, midnight + 200):
        for window in ("2026-11-22", "2026-11-23"):
            limit = found.of(f"{window}|b", at)
            assert limit is not None
            assert (limit.key, limit.is_current) == (f"{window}|b", True)


def test_a_generation_of_the_past_is_over() -> None:
    found = limits({"id": "b", "limit": 5, "generation": 2})
    assert taken(found, Line("-|b", 1, 1)).key == "-#2|b"
    assert taken(found, Line("-#1|b", 1, 1)).key == "-#2|b"
    limit = found.of("-#2|b", NOW)
    assert limit is not None
    assert limit.is_current


def test_older_parts_of_a_rolling_window_are_the_servers() -> None:
    found = limits({"id": "b", "limit": 5, "period": {"rolling": "1h"}})
    own = found.of("r3600.0|b", NOW)
    assert own is not None
    assert not own.is_current
    line = taken(found, Line(own.key, 1, 1, also=("made up",)))
    assert line.key == own.key
    assert len(line.also) == 60
    assert all(key.endswith("|b") for key in line.also)


@pytest.mark.parametrize("frozen", ["customer:acme", "customer:*"])
def test_a_frozen_budget_takes_nothing(frozen: str) -> None:
    found = limits({"type": "customer", "name": "*", "limit": 3}, frozen=(frozen,))
    line = taken(found, Line("-|customer:acme", 0, 0))
    assert (line.hold, line.limit_held) == (1, 0)
    limit = found.of("-|customer:acme", NOW)
    assert limit is not None
    assert limit.is_frozen


def test_names_are_kept_apart_and_short() -> None:
    assert stored("a|b") == "a|b"
    assert stored("nul \0") == "nul \\x00"
    assert stored("lone \ud800") == "lone \\ud800"
    assert stored("é" * 500) == "é" * 500
    long = [stored("k" * 5000), stored("k" * 5001)]
    assert [len(each) for each in long] == [500, 500]
    assert long[0] != long[1]
    assert len(stored("k" * 300, 200)) == 200
