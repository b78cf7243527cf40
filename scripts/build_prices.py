"""Compile the installed genai-prices data into `src/aden_transport/pricing/prices.json`.

    python scripts/build_prices.py           write the file and report what was left out
    python scripts/build_prices.py --check   exit 1 if the committed file differs

The file's form is documented in `aden_transport/pricing/snapshot.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers
from genai_prices.data_units import unit_data

TARGET = Path(__file__).parents[1] / "src" / "aden_transport" / "pricing" / "prices.json"

RATES = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "input_image_mtok": "image_input",
    "cache_audio_read_mtok": "cached_audio",
    "cache_image_read_mtok": "cached_image",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
    "input_mchars": "characters",
    "audio_hours": "audio_seconds",
    "input_audio_hours": "audio_seconds",
    "input_document_kpages": "pages",
    "rerank_searches_kcount": "search_units",
    "web_searches_kcount": "server_tool_calls",
    "requests_kcount": "requests",
}
"""Price keys that `NormalizedUsage` can be billed by; the later of two that share a name wins."""

UNMETERED = {
    "input_video_mtok",
    "output_video_mtok",
    "output_citation_mtok",
    "input_annotated_document_kpages",
    "input_text_messages_kcount",
    "storage_searches_kcount",
}
"""Price keys whose units `NormalizedUsage` does not tell apart."""

CONTEXT_KEYS = {"processing", "service_tier", "speed"}
"""Context keys that `PriceBook.find` can express (`speed` is Anthropic's word for a tier)."""

# genai_prices.types.ModelInfo.calc_price bills these for ten seconds at least.
MINIMUM_SECONDS = {("groq", "whisper-large-v3"): 10, ("groq", "whisper-large-v3-turbo"): 10}

FREE_PHRASES = ("free of charge", "included in the subscription")
"""Words in genai-prices' own notes that tell a free model from one without a known price."""

PICO = 10**12


class LeftOut(Counter[str]):
    """What the compiled file does not carry, by reason."""


def rate(price: Decimal, per: int) -> int | str:
    """Pico-dollars for one unit: an integer, or `"numerator/denominator"` where it is not whole."""
    value = Fraction(price) * PICO / per
    return value.numerator if value.denominator == 1 else str(value)


def rates(prices: types.ModelPrice, left_out: LeftOut) -> dict[str, Any]:
    """One price set by our names; a tiered price is `[base, [start, price], …]`."""
    per = {unit["price_key"]: unit["per"] for unit in unit_data.values()}
    unknown = prices.__dict__.keys() - RATES.keys() - UNMETERED
    if unknown:
        raise SystemExit(f"price keys without a decision in RATES or UNMETERED: {sorted(unknown)}")
    left_out.update(f"unit {key}" for key in prices.__dict__.keys() & UNMETERED)
    out: dict[str, Any] = {}
    for key, name in RATES.items():
        match prices.__dict__.get(key):
            case Decimal() as price:
                out[name] = rate(price, per[key])
            case types.TieredPrices() as tiered:
                steps = [[tier.start, rate(tier.price, per[key])] for tier in tiered.tiers]
                out[name] = [rate(tiered.base, per[key]), *steps]
            case None:
                pass
    return out


def when(constraint: types.StartDateConstraint | types.TimeOfDateConstraint | None) -> Any:
    """`None`, `"2026-08-01"` (UTC) or `[first, last]` seconds of the UTC day, the last exclusive."""
    match constraint:
        case types.StartDateConstraint():
            return constraint.start_date.isoformat()
        case types.TimeOfDateConstraint():
            return [utc_seconds(constraint.start_time), utc_seconds(constraint.end_time)]
        case None:
            return None


def utc_seconds(value: time) -> int:
    moment = datetime.combine(date(1970, 1, 2), value, value.tzinfo or UTC).astimezone(UTC)
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def clause(match: types.MatchLogic) -> Any:
    """A match clause as `=equals`, `^prefix`, `$suffix`, `*part`, `~regex`, `["|", …]`, `["&", …]`."""
    match match:
        case types.ClauseEquals(equals=text):
            return "=" + text.lower()
        case types.ClauseStartsWith(starts_with=text):
            return "^" + text.lower()
        case types.ClauseEndsWith(ends_with=text):
            return "$" + text.lower()
        case types.ClauseContains(contains=text):
            return "*" + text.lower()
        case types.ClauseRegex(regex=text):
            return "~" + text
        case types.ClauseOr(or_=parts):
            return ["|", *map(clause, parts)]
        case types.ClauseAnd(and_=parts):
            return ["&", *map(clause, parts)]


def variants(model: types.ModelInfo, left_out: LeftOut) -> Iterator[list[Any]]:
    """`[name, when, rates]` per variant, in the order in which they are tried."""
    for variant in model.price_variants or ():
        if len(variant.when) != 1:
            raise SystemExit(
                f"{model.id}: a variant with several conditions needs a new form: {variant.when}"
            )
        ((key, name),) = variant.when.items()
        if key not in CONTEXT_KEYS:
            left_out[f"variants by {key}"] += 1
        elif (prices := rates(variant.prices, left_out)) or name != "default":
            # Without rates it says that this tier costs what the standard one does.
            yield [name, when(variant.constraint), prices]


def is_free(model: types.ModelInfo) -> bool:
    notes = f"{model.price_comments or ''} {model.description or ''}".lower()
    return model.id.endswith(":free") or any(phrase in notes for phrase in FREE_PHRASES)


def compile_model(provider: types.Provider, model: types.ModelInfo, left_out: LeftOut) -> dict[str, Any]:
    out: dict[str, Any] = {"id": model.id}
    match = clause(model.match)
    if match != "=" + model.id.lower():
        out["match"] = match
    if isinstance(model.prices, list):
        out["prices"] = [[when(c.constraint), rates(c.prices, left_out)] for c in model.prices]
    else:
        out["prices"] = rates(model.prices, left_out)
        if not out["prices"] and is_free(model):
            out["prices"] = {"input": 0, "output": 0}
        elif not out["prices"]:
            left_out["models without a price"] += 1
    if found := list(variants(model, left_out)):
        out["variants"] = found
    if minimum := MINIMUM_SECONDS.get((provider.id, model.id)):
        out["minimum_seconds"] = minimum
    return out


def compile_provider(provider: types.Provider) -> dict[str, Any]:
    out: dict[str, Any] = {"id": provider.id}
    if provider.provider_match is not None:
        out["match"] = clause(provider.provider_match)
    if provider.fallback_model_providers:
        out["fallback"] = provider.fallback_model_providers
    return out


def render(as_of: str, left_out: LeftOut) -> str:
    """The file's text: JSON with one model a line, so that an update reads as a diff of models."""
    header = {"source": f"genai-prices {version('genai-prices')}", "as_of": as_of}
    text = f'{{{dump(header)[1:-1]},"providers":[\n'
    text += ",\n".join(_provider_lines(left_out))
    return text + "\n]}\n"


def _provider_lines(left_out: LeftOut) -> Iterable[str]:
    for provider in providers:
        models = ",\n".join(dump(compile_model(provider, model, left_out)) for model in provider.models)
        yield f'{dump(compile_provider(provider))[:-1]},"models":[\n{models}\n]}}'


def dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed file differs")
    options = parser.parse_args(arguments)
    committed = TARGET.read_text("utf-8") if TARGET.exists() else ""
    today = datetime.now(UTC).date().isoformat()
    # `as_of` is the day on which the figures last changed here: an unchanged compile keeps it.
    known = json.loads(committed)["as_of"] if committed else today
    left_out = LeftOut()
    same = render(known, left_out) == committed
    if options.check:
        print("prices.json is up to date" if same else "prices.json differs: run scripts/build_prices.py")
        return 0 if same else 1
    if not same:
        TARGET.write_text(render(today, LeftOut()), "utf-8")
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, {sum(len(p.models) for p in providers)} models")
    for reason, count in sorted(left_out.items()):
        print(f"  left out: {count} x {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
