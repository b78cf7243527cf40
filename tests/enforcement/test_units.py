"""Integer sums: what the events say was charged is what the ledger has, exactly, however calls end."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from aden_transport import ConfigurationError, RequestCancelledError, budget
from aden_transport.policy import load

from .kit import HELLO, USD, Enforced, address, enforced

CALLS = 500
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 300}
SLOW = {"x-fake-delay-ms": "400"}

Way = Callable[[Enforced, openai.OpenAI], object]


def plain(run: Enforced, client: openai.OpenAI) -> None:
    client.chat.completions.create(**ASKED)


def stream(client: openai.OpenAI, **fake: str) -> Any:
    headers = {f"x-fake-{name.replace('_', '-')}": value for name, value in fake.items()}
    return client.chat.completions.create(**ASKED, stream=True, extra_headers=headers)


def streamed(run: Enforced, client: openai.OpenAI) -> None:
    list(stream(client))


def without_usage(run: Enforced, client: openai.OpenAI) -> None:
    list(stream(client, usage="omit"))


def closed(run: Enforced, client: openai.OpenAI) -> None:
    with stream(client) as pieces:
        next(iter(pieces))


def forgotten(run: Enforced, client: openai.OpenAI) -> None:
    pieces = stream(client)
    next(iter(pieces))
    del pieces
    gc.collect(0)


def torn(run: Enforced, client: openai.OpenAI) -> None:
    list(stream(client, disconnect_after_events="5"))


def broken_off_by_the_vendor(run: Enforced, client: openai.OpenAI) -> None:
    list(stream(client, error_after_events="5"))


def wrong(run: Enforced, client: openai.OpenAI) -> None:
    client.chat.completions.create(**ASKED, extra_headers={"x-fake-status": "400"})


def tried_again(run: Enforced, client: openai.OpenAI) -> None:
    again = client.with_options(max_retries=1)
    again.chat.completions.create(
        **ASKED, extra_headers={"x-fake-status": "500", "x-fake-retry-after-s": "0.01"}
    )


def late(run: Enforced, client: openai.OpenAI) -> None:
    client.with_options(timeout=0.05).chat.completions.create(**ASKED, extra_headers=SLOW)


def unreachable(run: Enforced, client: openai.OpenAI) -> None:
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="any", max_retries=0) as other:
        other.chat.completions.create(**ASKED)


def in_the_background(run: Enforced, client: openai.OpenAI) -> None:
    begun = client.responses.create(model="gpt-4o", input="hello", background=True, max_output_tokens=100)
    while client.responses.retrieve(begun.id).status in ("queued", "in_progress"):
        pass


def of_an_embedding(run: Enforced, client: openai.OpenAI) -> None:
    client.embeddings.create(model="text-embedding-3-small", input="hello")


def refused(run: Enforced, client: openai.OpenAI) -> None:
    with budget(usd=0.0001):
        client.chat.completions.create(**ASKED)


def cancelled(run: Enforced, client: openai.OpenAI) -> None:
    async def main() -> None:
        async with run.async_client(max_retries=0) as own, asyncio.timeout(0.1):
            await own.chat.completions.create(**ASKED, extra_headers=SLOW)

    asyncio.run(main())


WAYS: list[Way] = [
    *[plain, streamed, of_an_embedding] * 6,
    *[without_usage, closed, forgotten, torn, broken_off_by_the_vendor, wrong, tried_again] * 2,
    *[in_the_background, refused, unreachable, late, cancelled],
]


@pytest.mark.parametrize(
    ("store", "mode"), [("memory", "hard"), ("memory", "expected"), ("sqlite", "hard"), ("redis", "hard")]
)
def test_the_sum_of_all_events_is_what_the_ledger_has(store: str, mode: str, tmp_path: Path) -> None:
    ledger = address(store, tmp_path)
    policy = {"id": str(tmp_path), "type": "global", "limit": 100, "mode": mode, "limitAction": "block"}
    ways = [
        *WAYS,
        *random.Random(store).choices(WAYS, k=(CALLS if mode == "hard" else CALLS // 4) - len(WAYS)),
    ]
    with enforced(policy, ledger=ledger) as run, run.client(max_retries=0) as client:

        def call(way: Way) -> None:
            try:
                way(run, client)
            except (openai.APIError, httpx2.HTTPError, RequestCancelledError, TimeoutError):
                pass

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, ways))
        gc.collect()
        assert run.ledger.open_holds() == 0
        spent = run.spent(f"-|{tmp_path}")
        assert spent == sum(event.charged_nano_usd or 0 for event in run.events)
        assert 0 < spent <= sum(event.hold_nano_usd or 0 for event in run.events)


def test_a_limit_is_at_most_what_redis_can_count() -> None:
    (budget,) = load({"type": "global", "limit": 9_000_000}).budgets
    assert budget.terms.limit == 9_000_000 * USD < 2**53
    with pytest.raises(ConfigurationError, match=r"limit"):
        load({"type": "global", "limit": 9_000_000.01})


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_a_budget_of_the_highest_limit_counts_to_the_nano_dollar(store: str, tmp_path: Path) -> None:
    ledger = address(store, tmp_path)
    key = f"-|{tmp_path}"
    policy = {"id": str(tmp_path), "type": "global", "limit": 9_000_000, "limitAction": "block"}
    with enforced(policy, ledger=ledger) as run, run.client() as client:
        client.chat.completions.create(**ASKED)
        hold, first = run.events[0].hold_nano_usd, run.spent(key)
        assert hold is not None
        run.ledger.raise_to(key, 9_000_000 * USD - hold, mark="nearly")
        client.chat.completions.create(**ASKED)
        assert run.spent(key) == 9_000_000 * USD - hold + first
        with pytest.raises(RequestCancelledError):
            client.chat.completions.create(**ASKED)
