"""A request that cannot be changed as was decided: what is held for the changed one does not cover it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import httpx
import httpx2
import pytest
import trio

from aden_transport import BudgetExceededError, RequestCancelledError
from aden_transport._guard import fault_counts, reset_faults
from aden_transport.adapters import aiohttp as bound_aiohttp
from aden_transport.adapters._family import Family

from .kit import HELLO, USD, Enforced, address, enforced

ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 1000}
OWN_HOLD = 0.01 * USD
DEGRADES = {
    "limit": 1,
    "spent": 0.5,
    "thresholds": [{"percent": 1, "action": "degrade", "degradeTo": "gpt-4o-mini"}],
    "limitAction": "block",
}


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Requests whose libraries have become others than the adapters know."""

    def rewritten(*_: object) -> NoReturn:
        raise AttributeError("stream")

    monkeypatch.setattr(Family, "rewritten", rewritten)
    monkeypatch.setattr(type(bound_aiohttp.DRIVER), "rewritten", rewritten)
    reset_faults()
    yield
    reset_faults()


def by_client(module: Any, run: Enforced) -> int:
    with module.Client() as client:
        return int(client.post(_url(run), json=ASKED).status_code)


def by_async_client(module: Any, loop: Callable[..., Any], run: Enforced) -> int:
    async def main() -> int:
        async with module.AsyncClient() as client:
            return int((await client.post(_url(run), json=ASKED)).status_code)

    return int(loop(main))


def by_session(run: Enforced) -> int:
    async def main() -> int:
        async with aiohttp.ClientSession() as session, session.post(_url(run), json=ASKED) as answer:
            await answer.read()
            return answer.status

    return asyncio.run(main())


def _url(run: Enforced) -> str:
    return f"{run.provider.openai_base_url}/chat/completions"


def run_asyncio(main: Callable[[], Any]) -> Any:
    return asyncio.run(main())


LIBRARIES = {"httpx": httpx, "httpx2": httpx2}
LOOPS: dict[str, Callable[..., Any]] = {"asyncio": run_asyncio, "trio": trio.run}
WAYS: dict[str, Callable[[Enforced], int]] = {
    **{name: partial(by_client, module) for name, module in LIBRARIES.items()},
    **{
        f"{name} on {loop}": partial(by_async_client, LIBRARIES[name], LOOPS[loop])
        for name, loop in itertools.product(LIBRARIES, LOOPS)
    },
    "aiohttp": by_session,
}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_held_at_its_own_price(way: str, store: str, tmp_path: Path) -> None:
    with enforced(DEGRADES, ledger=address(store, tmp_path)) as run:
        assert WAYS[way](run) == 200
        (event,) = run.events
        assert run.provider.requests[0].json() == ASKED
        assert (event.request_model, event.degraded_from) == ("gpt-4o", None)
        assert (event.decision.action, event.decision.hindered) == ("alert", "rewrite failed")
        assert (event.hold_nano_usd or 0) >= OWN_HOLD
        assert run.spent() == USD // 2 + (event.charged_nano_usd or 0)
        assert run.ledger.open_holds() == 0
        assert [alert.message for alert in run.alerts] == ["not degraded to gpt-4o-mini: rewrite failed"]
        assert fault_counts() == {"rewrite:AttributeError": 1}


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("way", WAYS)
def test_without_the_money_for_it_it_is_refused(way: str, store: str, tmp_path: Path) -> None:
    with enforced({**DEGRADES, "limit": 0.505}, ledger=address(store, tmp_path)) as run:
        with pytest.raises(BudgetExceededError):
            WAYS[way](run)
        assert run.provider.bytes_received == 0
        assert (run.ledger.open_holds(), run.spent()) == (0, USD // 2)
        (event,) = run.events
        assert event.decision.action == "block"


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("way", WAYS)
def test_with_fail_open_off_it_is_refused(way: str, store: str, tmp_path: Path) -> None:
    with enforced(DEGRADES, ledger=address(store, tmp_path), fail_open=False) as run:
        with pytest.raises(RequestCancelledError, match="rewriting failed: AttributeError"):
            WAYS[way](run)
        assert run.provider.bytes_received == 0
        assert (run.ledger.open_holds(), run.spent()) == (0, USD // 2)
        (event,) = run.events
        assert (event.decision.action, event.charged_nano_usd) == ("block", 0)


def test_a_budget_that_has_room_for_one_of_both_holds_is_not_in_its_own_way(tmp_path: Path) -> None:
    """The hold for the other model is given back before that for its own is asked for."""
    with enforced({**DEGRADES, "limit": 0.511}, ledger=address("sqlite", tmp_path)) as run:
        assert by_async_client(httpx, run_asyncio, run) == 200
        assert OWN_HOLD < (run.events[0].hold_nano_usd or 0) < 0.011 * USD
