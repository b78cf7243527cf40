"""A call is sent only to a model that its host and wire format serve."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from aden_transport import BeforeRequestResult
from aden_transport.core import degrade
from aden_transport.core.classify import Classifier
from aden_transport.core.degrade import Degrades
from aden_transport.core.wire import WireRequest
from aden_transport.pricing import Price, PriceBook

from .kit import ANTHROPIC, AZURE, CHAT, GEMINI, OPENAI, VERTEX, Bench, headers, wire

UNKNOWN = "llm.example.com"
GROQ, MISTRAL, OPENROUTER, VOYAGE = "api.groq.com", "api.mistral.ai", "openrouter.ai", "api.voyageai.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
SONNET, HAIKU = "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1:0"
GENERATE = "/v1beta/models/gemini-2.5-pro:generateContent"
RAW = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5:rawPredict"
VERTEX_GEMINI = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent"


def chat(model: str, host: str = OPENAI, path: str = CHAT) -> WireRequest:
    return wire({"model": model, "messages": []}, path, host=host)


def why(request: WireRequest, model: str, *, by_policy: bool = True, **prices: Price) -> str | None:
    bench = Bench(PriceBook({name.replace("__", "/"): price for name, price in prices.items()}))
    return bench.settings.degrades.hindrance(bench.open(request), model, by_policy=by_policy)


@pytest.mark.parametrize(
    ("request_", "model"),
    [
        (chat("gpt-4o"), "gpt-4o-mini"),
        (chat("gpt-4o"), "gpt-9-nano"),  # nobody lists it, and its name is OpenAI's
        (chat("gpt-4o"), "ft:gpt-4o-mini:acme::1"),
        (chat("gpt-4o", UNKNOWN), "claude-haiku-4-5"),
        (chat("gpt-4o", AZURE, "/openai/deployments/gpt-4o/chat/completions"), "cheap"),
        (chat("claude-sonnet-4-5", AZURE, "/anthropic/v1/messages"), "claude-haiku-4-5"),
        (chat("openai/gpt-4o", OPENROUTER, "/api/v1/chat/completions"), "anthropic/claude-haiku-4.5"),
        (chat("llama-3.3-70b-versatile", GROQ, "/openai/v1/chat/completions"), "llama-3.1-8b-instant"),
        (chat("llama-3.3-70b-versatile", GROQ, "/openai/v1/chat/completions"), "gpt-oss-900b"),
        (chat("llama-3.3-70b-versatile", GROQ, "/openai/v1/chat/completions"), "deepseek-chat"),
        (chat("mistral-large-latest", MISTRAL), "mistral-small-latest"),
        (wire({"contents": []}, GENERATE, host=GEMINI), "gemini-2.5-flash-lite"),
        (wire({"messages": []}, RAW, host=VERTEX), "claude-haiku-4-5@20251001"),
        (wire({"contents": []}, VERTEX_GEMINI, host=VERTEX), "gemini-2.5-flash"),
        (wire({"messages": []}, f"/model/{SONNET}/converse", host=BEDROCK), "amazon.nova-micro-v1:0"),
        (wire({"messages": []}, f"/model/{SONNET}/invoke", host=BEDROCK), HAIKU),
        (wire({"messages": []}, f"/model/{SONNET}/invoke", host=BEDROCK), "arn:aws:bedrock:x"),
        (wire({"model": "voyage-3-large", "input": []}, "/v1/embeddings", host=VOYAGE), "voyage-3-lite"),
        (wire(path="/v1/audio/transcriptions", form={"model": "whisper-1"}), "gpt-4o-mini-transcribe"),
        (chat("gpt-3.5-turbo-instruct", path="/v1/completions"), "babbage-002"),
    ],
)
def test_what_a_host_serves_is_asked_there(request_: WireRequest, model: str) -> None:
    assert why(request_, model) is None


@pytest.mark.parametrize(
    ("request_", "model", "reason"),
    [
        (chat("gpt-4o"), "claude-haiku-4-5", "openai does not serve claude-haiku-4-5, a model of anthropic"),
        (chat("gpt-4o"), "sonar", "openai does not serve sonar, a model of perplexity"),
        (
            chat("claude-sonnet-4-5", ANTHROPIC, "/v1/messages"),
            "gpt-4o-mini",
            "anthropic does not serve gpt-4o-mini, a model of openai",
        ),
        (
            wire({"contents": []}, GENERATE, host=GEMINI),
            "claude-haiku-4-5",
            "gemini does not serve claude-haiku-4-5, a model of anthropic",
        ),
        (
            chat("llama-3.3-70b-versatile", GROQ, "/openai/v1/chat/completions"),
            "gpt-4o-mini",
            "groq does not serve gpt-4o-mini, a model of openai",
        ),
        (
            wire({"contents": []}, VERTEX_GEMINI, host=VERTEX),
            "claude-haiku-4-5",
            "claude-haiku-4-5 does not take the format of gemini-2.5-pro",
        ),
        (
            wire({"messages": []}, f"/model/{SONNET}/invoke", host=BEDROCK),
            "amazon.nova-micro-v1:0",
            f"amazon.nova-micro-v1:0 does not take the format of {SONNET}",
        ),
        (
            chat("gpt-4o", AZURE, "/openai/deployments/gpt-4o/chat/completions"),
            "claude-haiku-4-5",
            "claude-haiku-4-5 does not take the format of gpt-4o",
        ),
        (
            chat("gpt-4o"),
            "text-embedding-3-small",
            "text-embedding-3-small is for embeddings, gpt-4o for chat",
        ),
        (
            chat("gpt-3.5-turbo-instruct", path="/v1/completions"),
            "gpt-4o-mini",
            "gpt-4o-mini is for chat, gpt-3.5-turbo-instruct for completion",
        ),
        (
            wire({"model": "text-embedding-3-large", "input": "a"}, "/v1/embeddings"),
            "gpt-4o-mini",
            "gpt-4o-mini is not known for embeddings",
        ),
        (
            wire({"model": "gpt-4o", "training_file": "f"}, "/v1/fine_tuning/jobs"),
            "gpt-4o-mini",
            "the model of a fine_tuning call is not one that answers",
        ),
        (wire({"messages": []}), "gpt-4o-mini", "no model in the request"),
        (wire(None), "gpt-4o-mini", "stream body"),
        (
            wire({"model": "gpt-4o"}, names={"Authorization": "AWS4-HMAC-SHA256 Credential=x"}),
            "gpt-4o-mini",
            "signed",
        ),
    ],
)
def test_what_a_host_does_not_serve_is_not_asked_there(
    request_: WireRequest, model: str, reason: str
) -> None:
    assert why(request_, model) == reason


def test_whoever_looked_at_the_call_may_name_what_nobody_knows() -> None:
    embeddings = wire({"model": "text-embedding-3-large", "input": "a"}, "/v1/embeddings")
    assert why(embeddings, "ours", by_policy=False) is None
    assert why(embeddings, "ours") == "ours is not known for embeddings"
    assert why(embeddings, "gpt-4o-mini", by_policy=False) == "gpt-4o-mini is not known for embeddings"
    instruct = chat("gpt-3.5-turbo-instruct", path="/v1/completions")
    assert why(instruct, "ours", by_policy=False) is None
    assert why(instruct, "whisper-1", by_policy=False) is not None


def test_a_price_of_ones_own_says_that_a_host_serves_a_model() -> None:
    request = wire({"contents": []}, GENERATE, host=GEMINI)
    price: Any = {"google__claude-haiku-4-5": Price(1.0, 5.0)}
    assert why(request, "claude-haiku-4-5", **price) is None


def test_a_registered_host_serves_what_it_likes() -> None:
    classifier = Classifier()
    classifier.register("ours", hosts=["llm.ours.example"])
    bench = Bench()
    exchange = bench.open(chat("gpt-4o", "llm.ours.example"), classifier)
    assert bench.settings.degrades.hindrance(exchange, "claude-haiku-4-5", by_policy=True) is None


def test_reasons_are_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degrade, "MAX_KNOWN", 3)
    bench = Bench()
    degrades = Degrades(PriceBook())
    exchange = bench.open(chat("gpt-4o"))
    for model in ("gpt-4o-mini", "gpt-4o-mini", "a", "b", "c", "claude-haiku-4-5"):
        first = degrades.hindrance(exchange, model, by_policy=True)
        assert degrades.hindrance(exchange, model, by_policy=True) == first
        assert len(degrades._known) <= 3


def test_the_saving_is_that_of_the_reported_usage() -> None:
    bench = Bench(has_hook=True)
    exchange = bench.open(chat("gpt-4o"))
    exchange.start()
    exchange.answer(BeforeRequestResult.degrade("gpt-4o-mini"))
    exchange.receive_response(200, headers())
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    exchange.feed(json.dumps({"model": "gpt-4o-mini-2024-07-18", "usage": usage}).encode())
    exchange.receive_eof()
    event = bench.event
    # $2.50 and $10 a million tokens, $0.15 and $0.60.
    assert event.cost_nano_usd == 210_000
    assert event.saved_nano_usd == 3_500_000 - 210_000
    assert event.saved_usd == Decimal("0.00329")


@pytest.mark.parametrize(
    ("asked", "answered"), [("nobodys-model", "gpt-4o-mini"), ("gpt-4o", "nobodys-model")]
)
def test_no_saving_is_told_where_a_price_is_not_known(asked: str, answered: str) -> None:
    bench = Bench(has_hook=True)
    exchange = bench.open(chat(asked))
    exchange.start()
    exchange.answer(BeforeRequestResult.degrade(answered))
    exchange.receive_response(200, headers())
    exchange.feed(b'{"model": "%b", "usage": {"prompt_tokens": 10}}' % answered.encode())
    exchange.receive_eof()
    assert bench.event.degraded_from == asked
    assert bench.event.saved_nano_usd is None
    assert bench.event.saved_usd is None
