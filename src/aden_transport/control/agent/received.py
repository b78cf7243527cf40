"""What a server says of policy and prices, checked: taken whole or refused whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ...errors import ConfigurationError
from ...policy import Budget, Policy, Terms
from ...policy.document import parse
from ...pricing import Price

__all__ = ["Prices", "ReceivedPolicy", "is_older", "read_policy", "read_prices", "with_other_sums"]

TIMES = ("updated_at", "updatedAt")
SUMS = ("spent", "current_spend_usd", "currentSpendUsd")
MAX_MODELS = 20_000
MAX_ALIASES = 100
MAX_NAME = 256
AMOUNTS = ("input", "output", "cached_input")


@dataclass(frozen=True, slots=True)
class ReceivedPolicy:
    """A policy document of a server, read."""

    policy: Policy
    """Without sums, so that one which differs in sums alone is the same."""
    spent: Mapping[str, int]
    """By budget key, in nano-dollars: what the server has counted so far."""
    version: str | None
    updated_at: str | None
    document: Mapping[str, Any]
    """As it came."""


def read_policy(document: Any, *, expected: bool) -> ReceivedPolicy:
    """The policy of a document. `expected`: its limits stop calls by what they are expected to cost, as
    nobody keeps this host's calls and those of others apart.

    Raises: ConfigurationError, with the path of each fault.
    """
    if not isinstance(document, Mapping):
        raise ConfigurationError("The policy cannot be used: it is no object")
    policy = parse(document)
    spent = {budget.key: budget.spent for budget in policy.budgets}
    budgets = tuple(_without_sums(policy.budgets, expected))
    updated = document.get("updated_at", document.get("updatedAt"))
    return ReceivedPolicy(
        replace(policy, budgets=budgets, version=None),
        spent,
        policy.version,
        updated if isinstance(updated, str) else None,
        document,
    )


def _without_sums(budgets: Iterable[Budget], expected: bool) -> Iterator[Budget]:
    shared: dict[Terms, Terms] = {}
    for budget in budgets:
        terms = budget.terms
        if expected and terms.mode == "hard":
            terms = shared.get(terms) or shared.setdefault(terms, replace(terms, mode="expected"))
        yield replace(budget, spent=0, terms=terms)


def with_other_sums(known: ReceivedPolicy, document: Any) -> ReceivedPolicy | None:
    """What `read_policy` gives of a document that says the same as the one that is known but for sums,
    versions and dates, in a part of the time; None where it says something else.

    Raises: ConfigurationError, with the path of each fault.
    """
    if not isinstance(document, Mapping):
        return None
    before, after = known.document, document
    if before.keys() != after.keys() or any(
        before[name] != after[name] for name in before if name not in ("budgets", "version", *TIMES)
    ):
        return None
    old, new = before.get("budgets"), after.get("budgets")
    if not isinstance(old, list) or not isinstance(new, list) or len(old) != len(new):
        return None
    changed = [(was, now) for was, now in zip(old, new, strict=True) if was != now]
    if any(_but_sums(was) != _but_sums(now) for was, now in changed):
        return None
    heads = {name: value for name, value in after.items() if name in ("id", "version", *TIMES)}
    found = read_policy({**heads, "budgets": [now for _, now in changed]}, expected=False)
    spent = {**known.spent, **found.spent}
    return ReceivedPolicy(known.policy, spent, found.version, found.updated_at, document)


def _but_sums(budget: Any) -> Any:
    if not isinstance(budget, Mapping):
        return budget
    return {name: value for name, value in budget.items() if name not in SUMS and name not in TIMES}


def is_older(new: ReceivedPolicy, known: ReceivedPolicy) -> bool:
    """Whether `new` is an earlier state of the policy that is known. Versions are compared where both are
    numbers, else times where both are given; another policy is neither older nor newer."""
    if new.policy.id != known.policy.id:
        return False
    ours, theirs = _number(known.version), _number(new.version)
    if ours is not None and theirs is not None:
        return theirs < ours
    if new.version is not None and new.version == known.version:
        return False
    before, after = _time(known.updated_at), _time(new.updated_at)
    return before is not None and after is not None and after < before


def _number(version: str | None) -> int | None:
    return int(version) if version is not None and version.isascii() and version.isdecimal() else None


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


class Prices(Mapping[str, Price]):
    """What models cost, by name in lower case; a price is made of what was told when it is looked up."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> Price:
        return _price(self._rows[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def read_prices(told: Any) -> Prices:
    """`{"pricing": {model: {"input", "output", "cached_input", "aliases"}}}`, dollars per million tokens, as
    prices by model and alias.

    Raises: ConfigurationError where any of it cannot be used.
    """
    models = told.get("pricing") if isinstance(told, Mapping) else None
    if not isinstance(models, Mapping) or len(models) > MAX_MODELS:
        raise ConfigurationError(f"The prices cannot be used: give an object of at most {MAX_MODELS} models")
    rows: dict[str, Mapping[str, Any]] = {}
    aliased: dict[str, Mapping[str, Any]] = {}
    for model, row in models.items():
        if not isinstance(model, str) or not 0 < len(model) <= MAX_NAME or not isinstance(row, Mapping):
            raise ConfigurationError("The prices cannot be used: a model has no name or no prices")
        if row.get("input") is None or row.get("output") is None:
            continue
        if not all(_is_plain(row.get(name)) for name in AMOUNTS):
            _price(row)
        rows[model.lower()] = row
        aliases = row.get("aliases") or ()
        if not isinstance(aliases, (list, tuple)) or len(aliases) > MAX_ALIASES:
            raise ConfigurationError(f"The prices cannot be used: {model[:64]!r} has no list of aliases")
        for alias in aliases:
            if isinstance(alias, str) and 0 < len(alias) <= MAX_NAME:
                aliased.setdefault(alias.lower(), row)
    return Prices({**aliased, **rows})


def _price(row: Mapping[str, Any]) -> Price:
    return Price(row["input"], row["output"], row.get("cached_input"))


def _is_plain(amount: object) -> bool:
    """Whether it can be used, so far as a look tells."""
    if type(amount) is float or type(amount) is int:
        return not amount or 1e-9 <= amount <= 1e6
    return amount is None
