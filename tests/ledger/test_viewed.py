"""A ledger on sums that others have a part in."""

from __future__ import annotations

from aden_transport.ledger.base import NEVER, Line, Totals
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.viewed import ViewedLedger


def line(key: str = "a", hold: int = 10, **bounds: object) -> Line:
    return Line(key, hold, hold, **bounds)  # type: ignore[arg-type]


def reserve(ledger: ViewedLedger, op_id: str, *lines: Line) -> tuple[str, list[Totals]]:
    outcome = ledger.reserve(op_id, [lines], now=0.0, expires_at=1e9)
    return outcome.kind, list(outcome.totals)


def test_without_others_it_is_the_ledger_itself() -> None:
    ledger = ViewedLedger(MemoryLedger())
    assert reserve(ledger, "1", line(limit_held=10)) == ("held", [Totals(0, 0, 0)])
    assert reserve(ledger, "2", line(limit_held=10)) == ("refused", [Totals(0, 10, 10)])
    assert ledger.settle("1", {"usd": 7})
    assert ledger.totals([line()]) == (Totals(7, 0, 0),)
    assert ledger.open_holds() == 0


def test_what_others_have_spent_counts_and_is_shown() -> None:
    ledger = ViewedLedger(MemoryLedger())
    ledger.offsets = {"a": 90}
    assert reserve(ledger, "1", line(limit_held=100)) == ("held", [Totals(90, 0, 0)])
    assert reserve(ledger, "2", line(limit_held=100)) == ("refused", [Totals(90, 10, 10)])
    ledger.settle("1", {"usd": 10})
    assert ledger.totals([line(), line("b")]) == (Totals(100, 0, 0), Totals(0, 0, 0))
    assert ledger.inner.totals([line()]) == (Totals(10, 0, 0),)


def test_every_bound_is_shifted_and_none_becomes_one_that_is_not_there() -> None:
    ledger = ViewedLedger(MemoryLedger())
    ledger.offsets = {"a": 200}
    assert reserve(ledger, "1", line(limit_expected=100))[0] == "refused"
    assert reserve(ledger, "2", line(throttle_at=100))[0] == "throttled"
    passed_over = [[line(degrade_at=100)], [line(hold=1)]]
    assert ledger.reserve("3", passed_over, now=0.0, expires_at=1e9).candidate == 1
    assert reserve(ledger, "4", line(limit_held=NEVER))[0] == "held"


def test_older_parts_of_a_window_count_with_theirs() -> None:
    ledger = ViewedLedger(MemoryLedger())
    ledger.offsets = {"old": 50}
    kind, totals = reserve(ledger, "1", line(limit_held=55, also=("old",)))
    assert (kind, totals) == ("refused", [Totals(50, 0, 0)])


def test_a_server_that_began_anew_takes_away_what_was_before() -> None:
    ledger = ViewedLedger(MemoryLedger())
    reserve(ledger, "1", line(hold=100))
    ledger.settle("1", {"usd": 100})
    ledger.offsets = {"a": -100}
    assert ledger.totals([line()]) == (Totals(0, 0, 0),)
    assert reserve(ledger, "2", line(limit_held=10))[0] == "held"
    ledger.offsets = {"a": -500}
    assert ledger.totals([line()])[0].spent == 0
