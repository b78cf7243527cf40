"""LiveKit Agents understands one refusal, a plain 403: everything else it tries again four times."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Iterator
from importlib import import_module
from typing import Any

import openai
import pytest

from aden_transport import (
    BudgetExceededError,
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    instrument,
    uninstrument,
)
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.testing import FakeProvider

BLOCKED = {"type": "global", "limit": 0, "limitAction": "block"}
ASKED: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
PLUGIN = "livekit.plugins.openai"
Told = tuple[MemoryEmitter, list[RequestCancelledError]]


@pytest.fixture
def told() -> Iterator[Told]:
    memory, blocked = create_memory_emitter(), list[RequestCancelledError]()
    instrument(
        MeterOptions(
            emit_metric=memory,
            on_blocked=blocked.append,
            async_emit=False,
            policy=BLOCKED,
            ledger="memory",
        )
    )
    yield memory, blocked
    uninstrument()


async def language_model(provider: FakeProvider) -> None:
    llm, plugin = import_module("livekit.agents.llm"), import_module(PLUGIN)
    model = plugin.LLM(model="gpt-4o", base_url=provider.openai_base_url, api_key="any")
    asked = llm.ChatContext()
    asked.add_message(role="user", content="hello")
    async with model.chat(chat_ctx=asked) as stream:
        async for _ in stream:
            pass


async def speech(provider: FakeProvider) -> None:
    plugin = import_module(PLUGIN)
    async with plugin.TTS(base_url=provider.openai_base_url, api_key="any").synthesize("hello") as stream:
        async for _ in stream:
            pass


async def transcription(provider: FakeProvider) -> None:
    rtc, plugin = import_module("livekit.rtc"), import_module(PLUGIN)
    model = plugin.STT(base_url=provider.openai_base_url, api_key="any", use_realtime=False)
    await model.recognize(rtc.AudioFrame(bytes(32_000), 16_000, 1, 16_000))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", [language_model, speech, transcription])
def test_the_real_plugin_asks_once(
    way: Callable[[FakeProvider], Coroutine[Any, Any, None]], told: Told
) -> None:
    agents = pytest.importorskip("livekit.agents")
    pytest.importorskip(PLUGIN)
    with FakeProvider() as provider:
        with pytest.raises(agents.APIStatusError) as raised:
            asyncio.run(asyncio.wait_for(way(provider), 30))
        assert provider.requests == []
    assert (raised.value.status_code, raised.value.retryable) == (403, False)
    memory, blocked = told
    assert [event.decision.action for event in memory.events] == ["block"]
    assert [type(error) for error in blocked] == [BudgetExceededError]


def called_by(name: str, call: Callable[[], Any]) -> Any:
    """`call()`, made by a function of a module of that name."""
    module: dict[str, Any] = {"__name__": name}
    exec("def run(call):\n    return call()", module)
    return module["run"](call)


@pytest.mark.parametrize(
    ("module", "plain"),
    [("livekit.plugins.openai.llm", True), ("livekit.agents.inference.llm", True), ("app.livekit", False)],
)
@pytest.mark.parametrize("loaded", [True, False])
def test_who_awaits_the_answer_says_what_it_understands(
    module: str, plain: bool, loaded: bool, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the plugin's documented behaviour, where LiveKit is not installed."""
    monkeypatch.delitem(sys.modules, "livekit.agents", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "livekit.agents", types.ModuleType("livekit.agents"))
    with (
        FakeProvider() as provider,
        openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as client,
    ):

        def call() -> Any:
            return client.chat.completions.create(**ASKED)

        expected: Any = openai.PermissionDeniedError if plain and loaded else BudgetExceededError
        with pytest.raises(expected) as raised:
            called_by(module, call)
        assert raised.value.status_code == 403
        assert "blocked by budget global" in str(raised.value)
        assert provider.requests == []
    memory, blocked = told
    assert len(memory.events) == len(blocked) == 1
