"""Throttles in every colour: the caller's own loop or thread waits, and callers leave in turn."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trio

from aden_transport import BeforeRequestResult
from aden_transport.meter import state
from aden_transport.testing import Reply

from .kit import HELLO, Enforced, address, enforced
from .offline import Turns

CALLERS, DELAY_MS = 6, 30
POLICY: dict[str, Any] = {
    "type": "global",
    "limit": 1,
    "spent": 0.96,
    "thresholds": [{"percent": 95, "action": "throttle", "delayMs": DELAY_MS}],
    "limitAction": "block",
}
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 10}


def by_threads(run: Enforced) -> None:
    with run.client() as client, ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda _: client.chat.completions.create(**ASKED), range(CALLERS)))


def by_asyncio(run: Enforced) -> None:
    async def main() -> None:
        async with run.async_client() as client:
            await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(CALLERS)))

    asyncio.run(main())


def by_trio(run: Enforced) -> None:
    async def main() -> None:
        async with run.async_client() as client, trio.open_nursery() as nursery:
            for _ in range(CALLERS):
                nursery.start_soon(lambda: client.chat.completions.create(**ASKED))

    trio.run(main)


@pytest.mark.parametrize("colour", [by_threads, by_asyncio, by_trio])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_waiting_callers_leave_one_after_the_other(colour: Any, store: str, tmp_path: Path) -> None:
    with enforced(POLICY, ledger=address(store, tmp_path)) as run:
        turns = Turns()
        colour(run)
        assert len(set(turns.taken)) == CALLERS
        assert all(event.throttle_ms >= DELAY_MS for event in run.events)
        assert [event.decision.action for event in run.events] == ["throttle"] * CALLERS
        assert run.ledger.open_holds() == 0


WAITER = """
import sys
import httpx2
from aden_transport import MeterOptions, instrument, uninstrument
from tests.enforcement.offline import URL, Turns, Vendor, asked
instrument(MeterOptions(policy=POLICY, ledger=sys.argv[1]))
turns = Turns()
with httpx2.Client(transport=Vendor()) as client:
    for _ in range(5):
        client.post(URL, json=asked(10, 1))
uninstrument()
print(*turns.taken)
"""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_processes_of_one_ledger_share_its_turns(store: str, tmp_path: Path) -> None:
    """No two of their calls leave in one."""
    ledger = address(store, tmp_path)
    code = f"POLICY = { ({**POLICY, 'id': str(tmp_path)})!r}\n{WAITER}"
    command = [sys.executable, "-c", code, ledger]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    taken = [number for child in children for number in child.communicate(timeout=100)[0].split()]
    assert [child.returncode for child in children] == [0, 0]
    assert len(taken) == len(set(taken)) == 10


def test_a_sync_client_on_a_loops_thread_waits_a_quarter_of_a_second_at_most() -> None:
    slow = {**POLICY, "thresholds": [{"percent": 95, "action": "throttle", "delayMs": 20_000}]}
    with enforced(slow) as run, run.client() as client:

        async def main() -> None:
            client.chat.completions.create(**ASKED)

        asyncio.run(main())
        assert 250 <= run.events[0].throttle_ms < 20_000


def test_a_call_that_is_cancelled_while_it_waits_sends_and_holds_nothing() -> None:
    slow = {**POLICY, "thresholds": [{"percent": 95, "action": "throttle", "delayMs": 20_000}]}
    with enforced(slow) as run:

        async def by_asyncio() -> None:
            async with run.async_client() as client:
                call = asyncio.ensure_future(client.chat.completions.create(**ASKED))
                while not run_is_waiting():
                    await asyncio.sleep(0.005)
                assert run.ledger.open_holds() == 0
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call

        async def by_trio() -> None:
            async with run.async_client() as client, trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.chat.completions.create(**ASKED))
                while not run_is_waiting():
                    await trio.sleep(0.005)
                assert run.ledger.open_holds() == 0
                nursery.cancel_scope.cancel()

        asyncio.run(by_asyncio())
        trio.run(by_trio)
        assert run.provider.bytes_received == 0
        assert [(event.charged_nano_usd, event.usage) for event in run.events] == [(None, None)] * 2


def run_is_waiting() -> bool:
    meter = state.everything
    assert meter is not None
    return any(exchange.state == "waiting" for exchange in meter.settings.open.values())


def test_a_hooks_delay_and_a_policys_are_one_wait() -> None:
    def hook(_params: Any, _about: Any) -> BeforeRequestResult:
        return BeforeRequestResult.throttle(DELAY_MS // 2)

    with enforced(POLICY, before_request=hook) as run:
        run.provider.push(Reply(status=500, retry_after_s=0.01))
        with run.client(max_retries=1) as client:
            client.chat.completions.create(**ASKED)
        first, second = run.events
        assert first.throttle_ms >= DELAY_MS
        assert second.throttle_ms == 0
