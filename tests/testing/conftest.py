"""One fake provider per test, and the SDKs' clients pointed at it."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx2
import openai
import pytest
from google import genai

from aden_transport.testing import FakeProvider


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(clock=lambda: 1_800_000_000.0) as running:
        yield running


@pytest.fixture
def raw(provider: FakeProvider) -> Iterator[httpx2.Client]:
    """A client without an SDK above it."""
    with httpx2.Client(base_url=provider.url, timeout=10) as client:
        yield client


@pytest.fixture
def openai_client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(provider: FakeProvider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=provider.anthropic_base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini_client(provider: FakeProvider) -> Iterator[genai.Client]:
    with genai.Client(api_key="any", http_options={"base_url": provider.gemini_base_url}) as client:
        yield client
