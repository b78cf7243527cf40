"""Ends of holds told together: in one transaction, all or none, each once, none kept from it by another."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.errors import LedgerUnavailable
from aden_transport.ledger import store_thread as module
from aden_transport.ledger.base import Ledger, Spooled
from aden_transport.ledger.hold_end import EndsMany, HoldEnd, many_of
from aden_transport.ledger.lease_file import FileLeases
from aden_transport.ledger.lease_memory import MemoryLeases
from aden_transport.ledger.leased import LeasedLedger
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger
from aden_transport.ledger.store_thread import MANY, Question, StoreThread
from aden_transport.ledger.viewed import viewed

from .kit import LATER, NOON, PATIENT, line, sums

LONG_S = 60.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    reset_faults()
    each = SqliteLedger(tmp_path / "ledger.sqlite3", timeout_s=PATIENT)
    yield each
    each.close()
    reset_faults()


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> StoreThread:
    monkeypatch.setattr(module, "PAUSES_S", (0.001,))
    return StoreThread()


@pytest.fixture
def transactions(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many ends each transaction told, from now on."""
    told: list[int] = []
    end_many = ledger.end_many

    def counted(ends: Any) -> Any:
        ended = end_many(ends)
        told.append(len(ends))
        return ended

    monkeypatch.setattr(ledger, "end_many", counted)
    return told


def reserve(ledger: Ledger, *op_ids: str, key: str = "a") -> None:
    for op_id in op_ids:
        ledger.reserve(op_id, [[line(key, 10)]], now=NOON, expires_at=LATER)


def events(ledger: SqliteLedger) -> set[str]:
    with sqlite3.connect(ledger.path) as db:
        found = {event_id for (event_id,) in db.execute("SELECT event_id FROM spool").fetchall()}
    db.close()
    return found


def kept(op_id: str) -> Spooled:
    return Spooled(f"e{op_id}", "{}")


def hear(heard: list[str], op_id: str, event: Spooled | None) -> None:
    assert event is None or event == kept(op_id)
    heard.append(op_id)


def put_all(thread: StoreThread, *ends: Any) -> None:
    """So that they are there together when the thread comes to them."""
    go = threading.Event()
    thread.put(lambda: go.wait(LONG_S))
    for end in ends:
        thread.put(end)
    go.set()
    assert thread.flush(LONG_S)


# -- a ledger ---------------------------------------------------------------------------------------


def test_ends_of_many_holds_are_as_those_of_each(ledger: SqliteLedger) -> None:
    reserve(ledger, "1", "2", "3")
    reserve(ledger, "4", key="b")
    ended = ledger.end_many(
        [
            ("1", {"usd": 3}, Spooled("e1", "{}")),
            ("gone", {"usd": 9}, Spooled("no", "{}")),
            ("2", None, Spooled("e2", "{}")),
            ("1", {"usd": 5}, Spooled("no", "{}")),
            ("4", {}, None),
        ]
    )
    assert ended == [True, False, True, False, True]
    assert sums(ledger, "a", "b") == [(3, 10, 5), (10, 0, 0)]
    assert events(ledger) == {"e1", "e2"}
    assert ledger.end_many([]) == []


def test_it_is_all_of_them_or_none(ledger: SqliteLedger) -> None:
    reserve(ledger, "1", "2")
    ends: Any = [
        ("1", {"usd": 3}, Spooled("e1", "{}")),
        ("2", {"usd": 3}, Spooled("e2", cast(Any, object()))),
    ]
    with pytest.raises(LedgerUnavailable):
        ledger.end_many(ends)
    assert (sums(ledger, "a"), events(ledger)) == ([(0, 20, 10)], set())


def test_events_that_were_taken_are_forgotten_in_a_later_transaction(ledger: SqliteLedger) -> None:
    ids = [f"e{number}" for number in range(250)]
    for first in range(0, 250, 50):
        reserve(ledger, *ids[first : first + 50])
        ledger.end_many([(each, {"usd": 1}, Spooled(each, "{}")) for each in ids[first : first + 50]])
    ledger.forget_events(ids)
    assert events(ledger) == set(ids)
    ledger.end_many([])
    assert events(ledger) == set()


