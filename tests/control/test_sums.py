"""What others have spent, from a server's sums and one's own, step by step."""

from __future__ import annotations

import random

import pytest

from aden_transport.control.agent.sums import OthersSums


def test_what_the_server_counts_beyond_ones_own_is_of_others() -> None:
    sums = OthersSums({})
    sums.note({"a": 30})
    sums.see({"a": 100, "b": 5})
    assert sums.offsets == {"a": 70, "b": 5}


def test_a_server_that_is_behind_gives_nothing_back() -> None:
    sums = OthersSums({})
    sums.note({"a": 30})
    sums.see({"a": 20})
    assert sums.offsets == {}


def test_a_server_that_began_anew_is_followed() -> None:
    sums = OthersSums({"a": 100})
    sums.note({"a": 30})
    sums.see({"a": 0})
    assert sums.offsets == {"a": -30}
    # Also by a process that begins later.
    later = OthersSums(sums.told, sums.began_anew)
    later.note({"a": 40})
    later.see({"a": 12})
    assert later.offsets == {"a": -28}


def test_a_budget_that_is_gone_is_forgotten() -> None:
    sums = OthersSums({"a": 100, "b": 100})
    sums.see({"a": 1, "b": 1})
    sums.see({"a": 1})
    assert (sums.told, sums.began_anew) == ({"a": 1}, {"a"})


def test_a_sum_that_is_told_by_the_way_only_raises() -> None:
    sums = OthersSums({})
    sums.note({"a": 10})
    sums.see({"a": 50})
    sums.hear("a", 45)
    assert sums.offsets == {"a": 40}
    sums.hear("a", 60)
    assert sums.offsets == {"a": 50}


def test_keys_that_come_later_are_noted_when_they_come() -> None:
    sums = OthersSums({})
    sums.note({"a": 1})
    assert sums.missing(["a", "b"]) == ["b"]
    sums.add({"a": 9, "b": 2})
    sums.see({"a": 1, "b": 3})
    assert sums.offsets == {"b": 1}


@pytest.mark.parametrize("seed", range(50))
def test_with_reports_in_order_the_view_is_never_below_the_truth_of_the_last_answer(seed: int) -> None:
    """Two hosts spend and report, and one asks: it sees what both had spent when the server answered, and its
    own since. Nothing is counted twice."""
    drawn = random.Random(seed)
    sums = OthersSums({})
    own = other = reported = noted = server = 0
    for _ in range(200):
        match drawn.randrange(4):
            case 0:
                own += drawn.randrange(10)
            case 1:
                amount = drawn.randrange(10)
                other += amount
                server += amount
            case 2:
                server += own - reported
                reported = own
            case _:
                if reported == own:
                    sums.note({"a": own})
                    noted = own
                    sums.see({"a": server})
                    assert own + sums.offsets.get("a", 0) == own + other
    assert own >= noted
