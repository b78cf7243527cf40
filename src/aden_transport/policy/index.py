"""Which budgets and rules a call meets, in a time that does not grow with their number.

Budgets stand in dictionaries by type and name. A template makes a budget for each name at its first use; what
is kept of it is its key, for the ten thousand names of late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from ..ledger.base import NEVER, UNLIMITED, Take
from .distinct import Distinct
from .values import (
    ATTRIBUTES,
    AlertRule,
    BlockRule,
    Budget,
    BudgetType,
    DegradeRule,
    Policy,
    Terms,
    ThrottleRule,
)
from .window import Period, Window, window_at

__all__ = ["NO_RULES", "OVERFLOW", "Index", "Match", "Rules", "ledger_key", "match_of"]

HOT = 10_000
HOT_CHARS = 64
"""Longer names are kept if they are ASCII, of one byte a character instead of four: 20 MB in all at most."""
OVERFLOW = "*overflow"
"""The name that all calls share whose names are beyond a template's cap."""


class Match(NamedTuple):
    """A budget that a call meets, in its window."""

    budget: Budget
    """Of a budget made by a template: the template."""
    key: str
    """The identity of the budget: `"customer:acme"`."""
    name: str
    """What the call is named, `"acme"`; `"*overflow"`; `""` of a global budget."""
    ledger_key: str
    """Budget, window and generation: what the ledger keeps sums under."""
    window: Window
    terms: Terms
    """Of the budget."""
    take: Take | None = None
    """How a call finds it on which nothing is in force; None where a line says more than that."""


def take_of(ledger_key: str, window: Window, terms: Terms) -> Take | None:
    """Of budgets of dollars without older windows, that stop what does not fit and set nothing."""
    ladder = terms.ladder
    if terms.unit != "usd" or window.older or ladder.relief or ladder.stops_all or terms.max_output_tokens:
        return None
    held, expected, first = ladder.limit_held, ladder.limit_expected, ladder.first_at
    quiet_below = min(
        UNLIMITED if expected == NEVER else expected + 1, UNLIMITED if first == NEVER else first
    )
    return ledger_key, UNLIMITED if held == NEVER else held, quiet_below


Takes: TypeAlias = tuple[tuple[Take, ...], bool, bool]
"""All budgets of a call, for `MemoryLedger.take`; whether anything depends on what calls are expected to
cost, and whether a limit holds whatever happens."""


def takes_of(matches: Sequence[Match]) -> Takes | None:
    """None where there is none, or a line of theirs says more than a `Take` can."""
    takes = tuple([match.take for match in matches if match.take is not None])
    if not takes or len(takes) < len(matches):
        return None
    ahead = any(match.terms.looks_ahead for match in matches)
    return takes, ahead, any(take[1] != UNLIMITED for take in takes)


class Rules(NamedTuple):
    """The rules that a provider and model meet; whether a call's attributes do is not asked yet."""

    blocks: tuple[BlockRule, ...]
    throttles: tuple[ThrottleRule, ...]
    degradations: tuple[DegradeRule, ...]
    alerts: tuple[AlertRule, ...]


_Kept: TypeAlias = tuple[dict[str, Budget], float, float, list[Match], Takes | None]
"""Global budgets, the times between which they have these windows, and as calls meet them."""


_Common: TypeAlias = tuple[object, float, float, Takes | None]
"""Of a version of the budgets, what all calls that start between two times meet, whatever their attributes;
None: that is not the same for all of them, or cannot be said in this way."""


