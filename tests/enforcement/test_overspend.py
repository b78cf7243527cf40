"""$0.90 of $1.00 are spent, and callers of up to $0.35 each come at once: never more than $1.00."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aden_transport import RequestCancelledError
from aden_transport.ledger.base import Line
from aden_transport.ledger.opened import open_ledger
from aden_transport.testing import Reply

from ..ledger.control_server import ledgers, live_server
from ..server.kit import new_team
from .kit import HELLO, USD, enforced

ROOT = Path(__file__).parents[2]
POLICY = {"type": "global", "limit": 1.0, "spent": 0.9, "limitAction": "block"}
MOST = 35_000
"""Output tokens of gpt-4o for $0.35."""


def check(spent: int, cost: int, open_holds: int) -> None:
    """`cost`: of all that was sent, whatever the ledger knows of it."""
    assert spent == 0.9 * USD + cost
    assert spent <= 1.0 * USD
    assert open_holds == 0


def asked(run: Any, tokens: int) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": HELLO, "max_tokens": tokens}


@pytest.mark.parametrize("store", ["http", "memory", "sqlite"])
def test_fifty_threads(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"ledger": "memory"}
    if store == "sqlite":
        given = {"ledger": f"sqlite:///{tmp_path}/budgets.sqlite3"}
    elif store == "http":
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        given = {"ledger": live_server().url, "api_key": new_team(ledgers("sqlite").storage).token}
    with enforced(POLICY, **given) as run, run.client(max_retries=0) as client:
        run.provider.script(Reply(output_tokens=2_000))

        def call(number: int) -> bool:
            try:
                client.chat.completions.create(**asked(run, (2_000, MOST)[number % 2]))
            except RequestCancelledError:
                return False
            return True

        with ThreadPoolExecutor(50) as pool:
            sent = sum(pool.map(call, range(50)))
        assert 1 <= sent <= 4
        check(run.spent(), sum(e.cost_nano_usd or 0 for e in run.events), run.ledger.open_holds())


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_fifty_tasks(store: str, tmp_path: Path) -> None:
    ledger = "memory" if store == "memory" else f"sqlite:///{tmp_path}/budgets.sqlite3"
    with enforced(POLICY, ledger=ledger) as run:
        run.provider.script(Reply(output_tokens=2_000))

        async def main() -> list[object]:
            async with run.async_client(max_retries=0) as client:
                create = client.chat.completions.create
                calls = (create(**asked(run, (2_000, MOST)[number % 2])) for number in range(50))
                return await asyncio.gather(*calls, return_exceptions=True)

        answers = asyncio.run(main())
        refused = [answer for answer in answers if isinstance(answer, RequestCancelledError)]
        assert len(answers) - len(refused) == len(run.provider.requests)
        check(run.spent(), sum(e.cost_nano_usd or 0 for e in run.events), run.ledger.open_holds())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_four_processes(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    address = (
        request.getfixturevalue("server").url if store == "redis" else f"sqlite:///{tmp_path}/budgets.sqlite3"
    )
    command = [sys.executable, "-m", "tests.enforcement.spender", address, "500"]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(4)
    ]
    told = [child.communicate(timeout=250) for child in children]
    assert [child.returncode for child in children] == [0] * 4, told
    figures = [tuple(map(int, out.split())) for out, _ in told]
    assert [events for _, _, events in figures] == [500] * 4
    ledger = open_ledger(address, lasting=True)
    spent = ledger.totals([Line("-|global", 0, 0)])[0].spent
    check(spent, sum(cost for _, cost, _ in figures), ledger.open_holds())
    ledger.close()
    assert sum(sent for sent, _, _ in figures) >= 1


@pytest.mark.timeout(120)
def test_what_a_killed_process_held_is_settled_by_the_next(tmp_path: Path) -> None:
    """At the hold: the vendor may have billed it."""
    address = f"sqlite:///{tmp_path}/budgets.sqlite3"
    code = f"""
import os, signal, threading
from aden_transport import MeterOptions, instrument
from aden_transport.testing import FakeProvider, Reply
import httpx2
instrument(MeterOptions(policy={{"type": "global", "limit": 1.0}}, ledger={address!r}))
with FakeProvider(reply=Reply(delay_ms=60_000)) as provider:
    body = {{"model": "gpt-4o", "messages": [], "max_tokens": 1000}}
    call = threading.Thread(target=httpx2.post, args=(provider.openai_base_url + "/chat/completions",),
                            kwargs={{"json": body, "timeout": 60}})
    call.start()
    provider.wait_for_requests(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=100)
    ledger = open_ledger(address, lasting=True)
    assert ledger.open_holds() == 1
    with enforced({"type": "global", "limit": 1.0}, ledger=address) as run:
        run.client().chat.completions.create(model="gpt-4o", messages=HELLO, max_tokens=10)
        assert run.ledger.open_holds() == 0
        disputed = run.ledger.disputed()["-|global"]
        assert disputed >= 1000 * 10_000
        assert run.spent() == disputed + (run.events[0].charged_nano_usd or 0)
    ledger.close()
