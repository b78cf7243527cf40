"""What a policy's actions do with real calls: waits, rewrites, caps on the output, hooks after them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import httpx2
import openai
import pytest
import trio

from aden_transport import (
    BeforeRequestResult,
    BudgetExceededError,
    RequestCancelledError,
    _guard,
    register_vendor,
)
from aden_transport.adapters import _drive
from aden_transport.ledger.base import Ledger
from aden_transport.meter import classifier, state
from aden_transport.testing import FakeProvider, Reply

from ..sdks.support import gemini_sync
from .kit import HELLO, USD, Enforced, enforced

ASKED: Any = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 100}
SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=any", "x-amz-date": "20261122T000000Z"}


def at(percent: float, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A budget of $100 of which so much is spent."""
    return {"limit": 100, "spent": percent, "thresholds": list(steps), "limitAction": "block", **more}


def delay(ms: float) -> dict[str, Any]:
    return {"percent": 95, "action": "throttle", "delayMs": ms}


def degrade(model: str) -> dict[str, Any]:
    return {"percent": 80, "action": "degrade", "degradeTo": model}


@pytest.fixture
def known(request: pytest.FixtureRequest) -> Iterator[Callable[[FakeProvider, str], None]]:
    """Have the fake provider's host be one of a vendor's."""
    made: list[Any] = []

    def register(provider: FakeProvider, vendor: str) -> None:
        hosts = [f"127.0.0.1:{provider.port}"]
        made.append(register_vendor(vendor, hosts=hosts, like=vendor))

    yield register
    for vendor in made:
        classifier.unregister(vendor)


Known = Callable[[FakeProvider, str], None]


def run_asyncio(main: Callable[[], Coroutine[Any, Any, object]]) -> object:
    return asyncio.run(main())


def held_while_waiting(ledger: Ledger) -> int:
    """Holds that are open while a call waits; first the holds are read, so that what ends a wait in between
    is not taken for one."""
    assert state.everything is not None
    held = ledger.open_holds()
    waiting = [call.state == "waiting" for call in list(state.everything.settings.open.values())]
    return held if waiting and all(waiting) else 0


# -- throttle ------------------------------------------------------------------------------------


def test_a_wait_holds_nothing() -> None:
    with enforced(at(96, delay(300))) as run:
        client, ledger = run.client(), run.ledger
        call = threading.Thread(target=lambda: client.chat.completions.create(**ASKED))
        call.start()
        seen = 0
        while call.is_alive():
            assert held_while_waiting(ledger) == 0
            seen += 1
            time.sleep(0.005)
        call.join()
        assert seen
        (event,) = run.events
        assert (event.decision.action, event.throttle_ms >= 300) == ("throttle", True)
        assert event.hold_nano_usd


@pytest.mark.parametrize("loop", [run_asyncio, trio.run])
def test_a_wait_is_the_callers_loops(loop: Any) -> None:
    """Other tasks of the loop go on meanwhile; each call waits for itself."""
    with enforced(at(96, delay(60))) as run:
        turns, ledger = 0, run.ledger

        async def main() -> None:
            nonlocal turns
            async with run.async_client() as client, anyio.create_task_group() as group:

                async def count() -> None:
                    nonlocal turns
                    while len(run.events) < 3:
                        assert held_while_waiting(ledger) == 0
                        turns += 1
                        await anyio.sleep(0.005)

                group.start_soon(count)
                for _ in range(3):
                    group.start_soon(lambda: client.chat.completions.create(**ASKED))

        loop(main)
        assert turns > 2
        assert all(event.throttle_ms >= 60 for event in run.events)
        assert len({event.call_id for event in run.events}) == 3


@pytest.mark.parametrize("loop", [run_asyncio, trio.run])
def test_a_cancelled_wait_leaves_no_hold_and_one_event(loop: Any) -> None:
    with enforced(at(96, delay(30_000))) as run:

        async def main() -> None:
            async with run.async_client() as client:
                with anyio.move_on_after(0.1):
                    await client.chat.completions.create(**ASKED)

        loop(main)
        (event,) = run.events
        assert event.error is not None
        assert (event.status_code, event.charged_nano_usd, event.billing) == (None, None, None)
        assert run.ledger.open_holds() == 0
        assert run.provider.bytes_received == 0