class Index:
    """A policy, ready to be asked. Every method may be called from any thread; none blocks for long.

    `max_names`: how many names a template makes budgets for in one window in this process; calls of further
    names share one budget of the template's limit.
    """

    def __init__(self, policy: Policy, *, max_names: int = 100_000) -> None:
        self.policy = policy
        self._max_names = max_names
        self._globals: dict[str, Budget] = {}
        self._kept: _Kept | None = None
        self.version = object()
        """Another one after each change."""
        self.common: _Common = (None, 0.0, 0.0, None)
        self._tables: dict[BudgetType, _Table] = {kind: _Table(self, kind, max_names) for kind in ATTRIBUTES}
        self._asked: tuple[tuple[str, _Table], ...] = ()
        self._rules: dict[tuple[str, str | None], Rules] = {}
        self.has_rules = bool(policy.blocks or policy.throttles or policy.degradations or policy.alerts)
        self._windows: dict[tuple[Period, str], Window] = {}
        self.caps_output = False
        """Whether any budget has `max_output_tokens`."""
        for budget in policy.budgets:
            self._add(budget)
        self._refresh()

    def match(self, attributes: Mapping[str, Any], at: float) -> list[Match]:
        """The budgets of a call, global ones first. `attributes` are those of `attributes.normalized`."""
        kept = self._kept
        if kept is None or kept[0] is not self._globals or not kept[1] <= at < kept[2]:
            kept = self._kept = self._keep(at)
        found = kept[3].copy()
        for attribute, table in self._asked:
            value = attributes.get(attribute)
            if value is None:
                continue
            if type(value) is str:
                found += table.match(value, at)
            else:
                found += table.match_any(value, at)
        return found

    def takes(self, attributes: Mapping[str, Any] | None, at: float) -> Takes | None:
        """`takes_of` the matches of a call; None also where rules have to be asked."""
        if self.has_rules:
            return None
        if attributes and self._asked:
            return takes_of(self.match(attributes, at))
        kept = self._kept
        if kept is None or kept[0] is not self._globals or not kept[1] <= at < kept[2]:
            kept = self._kept = self._keep(at)
        return kept[4]

    def common_at(self, at: float) -> Takes | None:
        """Have `common` say what it can of that time; that."""
        # In this order: what is looked up during a change is of the version before it.
        version = self.version
        if self._asked or self.has_rules:
            self.common = version, -math.inf, math.inf, None
            return None
        _, start, end, _, found = self._keep(at)
        self.common = version, start, end, found
        return found

    def rules(self, provider: str, model: str | None) -> Rules:
        """The rules for a provider and model."""
        if not self.has_rules:
            return NO_RULES
        rules = self._rules.get((provider, model))
        if rules is None:
            if len(self._rules) >= 1_000:
                self._rules = {}
            rules = self._rules[provider, model] = self._rules_for(provider, model)
        return rules

    def replaced(self, policy: Policy) -> Index:
        """The index of another policy, in which calls meet all of it or nothing.

        Where one budget alone differs it is this one, changed. Else it is a new one; names that templates
        have admitted stay admitted, so that a change makes no room beyond their cap.
        """
        changed = _one_change(self.policy, policy)
        if changed is not None:
            key, budget = changed
            self.policy = policy
            if budget is not None:
                self.put(budget)
            else:
                self.remove(key)
            return self
        index = Index(policy, max_names=self._max_names)
        for kind, table in self._tables.items():
            index._tables[kind].take_names(table)
        return index

    def put(self, budget: Budget) -> None:
        """Add a budget, or change the one of its key; sums stay. Takes the same time for any number of them.

        Calls meet the old one or the new one, never none. `policy` stays the document that was loaded.
        """
        before = self.get(budget.key)
        self._add(budget)
        if before is not None:
            self._drop(before, but=budget)
        self._refresh()

    def remove(self, key: str) -> None:
        """Take out the budget of a key, if there is one."""
        before = self.get(key)
        if before is not None:
            self._drop(before)
        self._refresh()

    def get(self, key: str) -> Budget | None:
        """The budget, or template, of a key."""
        for table in self._tables.values():
            if key in table.by_key:
                return table.by_key[key]
        return self._globals.get(key)

    def window(self, budget: Budget, at: float) -> Window:
        """The window of a budget."""
        period = budget.terms.period, budget.terms.timezone
        window = self._windows.get(period)
        if window is None or not window.start <= at < window.end:
            window = self._windows[period] = window_at(*period, at)
        return window

    def _add(self, budget: Budget) -> None:
        if budget.terms.max_output_tokens is not None:
            self.caps_output = True
        if budget.type == "global":
            self._globals = {**self._globals, budget.key: budget}
        else:
            self._tables[budget.type].add(budget)

    def _drop(self, budget: Budget, *, but: Budget | None = None) -> None:
        """Forget where a budget stands, but for where another of its key stands now."""
        if budget.type != "global":
            self._tables[budget.type].drop(budget, but if but and but.type == budget.type else None)
        elif but is None or but.type != "global":
            self._globals = {key: one for key, one in self._globals.items() if key != budget.key}

    def _refresh(self) -> None:
        self._asked = tuple((ATTRIBUTES[kind], table) for kind, table in self._tables.items() if table.by_key)
        self.version = object()

    def _match(self, budget: Budget, key: str, name: str, at: float) -> Match:
        window, terms = self.window(budget, at), budget.terms
        found = ledger_key(key, window, budget.generation)
        return Match(budget, key, name, found, window, terms, take_of(found, window, terms))

    def _keep(self, at: float) -> _Kept:
        """The global budgets in their windows, and from when until when these are theirs."""
        budgets = self._globals
        found = [self._match(budget, budget.key, "", at) for budget in budgets.values()]
        start = max([match.window.start for match in found], default=-math.inf)
        end = min([match.window.end for match in found], default=math.inf)
        return budgets, start, end, found, takes_of(found)

    def _rules_for(self, provider: str, model: str | None) -> Rules:
        policy = self.policy
        return Rules(
            tuple([rule for rule in policy.blocks if rule.scope.covers(provider, model)]),
            tuple([rule for rule in policy.throttles if rule.scope.covers(provider, model)]),
            tuple([rule for rule in policy.degradations if rule.scope.covers(provider, model)]),
            tuple([rule for rule in policy.alerts if rule.scope.covers(provider, model)]),
        )


def _one_change(before: Policy, after: Policy) -> tuple[str, Budget | None] | None:
    """The key of the one budget that differs, and what it is now; None where more differs, or nothing."""
    if replace(before, budgets=()) != replace(after, budgets=()):
        return None
    if abs(len(before.budgets) - len(after.budgets)) > 1:
        return None
    old, new = _by_key(before), _by_key(after)
    keys = [key for key, budget in new.items() if old.get(key) != budget]
    keys += [key for key in old if key not in new]
    return (keys[0], new.get(keys[0])) if len(keys) == 1 else None


