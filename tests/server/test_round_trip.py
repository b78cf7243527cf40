"""PostgreSQL's function `work_off` against the page in memory: the same answers, the same rows."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from aden_transport.control.server.ledger import Ledgers
from aden_transport.control.server.page import MOST, End, Operation, Reserve
from aden_transport.control.server.round_trip import work_off
from aden_transport.control.server.rows import work_out
from aden_transport.control.server.storage import Storage
from aden_transport.control.server.tables import holds, sums, teams
from aden_transport.ledger.base import NEVER, Line, Outcome, Unit

from .kit import wait_for
from .postgres import new_database

RUNS = 25 * int(os.environ.get("MACHINE", "1"))
"""MACHINE=50 in the environment makes 50 times as many."""
TEAMS = ("one", "other")
KEYS: dict[str, Unit] = {
    "-|a": "usd",
    "2026-09#1|b": "usd",
    "2026-09#2|b": "usd",
    '-|"é"\\\n': "tokens",
    "-|c": "calls",
    "r3600.7|d": "usd",
}
OLDER = ("r3600.6|d", "r3600.5|d", "-|a", "-|nobody's")
UNITS: tuple[Unit, ...] = ("usd", "tokens", "calls")
REFS = ("x", "y")
NOON = 1_790_000_000.0


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Storage, Storage]]:
    """A file, and a database of PostgreSQL."""
    path: Path = tmp_path_factory.mktemp("page") / "page.sqlite3"
    both = Storage(f"sqlite:///{path}"), Storage(new_database())
    for storage in both:
        storage.prepare()
    yield both
    for storage in both:
        storage.close()


@pytest.fixture
def postgres(stores: tuple[Storage, Storage]) -> Storage:
    emptied(stores[1])
    return stores[1]


def emptied(storage: Storage) -> None:
    with storage.begin() as db:
        for table in (holds, sums, teams):
            db.execute(table.delete())
        db.execute(teams.insert(), [{"id": team, "name": team, "created_at": 0.0} for team in TEAMS])


@pytest.mark.parametrize("scale", [40, MOST])
def test_the_function_does_what_the_page_does(stores: tuple[Storage, Storage], scale: int) -> None:
    for run in range(RUNS):
        dice = random.Random(f"{scale} {run}")
        for storage in stores:
            emptied(storage)
        for step in range(8):
            now = NOON + 60 * step
            if dice.random() < 0.4:
                ref = {"ref": dice.choice(REFS), "expires_at": some_time(dice)}
                wanted = holds.c.team_id == dice.choice(TEAMS), holds.c.op_id == op_id(dice)
                free = ref["ref"] not in refs(stores[0])
                for storage in stores if free else ():
                    with storage.begin() as db:
                        db.execute(update(holds).where(*wanted).values(ref))
            operations = [operation(dice, scale, now) for _ in range(dice.choice([1, 2, 12]))]
            found, same = (done(storage, operations, now) for storage in stores)
            assert found == same, (scale, run, step)


def done(storage: Storage, operations: list[Operation], now: float) -> tuple[Any, ...]:
    """Answers, what was charged, and the rows afterwards."""
    work = work_out if storage.is_sqlite else work_off
    with storage.begin() as db:
        answers, charged = work(db, operations, now=now)
    with storage.read() as db:
        # Others were made to be locked.
        moved = db.execute(select(sums).where(sums.c.moved_at > 0)).mappings()
        sums_of = {(row["team_id"], row["key"]): dict(row) for row in moved}
        holds_of = {
            (row["team_id"], row["op_id"]): {
                **row,
                "lines": json.loads(row["lines"]),
                "outcome": json.loads(row["outcome"]),
            }
            for row in db.execute(select(holds)).mappings()
        }
    return answers, sorted(charged), sums_of, holds_of


def refs(storage: Storage) -> set[str]:
    with storage.read() as db:
        return set(db.scalars(select(holds.c.ref).where(holds.c.ref.is_not(None))))


def operation(dice: random.Random, scale: int, now: float) -> Operation:
    team = dice.choice(TEAMS)
    match dice.randrange(8):
        case 0 | 1 | 2 | 3:
            candidates = [lines(dice, scale) for _ in range(dice.randint(1, 3))]
            intent = dice.choice([None, '{"é": "\\\\u0000"}'])
            return Reserve(team, op_id(dice), candidates, some_time(dice), intent)
        case 4:
            return End(team, op_id(dice))
        case 5:
            return End(team, op_id(dice), amounts=amounts(dice, scale))
        case 6:
            return End(team, None, dice.choice(REFS), amounts(dice, scale))
        case _:
            return End(team, op_id(dice), amounts={}, expired_by=now)


def lines(dice: random.Random, scale: int) -> list[Line]:
    """Of one candidate: some of the keys, each once."""
    return [line(dice, scale, key) for key in dice.sample(list(KEYS), dice.randint(0, 4))]


def line(dice: random.Random, scale: int, key: str) -> Line:
    hold = amount(dice, scale)
    return Line(
        key,
        hold,
        min(hold, amount(dice, scale)),
        limit_held=bound(dice, scale),
        limit_expected=bound(dice, scale),
        degrade_at=bound(dice, scale),
        throttle_at=dice.choice([NEVER, NEVER, NEVER, 4 * amount(dice, scale)]),
        unit=KEYS[key],
        also=tuple(dice.choices(OLDER, k=dice.randint(1, 4))) if key.startswith("r") else (),
        expires_at=dice.choice([0.0, NOON + 0.1]) if key == "-|c" else float(len(key)),
    )


def bound(dice: random.Random, scale: int) -> int:
    return dice.choice([NEVER, NEVER, 3 * amount(dice, scale), 2**62])


def amounts(dice: random.Random, scale: int) -> dict[Unit, int]:
    return {unit: amount(dice, scale) for unit in UNITS if dice.random() < 0.6}


def amount(dice: random.Random, scale: int) -> int:
    return dice.choice([0, 1, dice.randrange(scale), scale // 7, scale - 1, scale])


def op_id(dice: random.Random) -> str:
    return f"op {dice.randrange(8)}"


def some_time(dice: random.Random) -> float:
    return NOON + dice.choice([0.0, 60.5, 120.0, 1e6, 1e12])


def test_a_hold_that_another_server_makes_meanwhile_is_ended_on_all_its_keys(postgres: Storage) -> None:
    """Who ends it does not see it at first, and waits for one of its keys only."""
    made = Reserve("one", "1", [[Line("a", 5, 5), Line("b", 5, 5)]], NOON)
    other = Reserve("one", "2", [[Line("a", 7, 7)]], NOON)
    assert meanwhile(postgres, made, [End("one", "1", amounts={"usd": 3}), other])[0] is True
    assert spent_and_held(postgres) == {"a": (3, 7), "b": (3, 0)}


def test_the_same_hold_at_two_servers_on_other_keys_is_made_once(postgres: Storage) -> None:
    made = Reserve("one", "1", [[Line("a", 5, 5)], [Line("b", 5, 5)]], NOON)
    again = Reserve("one", "1", [[Line("c", 7, 7, limit_held=7)]], NOON)
    (outcome,) = meanwhile(postgres, made, [again])
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, len(outcome.totals)) == ("held", 1)
    assert spent_and_held(postgres) == {"a": (0, 5), "b": (0, 0), "c": (0, 0)}


def meanwhile(storage: Storage, first: Operation, then: list[Operation]) -> list[Any]:
    """The answers to `then`, worked off while `first` is done and not yet committed."""
    ledgers, answers = Ledgers(storage, clock=lambda: NOON), list[Any]()
    with ExitStack() as stack:
        db = stack.enter_context(storage.begin())
        work_off(db, [first], now=NOON)
        thread = threading.Thread(target=lambda: answers.extend(ledgers.together.work(then)))
        thread.start()
        wait_for(partial(somebody_waits, storage))
        stack.close()
        thread.join()
    return answers


def somebody_waits(storage: Storage) -> bool:
    wanted = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with storage.read() as db:
        return bool(db.exec_driver_sql(wanted).scalar())


def spent_and_held(storage: Storage) -> dict[str, tuple[int, int]]:
    with storage.read() as db:
        return {row.key: (row.spent, row.held) for row in db.execute(select(sums))}
