"""`budget(...)`: a run of one's own, with no policy."""

from __future__ import annotations

import asyncio
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from aden_transport import (
    BudgetExceededError,
    ConfigurationError,
    MeterOptions,
    budget,
    context,
    create_memory_emitter,
    instrument,
    instrument_openai,
    uninstrument,
    uninstrument_openai,
    update_options,
)
from aden_transport.testing import FakeProvider, Reply

from .kit import HELLO, Enforced, enforced

ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 100}


@pytest.fixture(params=["no policy", "a policy"])
def run(request: pytest.FixtureRequest) -> Iterator[Enforced]:
    if request.param == "a policy":
        with enforced({"type": "global", "limit": 100, "limitAction": "block"}) as given:
            yield given
        return
    memory = create_memory_emitter()
    instrument(MeterOptions(emit_metric=memory, async_emit=False))
    with FakeProvider() as provider:
        own = Enforced(provider, memory, [], [])
        yield own
        own.close()
    uninstrument()


def until_refused(run: Enforced, most: int = 50) -> int:
    with run.client() as client:
        for made in range(most):
            try:
                client.chat.completions.create(**ASKED)
            except BudgetExceededError:
                return made
    return most


def test_dollars_bound_what_is_called_inside(run: Enforced) -> None:
    run.provider.script(Reply(output_tokens=100))
    with budget(usd=0.01) as own:
        assert 5 <= until_refused(run) < 50
        assert own.spent_usd is not None
        assert own.left_usd is not None
        assert own.spent_usd + own.left_usd == Decimal("0.01")
        spent = sum(event.cost_usd or 0 for event in run.events)
        assert own.spent_usd == spent <= Decimal("0.01")
    assert until_refused(run, 3) == 3


def test_calls_and_tokens_are_bounded(run: Enforced) -> None:
    with budget(calls=3) as own:
        assert until_refused(run) == 3
        assert own.calls_left == 0
    with budget(tokens=500) as own:
        made = until_refused(run)
        assert own.tokens_left is not None
        used = sum(event.total_tokens or 0 for event in run.events[-made - 1 :])
        assert 500 - own.tokens_left == used <= 500


def test_time_is_bounded(run: Enforced) -> None:
    with budget(seconds=0), pytest.raises(BudgetExceededError, match="seconds of its run are over"):
        run.client().chat.completions.create(**ASKED)
    assert not run.provider.requests


def test_an_inner_run_lies_within_the_outer(run: Enforced) -> None:
    with budget(calls=5), budget(calls=100) as inner:
        assert until_refused(run) == 5
        assert inner.calls_left == 95
    with budget(calls=100) as outer, budget(calls=2):
        assert until_refused(run) == 2
        assert outer.calls_left == 98


def test_depth_bounds_how_runs_nest() -> None:
    with (
        budget(depth=2),
        budget(calls=1),
        budget(calls=1),
        pytest.raises(BudgetExceededError, match="2 deep"),
        budget(calls=1),
    ):
        pass


def test_tasks_inherit_it_and_threads_are_handed_it(run: Enforced) -> None:
    async def main() -> list[object]:
        async with run.async_client() as client, budget(calls=4):
            calls = [client.chat.completions.create(**ASKED) for _ in range(10)]
            return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(main())
    assert sum(isinstance(answer, BudgetExceededError) for answer in answers) == 6
    with budget(calls=4), ThreadPoolExecutor(4) as pool:
        assert pool.submit(context.wrap(until_refused), run, 3).result() == 3
        assert until_refused(run) == 1


def test_each_call_of_a_decorated_function_is_a_run(run: Enforced) -> None:
    @budget(calls=2)
    def work() -> int:
        return until_refused(run)

    @budget(calls=2)
    async def work_async() -> int:
        return until_refused(run)

    assert (work(), work(), asyncio.run(work_async())) == (2, 2, 2)


@pytest.mark.parametrize("given", [{}, {"usd": -1}, {"calls": "3"}, {"tokens": float("nan")}, {"usd": True}])
def test_what_is_no_bound_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError):
        budget(**given)


def test_runs_of_several_processes_never_share_a_sum(tmp_path: Any) -> None:
    """Neither those of containers, which all have the same pid, nor those of last week."""
    code = """
import os, sys
os.getpid = lambda: 1
import httpx2
from aden_transport import MeterOptions, budget, instrument, uninstrument
from tests.enforcement.offline import URL, Vendor, asked
instrument(MeterOptions(policy={"budgets": []}, ledger=sys.argv[1]))
with budget(usd=0.006) as own, httpx2.Client(transport=Vendor()) as client:
    client.post(URL, json=asked(500, 500))
uninstrument()
print(own.spent_usd)
"""
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/budgets.sqlite3"]
    root = Path(__file__).parents[2]
    told = [subprocess.run(command, capture_output=True, text=True, cwd=root) for _ in range(2)]
    assert [each.stdout.strip() for each in told] == ["0.005020000"] * 2, told


