"""Who lists a model, and which names come near one that nobody lists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from .clauses import accepting, is_match
from .snapshot import Match, Snapshot

__all__ = ["listings", "near_names"]


def listings(snapshot: Snapshot, name: str, first: Sequence[str] = ()) -> list[Match]:
    """The models that `name` may mean, one of each provider that lists one itself.

    The nearest first: of the provider that the name begins with, by that very id, by a name it is known
    under, by a part of the name, then ids that end in the name (`openai/gpt-4o`). Of equally near ones,
    providers in `first` lead.
    """
    snapshot.read_all()
    found = [
        match for provider in snapshot.providers() if (match := _listed(snapshot, provider, name.lower()))
    ]
    places = {provider: place for place, provider in enumerate(first)}

    def rank(match: Match) -> tuple[tuple[int, int], int, str]:
        return _distance(snapshot, match, name.lower()), places.get(match.owner, len(places)), match.owner

    return sorted(found, key=rank)


def _listed(snapshot: Snapshot, provider: str, name: str) -> Match | None:
    found = snapshot.find_model(provider, name)
    if found is not None and found.own:
        return found
    tail = f"/{name}"
    models = (model for model in snapshot.models_of(provider) if model.id.lower().endswith(tail))
    return next((Match(provider, model, True, model.id.lower()) for model in models), None)


def _distance(snapshot: Snapshot, match: Match, name: str) -> tuple[int, int]:
    """How far `name` is from the model, by kind; within a kind, the longer what they share, the nearer."""
    prefix, slash, _ = name.partition("/")
    if slash and snapshot.provider_id(prefix) == match.owner:
        return 0, 0
    if match.model.id.lower() == name:
        return 1, 0
    if not is_match(match.model.clause, match.name) or match.model.id.lower().endswith(f"/{name}"):
        return 9, 0
    part = accepting(match.model.clause, match.name)
    return "=^$~*".index(part[0]) + 2, -len(part)


def near_names(snapshot: Snapshot, name: str, providers: Iterable[str]) -> list[str]:
    """Up to five ids that `name` may have been meant to be, as `provider/id`; of an id that several
    providers list, the first one's."""
    snapshot.read_all()
    wanted = name.lower().rpartition("/")[2]
    known: dict[str, str] = {}
    for owner in providers:
        for model in snapshot.models_of(owner):
            known.setdefault(model.id.lower().rpartition("/")[2], f"{owner}/{model.id}")
    return [known[close] for close in difflib.get_close_matches(wanted, known, n=5, cutoff=0.6)]
