"""`budget(...)`: a run of one's own, with no policy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from aden_transport import (
    BudgetExceededError,
    ConfigurationError,
    MeterOptions,
    budget,
    context,
    create_memory_emitter,
    instrument,
    uninstrument,
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
