"""The compiled price data, read on first use and kept only for the providers in use.

`prices.jsonl` is written by `scripts/build_prices.py`: a line for the data, and one for each provider, which
is followed by one for each of its models, so that a program reads those of the providers that it calls::

    {"source": "genai-prices 0.2.3", "as_of": "2026-11-22"}
    {"id": "openai", "match": clause, "fallback": [provider id, …],
     "fees": rates, "fees_source": text,         of what any model's call, or none's, may use
     "models": 163}                              so many lines follow
    {"id": "gpt-4o", "match": clause,            left out where it is "=" + id
     "prices": rates | [[when, rates], …],       the last that holds counts, else the first
     "variants": [[name, when, rates], …],       per rate the first that holds counts
     "by": [[detail, default | null], …],        details whose values name a variant: "hd 1024x1024"
     "source": text,                             where not the document's
     "cited": {rate: text},                      where single rates come from, where not from there
     "minimum_seconds": 10}                      of audio, per call

Clauses are described in `clauses.py`, `when` in `schedule.py`, rates in `unit_prices.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from .._json import loads
from .clauses import Clause, is_match, is_sibling
from .names import readings, routed
from .schedule import When
from .unit_prices import Rates

__all__ = ["Match", "Model", "Snapshot", "bundled"]


class Model(NamedTuple):
    """One model of one provider as the price data has it."""

    id: str
    clause: Clause
    prices: list[tuple[When, Rates]]
    variants: list[tuple[str, When, Rates]]
    """By tier (`"batch"`, `"flex"`) or by details of the call (`"hd 1024x1024"`)."""
    by: list[tuple[str, str | None]]
    """The details that choose a variant, each with the vendor's default; None: it has none."""
    source: str | None
    cited: Mapping[str, str]
    minimum_seconds: int


class Match(NamedTuple):
    """A model that a name was found to mean."""

    owner: str
    """The provider that lists the model; another than the one asked where that one resells it."""
    model: Model
    own: bool
    """Variants count only for a provider's own models, as in genai-prices."""
    name: str
    """The reading of the name that the model's clause accepts."""


class _Provider(NamedTuple):
    id: str
    clause: Clause | None
    fallback: list[str]
    fees: Rates
    fees_source: str
    lines: slice
    """Of its models."""


class Snapshot:
    """Providers and models of `prices.jsonl`."""

    __slots__ = ("_models", "_providers", "as_of", "source")

    def __init__(self) -> None:
        lines = _lines()
        of = loads(lines[0])
        self.source: str = of["source"]
        """`"genai-prices 0.2.3"`."""
        self.as_of: str = of["as_of"]
        """ISO date on which these figures were compiled."""
        self._providers = {provider.id: provider for provider in _providers(lines)}
        self._models: dict[str, list[Model]] = {}

    def provider_id(self, name: str) -> str | None:
        """The id of the provider that `name` means (`"xai"` → `"x-ai"`), None where there is none."""
        name = name.lower().strip()
        if name in self._providers:
            return name
        matching = (
            p.id for p in self._providers.values() if p.clause is not None and is_match(p.clause, name)
        )
        return next(matching, None)

    def find_model(self, provider_id: str, name: str) -> Match | None:
        """The model that `name` means at this provider or at one whose models it resells."""
        for reading in readings(name.lower(), lambda prefix: self.provider_id(prefix) == provider_id):
            if (found := self._find(provider_id, reading)) is not None:
                return found
        return None

    def routed(self, provider: str, name: str, answering: str | None = None) -> tuple[str | None, str]:
        """The id of the provider that answers for `name` at `provider`, and the name there."""
        owner, model = routed(provider, name, answering)
        return self.provider_id(owner), model

    def fees(self, provider_id: str) -> tuple[Rates, str]:
        """Rates of tools and storage that are billed beside any model, and where they come from."""
        provider = self._providers[provider_id]
        return provider.fees, provider.fees_source

    def fallback(self, provider_id: str) -> list[str]:
        """The providers whose models this one resells at their prices."""
        return self._providers[provider_id].fallback

    def _find(self, provider_id: str, name: str) -> Match | None:
        # The data's clauses are ordered: of two that accept a name, the closer one comes first.
        for owner in (provider_id, *self.fallback(provider_id)):
            for model in self.models_of(owner):
                if is_match(model.clause, name) and not is_sibling(model.clause, name, model.id.lower()):
                    return Match(owner, model, owner == provider_id, name)
        return None

    def models_of(self, provider_id: str) -> list[Model]:
        """The models that this provider lists, in the order in which names are compared with them."""
        # All of them would hold some megabytes for the few providers that one program calls.
        models = self._models.get(provider_id)
        if models is None:
            models = self._models[provider_id] = _models(_lines(), self._providers[provider_id])
        return models

    def read_all(self) -> None:
        """Read the models of all providers at once, for who searches them."""
        lines = _lines()
        for provider_id, provider in self._providers.items():
            self._models.setdefault(provider_id, _models(lines, provider))

    def providers(self) -> Iterable[str]:
        """The ids of all providers."""
        return self._providers.keys()


def _lines() -> list[bytes]:
    import pkgutil  # here, because importing aden_transport must stay cheap

    data = pkgutil.get_data(__name__, "prices.jsonl")
    if data is None:  # pragma: no cover - only a loader without get_data() answers None
        raise FileNotFoundError("prices.jsonl")
    return data.splitlines()


def _providers(lines: list[bytes]) -> Iterator[_Provider]:
    at = 1
    while at < len(lines):
        entry = loads(lines[at])
        models = slice(at + 1, at + 1 + entry["models"])
        yield _Provider(
            entry["id"],
            entry.get("match"),
            entry.get("fallback", []),
            entry.get("fees", {}),
            entry.get("fees_source", ""),
            models,
        )
        at = models.stop


def _models(lines: list[bytes], provider: _Provider) -> list[Model]:
    return [_model(loads(line)) for line in lines[provider.lines]]


def _model(entry: dict[str, Any]) -> Model:
    prices = entry["prices"]
    return Model(
        entry["id"],
        entry.get("match") or "=" + entry["id"].lower(),
        [(None, prices)] if isinstance(prices, dict) else [(when, rates) for when, rates in prices],
        [(name, when, rates) for name, when, rates in entry.get("variants", ())],
        [(detail, default) for detail, default in entry.get("by", ())],
        entry.get("source"),
        entry.get("cited", {}),
        entry.get("minimum_seconds", 0),
    )


@cache
def bundled() -> Snapshot:
    """The price data of this release, one copy per process."""
    return Snapshot()