def _by_key(policy: Policy) -> dict[str, Budget]:
    return {budget.key: budget for budget in policy.budgets}


NO_RULES = Rules((), (), (), ())


def ledger_key(key: str, window: Window, generation: int = 0) -> str:
    """`"2026-11|customer:acme"`. The window stands first, so that no name can pass for another's window."""
    return f"{window.name}#{generation}|{key}" if generation else f"{window.name}|{key}"


def match_of(budget: Budget, at: float) -> Match:
    """A budget that a call meets without being matched: that of a run."""
    window, terms = window_at(budget.terms.period, budget.terms.timezone, at), budget.terms
    key = ledger_key(budget.key, window, budget.generation)
    return Match(budget, budget.key, budget.name, key, window, terms, take_of(key, window, terms))


class _Table:
    """The budgets of one type."""

    def __init__(self, index: Index, kind: BudgetType, max_names: int) -> None:
        self.by_key: dict[str, Budget] = {}
        self._index = index
        self._kind = kind
        self._max_names = max_names
        self._exact: dict[str, tuple[Budget, ...]] = {}
        self._templates: dict[str, Budget] = {}
        self._hot: dict[str, tuple[float, float, tuple[Match, ...]]] = {}
        self._seen: dict[str, tuple[str, Distinct]] = {}
        self._changes = 0

    def add(self, budget: Budget) -> None:
        """Put a budget in the place of the one of its key."""
        self.by_key[budget.key] = budget
        if budget.is_template:
            self._templates = {**self._templates, budget.key: budget}
        else:
            for name in budget.names:
                self._exact[name] = (*self._others(name, budget.key), budget)
        self._forget(budget)

    def drop(self, budget: Budget, but: Budget | None) -> None:
        """Take a budget out, but for the names of `but`, which has taken its place."""
        if but is None:
            self.by_key.pop(budget.key, None)
        if budget.is_template:
            if but is None or not but.is_template:
                self._templates = {key: one for key, one in self._templates.items() if key != budget.key}
        else:
            kept = () if but is None or but.is_template else but.names
            for name in [name for name in budget.names if name not in kept]:
                others = self._others(name, budget.key)
                if others:
                    self._exact[name] = others
                else:
                    self._exact.pop(name, None)
        self._forget(budget)

    def _others(self, name: str, key: str) -> tuple[Budget, ...]:
        return tuple([budget for budget in self._exact.get(name, ()) if budget.key != key])

    def _forget(self, budget: Budget) -> None:
        self._changes += 1
        if budget.is_template:
            self._hot = {}
        else:
            for name in budget.names:
                self._hot.pop(name, None)

    def take_names(self, other: _Table) -> None:
        """Those that the templates of `other` have admitted."""
        self._seen.update(other._seen)

    def match(self, name: str, at: float) -> tuple[Match, ...]:
        """The budgets of one name: those that bear it, else those that templates make."""
        hot = self._hot.get(name)
        if hot is not None and hot[0] <= at < hot[1]:
            return hot[2]
        return self._resolve(name, at)

    def match_any(self, value: Any, at: float) -> Iterable[Match]:
        """The budgets of several names, each budget once."""
        if not isinstance(value, (tuple, list, set, frozenset)):
            return self.match(str(value), at)
        return {match.key: match for name in value for match in self.match(str(name), at)}.values()

    def _resolve(self, name: str, at: float) -> tuple[Match, ...]:
        changes = self._changes
        exact = self._exact.get(name)
        if exact is not None:
            found = tuple([self._index._match(budget, budget.key, name, at) for budget in exact])
        elif self._templates:
            found = tuple([self._made(template, name, at) for template in self._templates.values()])
        else:
            return ()
        if len(name) > HOT_CHARS and not name.isascii():
            return found
        if len(self._hot) >= HOT:
            self._hot = {}
        start = max([match.window.start for match in found], default=-math.inf)
        end = min([match.window.end for match in found], default=math.inf)
        hot = self._hot
        hot[name] = (start, end, found)
        if changes != self._changes:  # pragma: no cover  # another thread's change came in between
            # What was found may be what was there before it.
            hot.pop(name, None)
            self._hot.pop(name, None)
        return found

    def _made(self, template: Budget, name: str, at: float) -> Match:
        if not name.isascii():
            # Lone surrogates can be kept in no store.
            name = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if name[:1] == "*":
            name = "\\" + name  # neither a template's own name nor that of the overflow
        if not self._seen_names(template, at).admits(name):
            name = OVERFLOW
        # Two templates of one type are told apart by their ids.
        key = f"{template.id or self._kind}:{name}"
        return self._index._match(template, key, name, at)

    def _seen_names(self, template: Budget, at: float) -> Distinct:
        mark = self._index.window(template, at).mark
        seen = self._seen.get(template.key)
        if seen is None or seen[0] != mark:
            seen = self._seen[template.key] = (mark, Distinct(self._max_names))
        return seen[1]