def test_events_that_were_taken_are_forgotten_when_nothing_else_is_to_be_done(
    ledger: SqliteLedger, thread: StoreThread
) -> None:
    """A process that a signal ends has left none of them to others."""
    thread.when_idle = ledger.forget_now
    reserve(ledger, "1")
    end = HoldEnd(ledger, "1", {"usd": 3})
    end.write = partial(kept, "1")
    end.then = lambda event: ledger.forget_events([] if event is None else [event.event_id])
    thread.put(end)
    assert thread.flush(LONG_S)
    deadline = time.monotonic() + LONG_S
    while events(ledger) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert events(ledger) == set()
    assert sums(ledger, "a") == [(3, 0, 0)]


# -- the thread -------------------------------------------------------------------------------------


def test_ends_that_wait_are_told_in_few_transactions_and_each_hears_of_it(
    ledger: SqliteLedger, thread: StoreThread, transactions: list[int]
) -> None:
    heard: list[str] = []
    ends = [HoldEnd(ledger, str(number), {"usd": 1}) for number in range(2 * MANY + 5)]
    for end in ends:
        reserve(ledger, end.op_id)
        end.write = partial(kept, end.op_id)
        end.then = partial(hear, heard, end.op_id)
    put_all(thread, *ends)
    assert transactions == [MANY, MANY, 5]
    assert heard == [end.op_id for end in ends]
    assert sums(ledger, "a") == [(2 * MANY + 5, 0, 0)]
    assert events(ledger) == {f"e{end.op_id}" for end in ends}


def test_what_stands_between_is_done_in_its_turn(
    ledger: SqliteLedger, thread: StoreThread, transactions: list[int]
) -> None:
    seen: list[Any] = []
    reserve(ledger, "1", "2", "3")
    first, second, third = (HoldEnd(ledger, str(number), {"usd": 1}) for number in (1, 2, 3))
    put_all(thread, first, second, lambda: seen.append(sums(ledger, "a")), third)
    assert seen == [[(2, 10, 5)]]
    assert transactions == [2, 1]


def test_ledgers_that_tell_one_at_a_time_do(thread: StoreThread) -> None:
    ledger = MemoryLedger()
    assert not isinstance(ledger, EndsMany)
    reserve(ledger, "1", "2")
    put_all(thread, HoldEnd(ledger, "1", {"usd": 3}), HoldEnd(ledger, "2", None))
    assert sums(ledger, "a") == [(3, 0, 0)]