def test_a_sync_client_on_a_loops_thread_waits_a_quarter_of_a_second_with_one_warning() -> None:
    _guard.reset_faults()
    _drive._warned_loop = False
    with enforced(at(96, delay(5000))) as run:

        async def main() -> None:
            client = run.client()
            for _ in range(2):
                client.chat.completions.create(**ASKED)

        asyncio.run(main())
        assert all(250 <= event.throttle_ms < 5000 for event in run.events)
        assert _guard.fault_counts() == {"throttle:RuntimeWarning": 1}
    _guard.reset_faults()


@pytest.mark.parametrize("hook", [None, lambda *_: BeforeRequestResult.proceed()], ids=["plain", "hook"])
def test_retries_and_redirects_do_not_wait_again(hook: Any) -> None:
    with enforced(at(96, delay(30)), before_request=hook) as run:
        moved = Reply(status=307, raw=b"", headers={"location": "/v1/chat/completions"})
        failed = Reply(status=500, headers={"retry-after-ms": "1", "retry-after": None})
        run.provider.push(moved, failed, failed)
        run.client(max_retries=2).chat.completions.create(**ASKED)
        waits = [event.throttle_ms > 0 for event in run.events]
        assert (waits, len(run.provider.requests)) == ([False, False, False], 4)
        assert [event.status_code for event in run.events] == [500, 500, 200]
        assert run.ledger.open_holds() == 0


# -- degrade -------------------------------------------------------------------------------------


def only(run: Enforced) -> Any:
    (event,) = run.events
    assert run.ledger.open_holds() == 0
    return event


def was_sent(event: Any, model: str, why: str | None) -> None:
    assert (event.request_model, event.degraded_from, event.decision.hindered) == (model, None, why)
    assert event.decision.action == "alert"
    assert event.status_code == 200


@pytest.mark.parametrize(
    ("vendor", "model", "target", "why"),
    [
        (
            "openai",
            "gpt-4o",
            "claude-haiku-4-5",
            "openai does not serve claude-haiku-4-5, a model of anthropic",
        ),
        (
            "openai",
            "gpt-4o",
            "text-embedding-3-small",
            "text-embedding-3-small is for embeddings, gpt-4o for chat",
        ),
        (
            "groq",
            "llama-3.3-70b-versatile",
            "gpt-4o-mini",
            "groq does not serve gpt-4o-mini, a model of openai",
        ),
    ],
)
def test_a_call_is_degraded_only_to_what_its_host_serves(
    vendor: str, model: str, target: str, why: str, known: Known
) -> None:
    with enforced(at(85, degrade(target))) as run:
        known(run.provider, vendor)
        run.client().chat.completions.create(model=model, messages=HELLO, max_tokens=50)
        was_sent(only(run), model, why)
        assert run.provider.requests[0].json()["model"] == model
        assert [target in alert.message and why in alert.message for alert in run.alerts] == [True]


def test_on_hosts_that_nobody_knows_any_model_may_be() -> None:
    with enforced(at(85, degrade("claude-haiku-4-5"))) as run:
        run.client().chat.completions.create(**ASKED)
        assert only(run).request_model == "claude-haiku-4-5"


def test_a_form_is_degraded_to_a_model_for_the_same_work() -> None:
    file = ("a.wav", bytes(3200), "audio/wav")
    for target, degraded in (("gpt-4o-mini-transcribe", True), ("gpt-4o-mini", False)):
        with enforced(at(85, degrade(target))) as run:
            run.client().audio.transcriptions.create(model="gpt-4o-transcribe", file=file)
            event = only(run)
            assert (event.degraded_from is not None) is degraded
            body = run.provider.requests[0].body
            assert (b"gpt-4o-mini-transcribe" in body) is degraded
            assert int(run.provider.requests[0].headers["content-length"]) == len(body)
            if not degraded:
                was_sent(event, "gpt-4o-transcribe", "gpt-4o-mini is not known for transcription")


