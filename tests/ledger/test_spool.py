"""Events beside the money: written in one step with it, taken over from processes that are gone, bounded."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aden_transport.ledger import spool as module
from aden_transport.ledger.base import Ledger, Spooled
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.redis import RedisLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import LATER, NOON, PATIENT, line, sums
from .redis_server import redis_ledger

INTENT: dict[str, Any] = {
    "event": {"event_id": "e1", "provider": "openai"},
    "models": ["gpt-4o", "gpt-4o-mini"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    each = SqliteLedger(path, timeout_s=PATIENT)
    yield each
    each.close()


@pytest.fixture(params=["sqlite", "redis"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path, path: Path) -> Iterator[Ledger]:
    """A ledger that keeps intents."""
    if request.param == "sqlite":
        yield request.getfixturevalue("ledger")
    else:
        with redis_ledger(tmp_path) as each:
            yield each


def reserve(ledger: Ledger, op_id: str = "1", intent: Any = INTENT, *lines: Any) -> None:
    asked = [list(lines) or [line("a", 10), line("b", 7)]]
    outcome = ledger.reserve(op_id, asked, now=NOON, expires_at=LATER, intent=intent)
    assert outcome.kind == "held"


def elsewhere(path: Path, program: str) -> None:
    """Run `program`, to which `ledger` is given, in a process that ends by SIGKILL."""
    code = f"""
import os, signal, sys
from aden_transport.ledger.base import Line, Spooled
from aden_transport.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(sys.argv[1], timeout_s={PATIENT})
def reserve(op_id, intent=None):
    ledger.reserve(op_id, [[Line("a", 10, 5)]], now=0.0, expires_at=1e12, intent=intent)
{textwrap.dedent(program)}
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL


# -- intents ----------------------------------------------------------------------------------------


def test_the_intent_of_a_swept_hold_is_an_event_to_take(keeper: Ledger) -> None:
    reserve(keeper)
    assert keeper.take_events(10) == {}
    assert list(keeper.sweep(LATER)) == ["1"]
    assert keeper.take_events(10) == {"e1": {**INTENT, "hold": 10, "candidate": 0}}
    keeper.forget_events(["e1"])
    assert keeper.take_events(10) == {}


def test_the_candidate_that_was_held_is_told(keeper: Ledger) -> None:
    candidates = [[line("a", 10, limit_held=5)], [line("a", 4, limit_held=5)]]
    keeper.reserve("1", candidates, now=NOON, expires_at=LATER, intent=INTENT)
    keeper.sweep(LATER)
    assert keeper.take_events(10)["e1"] == {**INTENT, "hold": 4, "candidate": 1}


def test_a_hold_of_no_money_says_so(keeper: Ledger) -> None:
    reserve(keeper, "1", INTENT, line("calls", 1, unit="calls"))
    keeper.sweep(LATER)
    assert keeper.take_events(10)["e1"]["hold"] is None


@pytest.mark.parametrize("end", ["settle", "release", "defer"])
def test_an_intent_goes_with_its_hold(keeper: Ledger, end: str) -> None:
    reserve(keeper)
    match end:
        case "settle":
            keeper.settle("1", {"usd": 3})
        case "release":
            keeper.release("1")
        case _:
            keeper.defer("1", "ref", expires_at=LATER)
    keeper.sweep(LATER)
    assert keeper.take_events(10) == {}


def test_a_hold_without_an_intent_leaves_none(keeper: Ledger) -> None:
    reserve(keeper, "1", None)
    assert list(keeper.sweep(LATER)) == ["1"]
    assert keeper.take_events(10) == {}


def test_no_more_are_taken_than_asked_for(keeper: Ledger) -> None:
    for number in range(30):
        event = {"event": {"event_id": f"e{number}"}, "models": [None]}
        reserve(keeper, str(number), event)
    keeper.sweep(LATER)
    first = keeper.take_events(20)
    assert len(first) == 20
    keeper.forget_events(first)
    assert len(keeper.take_events(20)) == 10
    assert keeper.events_dropped() == 0


def test_memory_keeps_none() -> None:
    ledger = MemoryLedger()
    reserve(ledger)
    assert not ledger.spools
    assert ledger.settle("1", {}, event=Spooled("e1", "{}"))
    ledger.forget_events(["e1"])
    assert (ledger.take_events(10), ledger.events_dropped()) == ({}, 0)


def test_redis_keeps_no_more_intents_than_it_has_room_for(tmp_path: Path) -> None:
    with redis_ledger(tmp_path) as ledger:
        _fill(ledger)
        reserve(ledger)
        ledger.sweep(LATER)
        assert ledger.events_dropped() == 1
        assert not ledger.spools


def _fill(ledger: RedisLedger) -> None:
    key = f"{ledger._tag}:events"
    for begin in range(0, 50_000, 10_000):
        rows = {str(number): "-1 0 {}" for number in range(begin, begin + 10_000)}
        ledger._client.hset(key, mapping=rows)  # type: ignore[arg-type]


