"""When a price holds."""

from __future__ import annotations

import math

import pytest

from aden_transport.pricing.schedule import When, holds, label, unchanged

DAY = 86_400
FROM_1970_01_03: When = "1970-01-03"
NIGHT: When = [80_000, 10_000]
NOON_HOUR: When = [43_200, 46_800]


@pytest.mark.parametrize(
    ("when", "at", "expected"),
    [
        (None, 0, True),
        (FROM_1970_01_03, 2 * DAY - 0.001, False),
        (FROM_1970_01_03, 2 * DAY, True),
        (NOON_HOUR, 43_199.9, False),
        (NOON_HOUR, 43_200, True),
        (NOON_HOUR, 46_800, False),
        (NIGHT, 80_000, True),
        (NIGHT, DAY + 9_999.9, True),
        (NIGHT, 10_000, False),
        ([5, 5], 5, False),
    ],
)
def test_a_price_holds_from_its_start_to_before_its_end(when: When, at: float, expected: bool) -> None:
    assert holds(when, at) is expected


def test_a_condition_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="no such condition"):
        holds([1, 2, 3], 0)


@pytest.mark.parametrize(
    ("whens", "at", "expected"),
    [
        ([], 5, (-math.inf, math.inf)),
        ([None], 5, (-math.inf, math.inf)),
        ([FROM_1970_01_03], 5, (-math.inf, 2 * DAY)),
        ([FROM_1970_01_03], 2 * DAY, (2 * DAY, math.inf)),
        ([NOON_HOUR], 5, (46_800 - DAY, 43_200)),
        ([NOON_HOUR], 43_200, (43_200, 46_800)),
        ([NOON_HOUR], 46_800, (46_800, 43_200 + DAY)),
        ([NOON_HOUR, FROM_1970_01_03], DAY + 50_000, (DAY + 46_800, 2 * DAY)),
    ],
)
def test_the_span_reaches_from_the_last_change_to_the_next(
    whens: list[When], at: float, expected: tuple[float, float]
) -> None:
    assert unchanged(whens, at) == expected


def test_conditions_read_as_people_write_them() -> None:
    assert label(None) is None
    assert label("2026-08-01") == "2026-08-01"
    assert label([1_800, 59_400]) == "00:30-16:30 UTC"