def test_what_a_ledger_keeps_of_a_run_is_forgotten(run: Enforced) -> None:
    with budget(usd=1) as own, run.client() as client:
        client.chat.completions.create(**ASKED)
        ledger: Any = own.ledger
        assert own.spent_usd
    ledger.sweep(time.time() + 29 * 86_400)
    assert own.spent_usd
    ledger.sweep(time.time() + 31 * 86_400)
    assert not own.spent_usd


def test_a_block_that_is_entered_again_is_a_new_run(run: Enforced) -> None:
    own = budget(calls=2)
    for _ in range(2):
        with own:
            assert until_refused(run, 5) == 2


def test_threads_that_enter_one_block_share_it(run: Enforced) -> None:
    own, both = budget(calls=3), threading.Barrier(2)

    def work() -> int:
        with own:
            both.wait()
            made = until_refused(run, 5)
            both.wait()
            return made

    with ThreadPoolExecutor(2) as pool:
        assert sum(each.result() for each in [pool.submit(work) for _ in range(2)]) == 3
    assert until_refused(run, 2) == 2


def test_trio_tasks_inherit_a_run(run: Enforced) -> None:
    refused: list[bool] = []

    async def call(client: Any) -> None:
        try:
            await client.chat.completions.create(**ASKED)
        except BudgetExceededError:
            refused.append(True)

    async def main() -> None:
        async with run.async_client() as client, budget(calls=2), trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call, client)

    trio.run(main)
    assert len(refused) == 3


def test_a_generator_function_is_a_run_while_it_works_and_not_between(run: Enforced) -> None:
    @budget(calls=2)
    def work() -> Iterator[int]:
        given = yield until_refused(run, 1)
        assert given == "sent"
        try:
            yield until_refused(run, 5)
        except KeyError:
            yield -1

    steps: Any = work()
    assert next(steps) == 1
    assert until_refused(run, 3) == 3
    assert steps.send("sent") == 1
    assert steps.throw(KeyError()) == -1
    steps.close()
    assert next(iter(work())) == 1


def test_an_async_generator_function_is_one_too(run: Enforced) -> None:
    closed: list[bool] = []

    @budget(calls=2)
    async def work(client: Any) -> AsyncIterator[int]:
        try:
            given = yield await made(client, 1)
            assert given == "sent"
            yield await made(client, 5)
        finally:
            closed.append(True)

    async def made(client: Any, most: int) -> int:
        for number in range(most):
            try:
                await client.chat.completions.create(**ASKED)
            except BudgetExceededError:
                return number
        return most

    async def main() -> None:
        async with run.async_client() as client:
            steps: Any = work(client)
            assert await anext(steps) == 1
            assert await made(client, 3) == 3
            assert await steps.asend("sent") == 1
            await steps.aclose()
            async for first in work(client):
                assert first == 1
                break

    asyncio.run(main())
    assert closed


def test_a_refusal_crosses_processes(run: Enforced) -> None:
    with budget(usd=0.000001), pytest.raises(BudgetExceededError) as caught:
        run.client().chat.completions.create(**ASKED)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is BudgetExceededError
    assert (str(copy), copy.budget_id, copy.limit_usd) == (
        str(caught.value),
        caught.value.budget_id,
        0.000001,
    )
    assert copy.decision == caught.value.decision


def test_a_run_goes_on_when_options_change_and_over_the_meters_of_several_vendors() -> None:
    with enforced(None) as run, budget(calls=3) as own:
        assert until_refused(run, 1) == 1
        update_options(agent_name="another")
        assert until_refused(run, 1) == 1
        instrument_openai(MeterOptions())
        try:
            assert until_refused(run, 5) == 1
        finally:
            uninstrument_openai()
        assert own.calls_left == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_unknown": {"price": "bloc"}}, 'on_unknown.price: give "allow", "block" or a sum'),
        ({"on_unknown": {"prices": "block"}}, '"prices" is not known'),
        ({"ledger": "budgets.sqlite3"}, "is none of"),
        ({"ledger": "http://aden.example.com"}, "use https"),
        ({"ledger": "https://aden.example.com"}, "needs a key"),
    ],
)
def test_what_counts_for_budgets_is_judged_before_the_first_of_them(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADEN_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        instrument(MeterOptions(**options))