def test_embeddings_are_degraded_only_to_a_model_of_embeddings() -> None:
    for target, sent in (("text-embedding-3-small", "text-embedding-3-small"), ("gpt-4o-mini", None)):
        with enforced(at(85, degrade(target))) as run:
            run.client().embeddings.create(model="text-embedding-3-large", input="hello")
            assert only(run).request_model == (sent or "text-embedding-3-large")


def test_training_and_batches_keep_their_model() -> None:
    with enforced(at(85, degrade("gpt-4o-mini"))) as run:
        run.provider.script(Reply(raw=b'{"id": "ftjob-1", "object": "fine_tuning.job"}'))
        run.client().fine_tuning.jobs.create(model="gpt-4o", training_file="file-1")
        (event,) = run.events
        was_sent(event, "gpt-4o", "the model of a fine_tuning call is not one that answers")
        assert run.provider.requests[0].json()["model"] == "gpt-4o"


def test_a_signed_request_is_left_as_it_is() -> None:
    path = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    body = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    cap = {"max_output_tokens": 50}
    with enforced(at(85, degrade("us.anthropic.claude-haiku-4-5-20251001-v1:0"), **cap)) as run:
        httpx2.post(run.provider.url + path, json=body, headers=SIGNED)
        was_sent(only(run), "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "signed")
        (request,) = run.provider.requests
        assert (request.path.replace(":", "%3A"), request.json()) == (path, body)


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_keeps_the_model_and_the_hold(status: int) -> None:
    with enforced(at(85, degrade("gpt-4o-mini"), max_output_tokens=70)) as run:
        location = {"location": "/v1/chat/completions"}
        run.provider.push(Reply(status=status, raw=b"", headers=location))
        run.client().chat.completions.create(model="gpt-4o", messages=HELLO)
        event = only(run)
        sent = [(r.json()["model"], r.json()["max_tokens"]) for r in run.provider.requests]
        assert sent == [("gpt-4o-mini", 70)] * 2
        assert (event.request_model, event.degraded_from) == ("gpt-4o-mini", "gpt-4o")
        assert run.spent() == 85 * USD + event.cost_nano_usd


# -- max_output_tokens ---------------------------------------------------------------------------


def chat(client: openai.OpenAI, **given: Any) -> object:
    return client.chat.completions.create(model=given.pop("model", "gpt-4o"), messages=HELLO, **given)


def streamed(client: openai.OpenAI, **given: Any) -> object:
    return list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True, **given))


@pytest.mark.parametrize(
    ("call", "vendor", "name"),
    [
        (chat, "openai", "max_completion_tokens"),
        (streamed, "openai", "max_completion_tokens"),
        (lambda c: chat(c, model="grok-3"), "xai", "max_tokens"),
        (chat, None, "max_tokens"),
        (lambda c: chat(c, model="gpt-5-mini"), None, "max_completion_tokens"),
        (lambda c: c.responses.create(model="gpt-4o", input="hi"), None, "max_output_tokens"),
        (lambda c: c.completions.create(model="davinci-002", prompt="hi"), None, "max_tokens"),
    ],
)
def test_a_call_without_a_cap_is_given_one(
    call: Callable[[Any], object], vendor: str | None, name: str, known: Known
) -> None:
    with enforced(at(0, max_output_tokens=60)) as run:
        if vendor is not None:
            known(run.provider, vendor)
        client = run.client()
        call(client)
        body = run.provider.requests[0].json()
        assert body[name] == 60
        assert {n for n in body if n.startswith("max_")} == {name}
        # The hold counts on it.
        capped = only(run).hold_nano_usd
    with enforced(at(0)) as run:
        if vendor is not None:
            known(run.provider, vendor)
        call(run.client())
        assert (only(run).hold_nano_usd or 0) > 2 * (capped or 0) > 0


