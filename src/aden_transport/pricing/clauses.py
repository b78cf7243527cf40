"""Which model a name means: match clauses of the price data.

A clause is a string whose first character says how the rest is compared with a lower-case name,
`=equals`, `^prefix`, `$suffix`, `*part` or `~regex`, or a list `["|", …]` (any) or `["&", …]` (all).
"""

from __future__ import annotations

import re
from datetime import date
from typing import TypeAlias

__all__ = ["Clause", "accepting", "dashed_date", "is_match", "is_sibling"]

Clause: TypeAlias = "str | list[Clause]"

_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def is_match(clause: Clause, name: str) -> bool:
    """Whether `clause` accepts `name`, which is lower-case."""
    kind, rest = clause[0], clause[1:]
    if isinstance(rest, list):
        return (any if kind == "|" else all)(is_match(part, name) for part in rest)
    match kind:
        case "=":
            return name == rest
        case "^":
            return name.startswith(rest)
        case "$":
            return name.endswith(rest)
        case "*":
            return rest in name
        case _:
            return re.search(rest, name) is not None


_SIBLINGS = re.compile(
    r"(?<![a-z0-9])(?:mini|nano|micro|lite|small|medium|large|pro|plus|max|ultra|turbo|flash|image|tts"
    r"|transcribe|embed|embedding|search|research|\d+b)(?![a-z0-9])"
)
"""Words by which makers tell apart the models of one family, each with a price of its own."""


def is_sibling(clause: Clause, name: str, model: str) -> bool:
    """Whether `name`, which `clause` of `model` accepts for its beginning or for a part of it, goes on in a
    way that it is another model of the family: `gemini-1.5-flash-8b`, `claude-opus-4-10`.

    A clause that ends in a dash means all of a family.
    """
    part = accepting(clause, name)
    if part[0] not in "^*" or part.endswith("-"):
        return False
    rest = name[name.index(part[1:]) + len(part) - 1 :].partition(":")[0]
    if part[-1].isdigit() and rest[:1].isdigit() and model.endswith(part[1:]):
        return True
    return any(word not in model for word in _SIBLINGS.findall(rest))


def accepting(clause: Clause, name: str) -> str:
    """The part of `clause` by which it accepts `name`: `=equals` before a prefix, longer before shorter."""
    if isinstance(clause, str):
        return clause
    parts = [accepting(part, name) for part in clause[1:] if is_match(part, name)]
    return max(parts, key=lambda part: (part[0] == "=", part[0] in "^$", len(part)))


def dashed_date(name: str) -> str:
    """`name` with compact dates in the dashed form: `gpt-5.2-20251211` → `gpt-5.2-2025-12-11`.

    Proxies report the compact form. Digits that are no calendar date stay as they are.
    """
    return _COMPACT_DATE.sub(_dashed, name)


def _dashed(found: re.Match[str]) -> str:
    year, month, day = map(int, found.groups())
    try:
        return f"-{date(year, month, day).isoformat()}"
    except ValueError:
        return found[0]
