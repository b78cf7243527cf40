"""What frameworks try again is one call: its attempts share `call_id` and count on."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypedDict

import pytest

from aden_transport import (
    BeforeRequestResult,
    MeterOptions,
    RequestCancelledError,
    create_memory_emitter,
    instrument,
    uninstrument,
)
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.testing import FakeProvider, Reply

PROMPT = "hi there"
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
Way = Callable[[FakeProvider], object]


@pytest.fixture
def memory() -> Iterator[MemoryEmitter]:
    emitter = create_memory_emitter()
    instrument(MeterOptions(emit_metric=emitter))
    yield emitter
    uninstrument()
    with warnings.catch_warnings():  # frameworks leave loops, and clients of closed loops, to the collector
        warnings.simplefilter("ignore")
        with suppress(RuntimeError):  # none was left
            asyncio.get_event_loop_policy().get_event_loop().close()
        asyncio.set_event_loop(None)
        gc.collect()


def client(provider: FakeProvider, retries: int = 0, kind: str = "OpenAI") -> Any:
    openai = pytest.importorskip("openai")
    return getattr(openai, kind)(base_url=provider.openai_base_url, api_key="any", max_retries=retries)


def tenacity_around(retries: int) -> Way:
    def way(provider: FakeProvider) -> None:
        tenacity = pytest.importorskip("tenacity")
        create = client(provider, retries).chat.completions.create
        again = tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())
        again(lambda: create(model="gpt-4o", messages=MESSAGES))()

    return way


def tenacity_around_async(provider: FakeProvider) -> None:
    tenacity = pytest.importorskip("tenacity")

    async def main() -> None:
        async with client(provider, kind="AsyncOpenAI") as openai:
            again = tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none())

            async def create() -> None:
                await openai.chat.completions.create(model="gpt-4o", messages=MESSAGES)

            await again(create)()

    asyncio.run(main())


def chat_model(provider: FakeProvider) -> Any:
    langchain = pytest.importorskip("langchain_openai")
    return langchain.ChatOpenAI(
        base_url=provider.openai_base_url, api_key="any", model="gpt-4o", max_retries=0
    )


def langchain(provider: FakeProvider) -> None:
    chat_model(provider).with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke(PROMPT)


def langchain_async(provider: FakeProvider) -> None:
    model = chat_model(provider).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    asyncio.run(model.ainvoke(PROMPT))


class State(TypedDict):
    said: str


def graph(node: Any) -> Any:
    langgraph = pytest.importorskip("langgraph.graph")
    policy = pytest.importorskip("langgraph.types").RetryPolicy(
        max_attempts=3, initial_interval=0.01, retry_on=Exception
    )
    built = langgraph.StateGraph(State)
    built.add_node("say", node, retry_policy=policy)
    built.add_edge(langgraph.START, "say")
    built.add_edge("say", langgraph.END)
    return built.compile()


def langgraph(provider: FakeProvider) -> None:
    model = chat_model(provider)
    graph(lambda _state: {"said": model.invoke(PROMPT).content}).invoke({"said": ""})


def langgraph_async(provider: FakeProvider) -> None:
    model = chat_model(provider)

    async def say(_state: State) -> State:
        return {"said": (await model.ainvoke(PROMPT)).content}

    asyncio.run(graph(say).ainvoke({"said": ""}))


def pydantic_ai(provider: FakeProvider) -> None:
    ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    providers = pytest.importorskip("pydantic_ai.providers.openai")
    openai = client(provider, 2, "AsyncOpenAI")
    ai.Agent(
        models.OpenAIChatModel("gpt-4o", provider=providers.OpenAIProvider(openai_client=openai))
    ).run_sync(PROMPT)


def llama_index(provider: FakeProvider) -> None:
    llms = pytest.importorskip("llama_index.llms.openai")
    llms.OpenAI(model="gpt-4o", api_base=provider.openai_base_url, api_key="any", max_retries=3).complete(
        PROMPT
    )


def llama_index_async(provider: FakeProvider) -> None:
    llms = pytest.importorskip("llama_index.llms.openai")
    model = llms.OpenAI(model="gpt-4o", api_base=provider.openai_base_url, api_key="any", max_retries=3)

    async def main() -> None:
        await model.acomplete(PROMPT)

    asyncio.run(main())


def litellm(provider: FakeProvider) -> None:
    library = pytest.importorskip("litellm")
    library.completion(
        model="openai/gpt-4o",
        api_base=provider.openai_base_url,
        api_key="any",
        messages=MESSAGES,
        num_retries=2,
        max_retries=0,
    )


def litellm_router(provider: FakeProvider) -> None:
    library = pytest.importorskip("litellm")
    where = {"model": "openai/gpt-4o", "api_base": provider.openai_base_url, "api_key": "any"}
    models = [{"model_name": "m", "litellm_params": {**where, "max_retries": 0}}]
    library.Router(model_list=models, num_retries=2, retry_after=0).completion(model="m", messages=MESSAGES)


WAYS: dict[str, Way] = {
    "the SDK itself": tenacity_around(2),
    "tenacity": tenacity_around(0),
    "tenacity around an SDK that retries": tenacity_around(1),
    "tenacity, async": tenacity_around_async,
    "langchain": langchain,
    "langchain, async": langchain_async,
    "langgraph": langgraph,
    "langgraph, async": langgraph_async,
    "pydantic-ai": pydantic_ai,
    "llama-index": llama_index,
    "llama-index, async": llama_index_async,
    "litellm": litellm,
    "litellm router": litellm_router,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_attempts_that_a_framework_makes_are_one_call(way: Way, memory: MemoryEmitter) -> None:
    with FakeProvider() as provider:
        provider.push(Reply(status=500, times=2))
        way(provider)
    assert [(event.status_code, event.attempt) for event in memory.events] == [(500, 0), (500, 1), (200, 2)]
    assert len({event.call_id for event in memory.events}) == 1
    assert len({event.event_id for event in memory.events}) == 3


@pytest.mark.filterwarnings("ignore")
def test_each_attempt_costs_what_the_wire_says(memory: MemoryEmitter) -> None:
    """An attempt that the vendor refused is not billed; one that was answered is, used or not."""
    with FakeProvider() as provider:
        provider.push(Reply(status=429), Reply(text="not what was wanted"))
        langchain(provider)
    refused, answered = memory.events
    assert (refused.usage, refused.cost_nano_usd) == (None, None)
    assert answered.usage_source == "reported"
    assert answered.cost_nano_usd


NOT_TRIED_AGAIN = ("pydantic-ai", "llama-index", "llama-index, async")
"""They try again what they know to be passing."""


class Refused:
    """What is told of calls that a hook refuses the first `times` that it is asked."""

    def __init__(self, times: int) -> None:
        self.told: list[RequestCancelledError] = []
        self.memory = create_memory_emitter()
        self.asked = 0
        self._times = times
        instrument(
            MeterOptions(
                emit_metric=self.memory,
                before_request=self._hook,
                on_blocked=self.told.append,
                async_emit=False,
            )
        )

    def _hook(self, _params: Any, _about: Any) -> BeforeRequestResult:
        self.asked += 1
        return (
            BeforeRequestResult.cancel("no") if self.asked <= self._times else BeforeRequestResult.proceed()
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_refused_call_that_a_framework_tries_again_is_told_of_once(way: Way) -> None:
    refused = Refused(times=100)
    with FakeProvider() as provider:
        with pytest.raises(Exception):
            way(provider)
        assert provider.requests == []
    assert refused.asked == (1 if way in [WAYS[name] for name in NOT_TRIED_AGAIN] else 3)
    (event,) = refused.memory.events
    assert (event.decision.action, event.attempt) == ("block", 0)
    assert len(refused.told) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name not in NOT_TRIED_AGAIN])
def test_a_refused_call_that_is_then_sent_counts_on(way: Way) -> None:
    refused = Refused(times=2)
    with FakeProvider() as provider:
        way(provider)
    blocked, sent = refused.memory.events
    assert (blocked.decision.action, sent.decision.action) == ("block", "allow")
    assert (blocked.attempt, sent.attempt, sent.status_code) == (0, 2, 200)
    assert blocked.call_id == sent.call_id
    assert len(refused.told) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    "way", [WAYS[name] for name in ("tenacity", "langchain", "langchain, async", "litellm")]
)
def test_calls_that_the_application_makes_are_each_told_of(way: Way) -> None:
    refused = Refused(times=100)
    with FakeProvider() as provider:
        for _ in range(3):
            with suppress(Exception):
                way(provider)
    assert len({event.call_id for event in refused.memory.events}) == len(refused.told) == 3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("memory")
def test_equal_calls_of_tasks_are_each_told_of() -> None:
    refused = Refused(times=100)
    with FakeProvider() as provider:
        model = chat_model(provider)

        async def main() -> None:
            await asyncio.gather(*(model.ainvoke(PROMPT) for _ in range(5)), return_exceptions=True)

        asyncio.run(main())
    assert len(refused.memory.events) == len(refused.told) == 5
