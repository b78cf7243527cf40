"""The specification's ladder on every vendor: its models, its prices, its SDK where it has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import anthropic
import httpx2
import openai
import pytest
from anthropic.lib.bedrock import AnthropicBedrock
from anthropic.lib.vertex import AnthropicVertex

from aden_transport import (
    AlertEvent,
    BudgetExceededError,
    MeterOptions,
    MetricEvent,
    Price,
    create_memory_emitter,
    instrument,
    register_vendor,
    uninstrument,
)
from aden_transport.emitters.memory import MemoryEmitter
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.meter import classifier, state
from aden_transport.pricing import PriceBook
from aden_transport.testing import FakeProvider, Reply
from aden_transport.testing.provider import BASE_PATHS

from ..sdks.support import TLS, anthropic_sync, gemini_sync
from .kit import HELLO, USD

LIMIT = 1000.0
SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=any", "x-amz-date": "20261122T000000Z"}
PRICES = {
    # What these run, and what it costs, is their customers' affair.
    "ollama/llama3.3": Price(2.0, 6.0),
    "ollama/llama3.2": Price(0.2, 0.6),
    "huggingface/meta-llama/Llama-3.3-70B-Instruct": Price(2.0, 6.0),
    "huggingface/meta-llama/Llama-3.1-8B-Instruct": Price(0.2, 0.6),
}


class Rung(NamedTuple):
    """A vendor's dialect, a model of it and a cheaper one, and how to ask."""

    vendor: str
    model: str
    cheaper: str
    make: Callable[[FakeProvider, str], Any]
    """A client of the fake provider, and of which vendor's dialect there."""
    ask: Callable[[Any, str], object]
    """Asks a client for a model."""
    hindered: str | None = None
    """Why it is never degraded."""


to_close: list[Callable[[], object]] = []
"""What SDKs leave open that have no way to be closed themselves."""


def openai_client(provider: FakeProvider, vendor: str) -> Any:
    """OpenAI's SDK, for all who speak its format."""
    base_url = provider.base_url(vendor)
    if vendor in ("groq", "cerebras"):  # whose own SDKs add the rest
        base_url += {"groq": "/openai/v1", "cerebras": "/v1"}[vendor]
    http = openai.DefaultHttpxClient(verify=TLS, trust_env=False)
    return openai.OpenAI(base_url=base_url, api_key="any", http_client=http)


def azure_client(provider: FakeProvider, _vendor: str) -> Any:
    http = openai.DefaultHttpxClient(verify=TLS, trust_env=False)
    return openai.AzureOpenAI(
        azure_endpoint=provider.url, api_version="2024-10-21", api_key="any", http_client=http
    )


def claude_on(kind: Any, path: str, given: Any) -> Callable[[FakeProvider, str], Any]:
    def make(provider: FakeProvider, _vendor: str) -> Any:
        http = anthropic.DefaultHttpxClient(verify=TLS, trust_env=False)
        return kind(base_url=provider.url + path, http_client=http, **given)

    return make


def mistral_client(provider: FakeProvider, vendor: str) -> Any:
    sdk = pytest.importorskip("mistralai.client")
    http = httpx2.Client(verify=TLS, trust_env=False)
    to_close.append(http.close)
    return sdk.Mistral(api_key="any", server_url=provider.base_url(vendor), client=http)


def cohere_client(provider: FakeProvider, vendor: str) -> Any:
    sdk, httpx = pytest.importorskip("cohere"), pytest.importorskip("httpx")
    http = httpx.Client(verify=TLS, trust_env=False)
    to_close.append(http.close)
    return sdk.ClientV2(api_key="any", base_url=provider.base_url(vendor), httpx_client=http)


def huggingface_client(provider: FakeProvider, vendor: str) -> Any:
    sdk = pytest.importorskip("huggingface_hub")
    to_close.append(sdk.close_session)
    return sdk.InferenceClient(base_url=provider.base_url(vendor), api_key="any")


