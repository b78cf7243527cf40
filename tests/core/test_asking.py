"""Calls that only a lease keeps out: they wait holding nothing, not for long, and not one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from simulations.fleet import RuleServer

from aden_transport.core import attempts
from aden_transport.core.exchange import Exchange
from aden_transport.core.reserve import Budgets
from aden_transport.core.steps import Refuse, Send, Step, Wait
from aden_transport.ledger.base import Line
from aden_transport.ledger.lease_memory import MemoryLeases
from aden_transport.ledger.leased import LeasedLedger
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.policy import Index, OnUnknown, load

from .kit import NOON, Bench, headers, wire
from .test_reserve import HELLO, PRICES, USD

KEY = "-|global"
HARD = {"limit": 1, "limitAction": "block"}
CALL = {**HELLO, "max_tokens": 1000}
HOLD = 10_000_000
"""Of one call, and a little more for its input."""


@pytest.fixture(autouse=True)
def _nothing_is_tried_again() -> None:
    attempts.forget()


class Leased(Bench):
    """Calls of one process under leases of a server that answers when it is told to."""

    def __init__(self, policy: Any = HARD, *, unknown: OnUnknown | None = None, limit: int = USD) -> None:
        self.now = 100.0
        local = MemoryLedger()
        self.ledger = LeasedLedger(local, MemoryLeases(local), clock=self.clock)
        self.server = RuleServer(lambda _: limit, clock=self.clock)
        self.woken = 0
        self.ledger.wake = self.wake
        self.budgets = Budgets(
            Index(load(policy)),
            self.ledger,
            prices=PRICES,
            unknown=unknown or OnUnknown(),
            wall=lambda: NOON,
        )
        super().__init__(PRICES, budgets=self.budgets)

    def clock(self) -> float:
        return self.now

    def wake(self) -> None:
        self.woken += 1

    def answer(self) -> None:
        asks = self.ledger.due()
        self.ledger.take(self.server.answer(self.ledger.owner, asks), self.now)

    def call(self) -> tuple[Exchange, Step]:
        exchange = self.open(wire(CALL))
        return exchange, exchange.start()

    def sums(self) -> tuple[int, int]:
        (found,) = self.ledger.totals([Line(KEY, 0, 0)])
        return found.spent, found.held

    def waited(self, exchange: Exchange, step: Step) -> Step:
        assert isinstance(step, Wait)
        self.now += step.seconds
        return exchange.waited(step.seconds)

    def waits_out(self, exchange: Exchange, step: Step) -> tuple[Step, list[float]]:
        """What becomes of it while nobody answers, and its pauses."""
        pauses: list[float] = []
        while isinstance(step, Wait):
            pauses.append(step.seconds)
            step = self.waited(exchange, step)
        return step, pauses


def ended(exchange: Exchange) -> None:
    exchange.receive_response(500, headers())
    exchange.receive_eof()


def test_a_call_waits_for_its_lease_and_is_sent_once_it_is_there() -> None:
    bench = Leased()
    exchange, step = bench.call()
    assert isinstance(step, Wait)
    assert step.seconds == pytest.approx(0.002)
    assert bench.sums() == (0, 0)
    assert bench.woken
    bench.answer()
    assert isinstance(bench.waited(exchange, step), Send)
    assert bench.sums()[1] > HOLD
    ended(exchange)
    assert bench.events[0].decision.action == "allow"


def test_a_call_that_its_lease_covers_waits_for_nothing() -> None:
    bench = Leased()
    exchange, step = bench.call()
    bench.answer()
    bench.waited(exchange, step)
    ended(exchange)
    bench.woken = 0
    assert isinstance(bench.call()[1], Send)
    assert bench.woken == 0


def test_pauses_grow_and_end_with_the_time_that_a_call_may_wait() -> None:
    bench = Leased()
    step, pauses = bench.waits_out(*bench.call())
    assert pauses[:6] == pytest.approx([0.002, 0.004, 0.008, 0.016, 0.032, 0.05])
    assert max(pauses) <= 0.05
    assert sum(pauses) == pytest.approx(2.0)
    assert isinstance(step, Send)


def test_a_sync_client_on_a_loop_that_does_not_sleep_does_not_ask_for_ever() -> None:
    bench = Leased()
    exchange, step = bench.call()
    looks = 0
    while isinstance(step, Wait):
        step, looks = exchange.waited(0.0), looks + 1
    assert looks < 60


def test_a_call_that_goes_on_without_the_server_is_counted() -> None:
    bench = Leased(unknown=OnUnknown(server="allow"))
    exchange, step = bench.call()
    step, _ = bench.waits_out(exchange, step)
    assert isinstance(step, Send)
    assert bench.sums()[1] > HOLD
    exchange.fail(TimeoutError())
    assert bench.events[0].decision.source == "policy"
    assert "did not answer" in (bench.events[0].decision.reason or "")
    spent, held = bench.sums()
    assert spent > HOLD
    assert held == 0
    bench.now += 2
    bench.answer()
    assert bench.server.sums(KEY) == (spent, 0)


def test_a_call_that_may_not_go_on_without_the_server_is_refused_with_the_reason() -> None:
    bench = Leased(unknown=OnUnknown(server="block"))
    step, _ = bench.waits_out(*bench.call())
    assert isinstance(step, Refuse)
    assert "did not answer" in str(step.error)
    assert bench.sums() == (0, 0)


def test_what_a_budget_says_goes_before_the_options() -> None:
    bench = Leased({**HARD, "on_unknown": {"server": "block"}}, unknown=OnUnknown(server="allow"))
    assert isinstance(bench.waits_out(*bench.call())[0], Refuse)


def test_dollars_are_an_allowance_beyond_the_lease() -> None:
    bench = Leased(unknown=OnUnknown(server=HOLD * 5 // 2))
    steps = [bench.waits_out(*bench.call())[0] for _ in range(3)]
    assert [type(step) for step in steps] == [Send, Send, Refuse]


def test_an_allowance_is_whole_again_once_the_server_has_granted_what_was_spent() -> None:
    bench = Leased(unknown=OnUnknown(server=HOLD * 3 // 2))
    exchange, step = bench.call()
    assert isinstance(bench.waits_out(exchange, step)[0], Send)
    exchange.fail(TimeoutError())
    assert isinstance(bench.call()[1], Refuse)
    bench.now += 2
    bench.answer()
    exchange, step = bench.call()
    bench.answer()
    assert isinstance(bench.waited(exchange, step), Send)


def test_only_the_first_call_waits_for_a_server_that_is_away() -> None:
    bench = Leased(unknown=OnUnknown(server="allow"))
    assert len(bench.waits_out(*bench.call())[1]) > 10
    assert isinstance(bench.call()[1], Send)
    bench.now += 60
    assert isinstance(bench.call()[1], Send)
    bench.answer()
    bench.now += 100
    assert isinstance(bench.call()[1], Wait)


def test_a_limit_that_is_known_to_be_reached_refuses_at_once() -> None:
    bench = Leased(limit=HOLD * 3 // 2)
    exchange, step = bench.call()
    bench.answer()
    assert isinstance(bench.waited(exchange, step), Send)
    bench.now += 2
    exchange, step = bench.call()
    bench.answer()
    step = bench.waited(exchange, step)
    assert isinstance(step, Refuse)
    assert "did not answer" not in str(step.error)
    assert isinstance(bench.call()[1], Refuse)


def test_the_limit_of_the_policy_is_known_without_the_server() -> None:
    bench = Leased({**HARD, "limit": 0.015}, unknown=OnUnknown(server="allow"))
    first, _ = bench.waits_out(*bench.call())
    assert isinstance(first, Send)
    assert isinstance(bench.call()[1], Refuse)
