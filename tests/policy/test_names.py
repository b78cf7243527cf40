"""Hostile names: no budget passes for another, and memory stays bounded."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aden_transport.attributes import normalized
from aden_transport.ledger.base import Line
from aden_transport.policy import Index, load
from aden_transport.policy.index import OVERFLOW

from ..ledger.kit import LATER, NOON, STORES
from .kit import NOON as AT

DAY = 86_400.0
KINDS = ("agent", "tenant", "customer", "feature", "tag")
POLICY = {
    "budgets": [
        *({"type": kind, "name": "*", "limit": 1, "period": "daily"} for kind in KINDS),
        {"id": "total", "limit": 1},
        {"limit": 1, "period": "monthly", "generation": 2, "id": "global"},
    ]
}
HOSTILE = st.text(st.sampled_from("a:*|#-0\n\0\\?é\U0001f600\ud800\udfff"), max_size=12) | st.sampled_from(
    [
        "*",
        "*overflow",
        "\\*",
        "\\*overflow",
        "-|global",
        "2025-11#2|global",
        "2025-11-22|customer:a",
        "x" * 256,
    ]
)


def keys(index: Index, at: float = AT, **attributes: Any) -> list[str]:
    return [match.ledger_key for match in index.match(normalized(attributes), at)]


def is_escaped(name: str) -> bool:
    return "\\" in name


@given(
    HOSTILE, HOSTILE, st.sampled_from(KINDS), st.sampled_from(KINDS), st.sampled_from([0.0, DAY, 40 * DAY])
)
@example("*", "\\*", "customer", "customer", 0.0)
def test_two_names_types_or_days_never_have_one_sum(
    one: str, other: str, kind: str, other_kind: str, later: float
) -> None:
    index = Index(load(POLICY))
    first = keys(index, AT, **dict[str, Any]({kind: one}))
    second = keys(index, AT + later, **dict[str, Any]({other_kind: other}))
    assert len(first) == len(second) == 3
    same = (one, kind, 0.0) == (other, other_kind, later)
    if not same and not (is_escaped(one) or is_escaped(other)):
        assert first[2] != second[2]
    assert not {first[2], second[2]} & {*first[:2], *second[:2]}
    assert all(key.encode() for key in (*first, *second))


@pytest.mark.parametrize("store", sorted(STORES))
def test_every_store_keeps_hostile_names_apart(store: str, tmp_path: Path) -> None:
    names = [
        "",
        "*",
        "*overflow",
        "a",
        "a\n",
        "a\0",
        "a\0b",
        "a|b",
        "a#1",
        "\ud800",
        "?",
        "é",
        "e\u0301",
        "😀" * 256,
    ]
    index = Index(load({"type": "customer", "name": "*", "limit": 1}))
    lines = [Line(key, 1, 1) for name in names for key in keys(index, customer=name)]
    assert len({line.key for line in lines}) == len(names)
    with STORES[store](tmp_path) as ledger:
        for amount, line in enumerate(lines, 1):
            ledger.reserve(str(amount), [[line]], now=NOON, expires_at=LATER)
            ledger.settle(str(amount), {"usd": amount})
            ledger.mark_once(line.key, "50")
        assert [sums.spent for sums in ledger.totals(lines)] == list(range(1, len(names) + 1))
        assert not any(ledger.mark_once(line.key, "50") for line in lines)


def test_nobody_can_name_himself_into_the_overflow() -> None:
    index = Index(load({"type": "customer", "name": "*", "limit": 1}), max_names=1)
    mine = keys(index, customer="first")
    assert mine == ["-|customer:first"]
    assert keys(index, customer=OVERFLOW) == keys(index, customer="x") == [f"-|customer:{OVERFLOW}"]
    fresh = Index(load({"type": "customer", "name": "*", "limit": 1}))
    assert keys(fresh, customer=OVERFLOW) != [f"-|customer:{OVERFLOW}"]


@pytest.mark.parametrize("filler", ["", "x" * 240, "\U0001f600" * 250], ids=["short", "long", "wide"])
def test_the_names_that_are_kept_at_hand_take_20_mb_at_most(filler: str) -> None:
    index = Index(load({"type": "customer", "name": "*", "limit": 1, "period": "daily"}))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(9_999):
            index.match(normalized({"customer": f"{number}-{filler}"}), AT)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 20_000_000


def test_a_flood_of_names_is_limited_and_takes_no_more_memory() -> None:
    """Each beyond the cap is held by one budget of the template's limit, not by none."""
    index = Index(load({"type": "customer", "name": "*", "limit": 1, "period": "daily"}), max_names=1_000)

    def flood(numbers: range) -> int:
        for number in numbers:
            (match,) = index.match(normalized({"customer": f"name {number}"}), AT)
            assert match.terms.limit == 1_000_000_000
            assert match.name in (f"name {number}", OVERFLOW)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        # As much as the names of late take, however many there were.
        assert all(flood(range(start, start + 4_000)) < 6_000_000 for start in range(0, 20_000, 4_000))
    finally:
        tracemalloc.stop()
    assert keys(index, customer="name 19999") == [f"2025-11-22|customer:{OVERFLOW}"]


def test_a_routing_key_counts_however_many_others_stand_before_it() -> None:
    junk: dict[str, object] = {f"junk {number}": number for number in range(1000)}
    found = normalized({**junk, "customer_id": "acme"})
    assert found["customer"] == "acme"
    assert len(found) == 65
