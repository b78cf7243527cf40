"""Whose turn it is: numbers alone."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.core.turns import MOST_TURNS, in_turn, turn
from aden_transport.errors import LedgerUnavailable
from aden_transport.ledger.base import Outcome, Totals
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.policy import Call, Index, Plan, Verdict, decide, load, plan_call

NOW = 1_790_000_000.25


class Turns:
    """Callers of one budget, in as many processes as ask it."""

    def __init__(self) -> None:
        self.taken: set[int] = set()

    def take(self, number: int) -> bool:
        first = number not in self.taken
        self.taken.add(number)
        return first

    def wait(self, now: float, every_s: float = 2.0, longest_s: float = 30.0) -> float:
        return turn(self.take, now=now, every_s=every_s, longest_s=longest_s, luck=random.randrange(2**32))


def test_who_is_alone_waits_what_the_budget_says() -> None:
    turns = Turns()
    assert turns.wait(NOW) == 2.0
    assert turns.wait(NOW + 2.0) == 2.0
    assert turns.wait(NOW + 60.0) == 2.0


def test_callers_that_come_at_once_leave_one_after_the_other() -> None:
    turns = Turns()
    assert [turns.wait(NOW) for _ in range(5)] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert turns.wait(NOW + 1.9) == 10.0  # the others leave before


def test_more_callers_than_turns_share_them_evenly() -> None:
    turns = Turns()
    waits = Counter(turns.wait(NOW) for _ in range(1500))
    assert set(waits) == {2.0 * n for n in range(1, 16)}
    assert max(waits.values()) < 200


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=60).map(sorted),
    st.sampled_from([0.02, 0.1, 0.3, 1.0, 2.0, 7.0, 30.0]),
    st.sampled_from([0.1, 0.3, 5.0, 30.0]),
)
def test_nobody_waits_less_than_once_or_longer_than_the_longest(
    arrivals: list[float], every_s: float, longest_s: float
) -> None:
    turns = Turns()
    every_s = min(every_s, longest_s)
    own: Counter[int] = Counter()
    for at in arrivals:
        before = len(turns.taken)
        waits = turns.wait(NOW + at, every_s, longest_s)
        assert every_s <= waits <= longest_s + 1e-9
        if len(turns.taken) > before:
            own[max(turns.taken)] += 1
    assert len(turns.taken) <= len(arrivals)


def test_looking_for_a_turn_is_bounded() -> None:
    asked: list[int] = []

    def never(number: int) -> bool:
        asked.append(number)
        return False

    assert 0.001 <= turn(never, now=NOW, every_s=0.001, longest_s=30.0, luck=7) <= 30.0
    assert len(asked) == MOST_TURNS


def throttled(document: object) -> tuple[Plan, Verdict]:
    plan = plan_call(
        Index(load(document)), Call({"customer": "acme"}, "openai", "gpt-4o", NOW), lambda _: (1, 1)
    )
    sums = tuple([Totals(990_000_000, 0, 0)] * len(plan.candidates[0].lines))
    return plan, decide(plan, Outcome("throttled", 0, sums, 0))


LADDER = {"limit": 1, "thresholds": [{"percent": 95, "action": "throttle", "delayMs": 2000}]}


def test_each_budget_has_turns_of_its_own_and_the_longest_delay_says_whose() -> None:
    ledger = MemoryLedger()
    customer = {**LADDER, "type": "customer", "name": "*"}
    slower = {**customer, "thresholds": [{"percent": 95, "action": "throttle", "delayMs": 5000}]}

    def waits(*budgets: object) -> float:
        plan, verdict = throttled({"budgets": list(budgets)})
        return in_turn(plan, verdict, ledger, "0" * 8, NOW).delay_s

    assert [waits(LADDER) for _ in range(2)] == [2.0, 4.0]
    assert [waits(customer) for _ in range(2)] == [2.0, 4.0]
    assert [waits(LADDER, slower) for _ in range(2)] == [5.0, 10.0]
    assert waits(LADDER) == 6.0


def test_the_longest_delay_of_a_budget_bounds_its_turns() -> None:
    ledger = MemoryLedger()
    for _ in range(20):
        plan, verdict = throttled({**LADDER, "maxDelayMs": 4000})
        assert in_turn(plan, verdict, ledger, "0123456789abcdef", NOW).delay_s in (2.0, 4.0)


def test_a_throttle_rule_has_turns_and_one_of_no_time_has_none() -> None:
    def verdict(delay_ms: int) -> list[float]:
        ledger = MemoryLedger()
        rule = {"throttles": [{"provider": "openai", "delay_ms": delay_ms}]}
        return [in_turn(*throttled(rule), ledger, "0" * 8, NOW).delay_s for _ in range(3)]

    assert verdict(1000) == [1.0, 2.0, 3.0]
    assert verdict(0) == [0.0, 0.0, 0.0]


def test_without_the_ledger_the_wait_is_the_budgets() -> None:
    class Gone(MemoryLedger):
        def mark_once(self, key: str, mark: str, *, expires_at: float = 0.0) -> bool:
            raise LedgerUnavailable("gone")

    plan, verdict = throttled(LADDER)
    assert in_turn(plan, verdict, Gone(), "0" * 8, NOW) is verdict


@pytest.mark.parametrize("delay_s", [0.5, 30.0])
def test_turns_are_forgotten(delay_s: float) -> None:
    ledger = MemoryLedger()
    plan, verdict = throttled(
        {**LADDER, "thresholds": [{"percent": 1, "action": "throttle", "delayMs": delay_s * 1000}]}
    )
    for n in range(100):
        in_turn(plan, verdict, ledger, "0" * 8, NOW + n * delay_s)
    for _ in range(40):
        ledger.sweep(NOW + 100_000)
    assert len(ledger._marks) == 0
