"""How a hold ends: row by row, by what is known about the wire."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from aden_transport import BeforeRequestResult, RequestCancelledError
from aden_transport.testing import FakeProvider, Reply

from .kit import HELLO, Enforced, enforced

HARD = {"type": "global", "limit": 1.0, "limitAction": "block"}
EXPECTED = {"type": "global", "limit": 1.0, "mode": "expected", "limitAction": "block"}
ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 1000}


def check(run: Enforced, spent: int | None) -> Any:
    """Nothing is left open, and the ledger's sum is that of the events; `spent` None: of what was held."""
    (event,) = run.events
    assert run.ledger.open_holds() == 0
    assert run.spent() == (event.charged_nano_usd or 0)
    assert run.spent() == (event.hold_nano_usd if spent is None else spent)
    return event


def test_usage_is_settled_at_its_cost() -> None:
    with enforced(HARD) as run:
        run.client().chat.completions.create(**ASKED)
        event = check(run, run.events[0].cost_nano_usd)
        assert event.hold_nano_usd > event.charged_nano_usd > 0


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_without_usage_is_released(status: int) -> None:
    with enforced(HARD) as run:
        run.provider.push(Reply(status=status))
        with pytest.raises(openai.APIStatusError):
            run.client(max_retries=0).chat.completions.create(**ASKED)
        assert check(run, 0).usage is None


def test_a_connection_that_fails_is_released() -> None:
    with enforced(HARD) as run:
        client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="any", max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(**ASKED)
        check(run, 0)


@pytest.mark.parametrize("policy", [HARD, EXPECTED], ids=["hard", "expected"])
def test_a_request_without_an_answer_may_have_been_billed(policy: Any) -> None:
    with enforced(policy) as run:
        run.provider.push(Reply(delay_ms=2000))
        with pytest.raises(openai.APITimeoutError):
            run.client(max_retries=0, timeout=0.2).chat.completions.create(**ASKED)
        event = run.events[0]
        assert event.billing == "unknown"
        if policy is HARD:
            check(run, None)
        else:
            assert 0 < run.spent() < (event.hold_nano_usd or 0)


def left(client: openai.OpenAI) -> None:
    with client.chat.completions.create(**ASKED, stream=True) as stream:
        for number, _ in enumerate(stream):
            if number == 10:
                break


def forgotten(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(**ASKED, stream=True)
    next(iter(stream))
    del stream
    gc.collect()


def broken(client: openai.OpenAI) -> None:
    with pytest.raises((httpx2.RemoteProtocolError, openai.APIConnectionError)):
        list(client.chat.completions.create(**ASKED, stream=True))


@pytest.mark.parametrize("way", [left, forgotten, broken])
def test_a_stream_that_ends_early_is_settled_at_its_estimate(way: Callable[[openai.OpenAI], None]) -> None:
    with enforced(HARD) as run:
        reply = Reply(text="word " * 300, event_delay_ms=1)
        if way is broken:
            reply = Reply(text="word " * 300, disconnect_after_events=20)
        run.provider.push(reply)
        with run.client(max_retries=0) as client:
            way(client)
        run.ledger  # noqa: B018 - what finalisers have put is ended
        event: Any = run.events[0]
        assert event.usage_source == "estimated"
        assert 0 < event.cost_nano_usd <= event.charged_nano_usd <= event.hold_nano_usd
        check(run, event.charged_nano_usd)


def test_a_stream_of_a_model_that_reasons_is_settled_at_its_hold() -> None:
    with enforced(HARD) as run:
        run.provider.push(Reply(text="word " * 300, event_delay_ms=1))
        asked = {**ASKED, "model": "o3", "max_completion_tokens": 1000}
        asked.pop("max_tokens")
        with run.client().chat.completions.create(**asked, stream=True) as stream:
            next(iter(stream))
        check(run, None)


def test_a_cancelled_call_is_not_given_back() -> None:
    with enforced(HARD) as run:
        run.provider.push(Reply(delay_ms=2000))

        async def main() -> None:
            async with run.async_client(max_retries=0) as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await client.chat.completions.create(**ASKED)

        asyncio.run(main())
        check(run, None)


def test_a_refusal_of_the_hook_is_released() -> None:
    def refuse(_params: Any, _about: Any) -> BeforeRequestResult:
        return BeforeRequestResult.cancel("no")

    with enforced(HARD, before_request=refuse) as run:
        with pytest.raises(RequestCancelledError):
            run.client().chat.completions.create(**ASKED)
        check(run, 0)


def test_each_attempt_holds_for_itself() -> None:
    with enforced(HARD) as run:
        run.provider.push(Reply(status=500, retry_after_s=0.01))
        run.client(max_retries=1).chat.completions.create(**ASKED)
        failed, answered = run.events
        assert (failed.charged_nano_usd, answered.charged_nano_usd) == (0, answered.cost_nano_usd)
        assert run.spent() == answered.cost_nano_usd
        assert run.ledger.open_holds() == 0


def test_work_in_the_background_is_settled_by_whoever_sees_its_end() -> None:
    with enforced(HARD) as run:
        client = run.client()
        begun = client.responses.create(model="gpt-4o", input="hello", background=True, max_output_tokens=100)
        assert run.ledger.open_holds() == 1
        assert run.spent() == 0
        while client.responses.retrieve(begun.id).status in ("queued", "in_progress"):
            pass
        assert run.ledger.open_holds() == 0
        assert run.spent() == run.events[-1].cost_nano_usd
        client.responses.retrieve(begun.id)
        assert run.spent() == run.events[-1].cost_nano_usd


def test_a_redirect_takes_its_hold_along() -> None:
    with FakeProvider() as other, enforced(HARD) as run:
        there = f"{other.url}/v1/chat/completions"
        run.provider.push(Reply(status=307, raw=b"", headers={"location": there}))
        run.client().chat.completions.create(**ASKED)
        check(run, run.events[0].cost_nano_usd)