def test_a_call_with_a_cap_keeps_its_bytes() -> None:
    with enforced(at(0, max_output_tokens=60)) as run:
        client = run.client()
        own: Any = ({"max_tokens": 500}, {"max_completion_tokens": 7})
        for given in own:
            run.provider.reset()
            raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, **given)
            assert run.provider.requests[0].body == raw.http_request.content


def test_a_budget_without_a_cap_changes_nothing() -> None:
    with enforced(at(0)) as run:
        raw = run.client().chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO)
        assert run.provider.requests[0].body == raw.http_request.content


def test_the_least_of_several_budgets_caps_are_taken_where_they_match() -> None:
    from aden_transport import context

    policy = {
        "budgets": [
            at(0, id="all", type="global", max_output_tokens=60),
            at(0, id="a", type="agent", name="a", max_output_tokens=20),
        ]
    }
    with enforced(policy) as run:
        client = run.client()
        chat(client)
        with context(agent="a"):
            chat(client)
        assert [request.json()["max_tokens"] for request in run.provider.requests] == [60, 20]


@pytest.mark.parametrize(
    ("config", "sent"),
    [
        (None, {"maxOutputTokens": 60}),
        ({"temperature": 0.5}, {"temperature": 0.5, "maxOutputTokens": 60}),
        ({"max_output_tokens": 9}, {"maxOutputTokens": 9}),
    ],
)
def test_gemini_is_capped_in_its_generation_config(config: Any, sent: Any) -> None:
    with enforced(at(0, max_output_tokens=60)) as run:
        client = gemini_sync(run.provider)
        client.models.generate_content(model="gemini-2.5-flash", contents="hi", config=config)
        client.close()
        assert run.provider.requests[0].json()["generationConfig"] == sent
        assert only(run).hold_nano_usd < 500_000


OTHERS: Any = {
    "/v2/chat": ({"model": "command-a-03-2025", "messages": HELLO}, "cohere/7", {"max_tokens": 60}),
    "/mistral/v1/chat/completions": (
        {"model": "mistral-small-latest", "messages": HELLO},
        "mistral-client-python/3",
        {"max_tokens": 60},
    ),
    "/api/chat": (
        {"model": "llama3.2", "messages": HELLO, "stream": False, "options": {"seed": 1}},
        "ollama-python/0.6",
        {"options": {"seed": 1, "num_predict": 60}},
    ),
    "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse": (
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        "Boto3/1.44",
        {"inferenceConfig": {"maxTokens": 60}},
    ),
    # Demanded of every call, so that none is without one.
    "/v1/messages": ({"model": "claude-haiku-4-5", "messages": HELLO}, "Anthropic/Python 2", {}),
    "/v1/embeddings": ({"model": "text-embedding-3-small", "input": "hi"}, "OpenAI/Python 3", {}),
}


@pytest.mark.parametrize("path", OTHERS)
def test_other_vendors_are_capped_by_their_own_names(path: str) -> None:
    body, agent, added = OTHERS[path]
    with enforced(at(0, max_output_tokens=60)) as run:
        httpx2.post(run.provider.url + path, json=body, headers={"user-agent": agent})
        assert run.provider.requests[0].json() == {**body, **added}


# -- hooks after the budget ------------------------------------------------------------------------


def test_a_hook_degrades_what_a_budget_allowed_and_its_model_is_held() -> None:
    def hook(_params: Any, about: Any) -> BeforeRequestResult:
        return BeforeRequestResult.degrade("gpt-4o-mini", "thrift")

    with enforced(at(10), before_request=hook) as run:
        run.client().chat.completions.create(**ASKED)
        event = only(run)
        assert (event.request_model, event.degraded_from) == ("gpt-4o-mini", "gpt-4o")
        assert (event.decision.action, event.decision.source) == ("degrade", "hook")
        assert 0 < event.hold_nano_usd < 200_000
        assert event.saved_nano_usd > 10 * event.cost_nano_usd
        assert run.spent() == 10 * USD + event.cost_nano_usd