# -- events of settlements --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["settle", "release"])
def test_the_event_of_a_process_that_was_killed_is_taken_over_once(
    path: Path, ledger: SqliteLedger, end: str
) -> None:
    ended = 'ledger.settle("1", {"usd": 3}' if end == "settle" else 'ledger.release("1"'
    elsewhere(path, f"""reserve("1"); {ended}, event=Spooled("e1", '{{"event_id": "e1"}}'))""")
    assert sums(ledger, "a") == [(3 if end == "settle" else 0, 0, 0)]
    assert ledger.take_events(10) == {"e1": {"event_id": "e1"}}
    assert ledger.take_events(10) == {}
    assert not ledger.is_done()
    ledger.forget_events(["e1"])
    ledger.sweep(NOON)
    assert ledger.is_done()


def test_what_was_taken_over_by_a_process_that_dies_is_taken_over_again(
    path: Path, ledger: SqliteLedger
) -> None:
    elsewhere(path, """reserve("1"); ledger.settle("1", {}, event=Spooled("e1", '{"event_id": "e1"}'))""")
    elsewhere(path, "assert list(ledger.take_events(10)) == ['e1']")
    assert list(ledger.take_events(10)) == ["e1"]


def test_events_of_processes_that_live_are_theirs(path: Path, ledger: SqliteLedger) -> None:
    reserve(ledger)
    ledger.settle("1", {}, event=Spooled("e1", "{}"))
    elsewhere(path, "assert ledger.take_events(10) == {}")
    assert ledger.take_events(10) == {}


def test_an_event_that_was_taken_is_forgotten_with_the_next_end(ledger: SqliteLedger) -> None:
    for number in (1, 2):
        reserve(ledger, str(number))
        ledger.settle(str(number), {}, event=Spooled(f"e{number}", "{}"))
        ledger.forget_events([f"e{number}"])
    assert rows(ledger) == ["e2"]
    ledger.close()
    assert rows(ledger) == []


def test_an_end_that_finds_no_hold_keeps_no_event(ledger: SqliteLedger) -> None:
    assert not ledger.settle("1", {}, event=Spooled("e1", "{}"))
    assert rows(ledger) == []


def test_an_event_and_its_money_are_written_together_or_not_at_all(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve(ledger)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(module, "add", fail)
        with pytest.raises(ZeroDivisionError):
            ledger.settle("1", {"usd": 3}, event=Spooled("e1", "{}"))
    assert sums(ledger, "a") == [(0, 10, 5)]
    assert ledger.settle("1", {"usd": 3}, event=Spooled("e1", "{}"))
    assert rows(ledger) == ["e1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_forgets_none_of_its_parents(ledger: SqliteLedger) -> None:
    ledger.forget_events(["e1"])
    child = os.fork()
    if child == 0:
        os._exit(len(ledger._taken))
    assert os.waitpid(child, 0)[1] == 0


def rows(ledger: SqliteLedger) -> list[str]:
    with ledger._transaction("BEGIN") as db:
        return [event_id for (event_id,) in db.execute("SELECT event_id FROM spool ORDER BY at")]


# -- bounds -----------------------------------------------------------------------------------------


def keep(ledger: SqliteLedger, *texts: str, at: float = NOON) -> None:
    with ledger._transaction() as db:
        for place, text in enumerate(texts):
            event_id = text[:8]
            db.execute(module.ADD, (module._number(event_id), event_id, "", at + place / 1000, text))


def test_the_oldest_are_given_up_where_there_are_too_many(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    keep(ledger, *"abcde")
    ledger.sweep(NOON)
    assert rows(ledger) == ["c", "d", "e"]
    assert ledger.events_dropped() == 2


def test_the_oldest_are_given_up_where_they_are_too_much(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 3000)
    keep(ledger, *(letter * 1000 for letter in "abcde"))
    ledger.sweep(NOON)
    assert rows(ledger) == ["c" * 8, "d" * 8, "e" * 8]
    assert ledger.events_dropped() == 2


def test_what_nobody_took_in_a_week_is_given_up(ledger: SqliteLedger) -> None:
    keep(ledger, "old")
    keep(ledger, "new", at=NOON + 60)
    ledger.sweep(NOON + module.MAX_AGE_S + 30)
    assert rows(ledger) == ["new"]
    ledger.sweep(NOON + module.MAX_AGE_S + 90)
    assert ledger.events_dropped() == 2


# -- other versions ---------------------------------------------------------------------------------


def test_a_file_of_the_first_version_gets_its_spool(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("""CREATE TABLE sums (key TEXT PRIMARY KEY, spent INTEGER NOT NULL DEFAULT 0,
            held INTEGER NOT NULL DEFAULT 0, expected INTEGER NOT NULL DEFAULT 0,
            holds INTEGER NOT NULL DEFAULT 0, disputed INTEGER NOT NULL DEFAULT 0,
            expires_at REAL NOT NULL DEFAULT 0) WITHOUT ROWID""")
        db.execute("""CREATE TABLE holds (op_id TEXT PRIMARY KEY, owner TEXT NOT NULL, ref TEXT,
            expires_at REAL NOT NULL, lines TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID""")
        db.execute("CREATE TABLE marks (key TEXT, mark TEXT, expires_at REAL, PRIMARY KEY (key, mark))")
        db.execute("INSERT INTO sums (key, spent) VALUES ('a', 5)")
        db.execute("PRAGMA user_version = 1")
    db.close()
    ledger = SqliteLedger(path, timeout_s=PATIENT)
    reserve(ledger)
    ledger.sweep(LATER)
    assert sums(ledger, "a") == [(15, 0, 0)]
    assert json.dumps(ledger.take_events(1)["e1"]["models"])
    ledger.close()
