"""A hundred schedules of what may befall leases, on the product's own ledgers, books, rule and session."""

from __future__ import annotations

import pytest

from simulations import leases, short_lived

FAILED_ONCE = (5, 1003)
"""Seeds that have shown a fault, of the product or of a schedule; each stays for good."""


@pytest.mark.timeout(300)  # 25 s where nothing else runs
def test_money_is_neither_overspent_nor_lost_nor_counted_twice() -> None:
    results = [leases.run(seed) for seed in range(100)]
    assert [each for each in results if not each.is_right] == []
    used = [each.billed / each.could for each in results if each.could]
    assert sum(used) >= 0.9 * len(used)
    assert sum(each.truth.sent for each in results) > 1000
    assert sum(len(each.truth.lost) for each in results) > 10


@pytest.mark.parametrize("seed", FAILED_ONCE)
def test_what_failed_once_does_not_again(seed: int) -> None:
    assert leases.run(seed).is_right


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_the_servers_own_tables_say_the_same(store: str) -> None:
    result = leases.run(2, store=store, server="sql")
    assert result.is_right
    assert result.truth.sent > 30


def test_a_schedule_is_the_same_each_time() -> None:
    first, again = leases.run(7), leases.run(7)
    assert first.truth.billed == again.truth.billed
    assert (first.billed, first.disputed) == (again.billed, again.disputed)


def test_agents_that_live_for_a_short_time_strand_next_to_nothing() -> None:
    figures = short_lived.run()
    assert figures.lives == 400
    assert (figures.overspent, figures.blocked, figures.uncounted) == (0, 0, 0)
    assert figures.stranded <= 0.005 * short_lived.LIMIT
    assert figures.sent > 11_000


def test_what_short_lived_agents_strand_on_the_servers_tables_is_no_more() -> None:
    figures = short_lived.run(agents=4, restarts=4, server="sql", store="sqlite")
    assert (figures.overspent, figures.blocked, figures.uncounted) == (0, 0, 0)
    assert figures.stranded <= 0.005 * short_lived.LIMIT
