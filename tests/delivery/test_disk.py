"""A disk that is full or fails: what is there is delivered and taken out, what comes waits in memory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.control.agent.courier import Courier
from aden_transport.control.agent.delivery import Delivery, Reply
from aden_transport.errors import LedgerUnavailable
from aden_transport.events import MetricEvent
from aden_transport.ledger.base import Sending, Spooled
from aden_transport.ledger.outbox_memory import MemoryOutbox, OutboxWithReserve
from aden_transport.ledger.sqlite import SqliteLedger
from aden_transport.outgoing import Outgoing, open_outgoing

resource = pytest.importorskip("resource")
HERE = Sending("here", "i")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    each = SqliteLedger(tmp_path / "ledger.sqlite3", timeout_s=10)
    yield each
    each.close()
    reset_faults()


def told(name: str) -> Spooled:
    text = json.dumps({"event_type": "control", "event_id": name, "x": "x" * 2000})
    return Spooled(name, text, emitted=False, sending=HERE)


def event(name: str) -> MetricEvent:
    return MetricEvent(name, "t", "s", "openai", "chat", "gpt-4o", False, 1.0, agent_name="x" * 2000)


@contextmanager
def files_that_do_not_grow(path: Path) -> Iterator[None]:
    """Beyond the log's size every write fails, as with EIO."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(f"{path}-wal").st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def delivered(courier: Courier, at: float = 0.0) -> list[str]:
    """What a server gets that takes all."""
    names: list[str] = []
    courier.end()
    while (post := courier.due(at)) is not None:
        names += [each["event_id"] for each in json.loads(post.body)["events"]]
        courier.take(Reply(200), at)
    return names


def courier_of(outgoing: Outgoing) -> Courier:
    return Courier(outgoing.outbox, Delivery(random=lambda: 0.5, encoders={}, most=7))


def test_what_is_in_a_file_that_fails_is_delivered_once_and_forgotten_later(ledger: SqliteLedger) -> None:
    outbox = ledger.outbox(HERE)
    outbox.add([told(f"e{number}") for number in range(20)])
    courier = Courier(
        OutboxWithReserve(outbox, MemoryOutbox(HERE)), Delivery(random=lambda: 0.5, encoders={}, most=7)
    )
    with files_that_do_not_grow(ledger.path):
        with pytest.raises(LedgerUnavailable):
            outbox.add([told(f"more{number}") for number in range(20)])
        assert delivered(courier) == [f"e{number}" for number in range(20)]
        assert outbox.waiting() == 0
    assert delivered(courier) == []
    assert ledger.outbox(HERE).waiting() == 0
    outbox.add([told("again")])
    assert delivered(courier) == ["again"]


def test_what_comes_while_the_file_fails_is_delivered_from_memory(ledger: SqliteLedger) -> None:
    outgoing = open_outgoing(ledger, "here", lambda: "i")
    courier = courier_of(outgoing)
    outgoing.keep(event("before"), settled=False)
    assert outgoing.thread.flush(10)
    with files_that_do_not_grow(ledger.path):
        for number in range(30):
            outgoing.keep(event(f"e{number}"), settled=False)
        deadline = time.monotonic() + 30
        while not outgoing.is_written:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not outgoing.outbox.lasts
        assert sorted(delivered(courier)) == sorted(["before", *(f"e{number}" for number in range(30))])
    assert outgoing.outbox.lasts
    outgoing.keep(event("after"), settled=False)
    assert outgoing.thread.flush(10)
    assert delivered(courier) == ["after"]
    assert "outbox:LedgerUnavailable" in fault_counts()


def test_a_full_database_is_emptied(ledger: SqliteLedger) -> None:
    outbox = ledger.outbox(HERE)
    outbox.add([told("first")])
    assert ledger._opened is not None
    ledger._opened.db.execute("PRAGMA max_page_count = 40")
    number = 0
    with pytest.raises(LedgerUnavailable, match="full"):
        while True:
            number += 1
            outbox.add([told(f"e{number}")])
    courier = Courier(outbox, Delivery(random=lambda: 0.5, encoders={}))
    assert delivered(courier) == ["first", *(f"e{each}" for each in range(1, number))]
    assert outbox.waiting() == 0


def test_an_event_that_cannot_be_written_keeps_no_other_back(ledger: SqliteLedger) -> None:
    outgoing = open_outgoing(ledger, "here", lambda: "i")
    outgoing.keep_told(lambda: {"event_type": "control"})
    outgoing.keep_told(lambda: None)
    outgoing.keep(event("good"), settled=True)
    assert outgoing.thread.flush(10)
    assert delivered(courier_of(outgoing)) == ["good"]


def test_a_row_that_is_no_event_is_given_up_and_reported(ledger: SqliteLedger) -> None:
    outgoing = open_outgoing(ledger, "here", lambda: "i")
    outgoing.outbox.add([Spooled("bad", '{"event_id": "bad"}', sending=HERE), told("good")])
    courier = courier_of(outgoing)
    first = delivered(courier)
    assert first[0] == "good"
    assert len(first + delivered(courier)) == 2


FORMER, OTHERS = HERE._replace(to="former"), HERE._replace(to="others")


def test_a_claim_that_is_about_to_end_is_left_to_others(ledger: SqliteLedger) -> None:
    now = time.time()
    outbox = ledger.outbox(HERE)
    outbox.add([told("a")])
    clock = [now]
    courier = Courier(outbox, Delivery(random=lambda: 0.5, encoders={}), wall=lambda: clock[0])
    assert courier.due(0.0) is not None
    courier.take(Reply(503), 0.0)
    clock[0] += 55
    assert courier.due(0.1) is None
    assert outbox.claim(clock[0], most=1, most_size=9) is not None


def test_events_of_an_ended_run_s_file_are_sent_from_here(ledger: SqliteLedger, tmp_path: Path) -> None:
    ended = SqliteLedger(tmp_path / "run.sqlite3")
    ended.outbox(HERE).add([told("left")])
    outgoing = open_outgoing(ledger, "here", lambda: "i")
    outgoing.take_over(ended)
    assert ended.is_done()
    ended.close()
    assert delivered(courier_of(outgoing)) == ["left"]


@pytest.mark.parametrize("where", ["another", "same"])
def test_what_waits_under_another_name_is_sent_under_ours(
    where: str, ledger: SqliteLedger, tmp_path: Path
) -> None:
    former = ledger if where == "same" else SqliteLedger(tmp_path / "former.sqlite3")
    former.outbox(HERE._replace(to="former")).add([told("left")._replace(sending=FORMER)])
    former.outbox(HERE._replace(to="others")).add([told("theirs")._replace(sending=OTHERS)])
    outgoing = open_outgoing(ledger, "here", lambda: "i")
    outgoing.take_over(former, "former")
    outgoing.take_over(former, "former")
    assert delivered(courier_of(outgoing)) == ["left"]
    assert former.outbox(OTHERS).waiting() == 1
    assert former.outbox(FORMER).waiting() == 0
    former.close()