def test_a_hooks_model_that_the_host_does_not_serve_is_an_alert(known: Known) -> None:
    def hook(_params: Any, _about: Any) -> BeforeRequestResult:
        return BeforeRequestResult.degrade("claude-haiku-4-5", "thrift")

    with enforced(at(10), before_request=hook) as run:
        known(run.provider, "openai")
        run.provider.push(Reply(status=500, headers={"retry-after-ms": "1", "retry-after": None}))
        run.client(max_retries=1).chat.completions.create(**ASKED)
        assert [event.request_model for event in run.events] == ["gpt-4o"] * 2
        assert {event.decision.hindered for event in run.events} == {
            "openai does not serve claude-haiku-4-5, a model of anthropic"
        }
        assert len(run.alerts) == 1
        assert run.ledger.open_holds() == 0


def test_a_budgets_degrade_stands_where_the_hook_proceeds_and_through_retries() -> None:
    asked: list[Any] = []

    def hook(params: Any, about: Any) -> BeforeRequestResult:
        asked.append(
            (params["model"], about.model, about.operation, dict(about.metadata), about.estimated_cost_usd)
        )
        return BeforeRequestResult.proceed()

    with enforced(at(85, degrade("gpt-4o-mini")), before_request=hook, request_metadata={"team": "x"}) as run:
        run.provider.push(Reply(status=500, headers={"retry-after-ms": "1", "retry-after": None}))
        run.client(max_retries=1).chat.completions.create(**ASKED)
        assert [
            (e.request_model, e.degraded_from, e.decision.action, e.decision.source) for e in run.events
        ] == [("gpt-4o-mini", "gpt-4o", "degrade", "policy")] * 2
        [(param, model, operation, metadata, cost)] = asked
        assert (param, model, operation, metadata) == ("gpt-4o", "gpt-4o", "chat", {"team": "x"})
        assert cost > 0
        assert run.ledger.open_holds() == 0


def test_a_hooks_throttle_holds_nothing_and_is_one_wait_with_the_budgets() -> None:
    seen: list[int] = []

    def hook(_params: Any, _about: Any) -> BeforeRequestResult:
        return BeforeRequestResult.throttle(60)

    with enforced(at(96, delay(20)), before_request=hook) as run:
        ledger = run.ledger
        run.provider.script(lambda _request: seen.append(ledger.open_holds()))
        run.client().chat.completions.create(**ASKED)
        event = only(run)
        assert event.throttle_ms >= 60
        assert seen == [1]


@pytest.mark.parametrize("fail_open", [True, False])
def test_a_hook_that_raises_follows_fail_open_and_leaves_no_hold(fail_open: bool) -> None:
    def hook(_params: Any, _about: Any) -> BeforeRequestResult:
        raise KeyError("slip")

    _guard.reset_faults()
    with enforced(at(85, degrade("gpt-4o-mini")), before_request=hook, fail_open=fail_open) as run:
        client = run.client()
        if fail_open:
            client.chat.completions.create(**ASKED)
        else:
            with pytest.raises(RequestCancelledError, match="before_request failed: KeyError") as raised:
                client.chat.completions.create(**ASKED)
            assert not isinstance(raised.value, BudgetExceededError)
        event = only(run)
        assert event.decision.action == ("degrade" if fail_open else "block")
        assert run.spent() == 85 * USD + (event.cost_nano_usd or 0)
        assert _guard.fault_counts() == {"before_request:KeyError": 1}
    _guard.reset_faults()


def test_a_budgets_block_is_not_for_a_hook_to_lift() -> None:
    asked: list[Any] = []

    def hook(params: Any, _about: Any) -> BeforeRequestResult:
        asked.append(params)
        return BeforeRequestResult.proceed()

    with enforced(at(101), before_request=hook) as run, pytest.raises(BudgetExceededError):
        run.client().chat.completions.create(**ASKED)
    assert asked == []
