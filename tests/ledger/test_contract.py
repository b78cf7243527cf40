"""What every ledger does, sentence by sentence of `ledger/base.py`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aden_transport.ledger.base import Ledger, Line, Outcome, Totals
from aden_transport.ledger.rule import judge

from .kit import LATER, NOON, STORES, hard, line, sums
from .leased_kit import LEASED

ALL = STORES | LEASED


@pytest.fixture(params=sorted(ALL))
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with ALL[request.param](tmp_path) as each:
        yield each


def reserve(ledger: Ledger, op_id: str, *candidates: list[Line], expires_at: float = LATER) -> Outcome:
    return ledger.reserve(op_id, candidates, now=NOON, expires_at=expires_at)


def spend(ledger: Ledger, amount: int, key: str = "a", **more: Any) -> None:
    assert reserve(ledger, f"spend {key}", [line(key, amount, **more)]).kind == "held"
    assert ledger.settle(f"spend {key}", {"usd": amount})


# -- hold, settle, release --------------------------------------------------------------------------


def test_a_hold_is_on_all_its_lines_until_it_is_settled(ledger: Ledger) -> None:
    outcome = reserve(ledger, "1", [hard("a", 10), hard("b", 20, expected=3)])
    assert outcome == Outcome("held", 0, (Totals(0, 0, 0), Totals(0, 0, 0)))
    assert sums(ledger, "a", "b") == [(0, 10, 5), (0, 20, 3)]
    assert ledger.open_holds() == 1
    assert ledger.settle("1", {"usd": 4})
    assert sums(ledger, "a", "b") == [(4, 0, 0), (4, 0, 0)]
    assert ledger.open_holds() == 0


def test_a_released_hold_leaves_nothing(ledger: Ledger) -> None:
    reserve(ledger, "1", [line("a"), line("b")])
    assert ledger.release("1")
    assert sums(ledger, "a", "b") == [(0, 0, 0), (0, 0, 0)]
    assert ledger.open_holds() == 0


def test_totals_are_those_before_the_call(ledger: Ledger) -> None:
    spend(ledger, 7)
    reserve(ledger, "1", [line("a", 10)])
    assert reserve(ledger, "2", [line("a", 10)]).totals == (Totals(7, 10, 5),)


def test_each_unit_is_settled_by_its_amount_or_at_its_hold(ledger: Ledger) -> None:
    lines = [line("money", 10), line("tokens", 500, unit="tokens"), line("calls", 1, unit="calls")]
    reserve(ledger, "1", lines)
    assert ledger.settle("1", {"usd": 3, "tokens": 0})
    assert sums(ledger, "money", "tokens", "calls") == [(3, 0, 0), (0, 0, 0), (1, 0, 0)]


def test_amounts_may_exceed_the_hold_and_the_limit(ledger: Ledger) -> None:
    reserve(ledger, "1", [hard("a", 10, 100)])
    assert ledger.settle("1", {"usd": 1000})
    assert sums(ledger, "a") == [(1000, 0, 0)]


def test_the_largest_amounts_are_counted_exactly(ledger: Ledger) -> None:
    most = 9_000_000 * 10**9
    reserve(ledger, "1", [hard("a", most, most)])
    ledger.settle("1", {"usd": most - 1})
    assert reserve(ledger, "2", [hard("a", 2, most)]).kind == "refused"
    assert reserve(ledger, "3", [hard("a", 1, most)]).kind == "held"
    assert sums(ledger, "a") == [(most - 1, 1, 0)]


def test_a_call_without_lines_is_held(ledger: Ledger) -> None:
    assert reserve(ledger, "1", []) == Outcome("held", 0, ())
    assert ledger.open_holds() == 1
    assert ledger.settle("1", {"usd": 1})


@pytest.mark.parametrize("key", ["naïve 客户", "lone \ud800", "nul \0 in it", "a:b{c}%", "", "k" * 5000])
def test_any_text_is_a_name(ledger: Ledger, key: str) -> None:
    reserve(ledger, key, [line(key), line(f"{key} ")])
    assert ledger.defer(key, key, expires_at=LATER)
    assert ledger.settle_deferred(key, {"usd": 2})
    ledger.raise_to(key, 3, mark=key)
    assert ledger.mark_once(key, f"alert {key}")
    assert sums(ledger, key, f"{key} ", also=[]) == [(3, 0, 0), (2, 0, 0)]


# -- once -------------------------------------------------------------------------------------------


def test_the_same_id_again_gives_the_same_outcome_and_holds_nothing_more(ledger: Ledger) -> None:
    spend(ledger, 95)
    candidates = [hard("a", 10), hard("b", 10)], [hard("a", 4), hard("b", 4)]
    first = reserve(ledger, "1", *candidates)
    assert (first.kind, first.candidate) == ("held", 1)
    reserve(ledger, "2", [hard("a", 1)])
    assert reserve(ledger, "1", *candidates) == first
    assert reserve(ledger, "1", [hard("c", 50)]) == first
    assert sums(ledger, "a", "b", "c") == [(95, 5, 2), (0, 4, 2), (0, 0, 0)]


@pytest.mark.parametrize("end", ["settle", "release"])
def test_a_hold_ends_once(ledger: Ledger, end: str) -> None:
    reserve(ledger, "1", [line()])
    assert ledger.settle("1", {"usd": 4}) if end == "settle" else ledger.release("1")
    after = sums(ledger, "a")
    assert not ledger.settle("1", {"usd": 4})
    assert not ledger.release("1")
    assert not ledger.defer("1", "ref", expires_at=LATER)
    assert not ledger.settle_deferred("ref", {"usd": 4})
    assert ledger.sweep(LATER) == []
    assert sums(ledger, "a") == after


def test_an_id_that_is_settled_may_be_reserved_anew(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    ledger.settle("1", {"usd": 4})
    assert reserve(ledger, "1", [line()]).totals == (Totals(4, 0, 0),)
    assert sums(ledger, "a") == [(4, 10, 5)]


def test_what_was_never_reserved_cannot_end(ledger: Ledger) -> None:
    assert not ledger.settle("1", {"usd": 4})
    assert not ledger.release("1")
    assert not ledger.defer("1", "ref", expires_at=LATER)
    assert not ledger.settle_deferred("ref", {})


# -- limits -----------------------------------------------------------------------------------------


def test_a_hard_limit_counts_spent_held_and_hold(ledger: Ledger) -> None:
    spend(ledger, 80)
    assert reserve(ledger, "1", [hard("a", 10)]).kind == "held"
    assert reserve(ledger, "2", [hard("a", 11)]).kind == "refused"
    assert reserve(ledger, "3", [hard("a", 10)]).kind == "held"
    assert reserve(ledger, "4", [hard("a", 1)]).kind == "refused"
    assert sums(ledger, "a") == [(80, 20, 10)]


def test_a_limit_of_expectation_counts_spent_and_expected(ledger: Ledger) -> None:
    spend(ledger, 90)
    expected = line("a", 1000, 5, limit_expected=100)
    assert reserve(ledger, "1", [expected]).kind == "held"
    assert reserve(ledger, "2", [line("a", 1, 6, limit_expected=100)]).kind == "refused"
    assert reserve(ledger, "3", [expected]).kind == "held"
    assert reserve(ledger, "4", [line("a", 1, 0, limit_expected=100)]).kind == "held"


def test_a_limit_of_zero_refuses_whatever_costs(ledger: Ledger) -> None:
    assert reserve(ledger, "1", [hard("a", 1, 0)]).kind == "refused"
    assert reserve(ledger, "2", [hard("a", 0, 0)]).kind == "held"


def test_all_lines_or_none(ledger: Ledger) -> None:
    spend(ledger, 95, "c")
    outcome = reserve(ledger, "1", [hard("a"), hard("b"), hard("c")])
    assert (outcome.kind, outcome.line) == ("refused", 2)
    assert outcome.totals == (Totals(0, 0, 0), Totals(0, 0, 0), Totals(95, 0, 0))
    assert sums(ledger, "a", "b", "c") == [(0, 0, 0), (0, 0, 0), (95, 0, 0)]
    assert ledger.open_holds() == 0
    assert not ledger.settle("1", {"usd": 1})


def test_a_refusal_names_the_first_line_of_the_last_candidate_that_does_not_fit(ledger: Ledger) -> None:
    for key in "ab":
        spend(ledger, 95, key)
    free, full, other = hard("free"), hard("a"), hard("b")
    outcome = reserve(ledger, "1", [full, free], [free, other, full])
    assert (outcome.kind, outcome.candidate, outcome.line) == ("refused", 1, 1)
    assert outcome.totals == (Totals(0, 0, 0), Totals(95, 0, 0), Totals(95, 0, 0))


@pytest.mark.parametrize(
    ("spent", "held", "ask", "helps"),
    [
        (0, 100, line("a", 10, 5, limit_held=100), True),
        (60, 40, line("a", 40, 20, limit_held=100), True),
        (60, 40, line("a", 41, 20, limit_held=100), False),
        (60, 40, line("a", 40, 21, limit_held=100), False),
        (95, 0, line("a", 10, 5, limit_held=100), False),
        (60, 40, line("a", 10, 5, limit_held=90, limit_expected=85), True),
        (60, 40, line("a", 10, 5, limit_held=90, limit_expected=84), False),
    ],
)
def test_waiting_may_help_where_only_holds_of_open_calls_stand_in_the_way(
    ledger: Ledger, spent: int, held: int, ask: Line, helps: bool
) -> None:
    spend(ledger, spent)
    reserve(ledger, "open", [line("a", held)])
    outcome = reserve(ledger, "1", [hard("free"), ask])
    assert (outcome.kind, outcome.line, outcome.fits_expected) == ("refused", 1, helps)


# -- candidates -------------------------------------------------------------------------------------


def test_the_first_candidate_that_fits_is_held_alone(ledger: Ledger) -> None:
    spend(ledger, 80)
    outcome = reserve(ledger, "1", [hard("a", 30)], [hard("a", 20)], [hard("a", 5)])
    assert outcome == Outcome("held", 1, (Totals(80, 0, 0),))
    assert sums(ledger, "a") == [(80, 20, 10)]
    ledger.settle("1", {})
    assert sums(ledger, "a") == [(100, 0, 0)]


def test_a_candidate_at_its_degrade_at_is_passed_over(ledger: Ledger) -> None:
    spend(ledger, 70)
    dear, cheap = line("a", 10, 10, degrade_at=81), line("a", 2, 2)
    assert reserve(ledger, "1", [dear], [cheap]).candidate == 0
    assert reserve(ledger, "2", [dear], [cheap]).candidate == 1
    assert reserve(ledger, "3", [line("b"), dear], [line("b"), cheap]).candidate == 1


def test_degrade_counts_the_expectation_exactly(ledger: Ledger) -> None:
    spend(ledger, 70)
    assert reserve(ledger, "1", [line("a", 10, 10, degrade_at=80)], [line("b")]).candidate == 1
    assert reserve(ledger, "2", [line("a", 10, 9, degrade_at=80)], [line("b")]).candidate == 0


def test_the_last_candidate_is_taken_at_its_degrade_at(ledger: Ledger) -> None:
    spend(ledger, 90)
    at = line("a", 10, 10, degrade_at=80)
    assert reserve(ledger, "1", [at], [at]) == Outcome("held", 1, (Totals(90, 0, 0),))
    assert reserve(ledger, "2", [at]).kind == "held"


def test_a_throttle_holds_nothing_and_names_its_line(ledger: Ledger) -> None:
    spend(ledger, 90)
    outcome = reserve(ledger, "1", [line("free"), line("a", 10, 5, throttle_at=95)])
    assert outcome == Outcome("throttled", 0, (Totals(0, 0, 0), Totals(90, 0, 0)), 1)
    assert sums(ledger, "a", "free") == [(90, 0, 0), (0, 0, 0)]
    assert reserve(ledger, "1", [line("free"), line("a", 10, 4, throttle_at=95)]).kind == "held"


def test_a_throttle_is_of_the_candidate_that_fits(ledger: Ledger) -> None:
    spend(ledger, 94)
    dear = hard("a", 10, throttle_at=95)
    cheap = hard("a", 4, expected=1, throttle_at=95)
    assert reserve(ledger, "1", [dear], [cheap]) == Outcome("throttled", 1, (Totals(94, 0, 0),), 0)
    assert reserve(ledger, "1", [dear], [hard("a", 4)]).kind == "held"


def test_what_does_not_fit_is_refused_rather_than_throttled(ledger: Ledger) -> None:
    spend(ledger, 95)
    outcome = reserve(ledger, "1", [line("b", throttle_at=0), hard("a", 10, throttle_at=1)])
    assert (outcome.kind, outcome.line) == ("refused", 1)


def test_a_call_without_a_candidate_is_a_mistake() -> None:
    with pytest.raises(ValueError):
        judge([], lambda _: Totals(0, 0, 0))


# -- rolling windows --------------------------------------------------------------------------------


def test_older_parts_of_a_window_count_in_all_three_sums(ledger: Ledger) -> None:
    spend(ledger, 40, "w1")
    reserve(ledger, "1", [line("w2", 30, 20)])
    now = line("w3", 30, 10, limit_held=100, also=("w1", "w2", "w0"))
    assert reserve(ledger, "2", [now]) == Outcome("held", 0, (Totals(40, 30, 20),))
    assert reserve(ledger, "3", [now]).kind == "refused"
    assert sums(ledger, "w1", "w2", "w3") == [(40, 0, 0), (0, 30, 20), (0, 30, 10)]
    assert sums(ledger, "w3", also=["w1", "w2"]) == [(40, 60, 30)]


def test_a_window_may_have_sixty_parts(ledger: Ledger) -> None:
    parts = tuple(f"w{n}" for n in range(60))
    for part in parts:
        reserve(ledger, part, [line(part, 1)])
    assert reserve(ledger, "now", [line("w60", 1, also=parts)]).totals == (Totals(0, 60, 0),)


# -- deferred work ----------------------------------------------------------------------------------


def test_deferred_work_is_settled_once_by_its_ref(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    assert ledger.defer("1", "openai resp_1", expires_at=LATER + 1000)
    assert sums(ledger, "a") == [(0, 10, 5)]
    assert ledger.settle_deferred("openai resp_1", {"usd": 6})
    assert not ledger.settle_deferred("openai resp_1", {"usd": 6})
    assert not ledger.settle("1", {"usd": 6})
    assert sums(ledger, "a") == [(6, 0, 0)]


def test_a_deferral_sets_the_time_limit_anew(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    ledger.defer("1", "ref", expires_at=LATER + 1000)
    assert list(ledger.sweep(LATER + 1)) == []
    assert list(ledger.sweep(LATER + 1000)) == ["1"]
    assert not ledger.settle_deferred("ref", {"usd": 1})
    assert ledger.disputed() == {"a": 10}


def test_a_deferral_again_is_the_same_and_another_ref_takes_its_place(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    assert ledger.defer("1", "old", expires_at=LATER)
    assert ledger.defer("1", "old", expires_at=LATER)
    assert ledger.defer("1", "new", expires_at=LATER)
    assert not ledger.settle_deferred("old", {"usd": 1})
    assert ledger.settle_deferred("new", {"usd": 1})


def test_a_ref_is_of_one_hold(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    reserve(ledger, "2", [line()])
    assert ledger.defer("1", "ref", expires_at=LATER)
    assert not ledger.defer("2", "ref", expires_at=LATER)
    assert ledger.release("2")
    assert ledger.settle_deferred("ref", {"usd": 1})


@pytest.mark.parametrize("end", ["settle", "release"])
def test_a_deferred_hold_may_end_by_its_id(ledger: Ledger, end: str) -> None:
    reserve(ledger, "1", [line()])
    ledger.defer("1", "ref", expires_at=LATER)
    assert ledger.settle("1", {"usd": 1}) if end == "settle" else ledger.release("1")
    assert not ledger.settle_deferred("ref", {"usd": 1})
    reserve(ledger, "2", [line()])
    assert ledger.defer("2", "ref", expires_at=LATER)


# -- floors and marks -------------------------------------------------------------------------------


def test_a_floor_counts_once_per_key_and_mark(ledger: Ledger) -> None:
    spend(ledger, 30)
    ledger.raise_to("a", 50, mark="v1")
    assert sums(ledger, "a") == [(50, 0, 0)]
    spend(ledger, 5)
    ledger.raise_to("a", 80, mark="v1")
    assert sums(ledger, "a") == [(55, 0, 0)]
    ledger.raise_to("a", 20, mark="v2")
    assert sums(ledger, "a") == [(55, 0, 0)]
    ledger.raise_to("b", 9, mark="v1")
    assert sums(ledger, "a", "b") == [(55, 0, 0), (9, 0, 0)]


def test_a_floor_leaves_holds_alone(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    ledger.raise_to("a", 50, mark="v1", expires_at=LATER)
    assert sums(ledger, "a") == [(50, 10, 5)]
    ledger.settle("1", {"usd": 1})
    assert sums(ledger, "a") == [(51, 0, 0)]


def test_a_mark_is_had_once_per_key(ledger: Ledger) -> None:
    assert ledger.mark_once("a", "50")
    assert not ledger.mark_once("a", "50")
    assert ledger.mark_once("a", "80", expires_at=LATER)
    assert ledger.mark_once("b", "50")
    assert not ledger.mark_once("a", "80", expires_at=LATER)
    assert sums(ledger, "a", "b") == [(0, 0, 0), (0, 0, 0)]


# -- what nobody settles ----------------------------------------------------------------------------


def test_an_expired_hold_is_settled_at_its_amount_disputed(ledger: Ledger) -> None:
    reserve(ledger, "1", [line("a", 10), line("calls", 1, unit="calls")], expires_at=LATER)
    reserve(ledger, "2", [line("a", 7)], expires_at=LATER + 1)
    assert list(ledger.sweep(LATER - 1)) == []
    assert list(ledger.sweep(LATER)) == ["1"]
    assert list(ledger.sweep(LATER)) == []
    assert sums(ledger, "a", "calls") == [(10, 7, 3), (1, 0, 0)]
    assert ledger.disputed() == {"a": 10}
    assert not ledger.settle("1", {"usd": 1})
    assert list(ledger.sweep(LATER + 1)) == ["2"]
    assert ledger.disputed() == {"a": 17}


def test_many_expired_holds_are_swept_at_once(ledger: Ledger) -> None:
    for number in range(450):
        reserve(ledger, str(number), [line("a", 1)])
    assert len(set(ledger.sweep(LATER))) == 450
    assert sums(ledger, "a") == [(450, 0, 0)]
    assert ledger.open_holds() == 0


def test_what_is_settled_is_not_disputed(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    ledger.settle("1", {})
    assert ledger.disputed() == {}


def test_a_key_is_kept_until_it_expires_and_while_a_hold_is_open_on_it(ledger: Ledger) -> None:
    spend(ledger, 40, "a", expires_at=NOON + 5000)
    reserve(ledger, "1", [line("b", expires_at=NOON + 5)], expires_at=NOON + 9000)
    ledger.sweep(NOON + 4999)
    assert sums(ledger, "a", "b") == [(40, 0, 0), (0, 10, 5)]
    assert ledger.settle("1", {"usd": 4})
    assert sums(ledger, "b") in ([(4, 0, 0)], [(0, 0, 0)])


def test_a_closed_ledger_may_be_used_again(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    ledger.close()
    ledger.close()
    assert ledger.settle("1", {"usd": 3})
    assert sums(ledger, "a") == [(3, 0, 0)]


# -- many at once -----------------------------------------------------------------------------------


def at_once(count: int, work: Callable[[int], int]) -> int:
    """The sum of what `count` threads do that begin together."""
    begin = threading.Barrier(count)

    def run(number: int) -> int:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(run, range(count)))


def test_fifty_threads_never_exceed_a_limit(ledger: Ledger) -> None:
    limit = 1000

    def work(number: int) -> int:
        spent = 0
        for call in range(20):
            op_id = f"{number}-{call}"
            if reserve(ledger, op_id, [hard("a", 35, limit), line(f"of {number}", 35)]).kind != "held":
                continue
            assert sum(sums(ledger, "a")[0][:2]) <= limit
            amount = (number * 7 + call) % 36
            if call % 5 == 4:
                assert ledger.release(op_id)
            else:
                assert ledger.settle(op_id, {"usd": amount})
                spent += amount
        return spent

    spent = at_once(50, work)
    assert sums(ledger, "a") == [(spent, 0, 0)]
    assert 0 < spent <= limit
    assert sum(each[0] for each in sums(ledger, *(f"of {n}" for n in range(50)))) == spent
    assert ledger.open_holds() == 0


def test_of_many_who_ask_for_the_last_slot_one_gets_it(ledger: Ledger) -> None:
    spend(ledger, 90)
    assert at_once(20, lambda n: reserve(ledger, str(n), [hard("b", 1), hard("a", 10)]).kind == "held") == 1
    assert sums(ledger, "a", "b") == [(90, 10, 5), (0, 1, 0)]


def test_of_many_who_end_a_hold_one_does(ledger: Ledger) -> None:
    reserve(ledger, "1", [line()])
    ledger.defer("1", "ref", expires_at=LATER)

    def end(number: int) -> int:
        match number % 3:
            case 0:
                return ledger.settle_deferred("ref", {"usd": 10})
            case 1:
                return ledger.settle("1", {"usd": 10})
            case _:
                return len(ledger.sweep(LATER))

    assert at_once(21, end) == 1
    assert sums(ledger, "a") == [(10, 0, 0)]


def test_of_many_who_mark_one_does(ledger: Ledger) -> None:
    assert at_once(20, lambda _: ledger.mark_once("a", "50")) == 1


def test_many_with_the_same_id_hold_once(ledger: Ledger) -> None:
    assert at_once(20, lambda _: reserve(ledger, "1", [line()]).kind == "held") == 20
    assert sums(ledger, "a") == [(0, 10, 5)]
