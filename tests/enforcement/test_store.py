"""A store that is away, slow or broken: a call waits as long as it was told to, then `on_unknown` decides.

The application sees no fault of the store; what its calls cost is told to the store when it is back, and
counted where it has lost the hold.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from aden_transport import RequestCancelledError, instrument
from aden_transport._guard import fault_counts, reset_faults
from aden_transport.ledger.base import Line
from aden_transport.ledger.sqlite import SqliteLedger
from aden_transport.meter import state
from aden_transport.options import MeterOptions

from ..ledger.redis_server import RedisServer
from .kit import HELLO, Enforced, address, enforced

POLICY = {"type": "global", "period": "none", "limit": 1.0, "limitAction": "block"}
TIMEOUT_MS = 100.0
PATIENT_MS = 30_000.0
"""For what is to succeed, however busy the machine."""


@pytest.fixture(autouse=True)
def counts() -> Iterator[None]:
    reset_faults()
    yield
    reset_faults()


def ask(run: Enforced) -> bool:
    """Whether the call was sent; a refusal says so as itself."""
    before = len(run.provider.requests)
    with run.client(max_retries=0) as client:
        try:
            client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=10)
        except RequestCancelledError:
            return False
    assert len(run.provider.requests) == before + 1
    return True


async def ask_async(run: Enforced) -> bool:
    async with run.async_client(max_retries=0) as client:
        try:
            await client.chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=10)
        except RequestCancelledError:
            return False
    return True


def ask_on_asyncio(run: Enforced) -> bool:
    return asyncio.run(ask_async(run))


def ask_on_trio(run: Enforced) -> bool:
    return trio.run(ask_async, run)


COLOURS: dict[str, Callable[[Enforced], bool]] = {
    "sync": ask,
    "asyncio": ask_on_asyncio,
    "trio": ask_on_trio,
}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """By another process, for as long as the block lasts."""
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('BEGIN IMMEDIATE'); print('locked', flush=True); "
        "sys.stdin.readline(); db.execute('ROLLBACK')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.stdin.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "budgets.sqlite3"


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def spent(path: Path) -> int:
    ledger = SqliteLedger(path, timeout_s=30.0)
    (totals,) = ledger.totals([Line("-|global", 0, 0)])
    assert totals.held == 0
    ledger.close()
    return totals.spent


# -- SQLite -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("said", ["allow", "block"])
def test_a_file_that_another_process_locks(path: Path, colour: str, said: str) -> None:
    call = COLOURS[colour]
    options: dict[str, Any] = {"ledger": sqlite_url(path), "on_unknown": {"store": said}}
    with enforced(POLICY, store_timeout_ms=TIMEOUT_MS, **options) as run:
        ask(run)
        run.ledger.totals([])
        with locked(path):
            assert call(run) is (said == "allow")
        assert len(run.events) == 2
        assert run.events[-1].hold_nano_usd is None
        assert ("store_timeout_ms" in (run.events[-1].error or "")) is (said == "block")
        assert fault_counts().get("ledger:LedgerUnavailable", 0) >= 1


@pytest.mark.parametrize("store", ["sqlite", "redis"])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_call_that_has_ended_is_in_nobody_s_way(path: Path, colour: str, store: str) -> None:
    """Also while the store was not told that it has."""
    call = COLOURS[colour]
    with enforced(POLICY, ledger=address(store, path.parent), store_timeout_ms=PATIENT_MS) as run:
        ask(run)
        (event,) = run.events
        assert event.hold_nano_usd is not None
        assert event.cost_nano_usd is not None
        fits_after = (event.hold_nano_usd + event.cost_nano_usd) / 1e9
    tight = {**POLICY, "limit": fits_after}
    (path.parent / "behind").mkdir()
    ledger = address(store, path.parent / "behind")
    with enforced(tight, ledger=ledger, store_timeout_ms=PATIENT_MS) as run:
        meter = state.everything
        assert meter is not None
        assert meter.budgets is not None
        assert meter.budgets.thread is not None
        meter.budgets.thread.put(lambda: time.sleep(0.2))
        assert call(run)
        assert call(run)
        assert not call(run)


def test_a_settlement_is_told_when_the_lock_is_gone(path: Path) -> None:
    """With the event that came with it."""
    with enforced(POLICY, ledger=sqlite_url(path), store_timeout_ms=PATIENT_MS) as run:
        ask(run)
        assert state.everything is not None
        books = state.everything.books
        assert books is not None
        assert books.flush(60)
        budgets = state.everything.budgets
        assert budgets is not None
        budgets.ledger.timeout_s = 0.02  # type: ignore[attr-defined]
        held = budgets.ledger.reserve("1", [[Line("-|global", 7, 7)]], now=0.0, expires_at=1e12)
        assert held.kind == "held"
        with locked(path):
            assert budgets.thread is not None
            budgets.thread.put(lambda: budgets.ledger.settle("1", {"usd": 5}))
            assert not books.flush(0.1)
        assert books.flush(60)
        assert run.spent() == 5 + (run.events[0].charged_nano_usd or 0)
    assert fault_counts()["ledger:LedgerUnavailable"] >= 1


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_goes_amid_a_call_has_lost_its_hold_which_is_counted(path: Path, how: str) -> None:
    with enforced(POLICY, ledger=sqlite_url(path), store_timeout_ms=PATIENT_MS) as run:
        ask(run)
        run.ledger.totals([])

        def go_away(*_: Any) -> Any:
            for end in ("", "-wal", "-shm"):
                Path(f"{path}{end}").unlink(missing_ok=True)
            if how == "replaced":
                other = SqliteLedger(path, timeout_s=30.0)
                other.raise_to("-|global", 11, mark="other")
                other.close()
            return None

        run.provider.script(go_away)
        assert ask(run)
        assert run.spent() == (11 if how == "replaced" else 0)
        assert fault_counts() == {"settlement:HoldLost": 1}
        assert len(run.events) == 2
        run.provider.reset()
        assert ask(run)
        assert run.spent() == (11 if how == "replaced" else 0) + (run.events[-1].charged_nano_usd or 0)


def test_a_full_file_system_is_told_of_and_survived(path: Path) -> None:
    with enforced(POLICY, ledger=sqlite_url(path), store_timeout_ms=TIMEOUT_MS) as run:
        ask(run)
        run.ledger.totals([])
        size = os.path.getsize(f"{path}-wal")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            assert all(ask(run) for _ in range(5))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert len(run.events) == 6
        assert fault_counts()["ledger:LedgerUnavailable"] >= 1
        assert run.spent() > 0


@pytest.mark.parametrize("said", ["allow", "block"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, said: str) -> None:
    (tmp_path / "file").touch()
    address = sqlite_url(tmp_path / "file" / "budgets.sqlite3")
    with enforced(POLICY, ledger=address, on_unknown={"store": said}) as run:
        assert ask(run) is (said == "allow")
        assert len(run.events) == 1


def test_many_tasks_wait_together_rather_than_one_after_the_other(path: Path) -> None:
    """Sixty calls on a loop, whose own threads are all busy, while the file is locked."""

    async def main(run: Enforced) -> None:
        import anyio.to_thread

        async with run.async_client(max_retries=0) as client, anyio.create_task_group() as group:
            limiter = anyio.to_thread.current_default_thread_limiter()
            for _ in range(int(limiter.total_tokens)):
                group.start_soon(anyio.to_thread.run_sync, time.sleep, 2.0)
            create = client.chat.completions.create
            await asyncio.gather(*(create(model="gpt-4o", messages=HELLO, max_tokens=10) for _ in range(60)))

    with enforced(POLICY, ledger=sqlite_url(path), store_timeout_ms=TIMEOUT_MS) as run:
        ask(run)
        run.ledger.totals([])
        with locked(path):
            asyncio.run(main(run))
        assert len(run.provider.requests) == 61


# -- Redis ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("said", ["allow", "block"])
def test_a_redis_that_is_frozen(server: RedisServer, colour: str, said: str) -> None:
    with enforced(POLICY, ledger=server.url, on_unknown={"store": said}, store_timeout_ms=TIMEOUT_MS) as run:
        server.freeze()
        try:
            assert COLOURS[colour](run) is (said == "allow")
        finally:
            server.thaw()
        assert len(run.events) == 1


def test_a_redis_that_is_killed_and_comes_back(server: RedisServer) -> None:
    with enforced(POLICY, ledger=server.url, store_timeout_ms=PATIENT_MS) as run:
        assert ask(run)
        cost = run.events[0].charged_nano_usd
        assert run.spent() == cost
        server.kill()
        assert ask(run)
        assert ask_on_asyncio(run)
        server.start()
        assert ask(run)
        assert run.spent() == 2 * (cost or 0)
        assert len(run.events) == 4
        assert run.ledger.open_holds() == 0


def test_what_a_call_cost_is_told_to_a_redis_that_was_away_at_its_end(server: RedisServer) -> None:
    with enforced(POLICY, ledger=server.url, store_timeout_ms=PATIENT_MS) as run:

        def kill(*_: Any) -> Any:
            server.kill()
            return None

        run.provider.script(kill)
        assert ask(run)
        server.start()
        assert run.spent() == run.events[0].charged_nano_usd
        assert run.ledger.open_holds() == 0


@pytest.mark.parametrize("said", ["allow", "block"])
def test_a_redis_that_is_out_of_memory(server: RedisServer, said: str) -> None:
    import redis

    with enforced(POLICY, ledger=server.url, on_unknown={"store": said}, store_timeout_ms=PATIENT_MS) as run:
        client = redis.Redis.from_url(server.url)
        client.config_set("maxmemory", "1")
        assert ask(run) is (said == "allow")
        client.config_set("maxmemory", "0")
        client.close()
        assert ask(run)
        assert run.spent() == run.events[-1].charged_nano_usd


def test_a_program_starts_though_its_redis_is_away(server: RedisServer) -> None:
    """And what its policy knows to be spent is told when it is back."""
    server.kill()
    with enforced({**POLICY, "spent": 0.5}, ledger=server.url, store_timeout_ms=PATIENT_MS) as run:
        assert ask(run)
        server.start()
        assert run.spent() == 500_000_000


# -- bounds -----------------------------------------------------------------------------------------


def test_settlements_that_cannot_be_told_do_not_pile_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aden_transport.ledger.store_thread.LIMIT", 20)
    with enforced(POLICY, ledger=sqlite_url(path), store_timeout_ms=PATIENT_MS) as run:
        ask(run)
        run.ledger.totals([])
        assert state.everything is not None
        budgets = state.everything.budgets
        assert budgets is not None
        assert budgets.thread is not None
        budgets.ledger.timeout_s = 0.02  # type: ignore[attr-defined]
        with locked(path):
            for number in range(200):
                budgets.thread.put(lambda number=number: budgets.ledger.release(str(number)))  # type: ignore[misc]
            assert budgets.thread.given_up >= 170
        assert state.everything.flush(60)
    assert fault_counts()["settlement:GivenUp"] >= 170


def test_a_timeout_is_an_option() -> None:
    with enforced(POLICY, store_timeout_ms=7):
        assert state.everything is not None
        assert state.everything.budgets is not None
        assert state.everything.budgets.timeout_s == 0.007
    assert callable(instrument)
    assert MeterOptions().store_timeout_ms == 250.0