def test_a_store_that_is_away_is_told_all_of_them_when_it_is_back(
    ledger: SqliteLedger, thread: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(ledger, "1", "2")
    end_many, away, heard = ledger.end_many, [True] * 3, list[str]()

    def answer(ends: Any) -> Any:
        if away:
            away.pop()
            raise LedgerUnavailable("away")
        return end_many(ends)

    monkeypatch.setattr(ledger, "end_many", answer)
    ends = [HoldEnd(ledger, op_id, {"usd": 4}) for op_id in ("1", "2")]
    for end in ends:
        end.then = partial(hear, heard, end.op_id)
    put_all(thread, *ends)
    assert (sums(ledger, "a"), heard) == ([(8, 0, 0)], ["1", "2"])
    assert fault_counts() == {"ledger:LedgerUnavailable": 3}


def test_one_that_cannot_be_told_keeps_no_other_from_its_end(
    ledger: SqliteLedger, thread: StoreThread
) -> None:
    def fail() -> Any:
        raise LookupError

    reserve(ledger, "1", "2", "3")
    ends = [HoldEnd(ledger, str(number), {"usd": 4}) for number in (1, 2, 3)]
    ends[1].write = fail
    put_all(thread, *ends)
    assert sums(ledger, "a") == [(8, 10, 5)]
    assert thread.given_up == 1
    assert fault_counts() == {"settlement:LookupError": 1}


def test_what_hears_of_an_end_and_fails_does_not_end_it_again(
    ledger: SqliteLedger, thread: StoreThread
) -> None:
    def fail(_: object) -> None:
        raise LookupError

    reserve(ledger, "1", "2")
    ends = [HoldEnd(ledger, op_id, {"usd": 4}) for op_id in ("1", "2", "lost")]
    ends[0].then = ends[2].then = fail
    put_all(thread, *ends)
    assert sums(ledger, "a") == [(8, 0, 0)]
    assert fault_counts() == {"settlement:LookupError": 1, "settlement:HoldLost": 1}


# -- beside questions -------------------------------------------------------------------------------


def asked(thread: StoreThread, run: Any, *ends: Any) -> Any:
    """The answer of a question that comes to the thread after these ends."""
    go, there = threading.Event(), threading.Event()
    thread.put(lambda: go.wait(LONG_S))
    for end in ends:
        thread.put(end)
    question = Question(run, lambda _: None)
    thread.ask(question, there.set)
    go.set()
    assert there.wait(LONG_S)
    assert thread.flush(LONG_S)
    return question.result()


def test_a_reserve_takes_the_ends_before_it_along_and_sees_them(
    ledger: SqliteLedger, thread: StoreThread, transactions: list[int]
) -> None:
    reserve(ledger, "1", "2")
    ends = [HoldEnd(ledger, op_id, {"usd": 4}) for op_id in ("1", "2")]

    def run() -> Any:
        return ledger.reserve("3", [[line(limit_held=18)]], now=NOON, expires_at=LATER)

    outcome = asked(thread, run, *ends)
    assert (outcome.kind, outcome.totals[0].spent, outcome.totals[0].held) == ("held", 8, 0)
    assert transactions == []
    assert sums(ledger, "a") == [(8, 10, 5)]


def test_only_the_threads_own_reserve_takes_them_along(ledger: SqliteLedger) -> None:
    reserve(ledger, "1")
    with ledger.riding([("1", None, None)]) as ride:
        other = threading.Thread(target=reserve, args=(ledger, "2"))
        other.start()
        other.join()
        assert ride.ended is None
        reserve(ledger, "3")
        assert ride.ended == [True]
        reserve(ledger, "4")
    assert sums(ledger, "a") == [(0, 30, 15)]


def test_a_question_that_reserves_nothing_leaves_them_to_be_told(
    ledger: SqliteLedger, thread: StoreThread, transactions: list[int]
) -> None:
    reserve(ledger, "1", "2")
    ends = [HoldEnd(ledger, op_id, {"usd": 4}) for op_id in ("1", "2")]
    assert asked(thread, lambda: "answer", *ends) == "answer"
    assert transactions == [2]
    assert sums(ledger, "a") == [(8, 0, 0)]


@pytest.mark.parametrize("fault", ["event", "amount"])
def test_what_cannot_be_told_keeps_no_call_from_its_hold(
    ledger: SqliteLedger, thread: StoreThread, fault: str
) -> None:
    def fail() -> Any:
        raise LookupError

    reserve(ledger, "1", "2")
    ends = [HoldEnd(ledger, op_id, {"usd": 4}) for op_id in ("1", "2")]
    if fault == "event":
        ends[0].write = fail
    else:
        ends[0].amounts = {"usd": "many"}  # type: ignore[dict-item]

    def run() -> Any:
        return ledger.reserve("3", [[line()]], now=NOON, expires_at=LATER)

    assert asked(thread, run, *ends).kind == "held"
    assert thread.given_up == 1
    assert sums(ledger, "a") == [(4, 20, 10)]


def test_ends_that_the_store_does_not_take_keep_no_call_from_its_hold(
    ledger: SqliteLedger, thread: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (LONG_S,))
    reserve(ledger, "1")
    end = HoldEnd(ledger, "1", {"usd": 4})
    end.write = lambda: Spooled("e1", cast(Any, object()))
    thread.put(end)
    while not fault_counts():
        time.sleep(0.001)
    there = threading.Event()
    question = Question(lambda: reserve(ledger, "2"), lambda _: None)
    thread.ask(question, there.set)
    assert there.wait(LONG_S)
    question.result()
    assert ledger.open_holds() == 2


# -- ledgers that stand before one ------------------------------------------------------------------


def leased(local: SqliteLedger) -> LeasedLedger:
    return LeasedLedger(local, FileLeases(local))


def test_ends_under_leases_and_of_ledgers_that_are_viewed_are_told_together_where_the_file_does(
    ledger: SqliteLedger,
) -> None:
    memory = MemoryLedger()
    assert many_of(ledger) is many_of(viewed(ledger)) is ledger
    assert many_of(memory) is many_of(viewed(memory)) is None
    assert many_of(LeasedLedger(memory, MemoryLeases(memory))) is None
    assert many_of(under := leased(ledger)) is under


def test_a_reserve_under_a_lease_takes_the_ends_before_it_along(
    ledger: SqliteLedger, thread: StoreThread, transactions: list[int]
) -> None:
    under = leased(ledger)
    reserve(under, "1", "2")
    ends = [HoldEnd(under, op_id, {"usd": 4}) for op_id in ("1", "2")]
    for end in ends:
        end.write = partial(kept, end.op_id)
    outcome = asked(thread, partial(under.reserve, "3", [[line()]], now=NOON, expires_at=LATER), *ends)
    assert (outcome.kind, outcome.totals[0].spent, outcome.totals[0].held) == ("held", 8, 0)
    assert transactions == []
    assert (sums(under, "a"), events(ledger)) == ([(8, 10, 5)], {"e1", "e2"})


def test_ends_under_leases_that_no_reserve_takes_along_are_one_transaction(
    ledger: SqliteLedger, thread: StoreThread, transactions: list[int]
) -> None:
    under = leased(ledger)
    reserve(under, "1", "2", "3")
    put_all(thread, *[HoldEnd(under, op_id, {"usd": 4}) for op_id in ("1", "2", "3")])
    assert transactions == [3]
    assert sums(under, "a") == [(12, 0, 0)]


# -- kill -9 ----------------------------------------------------------------------------------------

SPENDER = """
import os, sys
from itertools import count
from aden_transport.ledger.base import Line, Spooled
from aden_transport.ledger.lease_file import FileLeases
from aden_transport.ledger.leased import LeasedLedger
from aden_transport.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(sys.argv[1], timeout_s=30)
if sys.argv[2] == "leased":
    ledger = LeasedLedger(ledger, FileLeases(ledger))
for number in count():
    ids = [f"{os.getpid()}-{number}-{each}" for each in range(16)]
    for op_id in ids[:8]:
        ledger.reserve(op_id, [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
    before = [(op_id, {"usd": 3}, Spooled(op_id, '{"usd": 3}')) for op_id in ids[:8]]
    with ledger.riding(before[:4]):
        for op_id in ids[8:]:
            ledger.reserve(op_id, [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
    after = [(op_id, {"usd": 3}, Spooled(op_id, '{"usd": 3}')) for op_id in ids[8:]]
    ledger.end_many(before[4:] + after)
    if number == 0:
        print("begun", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("kind", ["alone", "leased"])
def test_money_and_events_agree_whenever_a_process_is_killed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ledger.sqlite3"
    for pause in (0.01, 0.03, 0.07):
        command = [sys.executable, "-c", SPENDER, str(path), kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(pause)
            os.kill(child.pid, signal.SIGKILL)
    ledger = SqliteLedger(path, timeout_s=PATIENT)
    under = ledger if kind == "alone" else leased(ledger)
    left = ledger.open_holds()
    before = under.reserve("look", [[line("a")]], now=NOON, expires_at=LATER).totals[0]
    with sqlite3.connect(path) as db:
        told = [json.loads(event)["usd"] for (event,) in db.execute("SELECT event FROM spool")]
    db.close()
    assert before.spent == sum(told) > 0
    assert before.held == 10 * left
    ledger.close()