def ollama_client(provider: FakeProvider, vendor: str) -> Any:
    sdk = pytest.importorskip("ollama")
    return sdk.Client(host=provider.base_url(vendor), verify=TLS, trust_env=False)


def plain_client(provider: FakeProvider, _vendor: str) -> Any:
    return httpx2.Client(base_url=provider.url, verify=TLS, trust_env=False)


def ask_chat(client: Any, model: str) -> object:
    return client.chat.completions.create(model=model, messages=HELLO, max_tokens=50)


def ask_claude(client: Any, model: str) -> object:
    return client.messages.create(model=model, messages=HELLO, max_tokens=50)


def ask_gemini(client: Any, model: str) -> object:
    config: Any = {"max_output_tokens": 50}
    return client.models.generate_content(model=model, contents="hello", config=config)


def ask_mistral(client: Any, model: str) -> object:
    return client.chat.complete(model=model, messages=HELLO, max_tokens=50)


def ask_cohere(client: Any, model: str) -> object:
    return client.chat(model=model, messages=HELLO, max_tokens=50)


def ask_huggingface(client: Any, model: str) -> object:
    return client.chat_completion(model=model, messages=HELLO, max_tokens=50)


def ask_ollama(client: Any, model: str) -> object:
    return client.chat(model=model, messages=HELLO, options={"num_predict": 50})


def ask_voyage(client: Any, model: str) -> object:
    body = {"model": model, "input": ["hello"]}
    return client.post("/voyage/v1/embeddings", json=body).raise_for_status()


def ask_bedrock(client: Any, model: str) -> object:
    body = {
        "messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "inferenceConfig": {"maxTokens": 50},
    }
    return client.post(f"/model/{model}/converse", json=body, headers=SIGNED).raise_for_status()


def like_openai(vendor: str, model: str, cheaper: str) -> Rung:
    return Rung(vendor, model, cheaper, openai_client, ask_chat)


BEDROCK: Any = {"aws_region": "us-east-1", "api_key": "any"}
VERTEX: Any = {"region": "us-east5", "project_id": "p", "access_token": "any"}
SONNET, HAIKU = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"
LLAMA, SMALL_LLAMA = "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"
FIREWORKS = "accounts/fireworks/models/"
RUNGS = {
    "openai": like_openai("openai", "gpt-4o", "gpt-4o-mini"),
    "azure": Rung("azure", "gpt-4o", "gpt-4o-mini", azure_client, ask_chat),
    "anthropic": Rung(
        "anthropic", "claude-sonnet-4-6", "claude-haiku-4-5", lambda p, _: anthropic_sync(p), ask_claude
    ),
    "vertex": Rung(
        "vertex",
        "claude-sonnet-4-5@20250929",
        "claude-haiku-4-5@20251001",
        claude_on(AnthropicVertex, "/v1", VERTEX),
        ask_claude,
    ),
    "bedrock with a key": Rung(
        "bedrock", SONNET, HAIKU, claude_on(AnthropicBedrock, "", BEDROCK), ask_claude
    ),
    "bedrock, signed": Rung("bedrock", SONNET, HAIKU, plain_client, ask_bedrock, "signed"),
    "gemini": Rung(
        "gemini", "gemini-2.5-pro", "gemini-2.5-flash-lite", lambda p, _: gemini_sync(p), ask_gemini
    ),
    "mistral": Rung("mistral", "mistral-large-latest", "ministral-8b-2512", mistral_client, ask_mistral),
    "cohere": Rung("cohere", "command-a-03-2025", "command-r7b-12-2024", cohere_client, ask_cohere),
    "huggingface": Rung("huggingface", LLAMA, SMALL_LLAMA, huggingface_client, ask_huggingface),
    "ollama": Rung("ollama", "llama3.3", "llama3.2", ollama_client, ask_ollama),
    "voyage": Rung("voyage", "voyage-3-large", "voyage-3.5-lite", plain_client, ask_voyage),
    "groq": like_openai("groq", "llama-3.3-70b-versatile", "llama-3.1-8b-instant"),
    "together": like_openai("together", "MiniMaxAI/MiniMax-M3", "MiniMaxAI/MiniMax-M3.1-Flash"),
    "cerebras": like_openai("cerebras", "llama-3.3-70b", "llama3.1-8b"),
    # Older models of DeepSeek cost the same at some hours of the day.
    "deepseek": like_openai("deepseek", "deepseek-v4-pro", "deepseek-v4-flash"),
    "fireworks": like_openai("fireworks", f"{FIREWORKS}deepseek-v4-pro", f"{FIREWORKS}deepseek-v4-flash"),
    "openrouter": like_openai("openrouter", "openai/gpt-4o", "openai/gpt-4o-mini"),
    "perplexity": like_openai("perplexity", "sonar-pro", "sonar"),
    "xai": like_openai("xai", "grok-3", "grok-3-mini"),
}


