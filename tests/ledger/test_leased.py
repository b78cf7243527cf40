"""Ledgers under leases: what a lease, a limit and others leave of a call, and what the server learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from simulations.fleet import RuleServer

from aden_transport.ledger import leased as module
from aden_transport.ledger.base import Line, Outcome, Totals
from aden_transport.ledger.grants import Bounds
from aden_transport.ledger.lease_file import FileLeases
from aden_transport.ledger.lease_memory import MemoryLeases, lease_clock
from aden_transport.ledger.leased import LeasedLedger, Leases, is_fleet_key
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.sqlite import SqliteLedger

from .kit import LATER, NOON, PATIENT, hard, line, sums


class Fleet:
    """A server with a limit of 1000, and hosts that ask it when they are told to."""

    def __init__(self, folder: Path) -> None:
        self.now = 100.0
        self.limit: int | None = 1000
        self.server = RuleServer(lambda _: self.limit, clock=self.clock, bounds=Bounds(ttl_s=60.0))
        self.folder = folder
        self.hosts: list[LeasedLedger] = []

    def clock(self) -> float:
        return self.now

    def host(self, store: str = "memory", *, file: str | None = None) -> LeasedLedger:
        """`file`: of a host that has several processes."""
        leases: Leases
        if store == "memory":
            local: Any = MemoryLedger()
            leases = MemoryLeases(local)
        else:
            name = file or f"{len(self.hosts)}.sqlite3"
            local = SqliteLedger(self.folder / name, timeout_s=PATIENT)
            leases = FileLeases(local, clock=self.clock, boot="boot")
        self.hosts.append(LeasedLedger(local, leases, clock=self.clock))
        return self.hosts[-1]

    def answer(self, host: LeasedLedger, *, after: float = 0.0, end: bool = False) -> int:
        """How many asks it had."""
        self.now += after
        asks = host.due(end=end)
        host.take(self.server.answer(host.owner, asks), self.now)
        return len(asks)

    def give_back(self, host: LeasedLedger) -> None:
        for _ in range(4):
            self.answer(host, after=1.0, end=True)
        assert host.is_given_back


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path)
    yield found
    for host in found.hosts:
        host.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def reserve(ledger: LeasedLedger, op_id: str, *candidates: list[Line]) -> Outcome:
    return ledger.reserve(op_id, candidates, now=NOON, expires_at=LATER)


def held(fleet: Fleet, ledger: LeasedLedger, op_id: str, *candidates: list[Line]) -> Outcome:
    """Once the server has answered, as often as it has to."""
    outcome = reserve(ledger, op_id, *candidates)
    while outcome.asks:
        fleet.answer(ledger)
        outcome = reserve(ledger, op_id, *candidates)
    assert outcome.kind == "held"
    return outcome


def spend(fleet: Fleet, ledger: LeasedLedger, amount: int, key: str = "a", **more: Any) -> None:
    held(fleet, ledger, f"spend {key}", [hard(key, amount, 1000, **more)])
    assert ledger.settle(f"spend {key}", {"usd": amount})
    fleet.answer(ledger, after=2.0)


# -- a lease ----------------------------------------------------------------------------------------


def test_a_call_asks_until_its_lease_is_there(fleet: Fleet, store: str) -> None:
    ledger, woken = fleet.host(store), list[int]()
    ledger.wake = lambda: woken.append(1)
    outcome = reserve(ledger, "1", [hard("a", 100, 1000)])
    assert (outcome.kind, outcome.asks, outcome.line) == ("refused", True, 0)
    assert ledger.is_waited_for
    assert ledger.open_holds() == 0
    assert woken
    assert reserve(ledger, "1", [hard("a", 100, 1000)]).asks
    fleet.answer(ledger)
    assert reserve(ledger, "1", [hard("a", 100, 1000)]) == Outcome("held", 0, (Totals(0, 0, 0),))
    assert not ledger.is_waited_for
    assert fleet.server.sums("a") == (0, 100)
    assert ledger.settle("1", {"usd": 40})
    fleet.answer(ledger, after=1.0)
    assert fleet.server.sums("a") == (40, 60)


def test_what_is_left_of_a_lease_is_used_without_asking(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    ledger.settle("1", {"usd": 10})
    assert reserve(ledger, "2", [hard("a", 90, 1000)]).kind == "held"
    assert reserve(ledger, "3", [hard("a", 1, 1000)]).asks


def test_settling_above_the_hold_is_counted(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    ledger.settle("1", {"usd": 250})
    fleet.answer(ledger, after=1.0)
    assert fleet.server.sums("a") == (250, 0)
    held(fleet, ledger, "2", [hard("a", 100, 1000)])
    assert fleet.server.sums("a") == (250, 100)


def test_a_lease_that_is_over_is_not_used(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    ledger.release("1")
    fleet.now += 59.0
    assert reserve(ledger, "2", [hard("a", 100, 1000)]).kind == "held"
    ledger.release("2")
    fleet.now += 2.0
    assert reserve(ledger, "3", [hard("a", 100, 1000)]).asks
    assert reserve(ledger, "4", [hard("a", 0, 1000)]).kind == "held"


def test_all_lines_have_to_be_covered(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    lines = [line("free", 50), hard("a", 50, 1000), hard("b", 50, 1000)]
    held(fleet, ledger, "1", [hard("a", 50, 1000)])
    ledger.release("1")
    outcome = reserve(ledger, "2", lines)
    assert (outcome.asks, outcome.line) == (True, 2)
    fleet.answer(ledger)
    assert reserve(ledger, "2", lines).kind == "held"


def test_tokens_and_calls_are_leased_in_their_units(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    lines = [hard("t", 500, 900, unit="tokens"), hard("c", 1, 10, unit="calls")]
    held(fleet, ledger, "1", lines)
    assert ledger.settle("1", {"usd": 7, "tokens": 321, "calls": 1})
    fleet.answer(ledger, after=1.0)
    assert [fleet.server.sums(key)[0] for key in "tc"] == [321, 1]


def test_a_budget_without_a_hard_limit_needs_no_lease_and_is_reported(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    spend(fleet, other, 300)
    assert reserve(ledger, "1", [line("a", 50, 20, limit_expected=340)]).kind == "held"
    fleet.answer(ledger)
    assert reserve(ledger, "2", [line("a", 50, 21, limit_expected=340)]).kind == "refused"
    assert not ledger.is_waited_for
    assert reserve(ledger, "3", [line("a", 50, 20, limit_expected=340)]).totals == (Totals(300, 50, 20),)
    ledger.settle("1", {"usd": 12})
    ledger.settle("3", {"usd": 1})
    fleet.answer(ledger, after=1.0)
    assert fleet.server.sums("a")[0] == 313


# -- the fleet --------------------------------------------------------------------------------------


def test_sums_are_those_of_the_fleet(fleet: Fleet, store: str) -> None:
    one, other = fleet.host(store), fleet.host(store)
    spend(fleet, other, 300)
    spend(fleet, one, 100)
    held(fleet, one, "1", [hard("a", 10, 1000)])
    fleet.answer(other, after=30.0)
    assert sums(one, "a") == [(400, 10, 5)]
    assert sums(other, "a") == [(400, 0, 0)]
    assert held(fleet, one, "2", [hard("a", 10, 1000)]).totals == (Totals(400, 10, 5),)


def test_thresholds_stand_at_what_all_have_spent(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    spend(fleet, other, 700)
    spend(fleet, ledger, 10)
    throttled = [hard("a", 20, 1000, throttle_at=715)]
    assert reserve(ledger, "1", throttled) == Outcome("throttled", 0, (Totals(710, 0, 0),), 0)
    dear, cheap = [hard("a", 20, 1000, degrade_at=720)], [hard("a", 4, 1000)]
    assert held(fleet, ledger, "2", dear, cheap).candidate == 1
    passed = [hard("a", 20, 1000, throttle_at=100, degrade_at=50)]
    assert reserve(ledger, "3", passed).kind == "throttled"


def test_what_is_spent_by_others_is_not_there(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    spend(fleet, other, 950)
    assert reserve(ledger, "1", [hard("a", 100, 1000)]).asks
    fleet.answer(ledger)
    outcome = reserve(ledger, "1", [hard("a", 100, 1000)])
    assert (outcome.kind, outcome.asks, outcome.totals) == ("refused", False, (Totals(950, 0, 0),))
    assert not outcome.fits_expected
    assert not ledger.is_waited_for


def test_a_call_that_only_holds_of_others_keep_out_may_wait_for_them(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    held(fleet, other, "open", [hard("a", 950, 1000)])
    reserve(ledger, "1", [hard("a", 100, 1000)])
    fleet.answer(ledger)
    outcome = reserve(ledger, "1", [hard("a", 100, 1000)])
    assert (outcome.kind, outcome.asks, outcome.fits_expected) == ("refused", False, True)
    assert outcome.totals == (Totals(0, 950, 0),)
    other.release("open")
    fleet.give_back(other)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])


def test_a_line_may_lower_the_limit_and_not_raise_it(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    spend(fleet, other, 100)
    spend(fleet, ledger, 10)
    assert reserve(ledger, "1", [hard("a", 50, 150)]).kind == "refused"
    assert not ledger.is_waited_for
    held(fleet, ledger, "1", [hard("a", 40, 150)])
    reserve(ledger, "2", [hard("a", 900, 5000)])
    fleet.answer(ledger)
    outcome = reserve(ledger, "2", [hard("a", 900, 5000)])
    assert (outcome.kind, outcome.asks) == ("refused", False)


def test_an_older_answer_does_not_stand_for_long(fleet: Fleet, store: str) -> None:
    """Whatever stood in the way may be gone: a limit that was raised, money that was given back."""
    ledger = fleet.host(store)
    reserve(ledger, "1", [hard("a", 1500, 2000)])
    fleet.answer(ledger)
    assert not reserve(ledger, "1", [hard("a", 1500, 2000)]).asks
    fleet.limit = 2000
    fleet.now += 1.0
    held(fleet, ledger, "1", [hard("a", 1500, 2000)])


# -- candidates -------------------------------------------------------------------------------------


def test_a_call_asks_rather_than_being_degraded_for_want_of_a_lease(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 50, 1000)])
    ledger.release("1")
    dear, cheap = [hard("a", 200, 1000)], [hard("a", 20, 1000)]
    outcome = reserve(ledger, "2", dear, cheap)
    assert (outcome.asks, outcome.candidate) == (True, 0)
    assert ledger.open_holds() == 0
    assert held(fleet, ledger, "2", dear, cheap).candidate == 0


def test_a_call_is_degraded_by_the_fleets_limit(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    spend(fleet, other, 850)
    dear, cheap = [hard("a", 200, 1000)], [hard("a", 20, 1000)]
    assert held(fleet, ledger, "1", dear, cheap).candidate == 1
    again = reserve(ledger, "1", dear, cheap)
    assert (again.kind, again.candidate) == ("held", 1)
    assert ledger.open_holds() == 1


def test_a_candidate_may_touch_other_keys(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    fleet.limit = 100
    outcome = reserve(ledger, "1", [hard("a", 200, 1000)], [hard("b", 20, 1000), line("-|run:1:usd", 20)])
    assert (outcome.asks, outcome.candidate) == (True, 0)
    fleet.answer(ledger)
    outcome = reserve(ledger, "1", [hard("a", 200, 1000)], [hard("b", 20, 1000), line("-|run:1:usd", 20)])
    assert (outcome.asks, outcome.candidate) == (True, 1)
    fleet.answer(ledger)
    outcome = reserve(ledger, "1", [hard("a", 200, 1000)], [hard("b", 20, 1000), line("-|run:1:usd", 20)])
    assert (outcome.kind, outcome.candidate) == ("held", 1)


# -- without the server -----------------------------------------------------------------------------


def beyond(ledger: LeasedLedger, op_id: str, lines: list[Line], allowances: Mapping[str, int | None]) -> str:
    candidates: Sequence[Sequence[Line]] = [lines]
    outcome = ledger.reserve_beyond(op_id, candidates, allowances=allowances, now=NOON, expires_at=LATER)
    return "asks" if outcome.asks else outcome.kind


def test_an_allowance_is_what_may_be_had_beyond_the_lease(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    assert beyond(ledger, "2", [hard("a", 51, 1000)], {"a": 50}) == "asks"
    assert beyond(ledger, "2", [hard("a", 50, 1000)], {"a": 50}) == "held"
    assert beyond(ledger, "3", [hard("a", 1, 1000)], {"a": 50}) == "asks"
    assert beyond(ledger, "3", [hard("a", 1, 1000)], {}) == "asks"
    assert beyond(ledger, "3", [hard("a", 1, 1000), hard("t", 9, 99, unit="tokens")], {"t": 0}) == "asks"
    assert beyond(ledger, "4", [hard("t", 9, 99, unit="tokens")], {"t": 0}) == "held"
    assert beyond(ledger, "5", [hard("a", 850, 1000)], {"a": None}) == "held"
    assert beyond(ledger, "6", [hard("a", 1, 1000)], {"a": None}) == "refused"


def test_what_went_beyond_is_reported_and_leased_later(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    assert beyond(ledger, "1", [hard("a", 100, 1000)], {"a": 100}) == "held"
    ledger.settle("1", {"usd": 90})
    fleet.answer(ledger, after=1.0)
    assert fleet.server.sums("a") == (90, 0)
    held(fleet, ledger, "2", [hard("a", 50, 1000)])
    assert fleet.server.sums("a") == (90, 50)


# -- rolling windows, deferred work, floors, marks --------------------------------------------------


def test_a_rolling_window_counts_its_older_parts(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    spend(fleet, ledger, 300, "w1")
    spend(fleet, other, 400, "w1")
    fleet.answer(ledger, after=25.0)
    now = hard("w2", 100, 1000, also=("w1",))
    assert held(fleet, ledger, "1", [now]).totals == (Totals(700, 0, 0),)
    assert reserve(ledger, "2", [hard("w2", 201, 1000, also=("w1",))]).kind == "refused"
    assert sums(ledger, "w2", also=["w1"]) == [(700, 100, 50)]
    fleet.give_back(other)
    assert fleet.server.sums("w1") == (700, 0)


def test_deferred_work_is_settled_under_its_lease(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    assert ledger.defer("1", "batch", expires_at=LATER + 1000)
    fleet.answer(ledger, after=100.0, end=True)
    assert not ledger.is_given_back
    assert ledger.settle_deferred("batch", {"usd": 60})
    fleet.give_back(ledger)
    assert fleet.server.sums("a") == (60, 0)


def test_a_lost_call_is_charged_at_its_hold(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    assert list(ledger.sweep(LATER)) == ["1"]
    assert ledger.disputed() == {"a": 100}
    fleet.give_back(ledger)
    assert fleet.server.sums("a") == (100, 0)


def test_a_floor_counts_until_the_server_says_what_is_spent(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    ledger.raise_to("a", 500, mark="policy")
    ledger.raise_to("a", 900, mark="policy")
    assert sums(ledger, "a") == [(500, 0, 0)]
    fleet.answer(ledger)
    assert sums(ledger, "a") == [(0, 0, 0)]
    ledger.raise_to("-|run:x:usd", 40, mark="m")
    assert sums(ledger, "-|run:x:usd") == [(40, 0, 0)]


def test_a_mark_is_had_once_on_the_host(fleet: Fleet) -> None:
    ledger = fleet.host()
    assert [ledger.mark_once("a", name) for name in ("new", "new", "other")] == [True, False, True]


@pytest.mark.parametrize(
    ("key", "of_fleet"),
    [
        ("-|global", True),
        ("2026-11#2|customer:run:1", True),
        ("-|run:0123:usd", False),
        ("m29833333|throttle:0", False),
        ("r3600.12|m", True),
        ("monthly", True),
    ],
)
def test_runs_and_minutes_of_rules_are_a_hosts_own(key: str, of_fleet: bool) -> None:
    assert is_fleet_key(key) is of_fleet


# -- giving back ------------------------------------------------------------------------------------


def test_what_is_given_back_is_free_for_others(fleet: Fleet, store: str) -> None:
    ledger, other = fleet.host(store), fleet.host()
    held(fleet, ledger, "1", [hard("a", 900, 1000)])
    ledger.settle("1", {"usd": 100})
    fleet.give_back(ledger)
    assert fleet.server.sums("a") == (100, 0)
    held(fleet, other, "2", [hard("a", 900, 1000)])
    assert reserve(ledger, "3", [hard("a", 50, 1000)]).kind in ("held", "refused")
    assert sums(ledger, "a")[0][0] == 100


def test_leases_that_nobody_uses_are_given_back(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    spend(fleet, ledger, 100)
    fleet.answer(ledger, after=20.0)
    assert ledger.is_given_back
    assert fleet.server.sums("a") == (100, 0)


def test_a_call_that_began_before_the_end_is_counted_under_the_old_lease(fleet: Fleet, store: str) -> None:
    ledger = fleet.host(store)
    held(fleet, ledger, "long", [hard("a", 100, 1000)])
    fleet.answer(ledger, end=True)
    held(fleet, ledger, "new", [hard("a", 50, 1000)])
    assert sums(ledger, "a") == [(0, 150, 75)]
    ledger.settle("long", {"usd": 70})
    ledger.settle("new", {"usd": 20})
    assert sums(ledger, "a") == [(90, 0, 0)]
    fleet.give_back(ledger)
    assert fleet.server.sums("a") == (90, 0)


def test_calls_that_no_longer_ask_do_not_wait(fleet: Fleet) -> None:
    ledger = fleet.host()
    reserve(ledger, "1", [hard("a", 100, 1000)])
    fleet.answer(ledger, after=5.0)
    assert not ledger.is_waited_for
    assert fleet.server.sums("a") == (0, 0)


def test_calls_that_hold_a_further_candidate_are_remembered_up_to_a_bound(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 2)
    ledger = fleet.host()
    fleet.limit = None
    for number in range(4):
        dear, cheap = [hard("a", 50, 10)], [line("a", 5)]
        assert held(fleet, ledger, str(number), dear, cheap).candidate == 1
    assert len(ledger._kept) == 2


def test_the_clock_of_leases_goes_forward() -> None:
    first = lease_clock()
    assert lease_clock() >= first


def test_a_ledger_whose_leases_change_all_the_time_asks_again(fleet: Fleet) -> None:
    ledger = fleet.host()
    held(fleet, ledger, "1", [hard("a", 100, 1000)])
    account = ledger.leases.find("a")
    assert account is not None
    local = ledger.local
    assert isinstance(local, MemoryLedger)
    local.seal(account.local_key)
    outcome = reserve(ledger, "2", [hard("a", 1, 1000)])
    assert (outcome.kind, outcome.asks) == ("refused", True)
