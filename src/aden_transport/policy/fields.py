"""Reading the members of a document, with a fault and its path for each that cannot be used.

Nothing raises: faults are collected, a default stands in, and the caller rejects the whole at the end.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

__all__ = ["Faults", "Fields", "Repeated", "shown", "spelling"]

MAX_KEYS = 64
MAX_TEXT = 256
MAX_SHOWN = 100
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Repeated(dict[str, Any]):
    """An object of a document that has a member twice, so that nobody can say which one counts."""

    __slots__ = ("names",)

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.names = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        """Of the members that are there more than once."""


class Faults:
    """What is wrong with a document, path by path."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def add(self, path: str, message: str) -> None:
        """The first hundred are kept, the rest are counted."""
        if len(self._lines) < MAX_SHOWN:
            self._lines.append(f"{path}: {message}" if path else message)
        else:
            self._more += 1

    @property
    def is_full(self) -> bool:
        """Whether further ones are only counted, so that their messages need not be made."""
        return len(self._lines) >= MAX_SHOWN

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __str__(self) -> str:
        more = [f"… and {self._more} more"] if self._more else []
        return "\n".join([*self._lines, *more])


def spelling(key: str) -> str:
    """The name of a member in snake_case."""
    return _HUMP.sub("_", key).lower()


def shown(value: Any) -> str:
    """`value` in an error message: short, on one line, whatever it is."""
    match value:
        case str():
            return json.dumps(value if len(value) <= 40 else f"{value[:40]}…")
        case None | bool():
            return json.dumps(value)
        case int() if value.bit_length() > 100:
            return "a number of over 30 digits"
        case int() | float() | Decimal():
            return str(value)[:40]
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


class Fields:
    """The members of one object, in one spelling: snake_case of ours.

    `known`: the spellings (snake_case) that are read, each with our name of it. `unused`: those that servers
    send and nothing here depends on. Any other member is a fault, since a slip of the pen must not take a
    limit away. camelCase is the same as snake_case; null is the same as nothing.
    """

    def __init__(
        self,
        value: Mapping[Any, Any],
        path: str,
        faults: Faults,
        *,
        known: Mapping[str, str],
        unused: frozenset[str] = frozenset(),
    ) -> None:
        self.path = path
        self.faults = faults
        self._values: dict[str, Any] = {}
        self._written: dict[str, str] = {}
        if len(value) > MAX_KEYS:
            self.fault("", f"give at most {MAX_KEYS} members, not {len(value)}")
            return
        if isinstance(value, Repeated):
            for name in value.names:
                self.fault("", f"{shown(name)} is there twice; give one")
        for key, member in value.items():
            self._take(key, member, known, unused)

    def _take(self, key: Any, member: Any, known: Mapping[str, str], unused: frozenset[str]) -> None:
        if not isinstance(key, str) or len(key) > MAX_TEXT:
            self.fault("", f"names of members are short text, not {shown(key)}")
            return
        written = spelling(key)
        name = known.get(written)
        if name is None:
            if written not in unused:
                self.fault("", "" if self.faults.is_full else _unknown(key, written, known))
        elif member is not None:
            if name in self._values and not _same(self._values[name], member):
                self.fault("", f"{shown(self._written[name])} and {shown(key)} are the same; give one")
            self._values[name] = member
            self._written[name] = key

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def at(self, name: str) -> str:
        """The path of a member, as it was written."""
        member = self._written.get(name, name)
        return f"{self.path}.{member}" if self.path else member

    def fault(self, name: str, message: str) -> None:
        """Of a member, or with `""` of the object itself."""
        self.faults.add(self.at(name) if name else self.path, message)

    def raw(self, name: str) -> Any:
        return self._values.get(name)

    def text(self, name: str, default: str | None = None) -> str | None:
        """Text of 1 to 256 characters."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT or not _is_unicode(value):
            self.fault(name, f"give text of 1 to {MAX_TEXT} characters, not {shown(value)}")
            return default
        return value

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A list of text, or one text."""
        value = self._values.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, (list, tuple)) or len(value) > most:
            self.fault(name, f"give a list of at most {most} names, not {shown(value)}")
            return ()
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item or len(item) > MAX_TEXT or not _is_unicode(item):
                self.faults.add(
                    f"{self.at(name)}[{index}]",
                    f"give text of 1 to {MAX_TEXT} characters, not {shown(item)}",
                )
                return ()
        return tuple(dict.fromkeys(value))

    def number(
        self,
        name: str,
        default: float | Decimal | None,
        *,
        low: float = 0,
        high: float,
        what: str = "a number",
    ) -> float | Decimal | None:
        value = self._values.get(name)
        if value is None:
            return default
        if not _is_number(value) or not low <= value <= high:
            self.fault(name, f"give {what} from {low:g} to {high:.12g}, not {shown(value)}")
            return default
        return value  # type: ignore[no-any-return]

    def whole(self, name: str, default: int | None, *, low: int = 0, high: int) -> int | None:
        value = self._values.get(name)
        if value is None:
            return default
        if not _is_number(value) or not low <= value <= high or value != int(value):
            self.fault(name, f"give a whole number from {low} to {high}, not {shown(value)}")
            return default
        return int(value)

    def seconds(self, name: str, default_ms: float, *, high_ms: float) -> float:
        """A member in milliseconds."""
        value = self.number(name, default_ms, high=high_ms, what="milliseconds")
        return float(default_ms if value is None else value) / 1000

    def flag(self, name: str, default: bool) -> bool:
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(name, f"give true or false, not {shown(value)}")
            return default
        return value

    def one_of(self, name: str, words: Mapping[str, Any], default: Any) -> Any:
        """What the word that is given stands for."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in words:
            close: list[str] = []
            if isinstance(value, str) and not self.faults.is_full:
                close = difflib.get_close_matches(value[:MAX_TEXT], words, n=1)
            hint = f"; did you mean {shown(close[0])}?" if close else ""
            self.fault(name, f"give one of {', '.join(words)}, not {shown(value)}{hint}")
            return default
        return words[value]

    def objects(self, name: str, most: int) -> Iterator[tuple[Mapping[Any, Any], str]]:
        """The objects of a list, each with its path."""
        value = self._values.get(name)
        if value is None:
            return
        if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) > most:
            self.fault(name, f"give a list of at most {most} objects, not {shown(value)}")
            return
        for index, item in enumerate(value):
            path = f"{self.at(name)}[{index}]"
            if isinstance(item, Mapping):
                yield item, path
            else:
                self.faults.add(path, f"give an object, not {shown(item)}")


def _same(one: Any, other: Any) -> bool:
    """Lists and objects are never the same: comparing them could go deep."""
    return isinstance(one, (str, int, float)) and isinstance(other, (str, int, float)) and one == other


def _unknown(key: str, written: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(written, known, n=1)
    hint = f"did you mean {shown(close[0])}?" if close else f"there are {', '.join(sorted(known))}"
    return f"{shown(key)} is not known; {hint}"


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, Decimal):
        return value.is_finite() and abs(value.adjusted()) <= 40
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _is_unicode(text: str) -> bool:
    """Lone surrogates can be kept in no store."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
