"""What a name tells of a model, and that the tables of vendors fit together."""

from __future__ import annotations

import pytest

from aden_transport.pricing.snapshot import bundled
from aden_transport.vendors import VENDORS
from aden_transport.vendors.serving import (
    CLOSED,
    FREELY_NAMED,
    GENERATING,
    MAKERS,
    SINGLE,
    kind_of,
    maker_of,
)

OPERATIONS = {route.operation.name for vendor in VENDORS for route in vendor.routes}


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("gpt-4o-mini", None),
        ("text-embedding-3-small", "embeddings"),
        ("voyage-3-lite", "embeddings"),
        ("rerank-v3.5", "rerank"),
        ("gpt-4o-mini-transcribe", "transcription"),
        ("gpt-4o-mini-tts", "speech"),
        ("gpt-image-1", "image_generation"),
        ("sora-2", "video"),
        ("davinci-002", "completion"),
        ("omni-moderation-latest", "moderation"),
    ],
)
def test_what_a_model_is_for(model: str, kind: str | None) -> None:
    assert kind_of(model) == kind_of(model.upper()) == kind


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("gpt-4o", "openai"),
        ("gpt-oss-120b", "open weights"),
        ("o3-mini", "openai"),
        ("claude-haiku-4-5", "anthropic"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic"),
        ("gemini-2.5-pro", "google"),
        ("llama-3.3-70b-versatile", None),
        ("prod-chat", None),
    ],
)
def test_whose_a_model_is(model: str, maker: str | None) -> None:
    assert maker_of(model) == maker


def test_the_names_are_those_of_the_tables() -> None:
    assert GENERATING | SINGLE <= OPERATIONS
    assert not GENERATING & SINGLE
    assert {vendor.id for vendor in VENDORS} >= FREELY_NAMED
    assert {*MAKERS, *CLOSED} <= set(bundled().providers())


def test_a_cap_is_one_of_the_members_that_are_read() -> None:
    for vendor in VENDORS:
        for operation in {id(route.operation): route.operation for route in vendor.routes}.values():
            assert not operation.cap or operation.cap in operation.output_cap
