"""Both outboxes by one contract, and what the one in a file does beside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from aden_transport.ledger import outbox_memory, outbox_sqlite
from aden_transport.ledger.base import Line, Sending, Spooled
from aden_transport.ledger.outbox import CLAIM_S, Batch, Bounds, Outbox
from aden_transport.ledger.outbox_memory import MemoryOutbox
from aden_transport.ledger.sqlite import SqliteLedger

HERE = Sending("here", "instance-1")
Bounded: TypeAlias = Callable[[Bounds], Outbox]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    each = SqliteLedger(path, timeout_s=10)
    yield each
    each.close()


@pytest.fixture(params=["sqlite", "memory"])
def bounded(request: pytest.FixtureRequest, ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> Bounded:
    def make(bounds: Bounds) -> Outbox:
        if request.param == "memory":
            return MemoryOutbox(HERE, bounds)
        monkeypatch.setattr(outbox_sqlite, "BOUNDS", bounds)
        monkeypatch.setattr(outbox_sqlite, "LOOKED_AFTER", 1)
        return ledger.outbox(HERE)

    return make


@pytest.fixture
def outbox(bounded: Bounded) -> Outbox:
    return bounded(outbox_memory.BOUNDS)


def event(name: str, sending: Sending = HERE, **more: object) -> Spooled:
    return Spooled(name, json.dumps({"event_id": name, **more}), sending=sending)


def add(outbox: Outbox, *names: str) -> None:
    outbox.add([event(name) for name in names])


def claim(outbox: Outbox, most: int = 100, *, after: float = 0.0, most_size: int = 10**6) -> Batch:
    batch = outbox.claim(time.time() + after, most=most, most_size=most_size)
    return Batch(0, 0.0) if batch is None else batch


def ids(batch: Batch) -> list[str]:
    return [row.event_id for row in batch.rows]


def numbers(batch: Batch) -> list[int]:
    return [row.number for row in batch.rows]


# -- both -------------------------------------------------------------------------------------------


def test_what_was_added_is_claimed_in_its_order(outbox: Outbox) -> None:
    assert outbox.claim(time.time(), most=10, most_size=1000) is None
    add(outbox, "a", "b", "c")
    batch = claim(outbox)
    assert ids(batch) == ["a", "b", "c"]
    assert not batch.more
    assert batch.rows[0].told == {"event_id": "a"}
    assert batch.rows[0].sending.instance == "instance-1"
    assert outbox.waiting() == 3


def test_what_is_claimed_is_nobody_elses_until_its_time_is_over(outbox: Outbox) -> None:
    add(outbox, "a", "b", "c")
    assert ids(claim(outbox, 2)) == ["a", "b"]
    assert ids(claim(outbox)) == ["c"]
    assert ids(claim(outbox)) == []
    assert ids(claim(outbox, after=CLAIM_S + 1)) == ["a", "b", "c"]


def test_a_clock_that_was_set_back_makes_no_claim_longer(outbox: Outbox) -> None:
    add(outbox, "a")
    assert ids(claim(outbox, after=3600)) == ["a"]
    assert ids(claim(outbox)) == ["a"]


def test_a_batch_has_at_most_so_many_events_and_so_many_bytes_but_one(outbox: Outbox) -> None:
    add(outbox, "a", "b", "c")
    batch = claim(outbox, 2)
    assert batch.more
    outbox.leave(batch)
    assert ids(claim(outbox, most_size=1)) == ["a"]


def test_what_the_server_has_is_gone(outbox: Outbox) -> None:
    add(outbox, "a", "b", "c")
    batch = claim(outbox)
    outbox.forget(batch, numbers(batch)[:2])
    outbox.leave(batch)
    assert outbox.waiting() == 1
    assert ids(claim(outbox)) == ["c"]


def test_what_comes_after_a_claim_is_not_forgotten_with_it(outbox: Outbox) -> None:
    add(outbox, "a")
    batch = claim(outbox)
    outbox.forget(batch, numbers(batch))
    add(outbox, "b")
    outbox.forget(batch, numbers(batch))
    outbox.leave(batch)
    assert ids(claim(outbox)) == ["b"]


def test_too_many_are_given_up_from_the_oldest_on_and_reported_once(bounded: Bounded) -> None:
    outbox = bounded(Bounds(rows=10, size=10**6))
    for number in range(15):
        add(outbox, f"e{number}")
    batch = claim(outbox)
    *kept, report = batch.rows
    assert [row.event_id for row in kept] == [f"e{number}" for number in range(5, 15)]
    assert report.told["event_type"] == "error"
    assert report.told["code"] == "events_lost"
    assert report.told["lost"] == {"crowded": 5, "aged": 0, "damaged": 0, "refused": 0}
    assert report.told["event_id"] == report.event_id
    outbox.forget(batch, numbers(batch))
    outbox.leave(batch)
    assert ids(claim(outbox)) == []


def test_too_much_is_given_up_from_the_oldest_on(bounded: Bounded) -> None:
    outbox = bounded(Bounds(rows=1000, size=3000))
    for number in range(10):
        outbox.add([event(f"e{number}", text="x" * 500)])
    kept = [row.event_id for row in claim(outbox).rows if "text" in row.told]
    assert kept == ["e5", "e6", "e7", "e8", "e9"]


def test_what_is_too_old_is_given_up(bounded: Bounded) -> None:
    outbox = bounded(Bounds(rows=10, size=10**6, age_s=60.0))
    add(outbox, "a")
    if isinstance(outbox, MemoryOutbox):
        outbox._trim(time.time() + 61)
    else:
        with outbox._transaction("BEGIN IMMEDIATE") as db:  # type: ignore[attr-defined]
            outbox_sqlite.trim(db, time.time() + 61)
    assert claim(outbox).rows[0].told["lost"]["aged"] == 1


def test_what_is_being_sent_is_not_given_up(bounded: Bounded) -> None:
    outbox = bounded(Bounds(rows=3, size=10**6))
    add(outbox, "a", "b")
    claimed = claim(outbox)
    for number in range(5):
        add(outbox, f"e{number}")
    assert outbox.waiting() == 3
    outbox.leave(claimed)
    assert ids(claim(outbox))[:3] == ["a", "b", "e4"]


def test_what_a_server_will_not_have_is_counted(outbox: Outbox) -> None:
    add(outbox, "a", "b")
    batch = claim(outbox)
    outbox.refuse(batch, numbers(batch)[:1])
    outbox.forget(batch, numbers(batch)[1:])
    outbox.leave(batch)
    assert claim(outbox).rows[0].told["lost"]["refused"] == 1


# -- in a file --------------------------------------------------------------------------------------


def spoil(path: Path, change: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(change)
    db.close()


def test_servers_do_not_get_each_others_events(ledger: SqliteLedger) -> None:
    there = ledger.outbox(Sending("there", "i"))
    here = ledger.outbox(HERE)
    add(here, "a")
    there.add([event("b", there.sending)])
    add(here, "c")
    assert ids(claim(here)) == ["a", "c"]
    assert ids(claim(there)) == ["b"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE outbox SET event = replace(event, 'b', 'x') WHERE event_id = 'b'",
        "UPDATE outbox SET event = '{' WHERE event_id = 'b'",
        "UPDATE outbox SET event = x'00ff' WHERE event_id = 'b'",
        "UPDATE outbox SET event = 7, crc = 1 WHERE event_id = 'b'",
        "UPDATE outbox SET crc = 'x' WHERE event_id = 'b'",
    ],
)
def test_a_row_that_is_damaged_is_left_out_and_counted(path: Path, ledger: SqliteLedger, change: str) -> None:
    outbox = ledger.outbox(HERE)
    add(outbox, "a", "b", "c")
    spoil(path, change)
    batch = claim(outbox)
    assert ids(batch) == ["a", "c"]
    outbox.leave(batch)
    assert claim(outbox).rows[-1].told["lost"]["damaged"] == 1


def test_a_row_whose_json_is_no_event_is_left_out(path: Path, ledger: SqliteLedger) -> None:
    outbox = ledger.outbox(HERE)
    outbox.add([Spooled("a", "[]", sending=HERE), event("b")])
    assert ids(claim(outbox)) == ["b"]


def test_every_bit_of_a_row_that_flips_is_seen(path: Path, ledger: SqliteLedger) -> None:
    outbox = ledger.outbox(HERE)
    text = json.dumps({"event_id": "e", "cost_nano_usd": 1234567})
    for place in range(len(text)):
        outbox.add([Spooled("e", text, sending=HERE)])
        flipped = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        with sqlite3.connect(path) as db:
            db.execute("UPDATE outbox SET event = ?", (flipped,))
        db.close()
        batch = claim(outbox)
        assert [row for row in batch.rows if "cost_nano_usd" in row.told] == []
        outbox.forget(batch, numbers(batch))
        outbox.leave(batch)


def elsewhere(path: Path, program: str, *, killed: bool = True) -> None:
    code = f"""
