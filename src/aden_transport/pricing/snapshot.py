"""The compiled price data, read on first use and kept only for the providers in use.

`prices.json` is written by `scripts/build_prices.py`::

    {"source": "genai-prices 0.2.3", "as_of": "2026-11-22", "providers": [
      {"id": "openai", "match": clause, "fallback": [provider id, …], "models": [
        {"id": "gpt-4o", "match": clause,          left out where it is "=" + id
         "prices": rates | [[when, rates], …],     the last that holds counts, else the first
         "variants": [[tier, when, rates], …],     per rate the first that holds counts
         "minimum_seconds": 10}]}]}                of audio, per call

Clauses are described in `clauses.py`, `when` in `schedule.py`, rates in `unit_prices.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from .._json import loads
from .clauses import Clause, dashed_date, is_match
from .schedule import When
from .unit_prices import Rates

__all__ = ["Match", "Model", "Snapshot", "bundled"]


class Model(NamedTuple):
    """One model of one provider as the price data has it."""

    id: str
    clause: Clause
    prices: list[tuple[When, Rates]]
    variants: list[tuple[str, When, Rates]]
    minimum_seconds: int


class Match(NamedTuple):
    """A model that a name was found to mean."""

    owner: str
    """The provider that lists the model; another than the one asked where that one resells it."""
    model: Model
    own: bool
    """Variants count only for a provider's own models, as in genai-prices."""


class _Provider(NamedTuple):
    id: str
    clause: Clause | None
    fallback: list[str]


class Snapshot:
    """Providers and models of `prices.json`."""

    __slots__ = ("_models", "_providers", "as_of", "source")

    def __init__(self) -> None:
        document = _read()
        self.source: str = document["source"]
        """`"genai-prices 0.2.3"`."""
        self.as_of: str = document["as_of"]
        """ISO date on which these figures were compiled."""
        self._providers = {
            p["id"]: _Provider(p["id"], p.get("match"), p.get("fallback", [])) for p in document["providers"]
        }
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
        name = name.lower()
        found = self._find(provider_id, name)
        if found is None and (dashed := dashed_date(name)) != name:
            found = self._find(provider_id, dashed)
        return found

    def _find(self, provider_id: str, name: str) -> Match | None:
        for owner in (provider_id, *self._providers[provider_id].fallback):
            for model in self._models_of(owner):
                if is_match(model.clause, name):
                    return Match(owner, model, owner == provider_id)
        return None

    def _models_of(self, provider_id: str) -> list[Model]:
        # The whole document would hold some megabytes for the few providers that one program calls.
        models = self._models.get(provider_id)
        if models is None:
            entry = next(p for p in _read()["providers"] if p["id"] == provider_id)
            models = self._models[provider_id] = list(map(_model, entry["models"]))
        return models

    def providers(self) -> Iterable[str]:
        """The ids of all providers."""
        return self._providers.keys()


def _read() -> dict[str, Any]:
    import pkgutil  # here, because importing aden_transport must stay cheap

    data = pkgutil.get_data(__name__, "prices.json")
    if data is None:  # pragma: no cover - only a loader without get_data() answers None
        raise FileNotFoundError("prices.json")
    document: dict[str, Any] = loads(data)
    return document


def _model(entry: dict[str, Any]) -> Model:
    prices = entry["prices"]
    return Model(
        entry["id"],
        entry.get("match") or "=" + entry["id"].lower(),
        [(None, prices)] if isinstance(prices, dict) else [(when, rates) for when, rates in prices],
        [(tier, when, rates) for tier, when, rates in entry.get("variants", ())],
        entry.get("minimum_seconds", 0),
    )


@cache
def bundled() -> Snapshot:
    """The price data of this release, one copy per process."""
    return Snapshot()
