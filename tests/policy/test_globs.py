"""Globs."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aden_transport.policy.globs import Glob

SMALL = st.text("ab*?", max_size=8)


@given(SMALL, st.text("ab", max_size=8))
def test_as_fnmatch(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == fnmatch.fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("gpt-4.1", "gpt-4x1", False),
        ("gpt-4*", "gpt-4o", True),
        ("gpt-4*", "GPT-4o", True),
        ("[a]", "a", False),
        ("[a]", "[A]", True),
        ("*", "", True),
        ("?", "", False),
        ("", "", True),
        ("*.*", "a.b\nc", True),
        ("*straße", "STRASSE", True),
    ],
)
def test_only_star_and_question_mark_are_special(pattern: str, text: str, matches: bool) -> None:
    assert Glob(pattern, fold=True).matches(text) is matches


def test_case_counts_unless_folded() -> None:
    assert not Glob("A*").matches("abc")
    assert Glob("A*", fold=True).matches("abc")


class Counted(str):
    """Text that counts how many of its characters are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        for char in super().__iter__():
            Counted.looks += 1
            yield char


@pytest.mark.parametrize("pattern", ["*a" * 120 + "b", "*a?*" * 60 + "b", "?" * 200 + "*b"])
def test_each_character_is_looked_at_once(pattern: str) -> None:
    Counted.looks = 0
    assert not Glob(pattern).matches(Counted("a" * 10_000))
    assert Counted.looks <= 10_000


def test_globs_are_values() -> None:
    assert Glob("a*") == Glob("a*")
    assert Glob("a*") != Glob("a*", fold=True)
    assert Glob("a*") != "a*"
    assert len({Glob("a*"), Glob("a*")}) == 1
    assert repr(Glob("a*")) == "Glob('a*')"
