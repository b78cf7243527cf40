"""The prices of all models, by provider, model, tier and time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple, TypeAlias

from ..errors import ConfigurationError
from .price import Price
from .schedule import When, holds, label, unchanged
from .snapshot import Match, Model, Snapshot, bundled
from .unit_prices import UnitPrices

__all__ = ["OVERRIDE", "PriceBook"]

_Form: TypeAlias = tuple[tuple[str, str], ...]
_Key: TypeAlias = tuple[str, str, str | None, bool, _Form]
_ALWAYS = (-math.inf, math.inf)
_HELD_AT_MOST = 1024
_STANDARD = frozenset({"", "auto", "default", "on_demand", "standard", "standard_only"})
"""Vendors' words for the tier that is not a tier."""
OVERRIDE = "override"
"""`source` of a price that the user gave."""
SERVER = "server"
"""`source` of a price that the control server gave."""
_FORM = ("size", "quality", "resolution", "inference_provider")
"""Details of a call that may choose a price: of an image, of a video, and who answers for a router."""


class PriceBook:
    """Prices of models, the compiled price data with the user's overrides on top.

    `overrides` maps `"provider/model"` to a `Price`. It counts for that name, and for every name that the
    price data takes for the model with that id (`"openai/gpt-4o"` also prices `gpt-4o-2024-08-06` unless
    the data lists the dated model apart), in every tier.

    Raises: ConfigurationError where a key or a value of `overrides` has another form.
    """

    __slots__ = ("__weakref__", "_held", "_overrides", "_snapshot", "_told", "version")

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        self._overrides = dict(_override(key, price) for key, price in (overrides or {}).items())
        self._held: dict[_Key, tuple[UnitPrices | None, float, float]] = {}
        self._snapshot: Snapshot | None = None
        self._told: Mapping[str, Price] = {}
        self.version = 0
        """Raised by each change, for those who keep what they found."""

    def tell(self, prices: Mapping[str, Price]) -> None:
        """What a server says models cost, in the place of what it said before: by `provider/model`, or by
        the name of any provider's, in lower case. It counts before the price data, in the standard tier and
        for the parts that it names; the user's own prices count before it. `prices` is kept as it is, and
        asked for a price when a call needs it."""
        self._told = prices
        self._held = {}
        self.version += 1

    def find(
        self,
        provider: str,
        model: str,
        *,
        at: float,
        service_tier: str | None = None,
        batch: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> UnitPrices | None:
        """The prices of `model` at `at` (seconds since the epoch), None where they are not known.

        `provider` is a genai-prices id or an alias of it. A tier or batch without a price of its own is
        given the standard price, and `source` says so. `details` are the call's, for models whose price
        depends on them: of an image its `size` and `quality`, of a video its `size` or `resolution`, of a
        router's answer its `inference_provider`. An empty `model` has the prices of what the provider
        bills beside any model.
        """
        form = _form(details) if details else ()
        return self.find_plain((provider, model, service_tier, batch, form), at)

    def find_plain(self, key: _Key, at: float) -> UnitPrices | None:
        """`find` in the path of every call: provider, model, tier, whether in a batch, and no details."""
        held = self._held.get(key)
        if held is not None and held[1] <= at < held[2]:
            return held[0]
        return self._find(key, at)

    def find_until(self, provider: str, model: str, *, at: float) -> tuple[UnitPrices | None, float]:
        """`find` for calls of the standard tier, and until when the same is found."""
        key: _Key = (provider, model, None, False, ())
        found = self.find(provider, model, at=at)
        held = self._held.get(key)
        return found, at if held is None else held[2]

    @property
    def snapshot(self) -> Snapshot:
        """The price data; read from its file at the first use."""
        if self._snapshot is None:
            snapshot = bundled()
            # "gemini/gemini-2.5-pro" is an override of Google's model: names become provider ids.
            self._overrides = {
                (snapshot.provider_id(provider) or provider, model): price
                for (provider, model), price in self._overrides.items()
            }
            self._snapshot = snapshot
        return self._snapshot

    def _find(self, key: _Key, at: float) -> UnitPrices | None:
        found, span = self._resolve(key, at)
        if len(self._held) >= _HELD_AT_MOST:
            # Whole, because taking out the oldest would iterate while other threads insert.
            self._held.clear()
        self._held[key] = (found, *span)
        return found

    def _resolve(self, key: _Key, at: float) -> tuple[UnitPrices | None, tuple[float, float]]:
        provider, name, service_tier, batch, form = key
        details = dict(form)
        provider_id, model = self.snapshot.routed(provider, name, details.get("inference_provider"))
        if not model:
            return _fees(self.snapshot, provider_id), _ALWAYS
        match = self.snapshot.find_model(provider_id, model) if provider_id is not None else None
        asked = self.snapshot.provider_id(provider) or provider.lower().strip()
        aliases = (name.lower(), model, *((match.name, match.model.id.lower()) if match else ()))
        owners = dict.fromkeys((asked, provider_id or asked))
        overridden = self._overridden(owners, dict.fromkeys(aliases))
        if overridden is not None:
            return overridden, _ALWAYS
        told = self._told_of(owners, aliases)
        if match is None:
            return (None if told is None else _told(told, {}, asked, model)), _ALWAYS
        span = unchanged(_whens(match.model), at)
        tiers = _tiers(service_tier, batch)
        listed = _listed(match, at, _Asked(tiers, details), self.snapshot)
        if told is not None and not tiers and (listed is None or _differs(told, listed.rates)):
            rates = {} if listed is None else listed.rates
            return _told(told, rates, match.owner, match.model.id), span
        return listed, span

    def _told_of(self, owners: Iterable[str], aliases: Iterable[str]) -> Price | None:
        if not self._told:
            return None
        names = (*(f"{owner}/{alias}" for alias in aliases for owner in owners), *aliases)
        return next((price for name in names if (price := self._told.get(name)) is not None), None)

    def _overridden(self, owners: Iterable[str], aliases: Iterable[str]) -> UnitPrices | None:
        for owner, alias in product(owners, aliases):
            if (price := self._overrides.get((owner, alias))) is not None:
                return UnitPrices(price.rates(), provider=owner, model=alias, source=OVERRIDE)
        return None


def _told(price: Price, rates: Mapping[str, Any], provider: str, model: str) -> UnitPrices:
    """A server's price over that of the data, whose other parts stand: audio, cache writes, long prompts."""
    return UnitPrices({**rates, **_new(price, rates)}, provider=provider, model=model, source=SERVER)


def _differs(price: Price, rates: Mapping[str, Any]) -> bool:
    return bool(_new(price, rates))


def _new(price: Price, rates: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rates of `price` that say something else than `rates`."""
    told = price.rates()
    # Cached tokens without a price of their own are charged as input.
    known = {"cached": told["input"], **rates}
    return {name: rate for name, rate in told.items() if rate != _base(known.get(name))}


def _base(rate: Any) -> Any:
    return rate[0] if isinstance(rate, list) else rate


def _form(details: Mapping[str, Any]) -> _Form:
    return tuple((k, v.lower()) for k in _FORM if isinstance(v := details.get(k), str) and len(v) <= 32)


def _override(key: object, price: object) -> tuple[tuple[str, str], Price]:
    provider, slash, model = key.partition("/") if isinstance(key, str) else ("", "", "")
    if not (provider.strip() and slash and model):
        raise ConfigurationError(f"override {key!r}: write it as 'provider/model', such as 'openai/gpt-4o'")
    if not isinstance(price, Price):
        raise ConfigurationError(
            f"override {key!r}: give a Price(input_per_mtok, output_per_mtok), not {price!r}"
        )
    return (provider.lower().strip(), model.lower()), price


class _Asked(NamedTuple):
    """What a call asks for that may have a price of its own."""

    tiers: tuple[str, ...]
    form: Mapping[str, str]

    def variants(self, model: Model) -> tuple[str, ...]:
        """The names of the variants of `model` that count."""
        if not model.by:
            return self.tiers
        form = [(self.form.get(detail), default) for detail, default in model.by]
        return (*self.tiers, " ".join(str(d if value in (None, "auto") else value) for value, d in form))


def _tiers(service_tier: str | None, batch: bool) -> tuple[str, ...]:
    """The variants that a call asks for."""
    tier = (service_tier or "").strip().lower()
    names = ["batch"] if batch or tier == "batch" else []
    if tier not in _STANDARD and tier != "batch":
        names.append(tier)
    return tuple(names)


def _whens(model: Model) -> list[When]:
    return [when for when, _ in model.prices] + [when for _, when, _ in model.variants]


def _fees(snapshot: Snapshot, provider_id: str | None) -> UnitPrices | None:
    rates, source = snapshot.fees(provider_id) if provider_id is not None else ({}, "")
    return UnitPrices(rates, provider=provider_id or "", source=source) if rates else None


def _listed(match: Match, at: float, asked: _Asked, snapshot: Snapshot) -> UnitPrices | None:
    """The price in the data, None where the model is listed without one."""
    model = match.model
    since, rates = next((p for p in reversed(model.prices) if holds(p[0], at)), model.prices[0])
    names = asked.variants(model)
    if not match.own:
        # A reseller has its own tiers, or none; what a form costs is part of the price.
        names = tuple(name for name in names if name not in asked.tiers)
    variants = [v for v in model.variants if v[0] in names and holds(v[1], at)]
    for _, _, own in reversed(variants):
        # In reverse, so that of two variants with the same rate the first one wins.
        rates = {**rates, **own}
    if not rates:
        return None
    # Tools and storage serve models that read tokens; an image costs what it costs.
    fees, fees_source = snapshot.fees(match.owner) if match.own and "input" in rates else ({}, "")
    priced = [name for name in names if any(name == variant for variant, _, _ in variants)]
    listed = f"{model.source or snapshot.source} {match.owner}/{model.id}"
    return UnitPrices(
        {**fees, **rates},
        provider=match.owner,
        model=model.id,
        tier="+".join(priced) or "standard",
        dated=label(variants[0][1] if variants else since),
        source=_source(listed, asked.tiers, priced),
        minimum_seconds=model.minimum_seconds,
        cited={**{fee: fees_source for fee in fees if fee not in rates}, **model.cited},
    )


def _source(listed: str, tiers: tuple[str, ...], priced: list[str]) -> str:
    missing = [tier for tier in tiers if tier not in priced]
    note = f" (standard: no {'+'.join(missing)} price)" if missing else ""
    return " ".join([listed, *priced]) + note
