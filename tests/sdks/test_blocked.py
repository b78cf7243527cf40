"""`on_blocked`: told once of each call that is refused, whatever becomes of the exception."""

from __future__ import annotations

import anyio
import pytest

from aden_transport import BeforeRequestResult, BudgetExceededError, RequestCancelledError
from aden_transport.testing import FakeProvider

from .support import HELLO, WAYS, Clients, Metered, Way, async_client, openai_sync

LIMIT_0 = {"type": "global", "limit": 0, "limitAction": "block"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.id)
def test_it_is_told_of_each_refused_call(
    way: Way, provider: FakeProvider, clients: Clients, metered: Metered
) -> None:
    told: list[RequestCancelledError] = []
    events = metered(policy=LIMIT_0, ledger="memory", on_blocked=told.append, async_emit=False)
    with pytest.raises(BudgetExceededError) as raised:
        way.sync(clients.of(way.sdk))
    [error] = told
    assert type(error) is BudgetExceededError
    assert (error.budget_id, error.limit_usd, error.reason) == ("global", 0, raised.value.reason)
    assert error.decision == events.only().decision
    assert error.context is not None
    assert error.context.operation == way.operation
    # It is the application's to keep: no frame, and so no prompt, hangs on it.
    assert error.__traceback__ is None


@pytest.mark.anyio
@pytest.mark.parametrize("way", [WAYS[0], WAYS[1]], ids=lambda way: way.id)
async def test_an_async_one_is_awaited(way: Way, provider: FakeProvider, metered: Metered) -> None:
    told = anyio.Event()

    async def on_blocked(error: RequestCancelledError) -> None:
        assert error.reason == "no"
        told.set()

    metered(before_request=lambda *_: BeforeRequestResult.cancel("no"), on_blocked=on_blocked)
    async with async_client(provider, way.sdk) as client:
        with pytest.raises(RequestCancelledError):
            await way.asynchronous(client)
        with anyio.fail_after(10):
            await told.wait()


def test_one_that_raises_is_a_fault_of_its_own(provider: FakeProvider, metered: Metered) -> None:
    def on_blocked(_: RequestCancelledError) -> None:
        raise ZeroDivisionError

    events = metered(policy=LIMIT_0, ledger="memory", on_blocked=on_blocked, async_emit=False)
    events.faults = {"emit:ZeroDivisionError": 1}
    with openai_sync(provider) as client, pytest.raises(BudgetExceededError):
        client.chat.completions.create(model="gpt-4o", messages=HELLO)


def test_it_is_not_told_of_calls_that_are_sent(provider: FakeProvider, metered: Metered) -> None:
    told: list[RequestCancelledError] = []
    metered(policy=LIMIT_0, ledger="memory", shadow_mode=True, on_blocked=told.append, async_emit=False)
    with openai_sync(provider) as client:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert told == []


def test_calls_of_the_application_are_each_told_of(provider: FakeProvider, metered: Metered) -> None:
    """It has caught the refusal itself, so what it calls next is another call."""
    told: list[RequestCancelledError] = []
    events = metered(policy=LIMIT_0, ledger="memory", on_blocked=told.append, async_emit=False)
    with openai_sync(provider) as client:
        for _ in range(3):
            with pytest.raises(BudgetExceededError):
                client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert len(told) == len({event.call_id for event in events.events}) == 3
    assert {event.attempt for event in events.events} == {0}
