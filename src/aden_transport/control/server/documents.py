"""Policy documents: how they are taken in, changed and told; values in, values out.

What is stored is the document as its author wrote it, without what the server itself knows: versions, times,
and what is spent. A budget is changed by its key, as calls meet it; one that a template makes is written down
when it is to differ from its template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..._json import dumps
from ...errors import ConfigurationError
from ...policy.budgets import BUDGET
from ...policy.document import POLICY, parse, whole
from ...policy.fields import spelling
from ...policy.values import Budget, Policy
from ...policy.verdict import iso

__all__ = [
    "RULES",
    "accepted",
    "as_reset",
    "changed",
    "entry_for",
    "frozen_entry",
    "merged",
    "told",
    "without",
]

RULES = ("budgets", "throttles", "blocks", "degradations", "alerts")
OURS = frozenset({"id", "policy_id", "version", "created_at", "updated_at", "team_id", "is_default"})
"""Members of a policy that the server says."""
LEAST = 1e-9
"""Dollars. aden-py takes a limit of 0 for none."""
ACTIONS = {"block": "kill"}
"""Aden's server calls it so."""


def accepted(document: Any) -> tuple[dict[str, Any], Policy]:
    """The document as it is stored, and the policy in it, with its `spent`.

    Raises: ConfigurationError, with the path of each fault.
    """
    policy = parse(document)
    stored = {key: value for key, value in whole(document).items() if spelling(key) not in OURS}
    stored["budgets"] = [without(entry, {"spent"}) for entry in stored.get("budgets") or ()]
    if b"\\u0000" in dumps(stored):
        raise ConfigurationError("The policy cannot be used:\nno text of it may have the character NUL")
    return stored, policy


def merged(stored: Mapping[str, Any], update: Any) -> dict[str, Any]:
    """`stored` with the members of `update` in the place of its own, in whatever spelling.

    Raises: ConfigurationError, where `update` is no document.
    """
    members = whole(update)
    given = {POLICY.get(spelling(key)) for key in members if isinstance(key, str)}
    kept = {key: value for key, value in stored.items() if POLICY.get(spelling(key)) not in given}
    return {**kept, **members}


def as_reset(document: dict[str, Any], policy: Policy, before: Policy) -> tuple[dict[str, Any], Policy]:
    """Both, with the generation that a budget has in `before` where the document names none: what was reset
    stays so when a file is pushed that knows nothing of it."""
    known = {budget.key: budget.generation for budget in before.budgets if budget.generation}
    if not known:
        return document, policy
    entries, budgets = [], []
    for entry, budget in zip(document["budgets"], policy.budgets, strict=True):
        generation = known.get(budget.key)
        if generation is None or any(BUDGET.get(spelling(key)) == "generation" for key in entry):
            generation = budget.generation
        else:
            entry = {**entry, "generation": generation}  # noqa: PLW2901
        entries.append(entry)
        budgets.append(replace(budget, generation=generation))
    return {**document, "budgets": entries}, replace(policy, budgets=tuple(budgets))


def without(entry: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A budget without members, given by our names, in whatever spelling."""
    names = frozenset(names)
    return {key: value for key, value in entry.items() if BUDGET.get(spelling(key)) not in names}


def changed(
    document: Mapping[str, Any], policy: Policy, budget: Budget, key: str, **members: Any
) -> dict[str, Any]:
    """`document` with `members` of the budget `key`, which `budget` is or, as a template, has made.

    A member that is None is taken out.
    """
    entries: list[dict[str, Any]] = list(document.get("budgets") or ())
    index = next(index for index, one in enumerate(policy.budgets) if one.key == budget.key)
    entry = entries[index] if budget.key == key else entry_for(entries[index], budget, key)
    given = {name: value for name, value in members.items() if value is not None}
    entry = {**without(entry, members), **given}
    if budget.key == key:
        entries[index] = entry
    else:
        entries.append(entry)
    return {**document, "budgets": entries}


def entry_for(template: Mapping[str, Any], budget: Budget, key: str) -> dict[str, Any]:
    """The budget `key` that a template makes, written down: of the same terms and the same key."""
    entry = {**without(template, {"name", "id", "spent"}), "name": key.partition(":")[2]}
    return {**entry, "id": key} if budget.id else entry


def frozen_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A budget that lets nothing through, with the same key and window."""
    terms = {"limit", "limit_action", "degrade_to", "degrade_to_provider", "delay_ms", "thresholds"}
    kept = without(entry, {*terms, "alerts", "mode", "wait_ms", "max_output_tokens", "on_unknown"})
    return {**kept, "limit": 0, "limitAction": "kill"}


def told(
    document: Mapping[str, Any],
    policy: Policy,
    frozen: Mapping[str, Budget],
    *,
    policy_id: str,
    version: int,
    updated_at: float,
    spent: Callable[[Budget], int] | None = None,
) -> dict[str, Any]:
    """The document as clients get it.

    `frozen`: by key, each with the budget that it is or the template that makes it. `spent`: nano-dollars of
    a budget; where it is given, budgets are told as aden-py reads them.
    """
    entries: list[dict[str, Any]] = list(document.get("budgets") or ())
    budgets = [
        _told(frozen_entry(entry) if budget.key in frozen else entry, budget, spent, budget.key in frozen)
        for entry, budget in zip(entries, policy.budgets, strict=True)
    ]
    for key, budget in frozen.items():
        if key != budget.key:
            entry = frozen_entry(entry_for(entries[policy.budgets.index(budget)], budget, key))
            own = replace(budget, key=key, name=key.partition(":")[2])
            budgets.append(_told(entry, own, spent, True))
    return {
        **{name: [] for name in RULES},
        **document,
        "budgets": budgets,
        "id": policy_id,
        "version": str(version),
        "updated_at": iso(updated_at),
    }


def _told(
    entry: Mapping[str, Any], budget: Budget, spent: Callable[[Budget], int] | None, frozen: bool
) -> dict[str, Any]:
    if budget.is_template or budget.type == "context":
        return dict(entry)
    if spent is None:
        return {**entry, "id": budget.key}
    terms = budget.terms
    written = {
        "id": budget.key,
        "type": budget.type,
        "limit": 0 if frozen else terms.limit / 1e9,
        "spent": spent(budget) / 1e9,
        "limitAction": "kill" if frozen else ACTIONS.get(terms.limit_action, terms.limit_action),
    }
    if written["limit"] == 0:
        written |= {"limit": LEAST, "spent": max(LEAST, written["spent"])}
    if terms.target is not None and not frozen:
        written["degradeToModel"] = terms.target.model
        if terms.target.provider:
            written["degradeToProvider"] = terms.target.provider
    names = {"id", "type", "limit", "spent", "limit_action", "degrade_to", "degrade_to_provider"}
    return {**without(entry, names), **written}
