"""Pacing on real calls: SDKs over sockets, against a provider that enforces its limits.

It admits 30 requests a second, and as many at once. Rates are `benchmarks/pacing.py`'s to measure; that no
turn is left unused is `tests/ledger/test_pace.py`'s to prove.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest
import trio
from benchmarks.pacing import run

from aden_transport import (
    MeterOptions,
    bookkeeping,
    context,
    create_memory_emitter,
    instrument,
    uninstrument,
    update_options,
)
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.meter import state
from aden_transport.testing import FakeProvider, Reply

from ..ledger.redis_server import RedisServer, server_program
from .kit import HELLO

CALLERS = 60
PACING = {"max_wait_ms": 60_000}
ASKED: dict[str, Any] = {"model": "gpt-4o", "messages": HELLO}
REFUSED = Reply(status=429, retry_after_s=30.0)


class Paced(NamedTuple):
    provider: FakeProvider
    memory: MemoryEmitter

    @property
    def refused(self) -> int:
        return sum(limit.refused for limit in self.provider.limits.values())


@contextmanager
def paced(pacing: Any = PACING, *, enforce: bool = True, **options: Any) -> Iterator[Paced]:
    memory = create_memory_emitter()
    options.setdefault("ledger", "memory")
    instrument(MeterOptions(emit_metric=memory, async_emit=False, pacing=pacing, **options))
    try:
        with FakeProvider(limit_requests=1800, limit_burst=30, enforce_limits=enforce) as provider:
            yield Paced(provider, memory)
    finally:
        uninstrument()


def check(found: Paced) -> None:
    assert found.refused == 0
    assert [request.answered_status for request in found.provider.requests] == [200] * CALLERS
    assert len(found.memory.events) == CALLERS
    waited = [event for event in found.memory.events if event.throttle_ms]
    assert len(waited) >= CALLERS - 31, "one goes at once, and a second's worth may"
    for event in waited:
        assert (event.decision.action, event.decision.source) == ("throttle", "pacing")
        assert event.decision.paced_s == event.throttle_ms / 1000


def test_threads_with_the_openai_sdk() -> None:
    with paced() as found:
        url = found.provider.openai_base_url
        with openai.OpenAI(base_url=url, api_key="sk-1", max_retries=0) as client:

            def call(_: int) -> None:
                client.chat.completions.create(**ASKED)

            with ThreadPoolExecutor(CALLERS) as pool:
                list(pool.map(call, range(CALLERS)))
        check(found)


def test_tasks_with_the_openai_sdk() -> None:
    async def main(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as client:
            await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(CALLERS)))

    with paced() as found:
        asyncio.run(main(found.provider.openai_base_url))
        check(found)


def test_tasks_with_the_anthropic_sdk_whose_limits_are_dates(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-1", max_retries=0) as client:
            models = ["claude-opus-4-1-20250805", "claude-opus-4-5-20251101"]
            calls = [
                client.messages.create(model=models[number % 2], max_tokens=10, messages=HELLO)
                for number in range(CALLERS)
            ]
            await asyncio.gather(*calls)

    with paced(ledger=f"sqlite:///{tmp_path}/paces.sqlite3") as found:
        asyncio.run(main(found.provider.url))
        check(found)


def test_tasks_of_trio() -> None:
    async def main(url: str) -> None:
        headers = {"authorization": "Bearer sk-1"}
        async with (
            httpx2.AsyncClient(base_url=url, headers=headers) as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(CALLERS):
                nursery.start_soon(lambda: client.post("/chat/completions", json=ASKED))

    with paced() as found:
        trio.run(main, found.provider.openai_base_url)
        check(found)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if server_program() is None:
        pytest.skip("no Redis or Valkey server is installed")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("store", "processes"), [("memory", 1), ("sqlite", 3), ("redis", 3)])
def test_callers_of_several_processes(
    store: str, processes: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = {"memory": "memory", "sqlite": f"sqlite:///{tmp_path}/paces.sqlite3"}.get(store)
    found = run(1800, 30, 60, processes, address or request.getfixturevalue("redis_url"))
    assert (found.answered, found.refused) == (60, 0)


CALL_ONCE = """
import sys, openai
from aden_transport import MeterOptions, instrument
instrument(MeterOptions(pacing=True, ledger=sys.argv[2]))
try:
    openai.OpenAI(base_url=sys.argv[1], api_key="sk-1", max_retries=0).chat.completions.create(
        model="gpt-4o", messages=[])
except openai.RateLimitError:
    print("refused")
