"""An owner's book, as values: what it asks for and when, what answers change, and what it gives back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from aden_transport.control.messages import Ask, Grant
from aden_transport.ledger import leases as module
from aden_transport.ledger.leases import (
    FRESH_S,
    IDLE_S,
    PART,
    REPORT_S,
    RETRY_S,
    Account,
    Book,
    of_local_key,
)

MUCH = 10**6
"""Used by an owner that is not new."""


class Kept:
    """A book, the local sums beside it, and a server that says what it is told to."""

    def __init__(self, *, life: int = 0, **given: Any) -> None:
        self.book = Book(**given)
        self.life = life
        self.now = 1000.0
        self.sums: dict[str, tuple[int, int]] = {}
        self.sealed: list[str] = []

    # -- Looks --

    def look(self, account: Account) -> tuple[int, int]:
        return self.sums.get(account.local_key, (0, 0))

    def seal(self, account: Account) -> None:
        self.sealed.append(account.local_key)

    # -- for tests --

    def opened(self, key: str = "k", **more: Any) -> Account:
        account = self.book.opened(key, self.now, **more)
        account.life = account.life or self.life
        return account

    def due(
        self, waiting: Mapping[str, Collection[int]] | None = None, *, after: float = 0.0, end: bool = False
    ) -> list[Ask]:
        self.now += after
        return self.book.due(self.now, self, waiting or {}, end=end)

    def take(self, *asks: Ask, after: float = 0.0, **told: Any) -> list[Account]:
        """Answers that grant what is wanted, but for what is `told`."""
        asked_at, self.now = self.now, self.now + after
        return self.book.take([grant(ask, **told) for ask in asks], asked_at, self.now)

    def leased(self, amount: int = 100, key: str = "k", **told: Any) -> Account:
        """A lease of so much, for a call that waited for it."""
        account = self.opened(key)
        (ask,) = self.due({key: [amount]})
        self.take(ask, **told)
        return account

    def spend(self, account: Account, spent: int, held: int = 0) -> None:
        self.sums[account.local_key] = (spent, held)


def grant(ask: Ask, **told: Any) -> Grant:
    given: dict[str, Any] = {
        "key": ask.key,
        "generation": ask.generation,
        "seq": ask.seq,
        "granted": ask.want,
        "used": ask.used,
        "ttl_s": 60.0,
        "state": "closed" if ask.final else "open",
        "spent": ask.used,
        "held": max(0, ask.want - ask.used),
    }
    return Grant(**given | told)


def figures(ask: Ask) -> tuple[int, int, int]:
    return ask.used, ask.want, ask.need


# -- what a call waits for --------------------------------------------------------------------------


def test_a_call_that_waits_is_asked_for_exactly() -> None:
    kept = Kept()
    kept.opened(unit="tokens", also=("old",), expires_at=9.0)
    (ask,) = kept.due({"k": [100]})
    assert ask == Ask(
        key="k",
        generation=1,
        seq=1,
        used=0,
        want=100,
        need=100,
        unit="tokens",
        also=("old",),
        expires_at=9.0,
    )


def test_what_is_used_and_held_is_added() -> None:
    kept = Kept()
    account = kept.leased(100)
    kept.spend(account, 60, 30)
    (ask,) = kept.due({"k": [50]})
    assert figures(ask) == (60, 140, 140)


def test_calls_that_wait_together_are_asked_for_together_and_need_the_least() -> None:
    kept = Kept()
    kept.opened()
    (ask,) = kept.due({"k": [70, 20, 50]})
    assert figures(ask) == (0, 140, 20)


def test_what_was_asked_is_not_asked_again_until_its_answer_is_late() -> None:
    kept = Kept()
    kept.opened()
    assert kept.due({"k": [100]})
    assert not kept.due({"k": [100, 100]}, after=RETRY_S / 2)
    (again,) = kept.due({"k": [100, 100]}, after=RETRY_S / 2)
    assert (again.seq, figures(again)) == (2, (0, 200, 100))


def test_a_greater_need_is_asked_at_once() -> None:
    kept = Kept()
    kept.opened()
    kept.due({"k": [100]})
    (more,) = kept.due({"k": [300]})
    assert figures(more) == (0, 300, 300)


def test_nobody_waits_for_the_answers_of_another_process() -> None:
    kept = Kept(asker="1")
    kept.opened()
    kept.due({"k": [100]})
    kept.book.asker = "2"
    assert kept.due({"k": [100]})
    assert not kept.due({"k": [100]})


def test_a_need_that_is_met_is_not_asked_for() -> None:
    kept = Kept()
    kept.leased(100)
    assert not kept.due({"k": [100]})


def test_a_lease_that_is_over_is_asked_for_again() -> None:
    kept = Kept()
    kept.leased(100, ttl_s=5.0)
    (ask,) = kept.due({"k": [100]}, after=5.0)
    assert figures(ask) == (0, 100, 100)


def test_what_the_server_denied_is_not_asked_again_at_once() -> None:
    kept = Kept()
    account = kept.leased(100, granted=40)
    assert account.is_denied(100, kept.now)
    assert not account.is_denied(99, kept.now)
    assert not kept.due({"k": [100]})
    assert kept.due({"k": [50]})
    assert kept.due({"k": [100]}, after=FRESH_S)


def test_an_answer_to_an_earlier_ask_denies_nothing_that_was_asked_later() -> None:
    kept = Kept()
    account = kept.leased(100)
    kept.spend(account, 0, 100)
    (first,) = kept.due(after=REPORT_S, waiting={"k": [10]})
    kept.take(first)
    (second,) = kept.due({"k": [50]})
    kept.take(first)
    assert not account.is_denied(second.need, kept.now)
    kept.take(second, granted=110)
    assert account.is_denied(second.need, kept.now)


# -- ahead ------------------------------------------------------------------------------------------


def spending(kept: Kept, account: Account, *, rate: int, seconds: int, held: int = 0) -> list[Ask]:
    """Once a second; what is asked is granted."""
    found: list[Ask] = []
    for _ in range(seconds):
        spent = kept.look(account)[0] + rate
        kept.spend(account, spent, held)
        asks = kept.due(after=1.0)
        kept.take(*asks)
        found += asks
    return found


def test_two_seconds_of_demand_are_had_ahead() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100)
    asks = spending(kept, account, rate=1000, seconds=30)
    ahead = asks[-1].want - asks[-1].used
    assert 1800 < ahead <= 2000
    assert account.rate == pytest.approx(1000, rel=0.05)


def test_at_least_a_usual_call_is_had_ahead() -> None:
    kept = Kept(life=MUCH)
    kept.opened()
    (ask,) = kept.due({"k": [5000]})
    assert figures(ask) == (0, 10_000, 5000)
    kept.take(ask)
    assert kept.due({"k": [5000]}) == []


def test_a_new_owner_has_no_more_ahead_than_a_part_of_what_it_used() -> None:
    kept = Kept()
    account = kept.leased(10)
    asks = spending(kept, account, rate=1000, seconds=500)
    ahead = [ask.want - ask.used for ask in asks if ask.want > account.granted - 10_000]
    assert all(ask.want - ask.used <= ask.used // PART for ask in asks if ask.want > ask.used + 10)
    assert max(ahead) <= 2000
    assert account.granted - account.spent >= 1000


def test_nothing_is_had_ahead_of_what_no_call_could_use() -> None:
    kept = Kept()
    account = kept.leased(5000)
    kept.spend(account, 5000)
    (ask,) = kept.due(after=1.0)
    assert figures(ask) == (5000, 5000, 0)


def test_more_is_asked_for_when_half_of_it_is_gone() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(1000)
    assert account.granted == 2000
    kept.spend(account, 0, 1400)
    assert not kept.due(after=REPORT_S)
    kept.spend(account, 0, 1600)
    (ask,) = kept.due(after=REPORT_S)
    assert figures(ask) == (0, 2600, 0)


def test_a_budget_without_a_hard_limit_is_reported_and_not_leased() -> None:
    kept = Kept(life=MUCH)
    account = kept.opened()
    (ask,) = kept.due()
    assert figures(ask) == (0, 0, 0)
    kept.take(ask, spent=700, held=50)
    assert (account.others_spent, account.others_held) == (700, 50)
    kept.spend(account, 30, 10)
    (ask,) = kept.due(after=REPORT_S)
    assert figures(ask) == (30, 0, 0)


def test_a_hard_budget_is_asked_for_when_a_call_needs_it_and_reported_when_none_does() -> None:
    kept = Kept()
    account = kept.opened(hard=True)
    assert not kept.due()
    kept.spend(account, 30)
    (ask,) = kept.due()
    assert figures(ask) == (30, 30, 0)


# -- time -------------------------------------------------------------------------------------------


def test_what_was_used_is_reported_once_a_second() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(1000)
    kept.spend(account, 10)
    assert not kept.due(after=REPORT_S * 0.9)
    (ask,) = kept.due(after=REPORT_S * 0.2)
    assert ask.used == 10
    kept.take(ask)
    assert not kept.due(after=REPORT_S * 2)


def test_a_report_that_nobody_answers_is_sent_again() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(1000)
    kept.spend(account, 10)
    kept.due(after=REPORT_S)
    assert not kept.due(after=REPORT_S / 2)
    assert [ask.seq for ask in kept.due(after=REPORT_S / 2)] == [3]


def test_a_lease_that_is_used_is_renewed_in_time() -> None:
    kept = Kept(life=MUCH)
    kept.leased(1000, ttl_s=30.0)
    assert not kept.due(after=9.0)
    assert kept.due(after=1.5)


def test_a_lease_is_used_for_its_time_from_the_ask() -> None:
    kept = Kept(life=MUCH)
    account = kept.opened()
    (ask,) = kept.due({"k": [100]})
    assert not account.is_usable(kept.now)
    kept.take(ask, after=10.0)
    assert account.is_usable(1059.9)
    assert not account.is_usable(1060.0)


# -- answers ----------------------------------------------------------------------------------------


def test_answers_may_come_late_twice_and_in_any_order() -> None:
    kept = Kept(life=MUCH)
    account = kept.opened()
    (first,) = kept.due({"k": [100]})
    kept.spend(account, 20)
    (second,) = kept.due({"k": [300]})
    kept.take(second, spent=900)
    for _ in range(2):
        kept.take(first, spent=100, state="fenced")
    assert (account.granted, account.known, account.others_spent, account.state) == (620, 20, 880, "open")
    kept.take(first, granted=700)
    assert account.granted == 700


def test_answers_to_leases_that_are_not_in_the_book_are_nothing() -> None:
    kept = Kept(life=MUCH)
    ask = Ask(key="k", generation=7, seq=1, used=0, want=5, need=5)
    assert kept.take(ask) == []
    assert list(kept.book) == []


def test_what_others_have_is_what_is_not_leased_here() -> None:
    kept = Kept()
    account = kept.leased(100, spent=500, held=130)
    assert (account.others_spent, account.others_held) == (500, 30)
    kept.spend(account, 60, 40)
    kept.take(*kept.due(after=REPORT_S), spent=560, held=90, granted=100)
    assert (account.others_spent, account.others_held) == (500, 50)


def test_other_leases_of_the_same_window_are_not_of_others() -> None:
    kept = Kept(life=MUCH)
    older = kept.leased(100, "w1")
    kept.spend(older, 70)
    kept.take(*kept.due(after=REPORT_S), granted=100)
    account = kept.opened("w2", also=("w1", "w0"))
    asks = kept.due({"w2": [10]})
    kept.take(*[ask for ask in asks if ask.key == "w2"], spent=570, held=40)
    assert (account.others_spent, account.others_held) == (500, 0)
    assert kept.book.siblings(account, account.also) == [older]


def test_what_is_told_before_the_server_answers_counts_until_it_does() -> None:
    kept = Kept(life=MUCH)
    account = kept.opened()
    kept.book.add("k", 70)
    kept.book.add("other", 70)
    assert account.others_spent == 70
    kept.take(*kept.due(), spent=5)
    kept.book.add("k", 70)
    assert account.others_spent == 5


def test_a_key_that_may_not_be_spent_on_is_asked_about_again_later() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100, granted=0, state="fenced")
    assert not account.is_usable(kept.now)
    assert account.is_denied(1, kept.now)
    assert not kept.due({"k": [1]})
    (ask,) = kept.due({"k": [1]}, after=FRESH_S)
    assert ask.generation == account.generation
    kept.take(ask)
    assert account.is_usable(kept.now)
    assert not account.is_denied(1, kept.now)


def test_a_lease_that_the_server_has_closed_is_ended_and_another_is_opened() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100, state="closed")
    (last,) = kept.due()
    assert (last.final, last.generation) == (True, 1)
    assert kept.take(last) == [account]
    assert kept.opened().generation == 2


# -- giving back ------------------------------------------------------------------------------------


def test_a_lease_that_is_not_used_is_given_back() -> None:
    kept = Kept()
    account = kept.leased(100)
    kept.spend(account, 60)
    kept.take(*kept.due(after=REPORT_S))
    (last,) = kept.due(after=IDLE_S)
    assert kept.sealed == ["k~1"]
    assert (last.final, last.used, last.want) == (True, 60, 100)
    assert kept.take(last) == [account]
    assert list(kept.book) == []


def test_an_end_that_nobody_answers_is_told_again() -> None:
    kept = Kept(life=MUCH)
    kept.leased(100)
    (last,) = kept.due(end=True)
    assert not kept.due(after=REPORT_S / 2)
    (again,) = kept.due(after=REPORT_S / 2)
    assert (again.final, again.seq) == (True, last.seq + 1)
    assert kept.take(last) == []
    assert len(kept.take(again)) == 1


def test_a_lease_ends_when_nothing_is_held_under_it() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100)
    kept.spend(account, 20, 30)
    (report,) = kept.due(end=True, after=REPORT_S)
    assert not report.final
    kept.spend(account, 45, 0)
    (last,) = kept.due()
    assert (last.final, last.used) == (True, 45)


def test_a_long_call_keeps_its_lease_alive() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100, ttl_s=30.0)
    kept.spend(account, 0, 100)
    assert not kept.due(end=True, after=9.0)
    (ask,) = kept.due(after=1.5)
    assert not ask.final


def test_a_new_lease_is_opened_while_an_old_one_ends() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100, spent=300)
    kept.spend(account, 10, 90)
    kept.due(end=True, after=REPORT_S)
    new = kept.opened()
    assert (new.generation, new.local_key) == (2, "k~2")
    assert (new.life, new.usual, new.others_spent) == (MUCH + 10, 100, 300)
    assert kept.book.siblings(new, ()) == [account]
    assert [ask.generation for ask in kept.due({"k": [5]}, after=REPORT_S)] == [2]
    kept.spend(account, 20, 80)
    assert [ask.generation for ask in kept.due({"k": [5]}, after=REPORT_S)] == [2, 1]


def test_what_was_spent_under_a_lease_that_ended_is_known_of_the_key() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100, spent=300)
    kept.spend(account, 10)
    new_key = kept.opened("w2", also=("k",))
    kept.take(*[ask for ask in kept.due(end=True, after=REPORT_S) if ask.key == "k"], spent=310)
    assert "k" not in kept.book.leaving
    assert new_key.others_spent == 10
    assert kept.opened().others_spent == 310


def test_a_lease_of_which_most_was_not_used_is_given_back() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100)
    account.granted = 100_000
    for second in range(int(2 * IDLE_S) + 2):
        kept.spend(account, second)
        kept.take(*kept.due(after=1.0), granted=100_000)
    assert account.key not in kept.book.open


def test_a_lease_for_which_a_call_waits_is_not_given_back() -> None:
    kept = Kept(life=MUCH)
    kept.leased(100)
    assert kept.due({"k": [500]}, after=IDLE_S * 2, end=True)
    assert "k" in kept.book.open
    assert not kept.sealed


def test_a_lease_whose_sums_may_be_short_is_reported_and_never_freed() -> None:
    kept = Kept(life=MUCH)
    account = kept.leased(100)
    kept.due(end=True)
    account.lost, account.final = True, False
    kept.spend(account, 30, 20)
    (ask,) = kept.due(after=REPORT_S)
    assert (ask.final, ask.used) == (False, 30)
    assert kept.take(ask) == []
    kept.spend(account, 50)
    (ask,) = kept.due(after=REPORT_S)
    assert not ask.final
    assert kept.take(ask) == [account]


# -- bounds -----------------------------------------------------------------------------------------


def test_ends_that_the_server_is_not_told_of_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEAVING", 3)
    kept = Kept(life=MUCH)
    for number in range(5):
        kept.opened(str(number))
    assert len(kept.due(end=True)) == 5
    assert sorted(kept.book.leaving) == ["2", "3", "4"]
    assert kept.book.given_up == 2


def test_sums_of_keys_without_a_lease_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    kept = Kept(life=MUCH)
    for number in range(5):
        kept.opened(str(number))
    kept.take(*kept.due(end=True), spent=9)
    assert sorted(kept.book.remembered) == ["2", "3", "4"]


def test_generations_of_all_keys_have_numbers_of_their_own() -> None:
    kept = Kept(generation=4, tag="me.")
    assert [kept.opened(key).local_key for key in "aba"] == ["a~me.5", "b~me.6", "a~me.5"]
    assert of_local_key("a~b~me.5") == "a~b"
