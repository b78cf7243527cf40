"""`aden-transport prices`: what a model costs, and why we say so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aden_transport.cli import COMMANDS
from aden_transport.cli.prices import RATES, money
from aden_transport.pricing.snapshot import bundled
from aden_transport.pricing.unit_prices import RATE_NAMES

from .support import Finished, run

SOURCE = bundled().source
AS_OF = bundled().as_of


def explained(*arguments: str) -> dict[str, Any]:
    done = run("prices", *arguments, "--json")
    assert (done.code, done.stderr, len(done.lines)) == (0, "", 1)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def nearest(*arguments: str) -> dict[str, Any]:
    listing: dict[str, Any] = explained(*arguments)["listings"][0]
    return listing


def usd(listing: dict[str, Any]) -> dict[str, float]:
    return {name: rate["usd"] for name, rate in listing["rates"].items()}


def test_it_is_a_command() -> None:
    assert "prices" in COMMANDS


def test_a_model_is_explained_line_by_line() -> None:
    done = run("prices", "gpt-4o-2024-08-06", COLUMNS="100")
    assert (done.code, done.stderr) == (0, "")
    assert done.lines[:8] == [
        "openai/gpt-4o",
        "  matched by the name 'gpt-4o-2024-08-06'",
        f"  source: {SOURCE} openai/gpt-4o, compiled on {AS_OF}",
        "  price: standard",
        "",
        "    input                      $2.50 per 1M tokens",
        "    cached input               $1.25 per 1M tokens",
        "    output                    $10.00 per 1M tokens",
    ]
    assert "    training                  $25.00 per 1M tokens *" in done.lines
    assert "  * aden overrides 2026-11-22 https://developers.openai.com/api/docs/pricing" in done.lines
    assert "    batch, since 2026-10-14: input $1.25 per 1M tokens, output $5.00 per 1M tokens" in done.lines
    assert "  example: 1,000 tokens in and 500 out for $0.0075" in done.lines
    assert "Also listed by" in done.lines


def test_the_same_as_json() -> None:
    document = explained("gpt-4o-2024-08-06")
    assert {key: document[key] for key in ("model", "source", "as_of")} == {
        "model": "gpt-4o-2024-08-06",
        "source": SOURCE,
        "as_of": AS_OF,
    }
    listing = document["listings"][0]
    assert (listing["provider"], listing["id"], listing["tier"]) == ("openai", "gpt-4o", "standard")
    assert listing["price_source"] == f"{SOURCE} openai/gpt-4o"
    assert listing["rates"]["input"] == {"usd": 2.5, "per": 1_000_000, "unit": "1M tokens"}
    assert listing["example"]["usd"] == 0.0075
    assert {"batch", "priority", "fast"} == {variant["name"] for variant in listing["variants"]}
    assert "container_sessions" in listing["cited"]


def test_prompts_above_a_length_have_their_own_rates() -> None:
    listing = nearest("gemini-2.5-pro")
    (step,) = listing["above"]
    assert (usd(listing)["input"], step["prompt_tokens"], usd(step)["input"]) == (1.25, 200_000, 2.5)
    done = run("prices", "gemini-2.5-pro")
    assert "  above 200,000 tokens of prompt, for all of it" in done.lines


@pytest.mark.parametrize(
    ("arguments", "tier", "input_"),
    [
        (("--batch",), "batch", 1.25),
        (("--tier", "priority"), "priority", 4.25),
        (("--tier", "scale"), "standard", 2.5),
        (("--batch", "--at", "2026-10-13"), "standard", 2.5),
        (("--batch", "--at", "2026-10-14T00:00"), "batch", 1.25),
        (("--batch", "--at", "2026-10-14T01:00+02:00"), "standard", 2.5),
    ],
)
def test_a_tier_a_batch_and_a_day_are_asked_for(arguments: tuple[str, ...], tier: str, input_: float) -> None:
    listing = nearest("gpt-4o", *arguments)
    assert (listing["tier"], usd(listing)["input"]) == (tier, input_)


def test_prices_by_the_hour_are_shown_with_their_hours() -> None:
    done = run("prices", "deepseek-flash", "--provider", "deepseek", "--at", "2026-11-22T02:00")
    assert "  price: standard, 01:00-04:00 UTC" in done.lines
    assert "  by date or hour" in done.lines
    assert "06:00-10:00 UTC: input $0.30 per 1M tokens" in done.words


def test_an_image_s_forms_are_shown() -> None:
    done = run("prices", "dall-e-3")
    assert "    hd 1792x1024: image $0.12 per image" in done.lines
    assert "  example: one image for $0.04" in done.lines
    assert "aden overrides 2025-09-01 https://platform.openai.com/docs/pricing" in done.words


@pytest.mark.parametrize(
    ("model", "example", "cost"),
    [
        ("whisper-1", "one minute of audio", 0.006),
        ("tts-1", "1,000 characters", 0.015),
        ("rerank-v3.5", "one search", 0.002),
        ("sora-2", "8 seconds of video", 0.8),
        ("mistral-ocr-2503", "10 pages", 0.01),
        ("text-embedding-3-small", "1,000 tokens in", 0.00002),
    ],
)
def test_the_example_is_in_the_unit_that_is_billed(model: str, example: str, cost: float) -> None:
    found = nearest(model)["example"]
    assert (found["words"], found["usd"]) == (example, cost)


@pytest.mark.parametrize(
    ("model", "matched"),
    [
        ("GPT-4o", "the name 'gpt-4o'"),
        ("gpt-4o-realtime-preview-2024-12-17", "the prefix 'gpt-4o-realtime'"),
        (
            "models/gemini-2.5-flash",
            "the name 'gemini-2.5-flash', which 'models/gemini-2.5-flash' is read as",
        ),
    ],
)
def test_how_a_name_was_matched_is_said(model: str, matched: str) -> None:
    assert nearest(model)["matched_by"] == matched


def test_an_id_that_ends_in_the_name_is_listed_last() -> None:
    last = explained("gpt-4o")["listings"][-1]
    assert (last["provider"], last["matched_by"]) == ("openrouter", "the end of its id, 'openai/gpt-4o'")


def test_one_provider_alone_where_it_is_named() -> None:
    assert [entry["provider"] for entry in explained("gpt-4o", "--provider", "azure")["listings"]] == [
        "openai"
    ]
    listed = explained("deepseek-ai/DeepSeek-V3:together", "--provider", "huggingface")["listings"]
    assert [entry["provider"] for entry in listed] == ["huggingface_together"]


def unknown(*arguments: str) -> Finished:
    done = run("prices", *arguments)
    assert (done.code, done.stderr) == (1, "")
    return done


def test_an_unknown_model_is_said_with_near_names_and_exit_code_1() -> None:
    done = unknown("gpt-4oo")
    assert done.words.startswith(f"No price of 'gpt-4oo' is known ({SOURCE}, compiled on {AS_OF}).")
    assert "  openai/gpt-4o" in done.lines
    assert "MeterOptions(prices=" in done.stdout
    assert "  google/gemini-2.5-flash" in unknown("gemini-2.5-flsh", "--provider", "gemini").lines


def test_an_unknown_provider_is_said() -> None:
    assert unknown("gpt-4o", "--provider", "nobody").lines[0] == "No provider is known by the name 'nobody'."
    document = json.loads(unknown("gpt-4o", "--provider", "nobody", "--json").stdout)
    assert (document["unknown_provider"], document["listings"]) == ("nobody", [])


def test_a_model_that_is_listed_without_a_price_says_so() -> None:
    done = run("prices", "gemma-3", "--provider", "google")
    assert done.code == 0
    assert "listed without a price: its calls are metered with an unknown cost" in done.words


def test_a_date_of_another_form_is_wrong_usage() -> None:
    done = run("prices", "gpt-4o", "--at", "yesterday")
    assert (done.code, done.stdout) == (2, "")
    assert "'yesterday' is no date: write it like 2026-11-22" in done.stderr


def test_without_a_model_the_providers_are_summed_up() -> None:
    done = run("prices")
    assert (done.code, done.stderr) == (0, "")
    assert f"from {SOURCE} and our overrides for its gaps, compiled on {AS_OF}." in done.words
    document = json.loads(run("prices", "--json").stdout)
    by_id = {entry["provider"]: entry for entry in document["providers"]}
    assert by_id["openai"]["models"] > 100
    assert by_id["openai"]["overrides"] > 10
    assert by_id["groq"]["overrides"] == 0
    assert all(f"\n{provider} " in done.stdout for provider in by_id)


def test_no_line_is_wider_than_the_terminal() -> None:
    for arguments in (("gpt-4o",), ("claude-sonnet-4-5",), ("dall-e-3",), ()):
        done = run("prices", *arguments, COLUMNS="60")
        # What can be copied (names, addresses) stays in one piece.
        assert [line for line in done.lines if len(line) > 60 and "https://" not in line] == []


def test_pipes_and_no_color_get_no_colour() -> None:
    assert "\x1b" not in run("prices", "gpt-4o", NO_COLOR="1", FORCE_COLOR="1").stdout


def test_it_starts_without_sdks_http_libraries_and_the_adapters() -> None:
    before = (
        "import atexit\n"
        "bad = ('openai', 'anthropic', 'google.genai', 'httpx', 'httpx2', 'rich', 'genai_prices')\n"
        "atexit.register(lambda: print('imported:', [m for m in bad if m in sys.modules]))"
    )
    assert run("prices", "gpt-4o", before=before).lines[-1] == "imported: []"


def test_every_rate_has_words() -> None:
    assert set(RATES) == set(RATE_NAMES)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00"),
        (2.5, "2.50"),
        (0.075, "0.075"),
        (1_234.5, "1,234.50"),
        (0.0000005, "0.0000005"),
        (1 / 3, "0.333333"),
        (10.0, "10.00"),
    ],
)
def test_money_has_two_decimals_or_what_it_needs(amount: float, text: str) -> None:
    assert money(amount) == text
