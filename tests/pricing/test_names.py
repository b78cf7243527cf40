"""One model's name in the ways in which it is written, and what it then costs."""

from __future__ import annotations

import pytest

from aden_transport.pricing import PriceBook
from aden_transport.pricing.names import readings, routed

from .oracle import NOON


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-4o", ["gpt-4o"]),
        ("gpt-5.2-20251211", ["gpt-5.2-20251211", "gpt-5.2-2025-12-11"]),
        ("models/gemini-2.5-pro", ["models/gemini-2.5-pro", "gemini-2.5-pro"]),
        ("openai/gpt-4o", ["openai/gpt-4o", "gpt-4o"]),
        ("meta/llama", ["meta/llama"]),
        ("accounts/acme/models/llama", ["accounts/acme/models/llama"]),
        ("openai/", ["openai/"]),
    ],
)
def test_the_readings_of_a_name_begin_with_itself(name: str, expected: list[str]) -> None:
    assert list(readings(name, lambda prefix: prefix == "openai")) == expected


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::9abc", "openai/ft:gpt-4o-mini"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::9abc", "openai/ft:gpt-4.1-mini"),
        ("openai", "gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"),
        ("openai", "gpt-4o-2024-11-20", "openai/gpt-4o"),
        ("anthropic", "anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("gemini", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gemini", "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("vertex", "projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("vertex", "claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
        (
            "aws",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (
            "aws",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
            "aws/amazon.nova-lite-v1:0",
        ),
        (
            "aws",
            "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0",
            "aws/amazon.nova-lite-v1:0",
        ),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("openrouter", "deepseek/deepseek-chat:free", "openrouter/deepseek/deepseek-chat:free"),
        ("azure", "gpt-4o-2024-11-20", "openai/gpt-4o"),
        ("xai", "xai/grok-4", "x-ai/grok-4-0709"),
        (
            "together",
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "together/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ),
        ("fireworks", "accounts/fireworks/models/llama-v3p1-8b-instruct", "fireworks/llama-v3p1-8b-instruct"),
        ("huggingface", "deepseek-ai/DeepSeek-V3:together", "huggingface_together/deepseek-ai/DeepSeek-V3"),
        ("groq", "openai/gpt-oss-20b", "groq/openai/gpt-oss-20b"),
    ],
)
def test_a_name_means_the_closest_model_of_its_provider(provider: str, name: str, model: str) -> None:
    found = PriceBook().find(provider, name, at=NOON)
    assert found is not None
    assert f"{found.provider}/{found.model}" == model


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("aws", "arn:aws:bedrock:us-west-2:1:application-inference-profile/abc123"),
        ("gemini", "tunedModels/mine"),
        ("fireworks", "accounts/acme/models/llama-v3p1-8b-instruct-mine"),
        ("huggingface", "deepseek-ai/DeepSeek-V3"),
        ("huggingface", "deepseek-ai/DeepSeek-V3:cheapest"),
        ("openai", "anthropic/claude-sonnet-4-5"),
        ("azure", "my-deployment"),
    ],
)
def test_a_name_that_says_too_little_has_no_price(provider: str, name: str) -> None:
    assert PriceBook().find(provider, name, at=NOON) is None


def test_who_answers_at_hugging_face_stands_in_the_name_or_in_the_answer() -> None:
    assert routed("HuggingFace", "Org/Model:Together") == ("huggingface_together", "org/model")
    assert routed("huggingface", "org/model:cheapest", "novita") == ("huggingface_novita", "org/model")
    assert routed("huggingface", "org/model") == ("huggingface", "org/model")
    assert routed("openai", "ft:gpt-4o:x") == ("openai", "ft:gpt-4o:x")


def test_the_answer_s_details_name_the_provider_whose_price_counts() -> None:
    prices = PriceBook()
    details = {"inference_provider": "together"}
    found = prices.find("huggingface", "deepseek-ai/DeepSeek-V3", at=NOON, details=details)
    assert found is not None
    assert found.provider == "huggingface_together"
