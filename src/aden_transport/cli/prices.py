"""`aden-transport prices [MODEL]`: what a model costs, and why we say so.

Without a model: the providers, and how old their prices are. Exit code 1 where nobody lists the model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from .screen import Column, Line, Screen, flow, table

if TYPE_CHECKING:
    from ..pricing import UnitPrices
    from ..pricing.snapshot import Match, Snapshot

__all__ = ["add_arguments", "run"]

NOT_LISTED = 1

RATES = {
    "input": ("input", 1_000_000, "1M tokens"),
    "cached": ("cached input", 1_000_000, "1M tokens"),
    "cache_write": ("cache write", 1_000_000, "1M tokens"),
    "cache_write_1h": ("cache write for 1 h", 1_000_000, "1M tokens"),
    "audio_input": ("audio input", 1_000_000, "1M tokens"),
    "cached_audio": ("cached audio input", 1_000_000, "1M tokens"),
    "image_input": ("image input", 1_000_000, "1M tokens"),
    "cached_image": ("cached image input", 1_000_000, "1M tokens"),
    "output": ("output", 1_000_000, "1M tokens"),
    "reasoning": ("reasoning", 1_000_000, "1M tokens"),
    "audio_output": ("audio output", 1_000_000, "1M tokens"),
    "image_output": ("image output", 1_000_000, "1M tokens"),
    "characters": ("text to speak", 1_000_000, "1M characters"),
    "audio_seconds": ("audio", 60, "minute"),
    "images": ("image", 1, "image"),
    "video_seconds": ("video", 1, "second"),
    "pages": ("document", 1_000, "1,000 pages"),
    "search_units": ("rerank", 1_000, "1,000 searches"),
    "requests": ("request", 1_000, "1,000 requests"),
    "server_tool_calls": ("web search", 1_000, "1,000 searches"),
    "file_searches": ("file search", 1_000, "1,000 searches"),
    "container_sessions": ("code interpreter", 1, "session"),
    "gb_days": ("vector storage", 1, "GB and day"),
    "trained_tokens": ("training", 1_000_000, "1M tokens"),
}
"""Rate → (what it pays for, how many units the shown amount is of, those in words)."""

EXAMPLES: Iterable[tuple[str, Mapping[str, float], str]] = (
    ("output", {"input_tokens": 1_000, "output_tokens": 500}, "1,000 tokens in and 500 out"),
    ("input", {"input_tokens": 1_000}, "1,000 tokens in"),
    ("characters", {"characters": 1_000}, "1,000 characters"),
    ("audio_seconds", {"audio_seconds": 60.0}, "one minute of audio"),
    ("images", {"images": 1}, "one image"),
    ("pages", {"pages": 10}, "10 pages"),
    ("search_units", {"search_units": 1}, "one search"),
    ("video_seconds", {"video_seconds": 8}, "8 seconds of video"),
)
"""By the first rate that a model has: an example's use, and the same in words."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a model as it is named in calls; may be left out"
    )
    parser.add_argument("--provider", metavar="P", help="only this provider, such as openai or gemini")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--tier", metavar="T", help="a service tier, such as flex or priority")
    way.add_argument("--batch", action="store_true", help="the price in the vendor's batch API")
    parser.add_argument(
        "--at",
        metavar="DATE",
        type=_moment,
        help="the price at 2026-11-22 or 2026-11-22T13:00, in UTC; default: now",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document, nothing else")


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: write it like 2026-11-22") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def run(arguments: argparse.Namespace) -> int:
    """Show the prices; returns the exit code."""
    from ..pricing.snapshot import bundled

    asked = (arguments.provider, arguments.tier, arguments.at)
    if not arguments.model and (arguments.batch or any(one is not None for one in asked)):
        raise ConfigurationError("--provider, --tier, --batch and --at are of a model: name the MODEL, too")
    snapshot = bundled()
    document = _explained(snapshot, arguments) if arguments.model else _summary(snapshot)
    if arguments.json:
        print(json.dumps(document))
    elif arguments.model:
        _show_model(Screen(), document)
    else:
        _show_summary(Screen(), document)
    return 0 if not arguments.model or document["listings"] else NOT_LISTED


# -- what is known, as plain values ----------------------------------------------------------------------


def _summary(snapshot: Snapshot) -> dict[str, Any]:
    snapshot.read_all()
    providers = []
    for provider in snapshot.providers():
        models = snapshot.models_of(provider)
        providers.append(
            {
                "provider": provider,
                "models": len(models),
                "dated": sum(len(model.prices) > 1 for model in models),
                "with_variants": sum(bool(model.variants) for model in models),
                "overrides": sum(bool(model.source or model.cited) for model in models),
            }
        )
    return {"source": snapshot.source, "as_of": snapshot.as_of, "providers": providers}


def _explained(snapshot: Snapshot, arguments: argparse.Namespace) -> dict[str, Any]:
    from ..pricing.search import near_names

    found = list(_matches(snapshot, arguments.model, arguments.provider))
    document: dict[str, Any] = {
        "model": arguments.model,
        "source": snapshot.source,
        "as_of": snapshot.as_of,
        "listings": [_listing(snapshot, match, arguments) for match in found],
    }
    if not found:
        known = snapshot.provider_id(arguments.provider) if arguments.provider else None
        if arguments.provider and known is None:
            document["unknown_provider"] = arguments.provider
        where = [known] if known else [*_metered(snapshot), *snapshot.providers()]
        document["near"] = near_names(snapshot, arguments.model, where)
    return document


def _matches(snapshot: Snapshot, model: str, provider: str | None) -> Iterator[Match]:
    from ..pricing.search import listings

    if provider is None:
        yield from listings(snapshot, model, _metered(snapshot))
        return
    provider_id, name = snapshot.routed(provider, model)
    match = snapshot.find_model(provider_id, name) if provider_id is not None else None
    if match is not None:
        yield match


def _metered(snapshot: Snapshot) -> list[str]:
    """The price providers of the vendors that we have tables of."""
    from ..vendors import VENDORS

    known = set(snapshot.providers())
    return list(dict.fromkeys(p for v in VENDORS if (p := v.price_provider) and p in known))


def _listing(snapshot: Snapshot, match: Match, arguments: argparse.Namespace) -> dict[str, Any]:
    from ..pricing import PriceBook

    at = datetime.now(UTC).timestamp() if arguments.at is None else arguments.at
    prices = PriceBook().find(
        match.owner, match.name, at=at, service_tier=arguments.tier, batch=arguments.batch
    )
    out: dict[str, Any] = {
        "provider": match.owner,
        "id": match.model.id,
        "matched_by": _how(match, arguments.model),
        "price_source": prices.source if prices else None,
        "tier": prices.tier if prices else None,
        "dated": prices.dated if prices else None,
        "rates": _amounts(prices.rates) if prices else {},
        "above": _above(prices.rates) if prices else [],
        "cited": dict(prices.cited) if prices else {},
        "prices_by_date": [{"when": _when(when), "rates": _amounts(r)} for when, r in match.model.prices],
        "variants": [
            {"name": name, "when": _when(when), "rates": _amounts(rates)}
            for name, when, rates in match.model.variants
        ],
    }
    if prices and (example := _example(prices)):
        out["example"] = example
    return out


def _how(match: Match, asked: str) -> str:
    from ..pricing.clauses import accepting, is_match

    name = asked.lower()
    clause = match.model.clause
    if not is_match(clause, name):
        name = match.name
    if not is_match(clause, name) or name.endswith(f"/{asked.lower()}"):
        return f"the end of its id, {match.model.id!r}"
    part = accepting(clause, name)
    words = {"=": "the name", "^": "the prefix", "$": "the ending", "*": "the part"}.get(
        part[0], "the pattern"
    )
    read_from = "" if name == asked.lower() else f", which {asked!r} is read as"
    return f"{words} {part[1:]!r}{read_from}"


def _when(when: Any) -> str | None:
    from ..pricing.schedule import label

    return label(when)


def _amounts(rates: Mapping[str, Any], above: int = -1) -> dict[str, dict[str, Any]]:
    """Dollars and what they are of, by rate, in the order of `RATES`."""
    out = {}
    for name, (_, per, words) in RATES.items():
        if name in rates:
            out[name] = {"usd": float(_rate_at(rates[name], above) * per / 10**12), "per": per, "unit": words}
    return out


def _rate_at(value: Any, above: int) -> Fraction:
    chosen = value[0] if isinstance(value, list) else value
    for start, rate in value[1:] if isinstance(value, list) else ():
        chosen = rate if start <= above else chosen
    return Fraction(chosen)


def _above(rates: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps by prompt length: what changes above each."""
    tiered = {name: value for name, value in rates.items() if isinstance(value, list)}
    starts = sorted({start for value in tiered.values() for start, _ in value[1:]})
    return [{"prompt_tokens": start, "rates": _amounts(tiered, start)} for start in starts]


def _example(prices: UnitPrices) -> dict[str, Any] | None:
    from ..events import NormalizedUsage
    from ..pricing.unit_prices import UNIT_NAMES

    for rate, use, words in EXAMPLES:
        if rate in prices.rates:
            units = {name: amount for name, amount in use.items() if name in UNIT_NAMES}
            usage = NormalizedUsage(**{n: a for n, a in use.items() if n not in units})  # type: ignore[arg-type]
            return {**use, "words": words, "usd": prices.cost(usage, units) / 1e9}
    return None


# -- the same for people ------------------------------------------------------------------------------------


def _show_summary(screen: Screen, document: Mapping[str, Any]) -> None:
    providers = document["providers"]
    models = sum(provider["models"] for provider in providers)
    screen.paragraph(
        f"{models:,} models of {len(providers)} providers, from {document['source']} and our overrides for "
        f"its gaps, compiled on {document['as_of']}."
    )
    columns = [
        Column("provider", 28),
        Column("models", 6),
        Column("dated", 5),
        Column("with variants", 13),
        Column("overrides", 9),
    ]
    rows = [[str(value) for value in provider.values()] for provider in providers]
    head, *lines = table(columns, rows, screen.width)
    screen.show("", Line(head, "bold"), *lines)
    screen.show("", "Next: aden-transport prices MODEL")


def _show_model(screen: Screen, document: Mapping[str, Any]) -> None:
    listings = document["listings"]
    if not listings:
        _show_unknown(screen, document)
        return
    nearest, *others = listings
    _show_listing(screen, document, nearest)
    if others:
        screen.show("", Line("Also listed by", "bold"))
        columns = [Column("provider/model", 52), Column("input $/1M", 12), Column("output $/1M", 12)]
        rows = [[f"{o['provider']}/{o['id']}", _usd(o, "input"), _usd(o, "output")] for o in others]
        head, *lines = table(columns, rows, screen.width)
        screen.show(Line(head, "dim"), *lines)


def _show_unknown(screen: Screen, document: Mapping[str, Any]) -> None:
    if "unknown_provider" in document:
        screen.paragraph(f"No provider is known by the name {document['unknown_provider']!r}.", "yellow")
    screen.paragraph(
        f"No price of {document['model']!r} is known ({document['source']}, compiled on "
        f"{document['as_of']}). Its calls are metered with an unknown cost.",
        "yellow",
    )
    if document["near"]:
        screen.show("", "Near names:", *(f"  {name}" for name in document["near"]))
    screen.show("", "To give it a price:")
    screen.show(
        '  instrument(MeterOptions(prices={"provider/model": Price(input_per_mtok=…, output_per_mtok=…)}))'
    )


def _show_listing(screen: Screen, document: Mapping[str, Any], listing: Mapping[str, Any]) -> None:
    def paragraph(text: str, indent: str = "  ", style: str = "") -> None:
        screen.show(*(Line(line, style) for line in flow([text], screen.width, indent=indent)))

    screen.show(Line(f"{listing['provider']}/{listing['id']}", "bold"))
    paragraph(f"matched by {listing['matched_by']}")
    if listing["price_source"] is None:
        paragraph("listed without a price: its calls are metered with an unknown cost", style="yellow")
    else:
        paragraph(f"source: {listing['price_source']}, compiled on {document['as_of']}")
        paragraph(f"price: {listing['tier']}{_since(listing['dated'])}")
        screen.show("", *_rate_lines(listing["rates"], listing["cited"]))
    for step in listing["above"]:
        screen.show("", f"  above {step['prompt_tokens']:,} tokens of prompt, for all of it")
        screen.show(*_rate_lines(step["rates"]))
    if len(listing["prices_by_date"]) > 1:
        screen.show("", "  by date or hour")
        for price in listing["prices_by_date"]:
            paragraph(f"{price['when'] or 'else'}: {_brief(price['rates'])}", "    ")
    if listing["variants"]:
        screen.show("", "  variants")
        for variant in listing["variants"]:
            rates = _brief(variant["rates"]) or "as the standard price"
            paragraph(f"{variant['name']}{_since(variant['when'])}: {rates}", "    ")
    for source in dict.fromkeys(listing["cited"].values()):
        screen.show("")
        paragraph(f"* {source}", style="dim")
    if "example" in listing:
        example = listing["example"]
        screen.show("", f"  example: {example['words']} for ${money(example['usd'])}")


def _since(when: str | None) -> str:
    if when is None:
        return ""
    return f", {when}" if "UTC" in when else f", since {when}"


def _rate_lines(rates: Mapping[str, Any], cited: Mapping[str, str] | None = None) -> list[str]:
    marked = cited or {}
    return [
        f"    {RATES[name][0]:<20}{'$' + money(rate['usd']):>12} per {rate['unit']}"
        + (" *" if name in marked else "")
        for name, rate in rates.items()
    ]


def _brief(rates: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{RATES[name][0]} ${money(rate['usd'])} per {rate['unit']}" for name, rate in rates.items()
    )


def _usd(listing: Mapping[str, Any], name: str) -> str:
    rate = listing["rates"].get(name)
    return "" if rate is None else money(rate["usd"])


def money(usd: float) -> str:
    """Dollars without trailing zeros, two decimals at least: `2.50`, `0.075`, `0.0000005`."""
    text = f"{usd:.6f}" if usd == 0 or usd >= 0.000_01 else f"{usd:.12f}"
    whole, _, part = text.partition(".")
    return f"{int(whole):,}.{part.rstrip('0').ljust(2, '0')}"
