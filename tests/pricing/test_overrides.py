"""What `overrides.toml` adds to the price data, against the vendors' price lists."""

from __future__ import annotations

import importlib.util
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from aden_transport.events import NormalizedUsage as Usage
from aden_transport.pricing import Price, PriceBook, UnitPrices

from .oracle import NOON

ROOT = Path(__file__).parents[2]
MTOK = 1_000_000
USD = 10**9
"""Nano-dollars."""


def priced(provider: str, model: str, **asked: Any) -> UnitPrices:
    found = PriceBook().find(provider, model, at=asked.pop("at", NOON), **asked)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_prices", ROOT / "scripts" / "build_prices.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("model", "details", "usd"),
    [
        ("dall-e-3", {}, 0.04),
        ("dall-e-3", {"size": "1024x1024", "quality": "standard"}, 0.04),
        ("dall-e-3", {"size": "auto", "quality": "HD"}, 0.08),
        ("dall-e-3", {"size": "1792x1024"}, 0.08),
        ("dall-e-3", {"size": "1024x1792", "quality": "hd", "n": 1}, 0.12),
        ("dall-e-2", {}, 0.02),
        ("dall-e-2", {"size": "512x512"}, 0.018),
        ("dall-e-2", {"size": "256x256", "quality": "hd"}, 0.016),
    ],
)
def test_an_image_costs_by_its_size_and_quality(model: str, details: dict[str, Any], usd: float) -> None:
    prices = priced("openai", model, details=details)
    assert prices.cost(Usage(images=3)) == round(3 * usd * USD)


@pytest.mark.parametrize(
    "details",
    [{"size": "31x31"}, {"quality": "ultra"}, {"size": "x" * 100, "quality": "best"}],
)
def test_a_form_that_is_not_listed_has_no_price(details: dict[str, Any]) -> None:
    assert PriceBook().find("openai", "dall-e-3", at=NOON, details=details) is None


def test_a_form_that_is_no_text_counts_as_not_given() -> None:
    assert priced("openai", "dall-e-3", details={"size": 7, "quality": None}).tier == "standard 1024x1024"


def test_the_source_of_an_override_is_its_date_and_page() -> None:
    prices = priced("openai", "dall-e-3", details={"quality": "hd"})
    page = "https://platform.openai.com/docs/pricing"
    assert prices.source == f"aden overrides 2025-09-01 {page} openai/dall-e-3 hd 1024x1024"


def test_azure_has_the_images_of_openai() -> None:
    prices = priced("azure", "dall-e-3", details={"quality": "hd"}, service_tier="priority")
    assert prices.cost(Usage(images=1)) == 80_000_000
    assert prices.source.endswith("openai/dall-e-3 hd 1024x1024 (standard: no priority price)")


@pytest.mark.parametrize(
    ("provider", "model", "details", "usd"),
    [
        ("openai", "sora-2", {"size": "1280x720"}, 0.10),
        ("openai", "sora-2-pro", {"size": "1280x720"}, 0.30),
        ("openai", "sora-2-pro", {"size": "1024x1792"}, 0.50),
        ("openai", "sora-2-pro", {"size": "1920x1080"}, 0.70),
        ("google", "veo-3.1-generate-preview", {}, 0.40),
        ("google", "veo-3.1-generate-preview", {"resolution": "4K"}, 0.60),
        ("google", "veo-3.1-fast-generate-preview", {"resolution": "1080p"}, 0.12),
        ("google", "veo-3.1-lite-generate-preview", {"resolution": "720p"}, 0.05),
        ("google", "models/veo-3.0-fast-generate-001", {}, 0.15),
    ],
)
def test_a_video_costs_by_the_second(provider: str, model: str, details: dict[str, Any], usd: float) -> None:
    prices = priced(provider, model, details=details)
    assert prices.cost(Usage(), {"video_seconds": 8}) == round(8 * usd * USD)
    assert prices.cost(Usage(), {"video_seconds": 0.5}) == round(usd / 2 * USD)


def test_a_video_in_a_batch_costs_half() -> None:
    assert priced("openai", "sora-2", batch=True).cost(Usage(), {"video_seconds": 8}) == 400_000_000


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("gpt-4o-2024-08-06", 25),
        ("gpt-4o-mini-2024-07-18", 3),
        ("gpt-4.1-2025-04-14", 25),
        ("gpt-4.1-mini-2025-04-14", 5),
        ("gpt-4.1-nano-2025-04-14", 1.5),
        ("gpt-3.5-turbo-0125", 8),
        ("davinci-002", 6),
        ("babbage-002", 0.4),
    ],
)
def test_training_costs_by_the_token_trained_on(model: str, usd: float) -> None:
    prices = priced("openai", model)
    assert prices.cost(Usage(), {"trained_tokens": MTOK}) == round(usd * USD)
    assert "; aden overrides 2026-11-22 https://developers.openai.com/" in prices.source_of(
        Usage(), {"trained_tokens": 1}
    )