import os, signal, sys, time, json
from aden_transport.ledger.base import Line, Sending, Spooled
from aden_transport.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(sys.argv[1], timeout_s=10)
sending = Sending("here", "other")
outbox = ledger.outbox(sending)
def event(name):
    return Spooled(name, json.dumps({{"event_id": name}}), emitted=False, sending=sending)
{textwrap.dedent(program)}
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_what_a_killed_process_wrote_or_was_sending_is_anothers_at_once(
    path: Path, ledger: SqliteLedger
) -> None:
    elsewhere(path, 'outbox.add([event("a"), event("b")]); outbox.claim(time.time(), most=1, most_size=9)')
    assert ids(claim(ledger.outbox(HERE))) == ["a", "b"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_settlement_and_its_event_are_there_both(path: Path, ledger: SqliteLedger) -> None:
    elsewhere(
        path,
        """
        ledger.reserve("1", [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
        ledger.settle("1", {"usd": 4}, event=event("e"))
        """,
    )
    assert ledger.totals([Line("a", 0, 0)])[0].spent == 4
    assert ids(claim(ledger.outbox(HERE))) == ["e"]
    assert ledger.take_events(10) == {}


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_intent_of_a_killed_process_is_sent_by_who_sweeps(path: Path, ledger: SqliteLedger) -> None:
    elsewhere(
        path,
        """
        intent = {"event": {"event_id": "e"}, "models": ["m"], "emitted": False}
        intent["sending"] = ["here", "i", True]
        ledger.reserve("1", [[Line("a", 10, 5)]], now=0.0, expires_at=1e12, intent=intent)
        """,
    )
    assert list(ledger.sweep(time.time())) == ["1"]
    assert ledger.take_events(10) == {}
    (row,) = claim(ledger.outbox(HERE)).rows
    assert row.told == {"event": {"event_id": "e"}, "models": ["m"], "hold": 10, "candidate": 0}
    assert row.sending == Sending("", "i", True)


def test_an_event_may_be_for_emitters_and_for_a_server(ledger: SqliteLedger) -> None:
    ledger.reserve("1", [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
    assert not ledger.settle("2", {}, event=event("lost"))
    assert ledger.settle("1", {"usd": 4}, event=event("e"))
    assert not ledger.settle("1", {"usd": 4}, event=event("e"))
    assert ids(claim(ledger.outbox(HERE))) == ["e"]
    assert not ledger.is_done()


def test_a_file_of_the_schema_before_gets_the_outbox(path: Path) -> None:
    older = SqliteLedger(path)
    older.reserve("1", [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
    older.close()
    for table in ("outbox", "servers", "claims"):
        spoil(path, f"DROP TABLE {table}")
    spoil(path, "PRAGMA user_version = 2")
    ledger = SqliteLedger(path)
    assert ledger.settle("1", {"usd": 4}, event=event("e"))
    assert ids(claim(ledger.outbox(HERE))) == ["e"]
    ledger.close()


def test_what_is_in_a_file_that_takes_no_writes_is_sent_and_forgotten_later(
    path: Path, ledger: SqliteLedger
) -> None:
    outbox = ledger.outbox(HERE)
    add(outbox, "a", "b")
    ledger.timeout_s = 0.01
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    batch = claim(outbox, 1)
    assert ids(batch) == ["a"]
    outbox.forget(batch, numbers(batch))
    assert ids(claim(outbox)) == ["b"]
    assert outbox.waiting() == 1
    other.execute("ROLLBACK")
    other.close()
    ledger.timeout_s = 10
    assert ids(claim(outbox)) == ["b"]
    assert outbox.waiting() == 1
    assert claim(ledger.outbox(HERE)).rows == []
