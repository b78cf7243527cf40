"""The pace of a key: the rule as values, and every store by the same rule."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aden_transport.errors import LedgerUnavailable
from aden_transport.ledger.base import Ledger
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.pace import (
    KEPT_S,
    LOOK_S,
    SCOUT_S,
    Ask,
    Back,
    Costs,
    Move,
    Rate,
    State,
    Told,
    Turn,
    moved,
)
from aden_transport.ledger.pace_memory import MOST_KEYS
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import NOON, STORES

ONE: Costs = (1.0, 0.0, 0.0, 0.0)
SECOND = Rate(1.0)
GO = Turn(0.0, True)


def ask(patience: float = 20.0, costs: Costs = ONE, *, waited: bool = False) -> Ask:
    return Ask(costs, patience, waited)


def told(*rates: Rate | None, stop: float = 0.0, served: bool = True, ago: float = 0.0) -> Told:
    padded: list[Rate | None] = [*rates, None, None, None, None]
    return Told((padded[0], padded[1], padded[2], padded[3]), stop, served, ago)


class Key:
    """One key, by the rule alone."""

    def __init__(self) -> None:
        self.state: State | None = None

    def at(self, seconds: float, move: Move) -> Turn:
        self.state, turn = moved(self.state, move, NOON + seconds)
        return turn


def known(*rates: Rate | None) -> Key:
    key = Key()
    key.at(0, ask())
    key.at(0, told(*(rates or (SECOND,))))
    return key


def waits(turn: Turn) -> float:
    assert turn.taken
    return round(turn.wait, 6)


# -- the start ---------------------------------------------------------------------------------------


def test_of_a_crowd_that_knows_nothing_one_goes_and_the_others_look_again() -> None:
    key = Key()
    assert key.at(0, ask()) == GO
    assert [key.at(0, ask()) for _ in range(3)] == [Turn(LOOK_S, False)] * 3
    assert key.at(0, ask(patience=0.01)) == Turn(0.01, False)


def test_where_the_first_answer_is_slow_another_goes() -> None:
    key = Key()
    key.at(0, ask())
    assert not key.at(SCOUT_S - 0.001, ask()).taken
    assert key.at(SCOUT_S, ask()) == GO
    assert not key.at(SCOUT_S, ask()).taken


def test_an_answer_that_tells_no_limit_lets_all_go() -> None:
    key = Key()
    key.at(0, ask())
    key.at(0.3, told())
    assert [key.at(0.3, ask()) for _ in range(50)] == [GO] * 50


def test_a_first_call_that_got_no_answer_lets_the_next_go() -> None:
    key = Key()
    key.at(0, ask())
    key.at(0.1, Back((0.0, 0.0, 0.0, 0.0)))
    assert key.at(0.1, ask()) == GO


def test_the_first_call_counts() -> None:
    key = Key()
    key.at(0, ask())
    key.at(0.4, told(SECOND, ago=0.4))
    assert waits(key.at(0.4, ask())) == 1.0


# -- turns -------------------------------------------------------------------------------------------


def test_callers_leave_one_by_one() -> None:
    key = known()
    assert [waits(key.at(0, ask())) for _ in range(4)] == [1, 2, 3, 4]
    assert waits(key.at(2.5, ask())) == 2.5
    assert key.at(60, ask()) == GO


def test_a_turn_is_kept_whoever_comes_meanwhile() -> None:
    key = known()
    first = waits(key.at(0, ask()))
    for _ in range(5):
        key.at(0.5, ask())
    assert key.at(first, ask(waited=True)) == GO


def test_who_has_no_turn_within_his_patience_takes_none() -> None:
    key = known()
    assert [waits(key.at(0, ask(2.0))) for _ in range(2)] == [1, 2]
    assert [key.at(0, ask(2.0)) for _ in range(9)] == [Turn(2.0, False)] * 9
    assert waits(key.at(0, ask(9.0))) == 3


def test_a_burst_may_be_ahead_of_the_rate() -> None:
    key = known(Rate(1.0, burst=3.0))
    assert [waits(key.at(1, ask())) for _ in range(5)] == [0, 0, 0, 0, 1]


def test_tokens_are_paid_by_those_who_come_after() -> None:
    key = known(None, Rate(0.001))
    heavy: Costs = (1.0, 5000.0, 0.0, 0.0)
    assert waits(key.at(1, ask(costs=heavy))) == 0
    assert waits(key.at(1, ask(costs=(1.0, 10.0, 0.0, 0.0)))) == 5
    assert waits(key.at(1, ask(costs=ONE))) == 0


def test_the_tightest_family_decides() -> None:
    key = known(Rate(1.0), None, Rate(0.01), Rate(0.1))
    call: Costs = (1.0, 0.0, 50.0, 20.0)
    assert [waits(key.at(10, ask(costs=call))) for _ in range(3)] == [0, 2, 4]


def test_what_was_cancelled_is_given_back() -> None:
    key = known()
    for _ in range(10):
        key.at(0, ask())
    for _ in range(9):
        key.at(0.2, Back(ONE))
    assert waits(key.at(0.2, ask())) == 1.8


def test_less_than_the_rate_needs_slows_for_a_while() -> None:
    key = known(Rate(1.0, 0.0, 3.0, 5.0))
    key.at(2, ask())
    assert waits(key.at(2, ask())) == 3
    assert waits(key.at(2, ask())) == 6
    key = known(Rate(1.0, 0.0, 3.0, 5.0))
    key.at(6, ask())
    assert waits(key.at(6, ask())) == 1


def test_one_that_leaves_late_is_not_followed_too_closely() -> None:
    key = known()
    first, second, third = (waits(key.at(2, ask())) for _ in range(3))
    assert (first, second, third) == (0, 1, 2)
    assert key.at(3.4, ask(waited=True)) == GO
    assert waits(key.at(4, ask(waited=True))) == 0.4
    assert key.at(4, ask(0.1, waited=True)) == Turn(0.1, True)
    assert key.at(4.4001, ask(waited=True)) == GO


# -- stops -------------------------------------------------------------------------------------------


def test_a_stop_holds_those_who_have_a_turn_too() -> None:
    key = known()
    assert waits(key.at(0, ask())) == 1
    key.at(0.5, told(stop=10, served=False))
    assert waits(key.at(1, ask(waited=True))) == 9.5
    assert waits(key.at(1, ask())) == 10.5


def test_only_a_call_that_was_sent_since_then_ends_a_stop() -> None:
    key = known()
    key.at(5, told(stop=10, served=False))
    key.at(6, told(SECOND, ago=3))
    assert waits(key.at(6, ask())) == 9
    key = known()
    key.at(5, told(stop=10, served=False))
    key.at(7, told(SECOND, ago=1))
    assert waits(key.at(7, ask())) == 0


def test_the_longest_stop_counts_up_to_an_hour() -> None:
    key = known()
    key.at(5, told(stop=30, served=False))
    key.at(6, told(stop=1, served=False))
    assert waits(key.at(6, ask(60))) == 29
    key.at(7, told(stop=1e9, served=False))
    assert waits(key.at(7, ask(1e9))) == 3600


def test_after_a_stop_of_which_only_the_end_is_known_one_goes_first() -> None:
    key = Key()
    key.at(0, ask())
    key.at(0.5, told(stop=10, served=False))
    assert key.at(1, ask()) == Turn(9.5, False)
    assert key.at(1, ask(5)) == Turn(5, False)
    assert key.at(10.5, ask()) == GO
    assert key.at(10.5, ask()) == Turn(LOOK_S, False)
    key.at(10.75, told(ago=0.25))
    assert [key.at(10.75, ask()) for _ in range(5)] == [GO] * 5


def test_a_refusal_that_says_nothing_stops_nobody() -> None:
    key = Key()
    key.at(0, ask())
    key.at(0.1, told(served=False))
    assert [key.at(0.1, ask()) for _ in range(5)] == [GO] * 5


# -- time --------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_changes_no_wait() -> None:
    key = known()
    for _ in range(5):
        key.at(0, ask())
    assert waits(key.at(-7200, ask())) == 6
    key.at(-7200, told(stop=20, served=False))
    assert waits(key.at(-9000, ask())) == 20


def test_what_nobody_used_for_an_hour_is_forgotten() -> None:
    key = known()
    for _ in range(9):
        key.at(0, ask())
    assert key.at(KEPT_S + 0.1, ask()) == GO
    assert key.at(KEPT_S + 0.1, ask()) == Turn(LOOK_S, False)


# -- properties --------------------------------------------------------------------------------------

gaps = st.lists(st.floats(0, 3), min_size=1, max_size=60)


@settings(deadline=None)
@given(gaps, st.floats(0.05, 2), st.floats(0, 3))
def test_no_span_of_time_has_more_calls_than_rate_and_burst_allow(
    gaps: list[float], interval: float, burst: float
) -> None:
    key, now, left = known(Rate(interval, burst)), 10.0, list[float]()
    for gap in gaps:
        now += gap
        left.append(now + waits(key.at(now, ask(1e6))))
    assert left == sorted(left)
    for first, start in enumerate(left):
        for last in range(first, len(left)):
            span = left[last] - start
            assert last - first <= (span + burst) / interval + 1e-3


@settings(deadline=None)
@given(gaps, st.floats(0.05, 2))
def test_nobody_waits_while_the_rate_is_free(gaps: list[float], interval: float) -> None:
    """Work conserving: with callers waiting, one leaves in every interval."""
    key, now, left = known(Rate(interval)), 10.0, [0.0]
    for gap in gaps:
        now += gap
        leaves = now + waits(key.at(now, ask(1e6)))
        assert leaves == pytest.approx(max(now, left[-1] + interval), abs=1e-4)
        left.append(leaves)


seconds = st.floats(0, 30)
rates = st.none() | st.builds(Rate, st.floats(0.001, 3), seconds, st.floats(0.001, 9), seconds)
costs = st.tuples(st.just(1.0), *(st.floats(0, 50) for _ in range(3)))
moves: st.SearchStrategy[Move] = st.one_of(
    st.builds(Ask, costs, seconds, st.booleans()),
    st.builds(Told, st.tuples(rates, rates, rates, rates), st.just(0.0) | seconds, st.booleans(), seconds),
    st.builds(Back, costs),
)
steps = st.lists(st.tuples(st.floats(-5, 20) | st.just(0.0) | st.just(4000.0), moves), max_size=30)


@settings(deadline=None)
@given(steps)
def test_no_wait_is_longer_than_the_patience(steps: list[tuple[float, Move]]) -> None:
    key, now = Key(), 0.0
    for gap, move in steps:
        now += gap
        turn = key.at(now, move)
        assert 0 <= turn.wait <= (move.patience if isinstance(move, Ask) else 0) + 1e-9


# -- stores ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=sorted(STORES))
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with STORES[request.param](tmp_path_factory.mktemp("pace")) as each:
        yield each


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.integers())
def test_every_store_keeps_the_rule(ledger: Ledger, steps: list[tuple[float, Move]], number: int) -> None:
    key, name, now = Key(), f"rule {number} {os.urandom(8).hex()}", 0.0
    for gap, move in steps:
        now += gap
        found, right = ledger.pace(name, move, now=NOON + now), key.at(now, move)
        assert found.taken == right.taken
        assert found.wait == pytest.approx(right.wait, abs=1e-6)


def test_keys_do_not_share_a_pace(ledger: Ledger) -> None:
    for name in ("one", "ä\udcff", "one|two"):
        assert ledger.pace(name, ask()) == GO
        assert not ledger.pace(name, ask()).taken


def test_threads_get_turns_of_their_own(ledger: Ledger) -> None:
    ledger.pace("threads", ask())
    ledger.pace("threads", told(Rate(100.0)))
    found = list[float]()

    def take() -> None:
        for _ in range(10):
            found.append(ledger.pace("threads", ask(1e9)).wait)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [round(wait / 100) for wait in sorted(found)] == list(range(1, 81))


def test_the_clock_is_the_stores_own_where_none_is_given(ledger: Ledger) -> None:
    ledger.pace("clock", ask())
    ledger.pace("clock", told(Rate(1000.0)))
    first = ledger.pace("clock", ask(5000)).wait
    assert 990 < first <= 1000
    assert ledger.pace("clock", ask(5000)).wait == pytest.approx(first + 1000, abs=10)


def test_a_salt_stays_the_same(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    salt = ledger.salt()
    assert len(salt) == 32
    assert ledger.salt() == salt


# -- each store's own --------------------------------------------------------------------------------


def test_memory_is_bounded() -> None:
    ledger = MemoryLedger()
    for number in range(MOST_KEYS + 10):
        ledger.pace(str(number), ask())
    assert len(ledger._paces) == MOST_KEYS


def test_two_ledgers_of_memory_have_two_salts() -> None:
    assert MemoryLedger().salt() != MemoryLedger().salt()


@pytest.fixture
def state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "aden-transport"


def test_the_salt_of_an_installation_is_a_file_of_the_users_alone(state_folder: Path, tmp_path: Path) -> None:
    one, other = SqliteLedger(tmp_path / "one.sqlite3"), SqliteLedger(tmp_path / "other.sqlite3")
    salts = list[bytes]()
    threads = [threading.Thread(target=lambda: salts.append(one.salt())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*salts, other.salt()} == {(state_folder / "salt").read_bytes()}
    assert stat.S_IMODE((state_folder / "salt").stat().st_mode) == 0o600
    assert os.listdir(state_folder) == ["salt"]


def test_what_is_no_salt_is_replaced(state_folder: Path, tmp_path: Path) -> None:
    state_folder.mkdir(parents=True)
    (state_folder / "salt").write_bytes(b"short")
    ledger = SqliteLedger(tmp_path / "one.sqlite3")
    assert len(ledger.salt()) == 32
    assert (state_folder / "salt").read_bytes() == ledger.salt()


def test_where_no_salt_can_be_kept_the_store_does_not_answer(state_folder: Path, tmp_path: Path) -> None:
    (state_folder / "salt").mkdir(parents=True)
    with pytest.raises(LedgerUnavailable, match="No salt can be kept"):
        SqliteLedger(tmp_path / "one.sqlite3").salt()


def test_a_file_of_an_older_release_gets_its_table(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "one.sqlite3")
    assert ledger.open_holds() == 0
    assert ledger.pace("key", ask()) == GO
    assert not SqliteLedger(tmp_path / "one.sqlite3").pace("key", ask()).taken
    ledger.close()


def test_expired_rows_are_deleted(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "one.sqlite3")
    for number in range(150):
        ledger.pace(f"old {number}", ask(), now=NOON)
    ledger.pace("new", ask(), now=NOON + 2 * KEPT_S)
    ledger.pace("newer", ask(), now=NOON + 2 * KEPT_S)
    with ledger._transaction() as db:
        kept: list[Any] = db.execute("SELECT key FROM paces").fetchall()
    assert kept == [("new",), ("newer",)]
    ledger.close()
