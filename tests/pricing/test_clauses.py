"""Match clauses and dates in names."""

from __future__ import annotations

import pytest

from aden_transport.pricing.clauses import Clause, accepting, dashed_date, is_match


@pytest.mark.parametrize(
    ("clause", "name", "expected"),
    [
        ("=gpt-4o", "gpt-4o", True),
        ("=gpt-4o", "gpt-4o-mini", False),
        ("^gpt-4o", "gpt-4o-mini", True),
        ("^gpt-4o", "x-gpt-4o", False),
        ("$mini", "gpt-4o-mini", True),
        ("$mini", "mini-gpt", False),
        ("*4o", "gpt-4o-mini", True),
        ("*4o", "gpt-5", False),
        (r"~^o\d$", "o3", True),
        (r"~^o\d$", "o3-mini", False),
        (["|", "=a", "=b"], "b", True),
        (["|", "=a", "=b"], "c", False),
        (["&", "^a", "$b"], "ab", True),
        (["&", "^a", "$b"], "ac", False),
        (["|", ["&", "^a", "$b"], "=c"], "c", True),
    ],
)
def test_a_clause_accepts_what_it_says(clause: Clause, name: str, expected: bool) -> None:
    assert is_match(clause, name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-5.2-20251211", "gpt-5.2-2025-12-11"),
        ("gpt-5.2-20251211:free", "gpt-5.2-2025-12-11:free"),
        ("gpt-5.2-20250230", "gpt-5.2-20250230"),
        ("gpt-5.2-20251311", "gpt-5.2-20251311"),
        ("gpt-5.2", "gpt-5.2"),
    ],
)
def test_a_compact_date_becomes_dashed(name: str, expected: str) -> None:
    assert dashed_date(name) == expected


@pytest.mark.parametrize(
    ("clause", "name", "part"),
    [
        ("^gpt-4o", "gpt-4o-mini", "^gpt-4o"),
        (["|", "*4o", "^gpt", "=gpt-4o", "=other"], "gpt-4o", "=gpt-4o"),
        (["|", "*o-mini", "^gpt", "^gpt-4o"], "gpt-4o-mini", "^gpt-4o"),
        (["|", "=x", ["&", "^a", "$bc"]], "abc", "$bc"),
    ],
)
def test_the_closest_part_of_a_clause_is_the_one_that_accepts(clause: Clause, name: str, part: str) -> None:
    assert accepting(clause, name) == part
