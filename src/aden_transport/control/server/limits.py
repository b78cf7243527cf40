"""What a team's policies say about keys of its ledger, which a client's lines may only tighten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, text

from ...ledger.base import NEVER, Line, Unit
from ...policy import Budget, Index
from ...policy.index import ledger_key
from ...policy.window import Window, window_at
from .policies import DEFAULT, Current, current
from .wire import Fault

__all__ = ["Limit", "Limits", "Policies", "stored", "template_of"]

SKEW_S = 300.0
"""How far a client's clock may be off before the server's says which window it is."""
MOST_CHARS = 500
"""Of a name as tables keep it: PostgreSQL's indexes take 2,704 bytes."""


def stored(text: str, most: int = MOST_CHARS) -> str:
    """A name as the tables keep it: what PostgreSQL cannot hold is escaped, and what is longer than `most`
    ends in its digest."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if len(text) <= most:
        return text
    return f"{text[: most - 65]}~{sha256(text.encode()).hexdigest()}"


class Limit(NamedTuple):
    """A key as the server sees it now."""

    key: str
    """The budget's in the window of the server, where the key's is over or has not begun."""
    also: tuple[str, ...]
    expires_at: float
    unit: Unit
    limit: int | None
    """None: nothing stops calls."""
    is_current: bool
    """Whether the key's own window and generation are those of the server, give or take some minutes."""
    is_frozen: bool


class Limits:
    """Of one team, by its policies as they are at one moment."""

    def __init__(self, indexes: Sequence[Index], frozen: Iterable[str] = ()) -> None:
        self._indexes = indexes
        self._frozen = frozenset(frozen)

    def of(self, key: str, now: float) -> Limit | None:
        """None where no budget of the team has this key: then a client's lines are what they say."""
        stamp, bar, name = key.partition("|")
        found = self._budget(name) if bar else None
        if found is None:
            return None
        window, _, generation = stamp.partition("#")
        terms = found.terms
        current = [window_at(terms.period, terms.timezone, now + skew) for skew in (0.0, -SKEW_S, SKEW_S)]
        told = [each for each in current if each.name == window]
        is_current = bool(told) and generation == (str(found.generation) if found.generation else "")
        chosen = told[0] if is_current else current[0]
        ladder = terms.ladder
        stops = max(ladder.limit_held, ladder.limit_expected)
        return Limit(
            ledger_key(name, chosen, found.generation),
            _older(name, chosen, found.generation),
            chosen.expires_at,
            terms.unit,
            None if stops == NEVER else stops,
            is_current,
            name in self._frozen or found.key in self._frozen,
        )

    def line(self, line: Line, now: float) -> Line:
        """A client's line within what the server says."""
        limit = self.of(line.key, now)
        if limit is None:
            return line
        own = self._budget(line.key.partition("|")[2])
        assert own is not None
        ladder = own.terms.ladder
        # What a limit degrades to is not held to it.
        relieved = ladder.relief is not None and line.limit_held == NEVER
        line = replace(
            line,
            key=limit.key,
            also=limit.also,
            expires_at=limit.expires_at,
            limit_held=line.limit_held if relieved else _lower(line.limit_held, ladder.limit_held),
            limit_expected=_lower(line.limit_expected, ladder.limit_expected),
        )
        if limit.is_frozen:
            # No room for anything, not even for what costs nothing.
            return replace(line, hold=max(1, line.hold), limit_held=0)
        return line

    def _budget(self, name: str) -> Budget | None:
        for index in self._indexes:
            found = index.get(name)
            if found is None:
                found = template_of(index, name)
            if found is not None:
                return found
        return None


def template_of(index: Index, name: str) -> Budget | None:
    """The template that makes a budget of this key: its type, or its id, stands before a colon."""
    at = name.find(":")
    while at != -1:
        for key in (f"{name[:at]}:*", name[:at]):
            found = index.get(key)
            if found is not None and found.is_template:
                return found
        at = name.find(":", at + 1)
    return None


def _older(name: str, window: Window, generation: int) -> tuple[str, ...]:
    rest = f"#{generation}|{name}" if generation else f"|{name}"
    return tuple([older + rest for older in window.older])


def _lower(one: int, other: int) -> int:
    return max(one, other) if NEVER in (one, other) else min(one, other)


# From one policy to the next, by the primary key: to group all versions there ever were takes longer with
# each of them.
VERSIONS = text(
    """WITH RECURSIVE names(team_id, policy_id) AS (
    SELECT id, (SELECT max(policy_id) FROM policies WHERE team_id = teams.id) FROM teams WHERE id IN :teams
    UNION ALL
    SELECT team_id, (SELECT max(one.policy_id) FROM policies AS one
    WHERE one.team_id = names.team_id AND one.policy_id < names.policy_id)
    FROM names WHERE policy_id IS NOT NULL)
    SELECT team_id, policy_id, (SELECT max(one.version) FROM policies AS one
    WHERE one.team_id = names.team_id AND one.policy_id = names.policy_id)
    FROM names WHERE policy_id IS NOT NULL"""
).bindparams(bindparam("teams", expanding=True))


class Policies:
    """The limits of teams as the database has them; read anew when a policy has a new version."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Mapping[str, int], Limits]] = {}

    def read(self, db: Connection, teams: Iterable[str]) -> dict[str, Limits]:
        """Of each team, within the transaction that acts on them."""
        asked = sorted(set(teams))
        versions: dict[str, dict[str, int]] = {team: {} for team in asked}
        for team_id, policy_id, version in db.execute(VERSIONS, {"teams": asked}):
            versions[team_id][policy_id] = version
        found = {}
        for team in asked:
            known = self._known.get(team)
            if known is None or known[0] != versions[team]:
                known = self._known[team] = versions[team], _limits(db, team, versions[team])
            found[team] = known[1]
        return found


def _limits(db: Connection, team: str, versions: Iterable[str]) -> Limits:
    found = list[Current]()
    # Where two policies have a budget of one key, that of the default policy is the server's.
    for policy_id in sorted(versions, key=lambda each: (each != DEFAULT, each)):
        with suppress(Fault):  # It was deleted.
            found.append(current(db, team, policy_id))
    return Limits([each.index for each in found], {key for each in found for key in each.frozen})
