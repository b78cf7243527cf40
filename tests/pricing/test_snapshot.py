"""Which model a name means, against genai-prices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from genai_prices import types
from genai_prices.data import providers
from genai_prices.data_snapshot import find_provider_by_id
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.pricing.snapshot import Snapshot

SNAPSHOT = Snapshot()
BY_ID = {provider.id: provider for provider in providers}

STRANGE = [
    "",
    " ",
    "\n",
    "gpt-4o\n",
    " gpt-4o",
    "İ",
    "GPT-4O-İSTANBUL",
    "ß",
    "😀",
    "\x00",
    "(",
    "[a-z]*",
    "gpt-",
    "gpt-4o-20250230",
    "gpt-4o-20241120",
    "gpt-5.2-20251211",
    "gpt-5.2-20251211:free",
    "gpt-5.2-20251211-20251212",
    "claude-sonnet-4-5@20250929",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic/claude-sonnet-4.5",
    "models/gemini-2.5-pro",
    "publishers/google/models/gemini-2.5-flash-001",
    "ft:gpt-4o-mini-2024-07-18:acme::9abc",
    "mistral-large-latest",
    "my-deployment",
    "x" * 5_000,
]


def assert_same(provider: types.Provider, name: str) -> None:
    theirs = provider.find_model(name, all_providers=providers)
    ours = SNAPSHOT.find_model(provider.id, name)
    if theirs is None:
        assert ours is None, (provider.id, name)
    else:
        assert ours is not None, (provider.id, name)
        assert ours.model.id == theirs.id, (provider.id, name)
        assert ours.own == any(theirs is model for model in provider.models), (provider.id, name)


def corpus() -> Iterator[tuple[types.Provider, str]]:
    major = [BY_ID[name] for name in ("openai", "anthropic", "google", "azure", "mistral", "groq")]
    for provider in providers:
        for number, model in enumerate(provider.models):
            yield provider, model.id
            yield provider, f"{model.id.upper()}-20251211"
            if number % 4 == 0:
                yield provider, f"{model.id}-latest"
                yield provider, f"{model.id}-2025-12-11"
                yield provider, f"x{model.id}"
                yield major[number % len(major)], model.id
                yield major[number % len(major)], model.id.rpartition("/")[2]
    for provider in (*major, BY_ID["aws"], BY_ID["openrouter"], BY_ID["deepseek"]):
        for name in STRANGE:
            yield provider, name


def test_names_mean_the_models_that_genai_prices_finds() -> None:
    for provider, name in corpus():
        assert_same(provider, name)


@settings(deadline=None)
@given(st.sampled_from(["openai", "anthropic", "google", "azure", "mistral"]), st.text(max_size=40))
def test_any_text_means_what_genai_prices_finds(provider: str, name: str) -> None:
    assert_same(BY_ID[provider], name)


@pytest.mark.parametrize(
    "name",
    [*BY_ID, "gemini", "vertex-ai", "Google", " openai ", "xai", "bedrock", "together_ai", "none", ""],
)
def test_provider_names_mean_what_genai_prices_finds(name: str) -> None:
    found = find_provider_by_id(providers, name)
    assert SNAPSHOT.provider_id(name) == (found.id if found else None)


def test_the_data_says_where_and_when_it_comes_from() -> None:
    assert SNAPSHOT.source == "genai-prices 0.2.3"
    assert SNAPSHOT.as_of >= "2026-11-22"
    assert set(SNAPSHOT.providers()) == set(BY_ID)
