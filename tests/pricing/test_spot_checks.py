"""Prices against the vendors' price lists, written down from there and not from any data set.

OpenAI: https://developers.openai.com/api/docs/pricing, Anthropic: https://claude.com/pricing#api, Google:
https://ai.google.dev/gemini-api/docs/pricing, Groq: https://groq.com/pricing, Cohere:
https://cohere.com/pricing, Bedrock: https://aws.amazon.com/bedrock/pricing.
"""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import PriceBook

from .oracle import NOON

M = 1_000_000
BOTH = Usage(M, M)
BATCH: dict[str, Any] = {"batch": True}


@pytest.mark.parametrize(
    ("provider", "model", "asked", "usage", "units", "usd"),
    [
        ("openai", "gpt-4o", {}, BOTH, {}, 12.50),
        ("openai", "gpt-4o", {}, Usage(M, cached_tokens=M), {}, 1.25),
        ("openai", "gpt-4o", BATCH, BOTH, {}, 6.25),
        ("openai", "gpt-4o", {"service_tier": "priority"}, BOTH, {}, 21.25),
        ("openai", "o3", {"service_tier": "flex"}, BOTH, {}, 5.00),
        ("openai", "o3", {}, Usage(0, M, reasoning_tokens=M), {}, 8.00),
        ("openai", "gpt-5", {}, BOTH, {}, 11.25),
        ("openai", "text-embedding-3-small", {}, Usage(M), {}, 0.02),
        ("openai", "tts-1", {}, Usage(characters=M), {}, 15.00),
        ("openai", "tts-1-hd", {}, Usage(characters=M), {}, 30.00),
        ("openai", "gpt-4o-mini-tts", {}, Usage(M, M, audio_output_tokens=M), {}, 12.60),
        ("openai", "gpt-image-1", {}, Usage(M, M, image_output_tokens=M), {}, 45.00),
        ("openai", "gpt-4o-realtime-preview", {}, Usage(M, M, 0, 0, 0, 0, M, M), {}, 120.00),
        ("openai", "gpt-realtime", {}, Usage(M, M, 0, 0, 0, 0, M, M), {}, 96.00),
        ("openai", "whisper-1", {}, Usage(audio_seconds=60), {}, 0.006),
        ("openai", "ft:gpt-4o-mini-2024-07-18:a::b", {}, BOTH, {}, 1.50),
        ("openai", "gpt-4o", {}, Usage(server_tool_calls=1_000), {}, 10.00),
        ("openai", "gpt-4o", {}, Usage(), {"file_searches": 1_000}, 2.50),
        ("openai", "gpt-4o", {}, Usage(), {"container_sessions": 1}, 0.03),
        ("openai", "dall-e-3", {"details": {"quality": "hd"}}, Usage(images=1), {}, 0.08),
        ("anthropic", "claude-sonnet-4-5", BATCH, Usage(100_000, M), {}, 7.65),
        ("anthropic", "claude-opus-4-5", {}, BOTH, {}, 30.00),
        # A prompt above 200,000 tokens: input 6, writes 7.50, writes for an hour 12.
        ("anthropic", "claude-sonnet-4-5", {}, Usage(400_000, 0, 0, 0, 300_000, 100_000), {}, 3.30),
        ("gemini", "gemini-2.5-pro", {}, Usage(100_000, 1_000), {}, 0.135),
        ("gemini", "gemini-2.5-pro", {}, Usage(300_000, 1_000), {}, 0.765),
        ("gemini", "gemini-2.5-flash", {}, Usage(M, audio_input_tokens=M), {}, 1.00),
        ("groq", "llama-3.3-70b-versatile", {}, BOTH, {}, 1.38),
        ("groq", "whisper-large-v3", {}, Usage(audio_seconds=3_600), {}, 0.111),
        ("cohere", "command-a-03-2025", {}, BOTH, {}, 12.50),
        ("cohere", "rerank-v3.5", {}, Usage(search_units=1_000), {}, 2.00),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", {}, BOTH, {}, 19.80),
        ("mistral", "mistral-large-latest", {}, BOTH, {}, 2.00),
    ],
)
def test_a_call_costs_what_the_vendor_lists(
    provider: str, model: str, asked: dict[str, Any], usage: Usage, units: dict[str, float], usd: float
) -> None:
    prices = PriceBook().find(provider, model, at=NOON, **asked)
    assert prices is not None
    assert prices.unpriced(usage, units) == ()
    assert prices.cost(usage, units) == round(usd * 10**9)