def camel(cheaper: str) -> Mapping[str, Any]:
    return {
        "id": "all",
        "type": "global",
        "limit": LIMIT,
        "thresholds": [
            {"percent": 50, "action": "alert"},
            {"percent": 80, "action": "degrade", "degradeTo": cheaper},
            {"percent": 95, "action": "throttle", "delayMs": 1},
        ],
        "limitAction": "block",
    }


def snake(cheaper: str) -> Mapping[str, Any]:
    return {
        "id": "all",
        "type": "global",
        "limit": LIMIT,
        "thresholds": [
            {"percent": 50, "action": "alert"},
            {"percent": 80, "action": "degrade", "degrade_to": cheaper},
            {"percent": 95, "action": "throttle", "delay_ms": 1},
        ],
        "limit_action": "block",
    }


def legacy(cheaper: str) -> Mapping[str, Any]:
    """Aden's older names of a budget's members, in a document with all of its lists."""
    budget = {**snake(cheaper), "limit_usd": LIMIT, "current_spend_usd": 0, "action_on_exceed": "block"}
    del budget["limit"], budget["limit_action"]
    lists: Any = {"throttles": [], "blocks": [], "degradations": [], "alerts": []}
    return {"id": "p", "name": "ours", "version": "1", "budgets": [budget], **lists}


class Climb:
    """One budget, whose sum is set between calls, and what the calls then did."""

    def __init__(self, memory: MemoryEmitter, alerts: list[AlertEvent]) -> None:
        self.memory = memory
        self.alerts = alerts
        assert state.everything is not None
        assert state.everything.budgets is not None
        ledger = state.everything.budgets.ledger
        assert isinstance(ledger, MemoryLedger)
        self.ledger = ledger

    def at(self, percent: float, ask: Callable[[], object]) -> MetricEvent:
        """The event of a call that is made when `percent` of the budget are spent."""
        self.ledger.raise_to("-|all", round(LIMIT * USD * percent / 100), mark=str(percent))
        self.memory.clear()
        ask()
        return self.only()

    def only(self) -> MetricEvent:
        assert self.ledger.open_holds() == 0
        (event,) = self.memory.events
        return event


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(reply=Reply(text="One two three.", input_tokens=40, output_tokens=20)) as running:
        yield running


@pytest.fixture(scope="module")
def clients(provider: FakeProvider) -> Iterator[Callable[[str], Any]]:
    made: dict[str, Any] = {}

    def client(name: str) -> Any:
        if name not in made:
            made[name] = RUNGS[name].make(provider, RUNGS[name].vendor)
        return made[name]

    yield client
    for one in made.values():
        getattr(one, "close", lambda: None)()
    while to_close:
        to_close.pop()()


