"""Compile the installed genai-prices data, and our overrides, into `src/aden_transport/pricing/prices.jsonl`.

    python scripts/build_prices.py           write the file and report what was left out
    python scripts/build_prices.py --check   exit 1 if the committed file differs

The file's form is documented in `aden_transport/pricing/snapshot.py`, the overrides' in
`aden_transport/pricing/overrides.toml`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers
from genai_prices.data_units import unit_data

from aden_transport.pricing.price import AMOUNTS, rates_of

PRICING = Path(__file__).parents[1] / "src" / "aden_transport" / "pricing"
TARGET = PRICING / "prices.jsonl"
OVERRIDES = PRICING / "overrides.toml"

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
    "storage_searches_kcount": "file_searches",
}
"""Price keys that `NormalizedUsage` can be billed by; the later of two that share a name wins."""

UNMETERED = {
    "input_video_mtok",
    "output_video_mtok",
    "output_citation_mtok",
    "input_annotated_document_kpages",
    "input_text_messages_kcount",
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


Entry = Mapping[str, Any]
"""One table of `overrides.toml`."""


class Overrides:
    """What `overrides.toml` says of each provider, checked against what genai-prices lists."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.fees: dict[str, Entry] = {entry["provider"]: entry for entry in document["fees"]}
        self.models: dict[str, list[Entry]] = {}
        for entry in document["model"]:
            self.models.setdefault(entry["provider"], []).append(entry)
        self.patches: dict[tuple[str, str], Entry] = {
            (entry["provider"], model): entry for entry in document["patch"] for model in entry["ids"]
        }

    def provider_of(self, provider: types.Provider) -> Iterator[tuple[str, Any]]:
        if fees := self.fees.get(provider.id):
            yield "fees", amounts(fees["prices"][0])
            yield "fees_source", cited(fees)

    def models_of(self, provider: types.Provider) -> Iterator[dict[str, Any]]:
        """Our models come first, so that one of them may stand for a name that another one claims."""
        for entry in self.models.get(provider.id, ()):
            for name in names(entry):
                listed = provider.find_model(name.rstrip("*"), all_providers=[])
                if (listed.id if listed else None) != entry.get("instead_of"):
                    raise SystemExit(f"{provider.id}/{name}: genai-prices lists it as {listed and listed.id}")
            yield compile_override(entry)

    def patched(self, provider: types.Provider, model: dict[str, Any]) -> dict[str, Any]:
        entry = self.patches.pop((provider.id, model["id"]), None)
        if entry is None:
            return model
        ((_, added),), more = standard_and_variants(entry)
        prices = model["prices"]
        sets = [rates for _, rates in prices] if isinstance(prices, list) else [prices]
        theirs = {name for rates in sets for name in rates}
        theirs |= {f"{variant} {name}" for variant, _, rates in model.get("variants", ()) for name in rates}
        known = theirs & {*added, *(f"{variant} {name}" for variant, _, rates in more for name in rates)}
        if known:
            raise SystemExit(f"{provider.id}/{model['id']}: genai-prices has {sorted(known)} by now")
        for rates in sets:
            rates.update(added)
        if more:
            model["variants"] = [*model.get("variants", ()), *more]
        model["cited"] = dict.fromkeys(added, cited(entry))
        return model


def overrides() -> Overrides:
    return Overrides(tomllib.loads(OVERRIDES.read_text("utf-8")))


def cited(entry: Entry) -> str:
    return f"aden overrides {entry['checked'].isoformat()} {entry['url']}"


def names(entry: Entry) -> list[str]:
    found: list[str] = entry.get("names") or [entry["id"]]
    return found


def amounts(row: Mapping[str, Any]) -> dict[str, int | str]:
    return rates_of({name: value for name, value in row.items() if name in AMOUNTS})


def standard_and_variants(entry: Entry) -> tuple[list[list[Any]], list[list[Any]]]:
    """`[when, rates]` of the rows without a name, and `[name, when, rates]` of the others, latest first."""
    by = entry.get("by", {})
    standard: list[list[Any]] = []
    named: list[list[Any]] = []
    for row in entry["prices"]:
        unknown = row.keys() - AMOUNTS.keys() - by.keys() - {"since", "batch"}
        if unknown:
            raise SystemExit(f"overrides.toml, {dict(row)}: unknown: {sorted(unknown)}")
        since = row["since"].isoformat() if "since" in row else None
        if "batch" in row:
            named.append(["batch", since, amounts(row)])
        elif by:
            named.append([" ".join(row[detail] for detail in by), since, amounts(row)])
        else:
            standard.append([since, amounts(row)])
    return standard or [[None, {}]], named[::-1]


def compile_override(entry: Entry) -> dict[str, Any]:
    standard, named = standard_and_variants(entry)
    out: dict[str, Any] = {"id": entry["id"]}
    clauses = [f"^{name[:-1]}" if name.endswith("*") else f"={name}" for name in names(entry)]
    if clauses != ["=" + entry["id"]]:
        out["match"] = clauses[0] if len(clauses) == 1 else ["|", *clauses]
    out["prices"] = standard[0][1] if len(standard) == 1 else standard
    if named:
        out["variants"] = named
    if by := entry.get("by"):
        out["by"] = [[detail, default or None] for detail, default in by.items()]
    out["source"] = cited(entry)
    return out


def compile_provider(provider: types.Provider, ours: Overrides) -> dict[str, Any]:
    out: dict[str, Any] = {"id": provider.id}
    if provider.provider_match is not None:
        out["match"] = clause(provider.provider_match)
    if provider.fallback_model_providers:
        out["fallback"] = provider.fallback_model_providers
    return out | dict(ours.provider_of(provider))


def render(as_of: str, left_out: LeftOut) -> str:
    """The file's text: one model a line, so that an update reads as a diff of models."""
    header = {"source": f"genai-prices {version('genai-prices')}", "as_of": as_of}
    return "".join(f"{dump(each)}\n" for each in [header, *_entries(left_out, overrides())])


def _entries(left_out: LeftOut, ours: Overrides) -> Iterator[Mapping[str, Any]]:
    for provider in providers:
        models = [ours.patched(provider, compile_model(provider, m, left_out)) for m in provider.models]
        models = [*ours.models_of(provider), *models]
        yield compile_provider(provider, ours) | {"models": len(models)}
        yield from models
    if ours.patches:
        raise SystemExit(f"patches of models that genai-prices does not list: {sorted(ours.patches)}")


def dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if the committed file differs")
    options = parser.parse_args(arguments)
    committed = TARGET.read_text("utf-8") if TARGET.exists() else ""
    today = datetime.now(UTC).date().isoformat()
    # `as_of` is the day on which the figures last changed here: an unchanged compile keeps it.
    known = json.loads(committed.partition("\n")[0])["as_of"] if committed else today
    left_out = LeftOut()
    same = render(known, left_out) == committed
    if options.check:
        print("prices.jsonl is up to date" if same else "prices.jsonl differs: run scripts/build_prices.py")
        return 0 if same else 1
    if not same:
        TARGET.write_text(render(today, LeftOut()), "utf-8")
    count = sum(len(p.models) for p in providers)
    own = sum(map(len, overrides().models.values()))
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes, {count} models and {own} of our own")
    for reason, times in sorted(left_out.items()):
        print(f"  left out: {times} x {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
