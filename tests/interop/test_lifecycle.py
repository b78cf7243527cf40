"""Where the agent runs, and when it ends: threads, loops of both kinds, forks, and interpreters that end."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
import trio

from aden_transport import (
    ControlOptions,
    MeterOptions,
    RequestCancelledError,
    get_control_agent,
    instrument,
    instrument_async,
    ready,
    uninstrument,
    uninstrument_async,
    update_options,
)
from aden_transport.control.agent.agent import IN_A_LOOP
from aden_transport.testing import FakeProvider

from .original_server import KEY, OriginalServer, eventually, hang

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
FAST = ControlOptions(
    polling_interval_ms=100,
    heartbeat_interval_ms=100,
    # However busy the machine.
    server_validation_timeout_ms=30_000,
    timeout_ms=30_000,
)
CALL: Any = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 20}


def options(server: OriginalServer, **more: Any) -> MeterOptions:
    more.setdefault("control", FAST)
    return MeterOptions(api_key=KEY, server_url=server.url, **more)


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "aden-control"]


def in_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    asyncio.run(run())


RUNS: dict[str, Callable[[Callable[[], Awaitable[None]]], None]] = {"asyncio": in_asyncio, "trio": trio.run}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_in_a_loop_the_agent_is_a_task_of_it(
    run: Callable[[Callable[[], Awaitable[None]]], None], server: OriginalServer, provider: FakeProvider
) -> None:
    server.policy = {
        "budgets": [{"id": "b1", "type": "customer", "name": "spent", "limit": 1.0, "spent": 1.0}]
    }

    async def main() -> None:
        await instrument_async(options(server))
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            await client.chat.completions.create(**CALL)
            with pytest.raises(RequestCancelledError):
                await client.chat.completions.create(**CALL, extra_body={"metadata": {"customer": "spent"}})
        assert ours() == []
        agent = get_control_agent()
        assert agent is not None
        assert agent.is_connected()
        await uninstrument_async()

    run(main)
    assert len(provider.requests) == 1
    assert len(server.of_type("metric")) == 2
    assert [event["action"] for event in server.of_type("control")] == ["block"]


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_loop_that_ends_without_a_word_takes_the_agent_with_it_and_the_next_call_brings_it_back(
    run: Callable[[Callable[[], Awaitable[None]]], None], server: OriginalServer, provider: FakeProvider
) -> None:
    async def main() -> None:
        await instrument_async(options(server))
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            await client.chat.completions.create(**CALL)

    run(main)
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as client:
        client.chat.completions.create(**CALL)
    assert ours() == ["aden-control"]
    uninstrument()
    assert ours() == []
    assert len(server.of_type("metric")) == 2


def test_instrument_within_a_loop_uses_a_thread_and_does_not_warn(
    server: OriginalServer, provider: FakeProvider, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        instrument(options(server))
        assert ours() == ["aden-control"]
        async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            await client.chat.completions.create(**CALL)
        await uninstrument_async()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert IN_A_LOOP not in caplog.text
    assert len(server.of_type("metric")) == 1


def test_where_no_thread_can_be_had_within_a_loop_the_warning_is_true(
    server: OriginalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if thread.name == "aden-control":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails)

    async def main() -> None:
        instrument(options(server))

    asyncio.run(main())
    assert IN_A_LOOP in caplog.text
    uninstrument()


def test_uninstrument_ends_the_thread_within_its_time_whatever_the_server_does(
    server: OriginalServer,
) -> None:
    server.spoil = hang
    instrument(options(server))
    eventually(lambda: server.seen)
    agent = get_control_agent()
    assert agent is not None
    agent.report_error("never delivered")
    began = time.monotonic()
    assert not agent.stop(0.5)
    assert time.monotonic() - began < 3.0
    eventually(lambda: ours() == [])


def test_the_same_server_under_other_options_keeps_its_agent(server: OriginalServer) -> None:
    instrument(options(server))
    assert ready(10)
    agent = get_control_agent()
    update_options(sample_rate=0.5)
    assert get_control_agent() is agent
    assert ours() == ["aden-control"]
    update_options(control=ControlOptions(polling_interval_ms=200))
    assert get_control_agent() is not agent
    eventually(lambda: ours() == ["aden-control"])
    assert ready(10)


def test_there_is_no_agent_without_a_key() -> None:
    instrument(MeterOptions())
    assert get_control_agent() is None
    assert ready(0.0)
    uninstrument()
    assert get_control_agent() is None


def test_the_environment_names_the_server(server: OriginalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADEN_API_KEY", KEY)
    monkeypatch.setenv("ADEN_API_URL", server.url)
    instrument()
    assert ready(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_has_an_agent_of_its_own_with_its_first_call(
    server: OriginalServer, provider: FakeProvider
) -> None:
    program = f"""
import os, httpx2
from aden_transport import *
def call():
    httpx2.post({provider.openai_base_url + "/chat/completions"!r}, json={CALL!r}).raise_for_status()
instrument(MeterOptions(api_key={KEY!r}, server_url={server.url!r}))
call()
parent = get_control_agent().instance
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        assert not get_control_agent().loop.is_running
        call()
        assert get_control_agent().loop.is_running
        assert get_control_agent().instance != parent
        uninstrument()
        os._exit(0)
    children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
uninstrument()
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    # Delivery is at least once, under ids that stay.
    metrics = {metric["event_id"]: metric for metric in server.of_type("metric")}
    assert len(metrics) == 4
    assert len({metric["sdk_instance_id"] for metric in metrics.values()}) == 4


@pytest.mark.parametrize("spoil", [None, hang], ids=["it answers", "it hangs"])
def test_nothing_of_it_keeps_an_interpreter_alive(
    spoil: Any, server: OriginalServer, provider: FakeProvider
) -> None:
    server.spoil = spoil
    program = f"""
import httpx2
from aden_transport import *
control = ControlOptions(server_validation_timeout_ms=100, timeout_ms=300)
instrument(MeterOptions(api_key={KEY!r}, server_url={server.url!r}, control=control))
httpx2.post({provider.openai_base_url + "/chat/completions"!r}, json={CALL!r}).raise_for_status()
"""
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert time.monotonic() - began < 20.0
    if spoil is None:
        assert len(server.of_type("metric")) == 1
