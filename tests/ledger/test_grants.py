"""The server's rule of leases: values in, values out, and whatever a network does to asks."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aden_transport.control.messages import Ask, Grant
from aden_transport.ledger.grants import (
    MOST,
    Answer,
    Bounds,
    Change,
    Lease,
    Standing,
    dispute,
    is_silent,
    is_stale,
    judge,
    resolve,
    write_off,
)

NOW = 1_790_000_000.0
BOUNDS = Bounds(ttl_s=60, clock_skew=0.1, longest_s=100, dispute_ttl_s=1000)


def ask(seq: int = 1, *, used: int = 0, want: int = 0, need: int = 0, **more: Any) -> Ask:
    return Ask(
        key="w|k", generation=more.pop("generation", 1), seq=seq, used=used, want=want, need=need, **more
    )


def answer(
    asked: Ask,
    lease: Lease | None = None,
    *,
    spent: int = 0,
    held: int = 0,
    limit: int | None = 1000,
    **more: Any,
) -> Answer:
    standing = Standing(spent, held, limit, **more)
    return judge(asked, lease, standing, now=NOW, bounds=BOUNDS)


def open_lease(granted: int = 100, used: int = 0, **more: Any) -> Lease:
    return Lease(generation=1, seq=1, granted=granted, used=used, booked=used, heard_at=NOW, **more)


# -- grants -----------------------------------------------------------------------------------------


def test_a_first_ask_is_granted_what_it_wants() -> None:
    lease, change, grant = answer(ask(want=100), spent=300, held=50)
    assert lease == open_lease(100)
    assert change == Change(spent=0, held=100, disputed=0)
    assert grant == Grant(
        key="w|k", generation=1, seq=1, granted=100, used=0, ttl_s=60, limit=1000, spent=300, held=150
    )


def test_what_was_used_moves_from_held_to_spent() -> None:
    lease, change, grant = answer(ask(2, used=30, want=100), open_lease(), held=100)
    assert (lease.granted, lease.used, change) == (100, 30, Change(30, -30, 0))
    assert (grant.used, grant.spent, grant.held) == (30, 30, 70)


def test_a_grant_leaves_as_much_for_others_as_its_owner_has() -> None:
    assert answer(ask(want=5000)).grant.granted == 500
    assert answer(ask(want=5000), owners=4).grant.granted == 200
    assert answer(ask(2, want=5000), open_lease(500), held=500).grant.granted == 500
    assert answer(ask(2, used=500, want=5000), open_lease(500), held=500).grant.granted == 750


def test_who_has_no_limit_gets_what_it_wants() -> None:
    assert answer(ask(want=5000), limit=None).grant.granted == 5000


def test_a_call_that_waits_gets_what_it_needs_as_long_as_that_is_free() -> None:
    assert answer(ask(want=900, need=900), owners=10).grant.granted == 900
    assert answer(ask(want=100, need=60), spent=900, held=40).grant.granted == 60
    assert answer(ask(want=100, need=61), spent=900, held=40).change == Change(0, 0, 0)


def test_less_than_it_needs_is_of_no_use() -> None:
    lease, change, grant = answer(ask(2, used=90, want=300, need=201), open_lease(), spent=0, held=900)
    assert (lease.granted, grant.granted, change) == (100, 100, Change(90, -90, 0))
    assert answer(ask(want=10, need=11)).grant.granted == 11
    assert answer(ask(want=10, need=11), spent=995).grant.granted == 0


def test_scraps_are_only_for_a_call_that_waits() -> None:
    assert answer(ask(want=50_000), spent=998_100, limit=1_000_000).grant.granted == 0
    assert answer(ask(want=50_000), spent=997_900, limit=1_000_000).grant.granted == 1050
    assert answer(ask(want=50_000, need=900), spent=998_100, limit=1_000_000).grant.granted == 950
    assert answer(ask(want=5), spent=998_100, limit=1_000_000).grant.granted == 5


def test_nothing_is_granted_beyond_a_limit_that_was_cut() -> None:
    lease, change, _ = answer(ask(2, used=10, want=500, need=110), open_lease(), held=100, limit=50)
    assert (lease.granted, change) == (100, Change(10, -10, 0))


def test_what_was_spent_beyond_a_lease_is_paid_for_once() -> None:
    lease, change, _ = answer(ask(2, used=130, want=150, need=150), open_lease(), held=100, limit=150)
    assert (lease.granted, change) == (150, Change(130, -80, 0))
    lease, change, _ = answer(ask(2, used=130, want=160, need=160), open_lease(), held=100, limit=150)
    assert (lease.granted, lease.held, change) == (100, 0, Change(130, -100, 0))


def test_a_key_that_may_not_be_spent_on_takes_reports_only() -> None:
    lease, change, grant = answer(ask(2, used=10, want=500, need=200), open_lease(), held=100, is_open=False)
    assert (lease.granted, lease.state, grant.state, change) == (100, "open", "fenced", Change(10, -10, 0))


@pytest.mark.parametrize("figure", [-5, MOST + 1, 10**30])
def test_figures_out_of_bounds_are_taken_for_the_next_bound(figure: int) -> None:
    lease, change, _ = answer(ask(used=figure, want=figure, need=figure), limit=None)
    assert change == Change(max(0, min(figure, MOST)), 0, 0)
    assert lease.granted in (0, MOST)


# -- lost, repeated, reordered ----------------------------------------------------------------------


def test_an_ask_again_gets_the_same_answer() -> None:
    first = answer(ask(want=100))
    again = answer(ask(want=100), first.lease, held=100)
    assert (again.grant, again.change) == (first.grant, Change(0, 0, 0))


def test_an_old_ask_gets_the_answer_of_the_latest() -> None:
    lease = replace(open_lease(100, 40), seq=7)
    late = answer(ask(6, used=30, want=500, need=500), lease, spent=40, held=60)
    assert (late.lease, late.change, late.grant.seq, late.grant.granted) == (lease, Change(0, 0, 0), 7, 100)


def test_a_later_generation_fences_the_earlier() -> None:
    late = answer(ask(2, used=20, want=500, need=500), open_lease(), held=100, latest=2)
    assert (late.lease.granted, late.grant.state, late.change) == (100, "fenced", Change(20, -20, 0))
    final = answer(ask(3, used=25, final=True), late.lease, spent=20, held=80, latest=2)
    assert (final.lease.state, final.grant.state, final.change) == ("closed", "closed", Change(5, -80, 0))
    unknown = answer(ask(1, want=10, need=10), latest=2)
    assert (unknown.grant.granted, unknown.grant.state) == (0, "fenced")


def test_a_final_report_frees_the_rest_once() -> None:
    closed = answer(ask(2, used=60, final=True), open_lease(), held=100)
    assert (closed.lease.state, closed.change) == ("closed", Change(60, -100, 0))
    again = answer(ask(2, used=60, final=True), closed.lease, spent=60)
    assert (again.lease, again.change, again.grant.state) == (closed.lease, Change(0, 0, 0), "closed")
    more = answer(ask(3, used=60, want=500, need=100), closed.lease, spent=60)
    assert (more.change, more.grant.granted, more.grant.state) == (Change(0, 0, 0), 100, "closed")
    late = answer(ask(4, used=70), closed.lease, spent=60)
    assert late.change == Change(10, 0, 0)


def test_what_a_server_has_forgotten_is_spent_when_its_owner_tells() -> None:
    lease, change, _ = answer(ask(9, used=70, want=100, need=90))
    assert (lease.granted, change) == (100, Change(70, 30, 0))


# -- silence ----------------------------------------------------------------------------------------


def test_an_owner_is_silent_after_its_leases_and_calls_have_ended() -> None:
    lease = open_lease()
    assert not is_silent(lease, NOW + 165.9, BOUNDS)
    assert is_silent(lease, NOW + 166, BOUNDS)
    heard = judge(ask(1), lease, Standing(0, 100, 1000), now=NOW + 100, bounds=BOUNDS).lease
    assert not is_silent(heard, NOW + 166, BOUNDS)
    late = judge(ask(0), lease, Standing(0, 100, 1000), now=NOW + 100, bounds=BOUNDS).lease
    assert is_silent(late, NOW + 166, BOUNDS)


def test_silence_charges_the_lease_in_full_disputed() -> None:
    lease, change = dispute(open_lease(100, 30), NOW + 500)
    assert change == Change(spent=70, held=-70, disputed=70)
    assert (lease.state, lease.booked, lease.disputed) == ("disputed", 100, 70)
    assert dispute(lease, NOW + 600) == (lease, Change(0, 0, 0))
    assert not is_silent(lease, NOW + 9999, BOUNDS)


def test_a_silent_owner_that_had_nothing_left_is_not_disputed() -> None:
    lease, change = dispute(open_lease(100, 100), NOW)
    assert (lease.state, change) == ("closed", Change(0, 0, 0))


def test_a_word_after_silence_makes_it_as_if_there_had_been_none() -> None:
    silent, _ = dispute(open_lease(100, 30), NOW)
    back = answer(ask(2, used=50, want=120), silent, spent=100, held=0)
    assert (back.lease.state, back.lease.granted, back.change) == ("open", 120, Change(-50, 70, -70))
    final = answer(ask(2, used=50, final=True), silent, spent=100)
    assert (final.lease.state, final.change) == ("closed", Change(-50, 0, -70))
    again = answer(ask(1, used=30), silent, spent=100)
    assert (again.lease.state, again.change) == ("open", Change(-70, 70, -70))


def test_an_old_copy_of_an_ask_is_no_word() -> None:
    silent, _ = dispute(open_lease(100, 30), NOW)
    late = answer(ask(0, used=40), silent, spent=100)
    assert (late.lease.state, late.lease.used, late.change) == ("disputed", 40, Change(0, 0, -10))
    beyond = answer(ask(0, used=110), silent, spent=100)
    assert beyond.change == Change(10, 0, -70)


def test_a_dispute_is_resolved_as_charged() -> None:
    silent, _ = dispute(open_lease(100, 30), NOW)
    assert not is_stale(silent, NOW + 999, BOUNDS)
    assert is_stale(silent, NOW + 1000, BOUNDS)
    lease, change = resolve(silent)
    assert (lease.state, lease.booked, change) == ("closed", 100, Change(0, 0, -70))
    assert resolve(lease) == (lease, Change(0, 0, 0))
    assert answer(ask(2, used=90, final=True), lease, spent=100).change == Change(0, 0, 0)
    assert answer(ask(2, used=130), lease, spent=100).change == Change(30, 0, 0)


def test_a_dispute_that_is_written_off_frees_the_rest() -> None:
    silent, _ = dispute(open_lease(100, 30), NOW)
    lease, change = write_off(silent)
    assert (lease.state, lease.booked, change) == ("closed", 30, Change(-70, 0, -70))
    assert write_off(lease) == (lease, Change(0, 0, 0))
    assert answer(ask(2, used=50), lease, spent=30).change == Change(20, 0, 0)


# -- fairness ---------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 40),
    chunk=st.sampled_from([1 / 2000, 1 / 1000, 1 / 300, 1 / 40, 2.0]),
    calls=st.sampled_from([1, 3, 17]),
    seed=st.integers(0, 2**32),
)
def test_of_equal_agents_none_gets_less_than_half_of_its_share(
    count: int, chunk: float, calls: int, seed: int
) -> None:
    limit, random = 10_000_000, Random(seed)
    call = limit // 20_000
    want = max(call, int(limit * chunk))
    leases = [answer(ask(0), limit=limit, owners=count).lease for _ in range(count)]
    spent = held = grants = 0
    used = [0] * count
    for seq in range(1, 25_000):
        for n in random.sample(range(count), count):
            base = max(leases[n].granted, used[n])
            waits = leases[n].granted - used[n] < call
            asked = ask(seq, used=used[n], want=base + want, need=used[n] + call if waits else base)
            if leases[n].granted - used[n] < max(call, want // 2):
                standing = Standing(spent, held, limit, owners=count)
                new, change, _ = judge(asked, leases[n], standing, now=NOW, bounds=BOUNDS)
                grants += new.granted > leases[n].granted
                spent, held, leases[n] = spent + change.spent, held + change.held, new
            for _ in range(calls):
                if leases[n].granted - used[n] >= call:
                    used[n] += call
        if grants >= 1000 or spent + held > limit - call:
            break
    assert spent + held <= limit
    shares = [each.granted for each in leases]
    assert min(shares) >= sum(shares) / count / 2


def test_a_budget_is_granted_to_the_last_call() -> None:
    leases: list[Lease | None] = [None] * 5
    spent = held = calls = 0
    refused = 0
    while refused < 5:
        n = calls % 5
        lease = leases[n] or Lease(generation=1)
        asked = ask(lease.seq + 1, used=lease.granted, want=lease.granted + 50, need=lease.granted + 7)
        leases[n], change, grant = answer(asked, leases[n], spent=spent, held=held, owners=5)
        spent, held = spent + change.spent, held + change.held
        refused = 0 if grant.granted > lease.granted else refused + 1
        calls += 1
    assert 1000 - spent - held < 7


# -- any network ------------------------------------------------------------------------------------


class Owner:
    """What an owner knows, and what is true."""

    def __init__(self) -> None:
        self.generation, self.seq, self.granted, self.used = 1, 0, 0, 0


class Network(RuleBasedStateMachine):
    """Owners that spend what they were granted, and a server that hears of it by lost, repeated and
    reordered messages."""

    OWNERS = 3

    def __init__(self) -> None:
        super().__init__()
        self.owners = [Owner() for _ in range(self.OWNERS)]
        self.limit = self.ceiling = 1000
        self.leases: dict[tuple[int, int], Lease] = {}
        self.true: dict[tuple[int, int], int] = {}
        self.spent = self.held = self.disputed = 0
        self.now = NOW
        self.asks: list[tuple[int, Ask]] = []
        self.grants: list[tuple[int, Grant]] = []

    def apply(self, place: tuple[int, int], lease: Lease, change: Change) -> None:
        self.leases[place] = lease
        self.spent += change.spent
        self.held += change.held
        self.disputed += change.disputed

    @rule(n=st.integers(0, 2), part=st.floats(0, 1))
    def spend(self, n: int, part: float) -> None:
        owner = self.owners[n]
        owner.used += int((owner.granted - owner.used) * part)
        self.true[n, owner.generation] = owner.used

    @rule(n=st.integers(0, 2), want=st.integers(0, 600), need=st.integers(0, 300), final=st.booleans())
    def send(self, n: int, want: int, need: int, final: bool) -> None:
        owner = self.owners[n]
        owner.seq += 1
        told = ask(
            owner.seq,
            used=owner.used,
            want=owner.granted + want,
            need=owner.granted + min(want, need),
            generation=owner.generation,
            final=final,
        )
        self.asks.append((n, told))
        if final:
            owner.generation += 1
            owner.seq = owner.granted = owner.used = 0

    @rule(n=st.integers(0, 2))
    def crash(self, n: int) -> None:
        """Begins a generation anew; nobody knows any more what was spent under the last."""
        owner = self.owners[n]
        owner.generation += 1
        owner.seq = owner.granted = owner.used = 0

    @precondition(lambda self: self.asks)
    @rule(data=st.data(), keep=st.booleans())
    def deliver(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.asks) - 1))
        n, asked = self.asks[index] if keep else self.asks.pop(index)
        latest = max([generation for owner, generation in self.leases if owner == n], default=0)
        active = {owner for (owner, _), lease in self.leases.items() if lease.state == "open"} | {n}
        standing = Standing(self.spent, self.held, self.limit, len(active), latest)
        place = (n, asked.generation)
        lease, change, grant = judge(asked, self.leases.get(place), standing, now=self.now, bounds=BOUNDS)
        self.apply(place, lease, change)
        self.grants.append((n, grant))
        assert (grant.spent, grant.held) == (self.spent, self.held)

    @precondition(lambda self: self.grants)
    @rule(data=st.data(), keep=st.booleans())
    def hear(self, data: st.DataObject, keep: bool) -> None:
        index = data.draw(st.integers(0, len(self.grants) - 1))
        n, grant = self.grants[index] if keep else self.grants.pop(index)
        owner = self.owners[n]
        if grant.generation == owner.generation and grant.state == "open":
            owner.granted = max(owner.granted, grant.granted)

    @rule(step=st.sampled_from([1.0, 70.0, 200.0, 1100.0]))
    def sweep(self, step: float) -> None:
        self.now += step
        for place, lease in list(self.leases.items()):
            if is_silent(lease, self.now, BOUNDS):
                self.apply(place, *dispute(lease, self.now))
            elif is_stale(lease, self.now, BOUNDS):
                self.apply(place, *resolve(lease))

    @rule(limit=st.integers(0, 1500))
    def change_limit(self, limit: int) -> None:
        self.limit = limit
        self.ceiling = max(limit, self.spent + self.held)

    @invariant()
    def sums_are_those_of_leases(self) -> None:
        leases = self.leases.values()
        assert self.spent == sum(lease.booked for lease in leases)
        assert self.held == sum(lease.granted - lease.used for lease in leases if lease.state == "open")
        assert self.disputed == sum(lease.disputed for lease in leases)
        assert all(lease.used <= lease.booked for lease in leases)

    @invariant()
    def nothing_goes_beyond_the_limit(self) -> None:
        assert self.spent + self.held <= self.ceiling

    @invariant()
    def what_was_truly_spent_is_spent_or_held(self) -> None:
        for place, used in self.true.items():
            lease = self.leases.get(place, Lease(generation=0))
            assert used <= lease.booked + lease.held or used == 0


TestNetwork = Network.TestCase
TestNetwork.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
