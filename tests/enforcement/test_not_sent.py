"""Calls that end before their request has left: the vendor cannot have billed them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp
import anyio
import httpx
import httpx2
import pytest
import trio

from aden_transport import RequestCancelledError
from aden_transport.testing import Reply

from .kit import HELLO, enforced

HARD = {"type": "global", "limit": 1.0, "limitAction": "block"}
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 1000}

Ask = Callable[[], Any]


async def two_calls_on_one_connection(ask: Ask, arrived: Callable[[], object]) -> None:
    """The first is answered slowly; the second waits for its connection, and both are cancelled."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not arrived():
            await anyio.sleep(0.005)
        tasks.start_soon(ask)
        await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("library", "loop"),
    [*itertools.product(["httpx", "httpx2"], ["asyncio", "trio"]), ("aiohttp", "asyncio")],
)
def test_a_call_that_is_cancelled_while_it_waits_for_a_connection_is_released(
    library: str, loop: str
) -> None:
    with enforced(HARD) as run:
        run.provider.script(Reply(delay_ms=30_000))
        url = f"{run.provider.openai_base_url}/chat/completions"

        def arrived() -> object:
            return run.provider.requests

        async def by_httpx(module: Any) -> None:
            limits = module.Limits(max_connections=1)
            async with module.AsyncClient(limits=limits, timeout=60) as client:
                await two_calls_on_one_connection(lambda: client.post(url, json=ASKED), arrived)

        async def by_aiohttp() -> None:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
                await two_calls_on_one_connection(lambda: session.post(url, json=ASKED), arrived)

        async def main() -> None:
            if library == "aiohttp":
                await by_aiohttp()
            else:
                await by_httpx(httpx if library == "httpx" else httpx2)

        trio.run(main) if loop == "trio" else asyncio.run(main())
        assert len(run.provider.requests) == 1
        charged = sorted((event.charged_nano_usd or 0, event.billing) for event in run.events)
        hold = run.events[0].hold_nano_usd
        assert charged == [(0, None), (hold, "unknown")]
        assert run.spent() == hold
        assert run.ledger.open_holds() == 0


def test_a_pool_that_has_no_connection_in_time_is_released() -> None:
    with enforced(HARD) as run:
        run.provider.script(Reply(delay_ms=30_000))
        url = f"{run.provider.openai_base_url}/chat/completions"

        async def main() -> None:
            timeout = httpx2.Timeout(60, pool=0.05)
            async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1), timeout=timeout) as client:
                first = asyncio.ensure_future(client.post(url, json=ASKED))
                while not run.provider.requests:
                    await asyncio.sleep(0.005)
                with pytest.raises(httpx2.PoolTimeout):
                    await client.post(url, json=ASKED)
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await first

        asyncio.run(main())
        assert [event.charged_nano_usd for event in run.events] == [0, run.events[1].hold_nano_usd]


def test_a_hook_that_fails_gives_back_what_was_held() -> None:
    def broken(_params: Any, _about: Any) -> Any:
        raise LookupError("no rules")

    with enforced(HARD, before_request=broken, fail_open=False) as run, run.client() as client:
        with pytest.raises(RequestCancelledError):
            client.chat.completions.create(**ASKED)
        assert run.provider.bytes_received == 0
        assert (run.spent(), run.ledger.open_holds()) == (0, 0)


def test_an_error_with_usage_is_settled_at_it() -> None:
    usage = b'{"error": {}, "model": "gpt-4o", "usage": {"prompt_tokens": 8, "completion_tokens": 5}}'
    with enforced(HARD) as run, httpx2.Client() as client:
        run.provider.push(Reply(status=500, raw=usage, headers={"content-type": "application/json"}))
        client.post(f"{run.provider.openai_base_url}/chat/completions", json=ASKED)
        (event,) = run.events
        assert event.usage_source == "reported"
        assert run.spent() == event.charged_nano_usd == 8 * 2_500 + 5 * 10_000


def test_an_answer_that_aiohttp_waits_too_long_for_may_have_been_billed() -> None:
    with enforced(HARD) as run:
        run.provider.script(Reply(delay_ms=30_000))

        async def main() -> None:
            timeout = aiohttp.ClientTimeout(sock_read=0.2)
            async with aiohttp.ClientSession(timeout=timeout) as session:
                with pytest.raises(aiohttp.ServerTimeoutError):
                    await session.post(f"{run.provider.openai_base_url}/chat/completions", json=ASKED)

        asyncio.run(main())
        (event,) = run.events
        assert run.spent() == event.charged_nano_usd == event.hold_nano_usd
