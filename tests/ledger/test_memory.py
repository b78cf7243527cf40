"""The ledger of one process: bounded in memory, and a child's own after a fork."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.ledger import memory as module
from aden_transport.ledger.base import UNLIMITED, Line, Take, Totals
from aden_transport.ledger.idle import IdleSums
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import LATER, NOON, line, sums

HOUR = 3600.0


def spend(ledger: MemoryLedger, key: str, amount: int = 1, *, until: float = 0.0, now: float = NOON) -> None:
    ledger.reserve("1", [[line(key, amount, expires_at=until)]], now=now, expires_at=LATER)
    assert ledger.settle("1", {})


# -- keys that are idle -----------------------------------------------------------------------------


def test_only_the_keys_used_last_are_objects_and_no_sum_is_lost() -> None:
    ledger = MemoryLedger(hot_keys=100)
    for number in range(1000):
        spend(ledger, f"customer {number}", number)
    assert len(ledger._hot) <= 101
    assert len(ledger._idle) >= 898
    assert sums(ledger, *(f"customer {n}" for n in range(1000))) == [(n, 0, 0) for n in range(1000)]


def test_an_idle_key_comes_back_with_its_sum() -> None:
    ledger = MemoryLedger(hot_keys=1)
    for _ in range(3):
        for key in "abcd":
            spend(ledger, key, 5)
    ledger.raise_to("a", 40, mark="v1")
    assert sums(ledger, *"abcd") == [(40, 0, 0), (15, 0, 0), (15, 0, 0), (15, 0, 0)]
    assert sums(ledger, "a", also="bcd") == [(85, 0, 0)]


def test_keys_with_open_holds_stay() -> None:
    ledger = MemoryLedger(hot_keys=1)
    for number in range(50):
        ledger.reserve(str(number), [[line(f"k{number}", expires_at=NOON)]], now=NOON, expires_at=LATER)
    ledger.sweep(NOON)
    assert sums(ledger, *(f"k{n}" for n in range(50))) == [(0, 10, 5)] * 50
    for number in range(50):
        assert ledger.settle(str(number), {"usd": 1})
    assert sums(ledger, *(f"k{n}" for n in range(50))) == [(1, 0, 0)] * 50


def test_a_sum_that_is_too_large_for_an_array_stays_an_object() -> None:
    ledger = MemoryLedger(hot_keys=1)
    spend(ledger, "a", 2**70)
    for key in "bcd":
        spend(ledger, key)
    assert sums(ledger, "a") == [(2**70, 0, 0)]


# -- what has expired -------------------------------------------------------------------------------


def test_expired_and_empty_keys_are_forgotten_by_sweeps() -> None:
    ledger = MemoryLedger(hot_keys=10)
    for number in range(500):
        spend(ledger, f"gone {number}", until=NOON + HOUR)
        ledger.mark_once(f"gone {number}", "50", expires_at=NOON + HOUR)
    spend(ledger, "kept", until=NOON + 9 * HOUR)
    ledger.reserve("nothing", [[line("empty")]], now=NOON, expires_at=LATER)
    ledger.release("nothing")
    for _ in range(40):
        ledger.sweep(NOON + 3 * HOUR)
    assert (len(ledger._hot), len(ledger._idle), len(ledger._marks)) == (1, 0, 0)
    assert sums(ledger, "kept", "gone 3") == [(1, 0, 0), (0, 0, 0)]


def test_expired_keys_are_forgotten_without_sweeps_while_new_ones_come() -> None:
    ledger = MemoryLedger(hot_keys=10)
    for number in range(200_000):
        now = NOON + number
        spend(ledger, f"{number}", until=now + HOUR, now=now)
    assert len(ledger._hot) + len(ledger._idle) < 100_000


def test_disputes_are_forgotten_with_their_keys() -> None:
    ledger = MemoryLedger()
    ledger.reserve("1", [[line("a", expires_at=NOON + 5)]], now=NOON, expires_at=NOON + 1)
    ledger.reserve("2", [[line("b")]], now=NOON, expires_at=NOON + 1)
    ledger.sweep(NOON + 1)
    assert ledger.disputed() == {"a": 10, "b": 10}
    ledger.sweep(NOON + 5)
    assert ledger.disputed() == {"b": 10}


# -- sums in arrays ---------------------------------------------------------------------------------


def test_idle_sums_are_set_and_dropped() -> None:
    idle = IdleSums()
    idle.forget(NOON, at_least=1)
    for number in range(3000):
        assert idle.put(f"k{number}", number, 0.0)
    assert idle.put("k7", 70, 0.0)
    assert not idle.put("huge", 2**63, 0.0)
    idle.drop("k8")
    idle.drop("never there")
    assert [idle.get(f"k{n}") for n in (6, 7, 8, 9)] == [6, 70, 0, 9]
    assert len(idle) == 2999


@pytest.mark.parametrize(
    ("expires_at", "kept_at", "gone_at"),
    [
        (NOON + HOUR, NOON + HOUR, NOON + 2 * HOUR),
        (NOON - 30 * 365 * 24 * HOUR, NOON - 2 * 365 * 24 * HOUR, NOON + HOUR),
        (NOON + 50 * 365 * 24 * HOUR, NOON + 60 * 365 * 24 * HOUR, None),
        (0.0, NOON + 60 * 365 * 24 * HOUR, None),
    ],
)
def test_an_idle_sum_is_forgotten_at_most_an_hour_late_and_never_early(
    expires_at: float, kept_at: float, gone_at: float | None
) -> None:
    idle = IdleSums()
    idle.put("first", 1, NOON)
    idle.put("key", 1, expires_at)
    idle.forget(kept_at, at_least=10_000)
    assert idle.get("key") == 1
    if gone_at is not None:
        idle.forget(gone_at, at_least=10_000)
        assert idle.get("key") == 0


# -- forks ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_the_sums_but_not_the_open_calls() -> None:
    ledger = MemoryLedger()
    spend(ledger, "a", 7)
    ledger.reserve("2", [[line("a")]], now=NOON, expires_at=LATER)
    ledger.defer("2", "ref", expires_at=LATER)
    locked, done = threading.Event(), threading.Event()

    def keep() -> None:
        with ledger._lock:
            locked.set()
            done.wait()

    thread = threading.Thread(target=keep)
    thread.start()
    locked.wait()
    child = os.fork()
    if child == 0:
        good = sums(ledger, "a") == [(7, 0, 0)] and ledger.open_holds() == 0
        good = good and not ledger.settle_deferred("ref", {}) and not ledger.settle("2", {})
        os._exit(0 if good else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert ledger.settle_deferred("ref", {"usd": 1})
    assert sums(ledger, "a") == [(8, 0, 0)]


def test_in_a_child_no_lock_of_the_parent_is_left() -> None:
    ledger = MemoryLedger()
    spend(ledger, "a", 7)
    ledger.reserve("2", [[line("a")]], now=NOON, expires_at=LATER)
    with ledger._lock:
        module._after_fork_in_child()
        assert sums(ledger, "a") == [(7, 0, 0)]
        assert not ledger.settle("2", {})


# -- plain calls ---------------------------------------------------------------------------------------


def in_use(limit: int, key: str = "a") -> tuple[MemoryLedger, tuple[Take, ...]]:
    """A ledger whose key is in use, and the key as a plain call takes it."""
    ledger = MemoryLedger()
    ledger.reserve("first", [[Line(key, 0, 0)]], now=1.0, expires_at=9.0)
    ledger.release("first")
    return ledger, ((key, limit, UNLIMITED),)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60), st.booleans()), max_size=30))
def test_a_take_holds_and_ends_as_a_reserve_does(calls: list[tuple[int, int, bool]]) -> None:
    plain, takes = in_use(100)
    usual, _ = in_use(100)
    for number, (hold, cost, ends) in enumerate(calls):
        taken = plain.take(number, takes, hold, hold, 9.0)
        outcome = usual.reserve(str(number), [[Line("a", hold, hold, 100)]], now=1.0, expires_at=9.0)
        assert taken == (outcome.kind == "held")
        if ends:
            plain.end(number, cost)
            usual.settle(str(number), {"usd": cost})
    line = [Line("a", 0, 0)]
    assert plain.totals(line) == usual.totals(line)
    assert plain.open_holds() == usual.open_holds()
    assert len(plain.sweep(9.0)) == len(usual.sweep(9.0))
    assert plain.totals(line) == usual.totals(line)
    assert plain.disputed() == usual.disputed()


def test_a_take_leaves_alone_what_it_cannot_have_whole() -> None:
    ledger, takes = in_use(100)
    assert not ledger.take(1, (*takes, ("b", 100, UNLIMITED)), 10, 10, 9.0)  # nobody has used it yet
    assert not ledger.take(2, (*takes, ("a", 5, UNLIMITED)), 10, 10, 9.0)
    assert not ledger.take(3, (("a", 100, 10),), 10, 10, 9.0)  # something is in force at 10
    assert ledger.take(4, (("a", 100, 10),), 10, 9, 9.0)
    assert ledger.totals([Line("a", 0, 0)]) == (Totals(0, 10, 9),)
    assert ledger.open_holds() == 1


def test_what_was_taken_ends_where_the_sums_have_moved_to(tmp_path: Path) -> None:
    ledger, takes = in_use(100)
    other = SqliteLedger(tmp_path / "sums.sqlite3")
    assert ledger.take(1, takes, 30, 20, 9e9)
    assert ledger.take(2, takes, 30, 20, 9e9)
    ledger.move_to(other)
    assert not ledger.take(3, takes, 1, 1, 9e9)
    assert not ledger.take(3, takes * 2, 1, 1, 9e9)
    assert other.totals([Line("a", 0, 0)]) == (Totals(0, 60, 40),)
    ledger.end(1, 7)
    assert ledger.release(ledger.name(2))
    assert other.totals([Line("a", 0, 0)]) == (Totals(7, 0, 0),)
    other.close()