@pytest.fixture
def climb(rung: str, spelling: Callable[[str], Any], provider: FakeProvider) -> Iterator[Climb]:
    vendor = RUNGS[rung].vendor
    hosts = [f"127.0.0.1:{provider.port}"]
    known = register_vendor(vendor, hosts=hosts, like=vendor)
    provider.reset()
    memory, alerts = create_memory_emitter(), list[AlertEvent]()
    policy = spelling(RUNGS[rung].cheaper)
    instrument(
        MeterOptions(
            emit_metric=memory,
            on_alert=alerts.append,
            async_emit=False,
            policy=policy,
            ledger="memory",
            prices=PRICES,
        )
    )
    yield Climb(memory, alerts)
    uninstrument()
    classifier.unregister(known)


def test_every_dialect_is_climbed() -> None:
    assert {rung.vendor for rung in RUNGS.values()} == BASE_PATHS.keys()


@pytest.mark.parametrize("spelling", [camel, snake, legacy])
@pytest.mark.parametrize("rung", RUNGS)
def test_the_ladder(rung: str, climb: Climb, provider: FakeProvider, clients: Callable[[str], Any]) -> None:
    vendor, model, cheaper, _, ask_for, hindered = RUNGS[rung]
    client = clients(rung)

    def ask() -> object:
        return ask_for(client, model)

    allowed = climb.at(10, ask)
    check_sent(allowed, vendor, "allow", model)
    assert (allowed.saved_nano_usd, allowed.throttle_ms, climb.alerts) == (None, 0, [])

    alerted = climb.at(55, ask)
    check_sent(alerted, vendor, "alert", model)
    assert [(alert.budget_id, alert.level) for alert in climb.alerts] == [("all", "warning")]

    for percent, delayed in ((85, False), (96, True)):
        event = climb.at(percent, ask)
        assert (event.throttle_ms > 0) is delayed
        if hindered is None:
            check_sent(event, vendor, "degrade", cheaper)
            assert (event.degraded_from, event.decision.to_model) == (model, cheaper)
            assert event.decision.hindered is None
            check_saving(event)
            asked = provider.requests[-1]
            assert cheaper in asked.path.replace("%3A", ":") + asked.body.decode()
        else:
            check_sent(event, vendor, "throttle" if delayed else "alert", model)
            assert (event.degraded_from, event.decision.hindered) == (None, hindered)
            assert (event.saved_nano_usd, "saved_usd" in event.to_dict()) == (None, False)
    # Each threshold is told of once; that a degrade is hindered, too.
    assert len(climb.alerts) == (1 if hindered is None else 2)

    sent = len(provider.requests)
    with pytest.raises(BudgetExceededError) as raised:
        climb.at(100, ask)
    blocked = climb.only()
    assert (blocked.decision.action, blocked.decision.budget_id) == ("block", "all")
    assert (blocked.usage, blocked.cost_usd, blocked.charged_usd) == (None, None, None)
    assert (raised.value.spent_usd, raised.value.limit_usd) == (LIMIT, LIMIT)
    assert len(provider.requests) == sent == 4


def check_sent(event: MetricEvent, vendor: str, action: str, model: str) -> None:
    assert (event.provider, event.status_code) == (vendor, 200)
    assert event.decision.action == action
    assert event.request_model == model
    assert event.usage_source == "reported"
    cost, charged, hold = event.cost_nano_usd, event.charged_nano_usd, event.hold_nano_usd
    assert cost is not None
    assert hold is not None
    assert hold >= cost > 0
    assert charged == cost


def check_saving(event: MetricEvent) -> None:
    """What the same usage would have cost with the model that was asked for, less what it did."""
    provider = {"gemini": "google", "vertex": "google", "bedrock": "aws", "voyage": "voyageai"}
    assert event.degraded_from is not None
    assert event.usage is not None
    dear = PriceBook(PRICES).find(
        provider.get(event.provider, event.provider), event.degraded_from, at=event.timestamp_s
    )
    assert dear is not None
    saved = dear.cost(event.usage) - (event.cost_nano_usd or 0)
    assert event.saved_nano_usd == saved > 0
    assert event.to_dict()["saved_usd"] == pytest.approx(saved / USD)
