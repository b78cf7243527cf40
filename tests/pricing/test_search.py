"""Who lists a model, the nearest first."""

from __future__ import annotations

import pytest

from aden_transport.pricing.search import listings, near_names
from aden_transport.pricing.snapshot import Snapshot

SNAPSHOT = Snapshot()
FIRST = ["openai", "anthropic", "google", "aws"]


def found(name: str) -> list[str]:
    return [f"{match.owner}/{match.model.id}" for match in listings(SNAPSHOT, name, FIRST)]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gpt-4o", "openai/gpt-4o"),
        ("GPT-4o-2024-08-06", "openai/gpt-4o"),
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("google/gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "google/gemini-2.5-pro"),
        (
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("dall-e-3", "openai/dall-e-3"),
        ("mistral-large-latest", "mistral/mistral-large-latest"),
    ],
)
def test_the_nearest_provider_leads(name: str, nearest: str) -> None:
    assert found(name)[0] == nearest


def test_ids_that_end_in_the_name_come_last() -> None:
    assert found("gpt-4o")[-1] == "openrouter/openai/gpt-4o"
    assert "openrouter/openai/gpt-4o" in found("openai/gpt-4o")


def test_each_provider_is_named_once_and_only_for_its_own_models() -> None:
    owners = [entry.partition("/")[0] for entry in found("gpt-4o")]
    assert len(owners) == len(set(owners))
    assert "azure" not in owners


def test_nobody_lists_what_does_not_exist() -> None:
    assert found("no-such-model-anywhere") == []


def test_near_names_are_those_of_the_first_providers_that_have_them() -> None:
    near = near_names(SNAPSHOT, "openai/gpt-4oo", [*FIRST, *SNAPSHOT.providers()])
    assert near[0] == "openai/gpt-4o"
    assert near_names(SNAPSHOT, "gemini-2.5-flsh", ["google"])[0] == "google/gemini-2.5-flash"
    assert near_names(SNAPSHOT, "zzzzzzzzzzzzzzzz", SNAPSHOT.providers()) == []