def test_reinforcement_fine_tuning_is_billed_by_the_hour_which_no_token_tells() -> None:
    assert priced("openai", "o4-mini-2025-04-16").unpriced(Usage(), {"trained_tokens": 5}) == (
        "trained_tokens",
    )


@pytest.mark.parametrize(
    ("model", "input_", "cached", "output", "batch"),
    [
        ("ft:gpt-4o-2024-08-06:acme::1", 3.75, 1.875, 15, (2.225, 0.9, 12.5)),
        ("ft:gpt-4o-mini-2024-07-18:acme::1", 0.3, 0.15, 1.2, (0.15, 0.075, 0.6)),
        ("ft:gpt-4.1-2025-04-14:acme::1", 3, 0.75, 12, (1.5, 0.5, 6)),
        ("ft:gpt-4.1-mini-2025-04-14:acme::1", 0.8, 0.2, 3.2, (0.4, 0.1, 1.6)),
        ("ft:gpt-4.1-nano-2025-04-14:acme::1", 0.2, 0.05, 0.8, (0.1, 0.025, 0.4)),
        ("ft:o4-mini-2025-04-16:acme::1", 4, 1, 16, (2, 0.5, 8)),
        ("ft:davinci-002:acme::1", 12, 12, 12, (6, 6, 6)),
        ("ft:babbage-002:acme::1", 1.6, 1.6, 1.6, (0.8, 0.8, 0.9)),
    ],
)
def test_a_fine_tuned_model_has_its_own_price(
    model: str, input_: float, cached: float, output: float, batch: tuple[float, float, float]
) -> None:
    for prices, usd in (
        (priced("openai", model), (input_, cached, output)),
        (priced("openai", model, batch=True), batch),
    ):
        costs = (Usage(MTOK), Usage(MTOK, cached_tokens=MTOK), Usage(0, MTOK))
        assert [prices.cost(use) for use in costs] == [round(amount * USD) for amount in usd]


def test_what_is_billed_beside_a_model_is_billed_beside_each_and_beside_none() -> None:
    units = {"container_sessions": 1, "file_searches": 1_000, "gb_days": 2.5}
    cost = 30_000_000 + 2_500_000_000 + 250_000_000
    for name in ("gpt-4.1-nano", "gpt-4o", "o1", ""):
        assert priced("openai", name).cost(Usage(), units) == cost
    assert priced("openai", "gpt-4.1-nano").cost(Usage(server_tool_calls=1)) == 10_000_000
    assert (
        priced("openai", "").source
        == "aden overrides 2026-11-22 https://developers.openai.com/api/docs/pricing"
    )
    assert PriceBook().find("groq", "", at=NOON) is None
    assert PriceBook().find("nobody", "", at=NOON) is None


def test_who_resells_a_model_has_fees_of_its_own() -> None:
    assert priced("azure", "gpt-4.1-nano").unpriced(Usage(), {"gb_days": 1.0}) == ("gb_days",)


def test_only_what_was_used_is_cited() -> None:
    prices = priced("openai", "gpt-4o")
    assert prices.source_of(Usage(10, 10, server_tool_calls=1), {"file_searches": 1}) == prices.source
    assert prices.source_of(Usage(10, 10), {"gb_days": 0}) == prices.source
    cited = prices.source_of(Usage(10), {"gb_days": 1.0, "container_sessions": 1})
    assert (
        cited == f"{prices.source}; aden overrides 2026-11-22 https://developers.openai.com/api/docs/pricing"
    )
    spoken = priced("openai", "gpt-4o-audio-preview-2024-12-17")
    assert spoken.cost(Usage(MTOK, MTOK, audio_input_tokens=MTOK, audio_output_tokens=MTOK)) == 120 * USD
    assert (
        spoken.source_of(Usage(10, audio_input_tokens=5)) != spoken.source == spoken.source_of(Usage(10, 5))
    )


