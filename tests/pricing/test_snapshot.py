"""Which model a name means, against genai-prices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from genai_prices import types
from genai_prices.data import providers
from genai_prices.data_snapshot import find_provider_by_id
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.pricing.clauses import Clause, dashed_date, is_match
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
    if ours is not None and ours.model.source is not None:
        # A model of overrides.toml, which the script lets in only where genai-prices has none.
        assert theirs is None or (ours.model.id, theirs.id) == ("mistral-large-latest", "mistral-large")
        return
    if theirs is None and ours is not None:
        # A name with the provider's before it, or with a path: what is left of it means the same to both.
        assert dashed_date(name.lower()).endswith("/" + dashed_date(ours.name)), (provider.id, name)
        theirs = provider.find_model(ours.name, all_providers=providers)
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


def test_of_two_models_that_a_name_may_mean_the_closer_one_is_found() -> None:
    for provider, name in corpus():
        accepted = [m for m in SNAPSHOT.models_of(provider.id) if is_match(m.clause, name.lower())]
        if len(accepted) > 1:
            closest = max(accepted, key=lambda m: closeness(m.clause, name.lower()))
            assert closeness(accepted[0].clause, name.lower()) == closeness(closest.clause, name.lower()), (
                name
            )


def closeness(clause: Clause, name: str) -> tuple[int, int]:
    """How narrowly `clause` accepts `name`: the kind of comparison, then the length of what is compared."""
    if isinstance(clause, list):
        return max(closeness(part, name) for part in clause[1:] if is_match(part, name))
    return {"=": 3, "^": 2, "$": 2}.get(clause[0], 1), len(clause)


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


@pytest.mark.parametrize(
    ("provider", "name", "found"),
    [
        ("google", "gemini-1.5-flash", "gemini-1.5-flash"),
        ("google", "gemini-1.5-flash-002", "gemini-1.5-flash"),
        ("google", "gemini-1.5-flash-8b", None),
        ("google", "gemini-1.5-flash-8b-001", None),
        ("google", "gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("google", "gemini-2.5-pro-preview-06-05", "gemini-2.5-pro"),
        ("anthropic", "claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("anthropic", "claude-opus-4-10", None),
        ("anthropic", "claude-haiku-4-5-mini", None),
        ("azure", "o4-mini-2025-04-16", "o4-mini"),
        ("azure", "o4-mini-deep-research", "o4-mini-deep-research"),
        ("deepseek", "deepseek-r1", "deepseek-reasoner"),
        ("deepseek", "deepseek-r1-distill-llama-70b", None),
        ("aws", "us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("openai", "ft:gpt-3.5-turbo-0125:acme:mini-pro:abc", "ft:gpt-3.5-turbo-"),
    ],
)
def test_another_model_of_a_family_has_not_the_price_of_its_neighbour(
    provider: str, name: str, found: str | None
) -> None:
    match = SNAPSHOT.find_model(provider, name)
    assert (match.model.id if match else None) == found
