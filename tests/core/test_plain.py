"""Plain calls are held at what the full reading of a call holds them at."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.core.exchange import Exchange
from aden_transport.core.expectation import Expectation
from aden_transport.core.plain import PlainCalls
from aden_transport.core.reserve import Budgets, Money
from aden_transport.events import NormalizedUsage
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.policy import Index, OnUnknown, load
from aden_transport.pricing import PriceBook
from aden_transport.vendors.ceilings import Ceilings

from .kit import ANTHROPIC, CHAT, NOON, OPENAI, Bench, wire

PRICES = PriceBook()
HARD = {"type": "global", "limit": 1_000_000}
EXPECTED = {**HARD, "mode": "expected", "limitAction": "alert"}
PLACES = {
    "chat": (OPENAI, CHAT, ("gpt-4o", "gpt-5-mini", "o3", "gpt-4o-2024-08-06")),
    "responses": (OPENAI, "/v1/responses", ("gpt-4.1", "gpt-5")),
    "messages": (ANTHROPIC, "/v1/messages", ("claude-sonnet-4-5", "claude-3-haiku-20240307")),
    "deepseek": ("api.deepseek.com", "/chat/completions", ("deepseek-chat",)),
    "groq": ("api.groq.com", "/openai/v1/chat/completions", ("llama-3.3-70b-versatile",)),
}


def opened(place: str, body: dict[str, Any]) -> Exchange:
    host, path, _ = PLACES[place]
    return Bench().open(wire(body, path, host=host))


def plain_amounts(exchange: Exchange, *, hard: bool = True) -> tuple[int, int, int, str] | None:
    return PlainCalls(PRICES, Ceilings(), Expectation()).amounts(exchange, True, hard)


def full_amounts(exchange: Exchange, policy: Any = HARD) -> tuple[int | None, int | None, str | None]:
    budgets = Budgets(
        Index(load(policy)), MemoryLedger(), prices=PRICES, unknown=OnUnknown("allow"), wall=lambda: NOON
    )
    money = Money(budgets, "op", exchange.model)
    exchange.money = money
    budgets.ask(exchange, money)
    return money.hold, money.expected, money.basis


text = st.text(max_size=200)
part: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"type": st.just("text"), "text": text}, optional={"cache_control": st.just({})}
)
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": text | st.lists(part, max_size=3)},
    optional={"name": text},
)
caps = st.integers(-5, 10**9) | st.none() | st.just("many")
tool = st.fixed_dictionaries({"name": text}, optional={"type": st.just("function"), "description": text})
shared: dict[str, st.SearchStrategy[Any]] = {
    "max_tokens": caps,
    "max_completion_tokens": caps,
    "max_output_tokens": caps,
    "temperature": st.floats(0, 2),
    "tools": st.lists(tool, max_size=3) | st.none(),
    "n": st.integers(1, 3),
    "stream": st.booleans(),
    "thinking": st.just({"type": "enabled", "budget_tokens": 1024}),
}


def bodies(place: str) -> st.SearchStrategy[dict[str, Any]]:
    models = st.sampled_from(PLACES[place][2])
    if place == "responses":
        item = message | st.fixed_dictionaries(
            {"type": st.just("function_call_output"), "call_id": text, "output": text}
        )
        given_ = {"model": models, "input": text | st.lists(item, max_size=4)}
        return st.fixed_dictionaries(given_, optional={**shared, "instructions": text})
    given_ = {"model": models, "messages": st.lists(message, max_size=4)}
    return st.fixed_dictionaries(given_, optional={**shared, "system": text | st.lists(part, max_size=2)})


@pytest.mark.parametrize("place", PLACES)
@settings(deadline=None)
@given(st.data())
def test_a_plain_call_costs_what_the_full_reading_says(place: str, data: st.DataObject) -> None:
    body = data.draw(bodies(place))
    found = plain_amounts(opened(place, body))
    if found is not None:
        hold, expected, _, basis = found
        assert (hold, expected, basis) == full_amounts(opened(place, body))


@pytest.mark.parametrize("place", PLACES)
def test_calls_of_text_and_functions_are_plain(place: str) -> None:
    said = "input" if place == "responses" else "messages"
    hello = [{"role": "user", "content": "hi"}]
    for model in PLACES[place][2]:
        assert plain_amounts(opened(place, {"model": model, said: hello, "max_tokens": 50, "tools": []}))


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"previous_response_id": "r"},
        {"service_tier": "priority"},
        {"web_search_options": {}},
        {"prediction": {"type": "content", "content": "x"}},
        {"modalities": ["text", "audio"]},
        {"tools": [{"type": "web_search"}]},
        {"tools": {"type": "function"}},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"role": "user", "content": {"text": "x"}}]},
        {"messages": [{"role": "user", "content": "x", "audio": {"id": "a"}}]},
        {"messages": "hi", "model": "gpt-4o-search-preview"},
        {"model": "nobody-knows"},
    ],
    ids=str,
)
def test_what_counts_beside_text_is_left_to_the_full_reading(more: dict[str, Any]) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], **more}
    assert plain_amounts(opened("chat", body)) is None


def test_a_prompt_is_no_longer_than_the_window() -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 600_000}], "max_tokens": 9}
    found = plain_amounts(opened("chat", body))
    assert found is not None
    assert (found[0], found[3]) == (128_000 * 2_500 + 9 * 10_000, "context window, max_tokens")


def test_without_a_cap_or_a_known_maximum_a_call_is_not_plain_hard_or_not() -> None:
    body = {"model": "llama-3.3-70b-versatile", "messages": [{"role": "user", "content": "hi"}]}
    for hard in (True, False):
        assert plain_amounts(opened("groq", body), hard=hard) is None
        assert plain_amounts(opened("groq", {**body, "max_tokens": 1 << 60}), hard=hard) is not None


def test_messages_without_a_text_are_looked_at() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}, "id": "1", "type": "function"}]
    for turn in ({"role": "assistant", "tool_calls": calls}, {"role": "user", "content": None}):
        body = {"model": "gpt-4o", "messages": [turn], "max_tokens": 5}
        found = plain_amounts(opened("chat", body))
        assert found is not None
        assert (found[0], found[1], found[3]) == full_amounts(opened("chat", body))
    for odd in (5, None, ["role", "content"], "no"):
        assert plain_amounts(opened("chat", {"model": "gpt-4o", "messages": [odd]})) is None


def test_kinds_of_calls_are_forgotten_beyond_a_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aden_transport.core.plain.HELD_AT_MOST", 2)
    calls = PlainCalls(PRICES, Ceilings(), Expectation())
    for model in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4o"):
        exchange = opened("chat", {"model": model, "messages": "hi"})
        assert calls.amounts(exchange, False, True) is not None
    assert sum(map(len, calls._kinds.values())) <= 2


def test_what_was_learned_counts_until_it_is_forgotten() -> None:
    learned = Expectation(limit=1)
    calls = PlainCalls(PRICES, Ceilings(), learned)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}

    def expected(metadata: dict[str, str] | None = None) -> int:
        exchange = opened("chat", body)
        exchange.metadata = metadata
        found = calls.amounts(exchange, True, True)
        assert found is not None
        return found[1]

    unknown = expected()
    learned.learn("gpt-4o", None, 30, NormalizedUsage(30, 10))
    assert expected() == expected({"feature": "f"}) < unknown
    known = expected()
    learned.learn("gpt-4o", None, 30, NormalizedUsage(30, 2))
    assert expected() < known
    learned.learn("o3", None, 30, NormalizedUsage(30, 10))
    assert expected() == unknown


def test_an_expectation_shortens_what_is_held_where_no_limit_is_hard() -> None:
    learned = Expectation()
    for _ in range(20):
        learned.learn("gpt-4o", None, 30, NormalizedUsage(30, 10))
    calls = PlainCalls(PRICES, Ceilings(), learned)
    exchange = opened("chat", {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
    hard, soft = calls.amounts(exchange, True, True), calls.amounts(exchange, True, False)
    assert hard is not None
    assert soft is not None
    assert soft[0] < hard[0] == full_amounts(exchange)[0]
    assert soft[1] == hard[1] < soft[0]
    assert full_amounts(exchange, EXPECTED)[0] == hard[0]  # nothing was learned there