@pytest.mark.parametrize(
    ("at", "usd"), [(datetime(2025, 12, 1, tzinfo=UTC), 8), (datetime(2025, 12, 2, tzinfo=UTC), 2)]
)
def test_mistral_large_latest_is_large_3_since_its_release(at: datetime, usd: float) -> None:
    assert priced("mistral", "mistral-large-latest", at=at.timestamp()).cost(Usage(MTOK, MTOK)) == usd * USD
    assert priced("mistral", "mistral-large-2411", at=at.timestamp()).cost(Usage(MTOK, MTOK)) == 8 * USD


def test_mistral_large_latest_in_a_batch() -> None:
    assert priced("mistral", "mistral-large-latest", batch=True).cost(Usage(MTOK, MTOK)) == USD


@pytest.mark.parametrize(
    ("provider", "model", "usage", "usd"),
    [
        ("cohere", "rerank-v3.5", Usage(search_units=1_000), 2.0),
        ("cohere", "rerank-english-v3.0", Usage(search_units=1), 0.002),
        ("cohere", "rerank-v4.0-pro", Usage(search_units=1_000), 2.5),
        ("cohere", "embed-english-v3.0", Usage(MTOK), 0.1),
        ("cohere", "embed-v4.0", Usage(MTOK, image_input_tokens=MTOK), 0.47),
        ("cohere", "embed-v4.0", Usage(MTOK), 0.12),
        ("voyage", "rerank-2.5", Usage(MTOK), 0.05),
        ("voyage", "rerank-2-lite", Usage(MTOK), 0.02),
        ("google", "imagen-4.0-generate-001", Usage(images=1), 0.04),
        ("vertex", "imagen-4.0-ultra-generate-001", Usage(images=1), 0.06),
        ("gemini", "models/imagen-4.0-fast-generate-001", Usage(images=4), 0.08),
        ("xai", "grok-imagine-image", Usage(images=1), 0.02),
    ],
)
def test_models_that_genai_prices_lacks_cost_what_their_vendors_list(
    provider: str, model: str, usage: Usage, usd: float
) -> None:
    prices = priced(provider, model)
    assert prices.unpriced(usage) == ()
    assert prices.cost(usage) == round(usd * USD)


def test_images_by_token_have_no_price_by_the_piece() -> None:
    assert "images" not in priced("openai", "gpt-image-1").rates


def test_an_override_of_the_user_goes_before_ours() -> None:
    book = PriceBook({"openai/dall-e-3": Price(0, 0, per_image=1), "huggingface/org/m": Price(1, 2)})
    mine = book.find("openai", "dall-e-3", at=NOON, details={"quality": "hd"})
    assert mine is not None
    assert (mine.cost(Usage(images=1)), mine.source) == (USD, "override")
    routed = book.find("huggingface", "Org/M:together", at=NOON)
    assert routed is not None
    assert routed.source == "override"


def test_every_override_has_a_date_that_has_been_and_its_vendor_s_page() -> None:
    document = tomllib.loads((ROOT / "src/aden_transport/pricing/overrides.toml").read_text("utf-8"))
    entries = [entry for table in document.values() for entry in table]
    assert len(entries) > 30
    for entry in entries:
        assert date(2025, 1, 1) <= entry["checked"] <= date(2026, 11, 30), entry
        assert entry["url"].startswith("https://"), entry


@pytest.mark.parametrize(
    ("table", "entry", "complaint"),
    [
        ("model", {"id": "gpt-4o", "prices": [{"per_image": "1"}]}, "genai-prices lists it as gpt-4o"),
        ("model", {"id": "new", "prices": [{"per_picture": "1"}]}, "unknown: .*per_picture"),
        ("model", {"id": "new", "instead_of": "gpt-4o", "prices": [{}]}, "lists it as None"),
        ("patch", {"ids": ["gpt-4o"], "prices": [{"cached_per_mtok": "1"}]}, "has .*cached.* by now"),
        (
            "patch",
            {"ids": ["gpt-4o"], "prices": [{}, {"batch": True, "input_per_mtok": "1"}]},
            "has .*batch input.* by now",
        ),
        ("patch", {"ids": ["gone"], "prices": [{"per_image": "1"}]}, "does not list.*gone"),
    ],
)
def test_an_override_that_is_not_needed_or_not_understood_stops_the_script(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, table: str, entry: dict[str, Any], complaint: str
) -> None:
    head = {"provider": "openai", "checked": date(2026, 11, 22), "url": "https://example.com"}
    document = {"fees": [], "model": [], "patch": [], table: [{**head, **entry}]}
    monkeypatch.setattr(script, "overrides", lambda: script.Overrides(document))
    with pytest.raises(SystemExit, match=complaint):
        script.render("2026-11-22", script.LeftOut())