"""


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_a_refusal_in_one_process_stops_the_others(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    address = (
        request.getfixturevalue("redis_url") if store == "redis" else f"sqlite:///{tmp_path}/paces.sqlite3"
    )
    with paced(ledger=address, enforce=False) as found:
        url = found.provider.openai_base_url
        found.provider.push(Reply(status=429, retry_after_s=3.0))
        child = subprocess.run(
            [sys.executable, "-c", CALL_ONCE, url, address],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert child.stdout == "refused\n", child.stderr
        with openai.OpenAI(base_url=url, api_key="sk-1") as client:
            client.chat.completions.create(**ASKED)
        first, second = found.provider.requests
        assert second.at - first.at >= 3.0


PRELOADED = """
import os, sys, httpx2
from aden_transport import MeterOptions, instrument
instrument(MeterOptions(pacing=True, policy={"type": "global", "limit": 1} if sys.argv[2] else None))
for number in range(2):
    child = os.fork()
    if child == 0:
        headers = {"authorization": "Bearer sk-1"}
        with httpx2.Client(headers=headers, timeout=60) as client:
            answer = client.post(sys.argv[1] + "/chat/completions", json={"model": "gpt-4o", "messages": []})
        sys.exit(answer.status_code != (200 if number else 429))
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("policy", ["", "policy"])
def test_workers_of_a_parent_that_has_loaded_everything_keep_one_pace(policy: str, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("XDG_RUNTIME_DIR", None)
    with FakeProvider() as provider:
        provider.push(Reply(status=429, retry_after_s=3.0))
        command = [sys.executable, "-c", PRELOADED, provider.openai_base_url, policy]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        first, second = provider.requests
        assert second.at - first.at >= 3.0
    assert [*tmp_path.glob("aden-transport-*/run-*")] == []


def test_a_pace_that_no_file_can_be_written_for_is_each_workers_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aden_transport.ledger.run_files._folder", lambda: None)
    with (
        paced(ledger=None) as found,
        openai.OpenAI(base_url=found.provider.openai_base_url, api_key="sk-1") as client,
    ):
        bookkeeping._share_all()
        client.chat.completions.create(**ASKED)
        assert state.everything is not None
        assert state.everything.pacer is not None
        assert state.everything.pacer.inline
    assert "each worker keeps a pace of its own" in caplog.text


def test_the_sdks_own_retry_waits_for_the_stop_and_is_the_same_call() -> None:
    with paced(enforce=False) as found:
        found.provider.push(Reply(status=429, retry_after_s=0.3))
        with openai.OpenAI(base_url=found.provider.openai_base_url, api_key="sk-1") as client:
            client.chat.completions.create(**ASKED)
        first, second = found.provider.requests
        assert second.at - first.at >= 0.3
        assert [event.attempt for event in found.memory.events] == [0, 1]


def test_a_sync_client_holds_up_a_loop_for_a_quarter_of_a_second_at_most() -> None:
    with paced(enforce=False) as found:
        found.provider.push(REFUSED)
        with openai.OpenAI(base_url=found.provider.openai_base_url, api_key="sk-1", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**ASKED)

            async def main() -> None:
                client.chat.completions.create(**ASKED)

            asyncio.run(main())
        refused, answered = found.memory.events
        assert refused.throttle_ms == 0
        assert 249 <= answered.throttle_ms < 15_000


def test_a_call_that_is_cancelled_while_it_waits_sends_nothing() -> None:
    async def main(url: str) -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError):
                await client.chat.completions.create(**ASKED)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.chat.completions.create(**ASKED)

    with paced(enforce=False) as found:
        found.provider.push(REFUSED)
        asyncio.run(main(found.provider.openai_base_url))
        assert len(found.provider.requests) == 1
        assert len(found.memory.events) == 2
        assert found.memory.events[-1].status_code is None


def test_a_wait_ends_with_the_calls_patience() -> None:
    with paced({"max_wait_ms": 50}, enforce=False) as found:
        found.provider.push(REFUSED)
        with openai.OpenAI(base_url=found.provider.openai_base_url, api_key="sk-1", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**ASKED)
            client.chat.completions.create(**ASKED)
            client.chat.completions.create(**ASKED)
        waits = [event.throttle_ms for event in found.memory.events]
        assert waits[0] == 0
        assert 50 <= waits[1] < 15_000
        assert waits[2] == 0, "one that was served has ended the stop"


def test_other_options_keep_the_pace() -> None:
    with paced({"max_wait_ms": 30}, enforce=False) as found:
        found.provider.push(REFUSED)
        with openai.OpenAI(base_url=found.provider.openai_base_url, api_key="sk-1", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(**ASKED)
            update_options(agent_name="other")
            client.chat.completions.create(**ASKED)
        assert found.memory.events[-1].throttle_ms >= 30


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_no_credential_is_in_the_store(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    address = (
        request.getfixturevalue("redis_url") if store == "redis" else f"sqlite:///{tmp_path}/paces.sqlite3"
    )
    with paced(ledger=address, enforce=False) as found, context(tenant="acme"):
        url = found.provider.openai_base_url
        with openai.OpenAI(base_url=url, api_key="sk-c4n4ry", organization="org-c4n4ry") as client:
            client.chat.completions.create(**ASKED)
            found.provider.push(Reply(status=429, retry_after_s=0.01), Reply(status=500))
            client.chat.completions.create(**ASKED)
        assert "c4n4ry" in str(found.provider.requests[0].raw_headers)
        port = str(found.provider.port).encode()
    if store == "redis":
        import redis

        with redis.Redis.from_url(address) as server:
            keys: Any = server.keys("*")
            read: Any = server.get
            stored = b"".join([key + (read(key) or b"") for key in keys])
    else:
        stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"127.0.0.1:" + port + b"|" in stored
    assert b"c4n4ry" not in stored
