"""Globs: `*` is any text, also none; `?` is one character; everything else is itself.

A match costs one step per character of the text, whatever the pattern: all states of the pattern advance at
once, as the bits of one integer, so that nothing is ever tried again.
"""

from __future__ import annotations

__all__ = ["Glob"]


class Glob:
    """A compiled pattern.

    `fold`: letters match regardless of case. Names of models and providers are compared so; names of agents,
    tenants, customers, features and tags are not.
    """

    __slots__ = ("_any", "_final", "_literal", "_masks", "_stars", "fold", "pattern")

    def __init__(self, pattern: str, *, fold: bool = False) -> None:
        self.pattern = pattern
        self.fold = fold
        text = pattern.casefold() if fold else pattern
        self._literal = text if "*" not in text and "?" not in text else None
        self._masks: dict[str, int] = {}
        self._any = self._stars = 0
        place = 0
        for char in text:
            if char == "*":
                # The state before this place stays alive, whatever comes.
                self._stars |= 1 << place
                continue
            if char == "?":
                self._any |= 1 << place
            else:
                self._masks[char] = self._masks.get(char, 0) | 1 << place
            place += 1
        self._final = 1 << place

    def matches(self, text: str) -> bool:
        """Whether the whole of `text` is matched."""
        if self.fold:
            text = text.casefold()
        if self._literal is not None:
            return text == self._literal
        alive, masks, some, stars = 1, self._masks, self._any, self._stars
        for char in text:
            alive = ((alive & (masks.get(char, 0) | some)) << 1) | (alive & stars)
            if not alive:
                return False
        return alive & self._final != 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Glob):
            return NotImplemented
        return (self.pattern, self.fold) == (other.pattern, other.fold)

    def __hash__(self) -> int:
        return hash((self.pattern, self.fold))

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"
