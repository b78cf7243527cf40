"""Our client with a server that speaks only Aden's original protocol."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from aden_transport import (
    BudgetExceededError,
    ControlOptions,
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    get_budget_status,
    get_control_agent,
    instrument,
    instrument_async,
    ready,
    uninstrument,
    uninstrument_async,
)
from aden_transport.meter import state
from aden_transport.testing import FakeProvider, Reply

from .original_server import KEY, OriginalServer, eventually, hang

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
POLICY, VALIDATE = "/v1/control/policy", "/v1/control/budget/validate"
PATIENT: Any = {"server_validation_timeout_ms": 30_000, "timeout_ms": 30_000}
"""However busy the machine."""
SLOW = ControlOptions(polling_interval_ms=3_600_000, **PATIENT)
FAST = ControlOptions(polling_interval_ms=100, heartbeat_interval_ms=100, **PATIENT)


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as made:
        yield made


def budget(limit: float, spent: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"id": "b1", "name": "All", "type": "global", "limit": limit, "spent": spent, **more}


def begin(server: OriginalServer, **options: Any) -> None:
    options.setdefault("control", FAST)
    instrument(MeterOptions(api_key=KEY, server_url=server.url, **options))


def polled_again(server: OriginalServer) -> None:
    """What stands on the server now has been taken."""
    polls = len(server.asked(POLICY))
    eventually(lambda: len(server.asked(POLICY)) >= polls + 2, within=30)


def call(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)


def test_a_spent_budget_blocks_the_first_call_and_the_event_is_sent(
    server: OriginalServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(10.0, 10.0, limitAction="kill")]}
    memory = create_memory_emitter()
    begin(server, emit_metric=memory)
    with pytest.raises(RequestCancelledError, match="b1"):
        call(client)
    assert provider.requests == []
    uninstrument()
    (event,) = memory.events
    assert event.decision.action == "block"
    (metric,), (control,) = server.of_type("metric"), server.of_type("control")
    assert metric["data"]["trace_id"] == event.trace_id
    assert (control["action"], control["budget_id"]) == ("block", "b1")


def test_a_call_within_its_budget_is_sent_and_metered(server: OriginalServer, client: openai.OpenAI) -> None:
    server.policy = {"budgets": [budget(10.0, 1.0)]}
    begin(server)
    assert call(client).choices
    (metric,) = eventually(lambda: server.of_type("metric"))
    assert metric["data"]["usage"]["output_tokens"] > 0
    assert metric["data"]["cost_usd"] > 0
    agent = get_control_agent()
    assert agent is not None
    assert agent.is_connected()
    assert (agent.status.speaks_leases, agent.status.is_connected) == (False, False)


# -- sums -------------------------------------------------------------------------------------------


def test_what_others_spend_blocks_as_soon_as_it_is_polled(
    server: OriginalServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(10.0, 1.0)]}
    begin(server)
    assert call(client).choices
    server.policy = {"budgets": [budget(10.0, 10.0)]}
    polled_again(server)
    with pytest.raises(RequestCancelledError, match="b1"):
        call(client)
    assert len(provider.requests) == 1


def test_own_calls_count_before_the_server_has_counted_them(
    server: OriginalServer, client: openai.OpenAI
) -> None:
    server.policy = {"budgets": [budget(0.001)]}
    begin(server, control=SLOW)
    sent = 0
    with pytest.raises(RequestCancelledError):
        for _ in range(10):
            call(client)
            sent += 1
    assert 1 <= sent <= 5  # One costs 0.0002.


def test_a_server_that_counts_what_it_was_told_is_not_counted_twice(
    server: OriginalServer, client: openai.OpenAI
) -> None:
    server.policy = {"budgets": [budget(10.0)]}
    begin(server)
    for _ in range(3):
        call(client)
    eventually(lambda: len(server.of_type("metric")) == 3)
    spent = sum(metric["data"]["cost_usd"] for metric in server.of_type("metric"))
    server.policy = {"budgets": [budget(10.0, spent)]}
    polled_again(server)
    (status,) = get_budget_status()
    assert status.spent == round(spent * 1e9)


def test_a_reset_of_the_server_is_followed(server: OriginalServer, client: openai.OpenAI) -> None:
    server.policy = {"budgets": [budget(10.0, 10.0)]}
    begin(server)
    with pytest.raises(RequestCancelledError):
        call(client)
    server.policy = {"budgets": [budget(10.0, 0.0)]}
    polled_again(server)
    assert call(client).choices


def test_an_update_of_sums_alone_leaves_the_policy_where_it_is(server: OriginalServer) -> None:
    server.policy = {"budgets": [budget(10.0, 1.0)]}
    begin(server)
    assert ready(10)
    index = meter_index()
    server.policy = {"budgets": [budget(10.0, 2.0)], "version": "2"}
    eventually(lambda: get_budget_status()[0].spent == 2_000_000_000)
    assert meter_index() is index
    server.policy = {"budgets": [budget(20.0, 2.0)], "version": "3"}
    eventually(lambda: get_budget_status()[0].limit == 20_000_000_000)


def meter_index() -> object:
    meter = state.everything
    assert meter is not None
    assert meter.budgets is not None
    return meter.budgets.index


# -- the server's word on a call --------------------------------------------------------------------


def test_a_call_near_the_limit_is_asked_about_and_what_the_server_says_holds(
    server: OriginalServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(10.0, 6.0)]}
    begin(server, control=SLOW)
    assert call(client).choices
    (asked,) = server.asked(VALIDATE)
    assert asked.body["budget_id"] == "b1"
    assert 0 < asked.body["estimated_cost"] < 0.01
    assert asked.body["local_spend"] == pytest.approx(6.0)
    server.policy = {"budgets": [budget(10.0, 10.0)]}
    with pytest.raises(BudgetExceededError, match=r"the control server says: 100\.0% of budget") as caught:
        call(client)
    assert (caught.value.budget_id, caught.value.spent_usd) == ("b1", 10.0)
    assert len(provider.requests) == 1


def test_calls_at_once_are_asked_about_together(server: OriginalServer, provider: FakeProvider) -> None:
    server.policy = {"budgets": [budget(10.0, 6.0)]}

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            await instrument_async(MeterOptions(api_key=KEY, server_url=server.url, control=SLOW))
            server.delay_s = 0.1
            calls = [
                client.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=20)
                for _ in range(20)
            ]
            await asyncio.gather(*calls)
            await uninstrument_async()

    asyncio.run(main())
    assert len(provider.requests) == 20
    assert 1 <= len(server.asked(VALIDATE)) <= 3


def test_without_an_answer_the_policy_decides(server: OriginalServer, client: openai.OpenAI) -> None:
    server.policy = {"budgets": [budget(10.0, 6.0)]}
    server.validates = False
    begin(server, control=SLOW)
    assert call(client).choices
    assert server.asked(VALIDATE)


def test_without_an_answer_nothing_is_sent_where_fail_open_is_false(
    server: OriginalServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(10.0, 6.0)]}
    server.validates = False
    begin(server, control=SLOW, fail_open=False)
    with pytest.raises(RequestCancelledError, match="the control server does not answer"):
        call(client)
    assert provider.requests == []


def test_a_server_that_allows_is_believed_a_little_beyond_the_limit(
    server: OriginalServer, client: openai.OpenAI
) -> None:
    server.policy = {"budgets": [budget(10.0, 10.2)]}
    server.validation = {"allowed": True, "action": "allow", "authoritative_spend": 9.0}
    begin(server, control=SLOW)
    assert call(client).choices
    server.validation = {"allowed": False, "action": "block", "authoritative_spend": 10.2}
    with pytest.raises(RequestCancelledError):
        call(client)


def test_far_beyond_the_limit_nobody_is_asked(server: OriginalServer, client: openai.OpenAI) -> None:
    server.policy = {"budgets": [budget(10.0, 10.6)]}
    begin(server, control=SLOW)
    with pytest.raises(RequestCancelledError):
        call(client)
    assert server.asked(VALIDATE) == []


# -- no policy --------------------------------------------------------------------------------------


def test_without_a_policy_calls_go_on(client: openai.OpenAI) -> None:
    instrument(MeterOptions(api_key=KEY, server_url="http://127.0.0.1:9", control=FAST))
    assert call(client).choices
    agent = get_control_agent()
    assert agent is not None
    eventually(lambda: agent.status.state == "reconnecting")
    assert agent.status.last_error
    uninstrument()


def test_without_a_policy_and_with_fail_open_false_nothing_is_sent(
    client: openai.OpenAI, provider: FakeProvider
) -> None:
    instrument(MeterOptions(api_key=KEY, server_url="http://127.0.0.1:9", control=FAST, fail_open=False))
    with pytest.raises(RequestCancelledError, match="No policy available"):
        call(client)
    assert provider.requests == []
    uninstrument()


def test_a_key_that_is_refused_is_told_once(
    server: OriginalServer, client: openai.OpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(MeterOptions(api_key="another", server_url=server.url, control=FAST))
    assert call(client).choices
    agent = get_control_agent()
    assert agent is not None
    eventually(lambda: agent.status.state == "degraded")
    uninstrument()
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in said if "does not take the key" in text]) == 1


def test_the_last_good_policy_is_in_force_before_the_server_answers(
    server: OriginalServer, client: openai.OpenAI, state_home: Path
) -> None:
    server.policy = {"budgets": [budget(0.0)]}
    begin(server)
    assert ready(10)
    uninstrument()
    server.spoil = hang
    begin(server, control=ControlOptions(timeout_ms=300))
    began = time.monotonic()
    with pytest.raises(RequestCancelledError, match="b1"):
        call(client)
    assert time.monotonic() - began < 1.0
    files = [path for path in state_home.rglob("*") if path.is_file()]
    assert files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_an_older_version_or_one_that_cannot_be_used_leaves_the_last_good_one(
    server: OriginalServer, client: openai.OpenAI
) -> None:
    server.policy = {"version": "5", "budgets": [budget(0.0)]}
    begin(server)
    assert ready(10)
    for bad in ({"version": "4", "budgets": []}, {"version": "6", "budgets": [{"limit": "all"}]}):
        server.policy = bad
        polled_again(server)
        with pytest.raises(RequestCancelledError):
            call(client)
    agent = get_control_agent()
    assert agent is not None
    assert (agent.status.policy_version, agent.status.state) == ("5", "degraded")
    server.policy = {"version": "6", "budgets": []}
    eventually(lambda: agent.status.policy_version == "6", within=20)
    assert call(client).choices


# -- beside policies --------------------------------------------------------------------------------


def test_prices_of_the_server_count(server: OriginalServer, client: openai.OpenAI) -> None:
    server.pricing = {"gpt-4o": {"input": 2500.0, "output": 10000.0, "aliases": ["gpt-4o-2024-08-06"]}}
    begin(server)
    meter = state.everything
    assert meter is not None
    prices = meter.settings.prices
    eventually(lambda: prices.version)
    call(client)
    (metric,) = eventually(lambda: server.of_type("metric"))
    assert metric["data"]["cost_usd"] > 0.01
    assert metric["data"]["price_source"] == "server"


def test_heartbeats_tell_how_the_process_is(server: OriginalServer, client: openai.OpenAI) -> None:
    server.policy = {"budgets": [budget(10.0)]}
    begin(server, agent_name="reporter")
    call(client)
    beats = eventually(lambda: [beat for beat in server.of_type("heartbeat") if beat["requests_since_last"]])
    beat = beats[0]
    assert (beat["status"], beat["requests_since_last"], beat["errors_since_last"]) == ("healthy", 1, 0)
    assert (beat["agent_name"], beat["websocket_connected"]) == ("reporter", False)
    assert beat["policy_cache_age_seconds"] >= 0
    headers = server.asked("/v1/control/events")[0].headers
    assert headers["x-sdk-instance-id"] == beat["sdk_instance_id"]
    eventually(lambda: server.of_type("heartbeat")[-1]["requests_since_last"] == 0)


def test_errors_are_reported_without_credentials(server: OriginalServer) -> None:
    begin(server)
    agent = get_control_agent()
    assert agent is not None
    agent.report_error(
        "it broke with sk-CANARY0123456789abcdefghij", ValueError("Bearer sk-CANARY0123456789abcdefghij")
    )
    (error,) = eventually(lambda: server.of_type("error"))
    assert "broke" in error["message"]
    assert "CANARY" not in str(error)


def test_a_policy_of_the_options_stands_in_the_place_of_the_servers(
    server: OriginalServer, client: openai.OpenAI
) -> None:
    server.policy = {"budgets": [budget(0.0)]}
    begin(server, policy={"type": "global", "limit": 5.0})
    assert call(client).choices
    assert [status.limit_usd for status in get_budget_status()] == [5]
    eventually(lambda: server.of_type("metric"))


def test_a_call_that_failed_and_that_nothing_was_done_about_is_counted_and_not_told_of(
    server: OriginalServer, client: openai.OpenAI, provider: FakeProvider
) -> None:
    server.policy = {"budgets": [budget(10.0)]}
    begin(server)
    provider.push(Reply(status=400))
    with pytest.raises(openai.BadRequestError):
        call(client)
    uninstrument()
    (metric,) = server.of_type("metric")
    assert metric["data"]["error"]
    assert server.of_type("control") == []
    beats = server.of_type("heartbeat")
    assert sum(beat["errors_since_last"] for beat in beats) == 1
