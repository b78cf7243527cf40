"""The book of a host's leases in its ledger's file: shared by processes, kept when they die, begun anew with
the machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aden_transport.ledger import lease_file
from aden_transport.ledger.base import SEAL, Line
from aden_transport.ledger.lease_file import STALE_S, FileLeases
from aden_transport.ledger.lease_memory import MemoryLeases, lease_clock
from aden_transport.ledger.leased import LeasedLedger
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import PATIENT, hard, line, sums
from .test_leased import Fleet, held, reserve


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path)
    yield found
    for host in found.hosts:
        host.close()


def process(fleet: Fleet) -> LeasedLedger:
    """One more process of the same host."""
    return fleet.host("sqlite", file="host.sqlite3")


def restarted(fleet: Fleet, *, boot: str) -> LeasedLedger:
    local = SqliteLedger(fleet.folder / "host.sqlite3", timeout_s=PATIENT)
    fleet.hosts.append(
        LeasedLedger(local, FileLeases(local, clock=fleet.clock, boot=boot), clock=fleet.clock)
    )
    return fleet.hosts[-1]


def test_the_book_is_of_the_first_team_that_asks(fleet: Fleet) -> None:
    one, other = process(fleet).leases, process(fleet).leases
    assert isinstance(one, FileLeases)
    assert isinstance(other, FileLeases)
    assert [one.is_of("a"), other.is_of("a"), other.is_of("b")] == [True, True, False]


# -- processes --------------------------------------------------------------------------------------


def test_processes_of_a_host_are_one_owner_and_share_a_lease(fleet: Fleet) -> None:
    one, other = process(fleet), process(fleet)
    assert one.owner == other.owner
    held(fleet, one, "1", [hard("a", 100, 1000)])
    one.settle("1", {"usd": 30})
    assert reserve(other, "2", [hard("a", 70, 1000)]).kind == "held"
    assert reserve(one, "3", [hard("a", 1, 1000)]).asks
    assert sums(one, "a") == sums(other, "a") == [(30, 70, 35)]
    assert len(fleet.server.booked()) == 1


def test_what_another_process_was_granted_is_seen_when_it_is_needed(fleet: Fleet) -> None:
    one, other = process(fleet), process(fleet)
    reserve(one, "1", [hard("a", 100, 1000)])
    assert reserve(other, "2", [hard("a", 100, 1000)]).asks
    fleet.answer(one)
    assert reserve(other, "2", [hard("a", 100, 1000)]).kind == "held"
    assert reserve(one, "1", [hard("a", 100, 1000)]).asks


def test_any_process_reports_for_all(fleet: Fleet) -> None:
    one, other = process(fleet), process(fleet)
    held(fleet, one, "1", [hard("a", 100, 1000)])
    one.settle("1", {"usd": 30})
    assert fleet.answer(other, after=1.0) == 1
    assert fleet.answer(one) == 0
    assert fleet.server.sums("a") == (30, 70)


def test_a_process_never_begins_a_call_under_a_lease_that_another_has_ended(fleet: Fleet) -> None:
    one, other = process(fleet), process(fleet)
    held(fleet, one, "1", [hard("a", 100, 1000)])
    one.settle("1", {"usd": 30})
    assert reserve(other, "2", [hard("a", 70, 1000)]).kind == "held"
    other.release("2")
    asks = one.due(end=True)
    assert [ask.final for ask in asks] == [True]
    # It is still in the other's memory, and has money.
    found = other.leases.find("a")
    assert found is not None
    assert (found.generation, found.granted) == (1, 100)
    assert reserve(other, "3", [hard("a", 70, 1000)]).asks
    assert reserve(other, "4", [line("a", 10)]).kind == "held"
    one.take(fleet.server.answer(one.owner, asks), fleet.now)
    assert fleet.server.sums("a") == (30, 0)
    other.settle("4", {"usd": 5})
    fleet.give_back(other)
    assert fleet.server.sums("a") == (35, 0)


def test_a_process_that_was_killed_leaves_its_leases_to_the_next(fleet: Fleet) -> None:
    one = process(fleet)
    held(fleet, one, "1", [hard("a", 100, 1000)])
    owner = one.owner
    one.close()
    next_one = process(fleet)
    assert next_one.owner == owner
    assert sums(next_one, "a") == [(0, 100, 50)]
    next_one.settle("1", {"usd": 30})
    assert reserve(next_one, "2", [hard("a", 70, 1000)]).kind == "held"


def test_a_lease_is_read_again_from_time_to_time(fleet: Fleet) -> None:
    one, other = process(fleet), process(fleet)
    spender = fleet.host()
    for ledger in (one, other):
        reserve(ledger, "1", [line("a", 1)])
    fleet.answer(one)
    held(fleet, spender, "1", [hard("a", 500, 1000)])
    spender.settle("1", {"usd": 500})
    fleet.answer(spender, after=1.0)
    fleet.answer(one, after=30.0)
    fleet.now += STALE_S * 2
    assert reserve(other, "2", [line("a", 1)]).totals[0].spent == 500


def test_threads_of_two_processes_spend_no_more_than_their_lease(fleet: Fleet) -> None:
    one, other = process(fleet), process(fleet)
    held(fleet, one, "first", [hard("a", 100, 1000)])
    one.release("first")
    kinds: list[str] = []

    def spend(ledger: LeasedLedger, name: str) -> None:
        for number in range(20):
            outcome = reserve(ledger, f"{name} {number}", [hard("a", 5, 1000)])
            kinds.append("asks" if outcome.asks else outcome.kind)

    threads = [
        threading.Thread(target=spend, args=(ledger, f"{index}"))
        for index, ledger in enumerate((one, other, one, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(kinds)) == ["asks", "held"]
    assert kinds.count("held") == 20


def child(path: str, sent: object) -> None:
    local = SqliteLedger(path, timeout_s=PATIENT)
    ledger = LeasedLedger(local, FileLeases(local))
    sent.put((ledger.owner, reserve(ledger, f"{os.getpid()}", [hard("a", 60, 1000)]).kind))  # type: ignore[attr-defined]
    local.close()


def test_a_process_of_its_own_has_what_is_left_of_the_lease(fleet: Fleet) -> None:
    fleet.now = lease_clock()
    local = SqliteLedger(fleet.folder / "host.sqlite3", timeout_s=PATIENT)
    ledger = LeasedLedger(local, FileLeases(local))
    fleet.hosts.append(ledger)
    reserve(ledger, "1", [hard("a", 100, 1000)])
    fleet.answer(ledger)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    found = context.Process(target=child, args=(str(fleet.folder / "host.sqlite3"), answers))
    found.start()
    assert answers.get(timeout=60) == (ledger.owner, "held")
    found.join(60)
    assert reserve(ledger, "2", [hard("a", 60, 1000)]).asks


# -- the file ---------------------------------------------------------------------------------------


def test_a_machine_that_was_started_anew_uses_none_of_its_leases_and_frees_nothing(fleet: Fleet) -> None:
    one = process(fleet)
    held(fleet, one, "1", [hard("a", 100, 1000)])
    held(fleet, one, "2", [hard("a", 50, 1000)])
    one.settle("1", {"usd": 30})
    owner = one.owner
    one.close()
    fleet.now = 5.0
    ledger = restarted(fleet, boot="another")
    assert reserve(ledger, "3", [hard("a", 10, 1000)]).asks
    assert ledger.owner == owner
    ledger.settle("2", {"usd": 50})
    held(fleet, ledger, "3", [hard("a", 10, 1000)])
    ledger.release("3")
    fleet.give_back(ledger)
    assert fleet.server.sums("a") == (80, 70)


def test_where_the_system_tells_no_boot_a_time_to_come_tells_of_one(fleet: Fleet) -> None:
    one = restarted(fleet, boot="")
    held(fleet, one, "1", [hard("a", 100, 1000)])
    one.release("1")
    one.close()
    fleet.now = 5.0
    ledger = restarted(fleet, boot="")
    ledger.due()
    assert reserve(ledger, "2", [hard("a", 10, 1000)]).asks


def test_a_file_that_is_gone_makes_another_owner(fleet: Fleet) -> None:
    ledger = process(fleet)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    owner = ledger.owner
    for end in ("", "-wal", "-shm"):
        (fleet.folder / f"host.sqlite3{end}").unlink()
    fleet.now += STALE_S * 2
    outcome = reserve(ledger, "2", [hard("a", 10, 1000)])
    assert outcome.asks
    assert ledger.owner != owner
    held(fleet, ledger, "2", [hard("a", 10, 1000)])
    assert fleet.server.sums("a") == (0, 110)


@pytest.mark.parametrize("key", ["naïve 客户", "lone \ud800", "nul \0 in it", "a~1", ""])
def test_any_text_is_a_key(fleet: Fleet, key: str) -> None:
    one = process(fleet)
    held(fleet, one, "1", [hard(key, 100, 1000, also=(f"{key} before",))])
    one.settle("1", {"usd": 30})
    one.close()
    other = process(fleet)
    assert sums(other, key) == [(0, 0, 0)]
    other.due()
    assert sums(other, key) == [(30, 0, 0)]
    fleet.give_back(other)
    assert fleet.server.sums(key) == (30, 0)


def test_what_was_leased_leaves_no_rows(fleet: Fleet) -> None:
    ledger = process(fleet)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    ledger.settle("1", {"usd": 30})
    fleet.give_back(ledger)
    local = ledger.local
    assert isinstance(local, SqliteLedger)
    with local.transaction(writes=False) as db:
        assert db.execute("SELECT count(*) FROM sums").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM leases").fetchone() == (0,)


def test_only_what_changed_is_written(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = process(fleet)
    held(fleet, ledger, "1", [hard("a", 100, 1000), hard("b", 100, 1000)])
    fleet.answer(ledger, after=1.0)
    fleet.now += 16.0
    ledger.due()
    written: list[str] = []
    monkeypatch.setattr(lease_file, "PUT", lease_file.PUT)
    local = ledger.local
    assert isinstance(local, SqliteLedger)
    with local.transaction(writes=False) as db:
        db.set_trace_callback(written.append)
    fleet.now += 1.0
    ledger.due()
    assert not [text for text in written if text.startswith("INSERT INTO leases ")]


def test_times_read_are_forgotten_with_their_leases(fleet: Fleet) -> None:
    ledger = process(fleet)
    for number in range(10):
        reserve(ledger, str(number), [line(str(number), 1)])
        ledger.release(str(number))
    fleet.give_back(ledger)
    assert isinstance(ledger.leases, FileLeases)
    assert not ledger.leases._read_at


# -- forks ------------------------------------------------------------------------------------------


def test_a_forked_child_has_leases_of_its_own_in_memory() -> None:
    local = MemoryLedger()
    leases = MemoryLeases(local)
    leases.prepare([Line("a", 1, 1)], 0.0)
    owner = leases.owner
    leases._renew_in_child()
    assert leases.owner != owner
    assert leases.is_empty
    leases.prepare([Line("a", 1, 1)], 0.0)
    account = leases.find("a")
    assert account is not None
    assert account.local_key.rpartition("~")[2].startswith(leases.owner[:8])


def test_a_forked_child_has_the_hosts_leases(fleet: Fleet) -> None:
    ledger = process(fleet)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    assert isinstance(ledger.leases, FileLeases)
    ledger.leases._renew_in_child()
    ledger.settle("1", {"usd": 1})
    assert reserve(ledger, "2", [hard("a", 99, 1000)]).kind == "held"


def test_nothing_is_held_on_a_key_that_is_sealed() -> None:
    local = MemoryLedger(hot_keys=1)
    local.seal("a")
    local.seal("a")
    assert local.reserve("1", [[hard("a", 1, SEAL - 1)]], now=0.0, expires_at=1.0).kind == "refused"
    assert local.reserve("2", [[hard("b", 1, 10)]], now=0.0, expires_at=1.0).kind == "held"
    assert sums(local, "a") == [(0, SEAL, 0)]
    local.forget("a")
    assert sums(local, "a") == [(0, 0, 0)]
