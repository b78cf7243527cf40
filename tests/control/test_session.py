"""What is due when: a table of what happened at what time, and what is to be done next."""

from __future__ import annotations

import math

import pytest

from aden_transport.control.agent.session import PACES, Session, Task
from aden_transport.control.options import ControlOptions

OPTIONS = ControlOptions(polling_interval_ms=30_000, heartbeat_interval_ms=10_000)


def session(*, draw: float = 1.0) -> Session:
    made = Session(OPTIONS, draw=lambda: draw)
    made.begin(0.0)
    return made


def state_of(made: Session) -> str:
    return made.state


def through(made: Session, now: float) -> list[Task]:
    """What is due at a time, all of it done at once."""
    tasks = made.due(now)
    for task in tasks:
        made.done(task, now)
    return tasks


def test_a_session_that_has_not_begun_has_nothing_to_do() -> None:
    made = Session(OPTIONS, draw=lambda: 1.0)
    assert (made.state, made.due(1e9), made.next_at) == ("stopped", [], math.inf)


def test_the_policy_comes_first_then_the_prices_then_heartbeats() -> None:
    made = session()
    assert made.state == "connecting"
    assert set(through(made, 0.0)) == {"policy", "events"}
    assert state_of(made) == "healthy"
    assert through(made, 0.0) == ["pricing"]
    assert (made.next_at, through(made, 9.9)) == (10.0, [])
    assert through(made, 10.0) == ["heartbeat"]
    assert through(made, 20.0) == ["heartbeat"]
    assert set(through(made, 30.0)) == {"heartbeat", "policy"}


def test_no_task_runs_twice_at_once_and_one_that_is_called_for_meanwhile_runs_once_more() -> None:
    made = session()
    through(made, 0.0)
    made.wake("events", 1.0)
    made.wake("events", 1.0)
    assert "events" in made.due(1.0)
    made.wake("events", 1.1)
    assert "events" not in made.due(1.1)
    made.done("events", 1.2)
    assert made.due(1.2) == ["events"]
    made.done("events", 1.3)
    assert "events" not in made.due(100.0)


def test_a_task_may_say_when_it_is_to_be_done_next() -> None:
    made = session()
    through(made, 0.0)
    made.wake("leases", 1.0)
    assert "leases" in made.due(1.0)
    made.done("leases", 1.0, next_s=0.5)
    assert made.next_at == 1.5
    assert made.due(1.5) == ["leases"]


def test_a_task_that_fails_is_tried_again_after_longer_and_longer_random_times() -> None:
    made = session(draw=0.5)
    pauses: list[float] = []
    now = 0.0
    for _ in range(10):
        while "policy" not in (due := made.due(now)):
            for task in due:
                made.done(task, now)
            now = made.next_at
        made.failed("policy", now)
        before, now = now, made._errands["policy"].next_at
        pauses.append(now - before)
    base, cap = PACES["policy"]
    assert pauses == [pytest.approx(0.5 * min(cap, base * 2**n)) for n in range(10)]
    assert made.state == "reconnecting"


@pytest.mark.parametrize("task", PACES)
def test_pauses_are_bounded_whatever_the_draw(task: Task) -> None:
    for draw in (0.0, 0.999):
        made = session(draw=draw)
        for _ in range(100):
            made.failed(task, 0.0)
        assert 0.0 < made._errands[task].next_at <= PACES[task].cap_s


def test_one_that_fails_is_not_hurried() -> None:
    made = session()
    made.due(0.0)
    made.failed("leases", 0.0)
    made.wake("leases", 0.01)
    assert made._errands["leases"].next_at == pytest.approx(0.1)


def test_a_server_that_asks_to_be_left_alone_is() -> None:
    made = session()
    made.due(0.0)
    made.failed("policy", 0.0, after_s=120.0)
    assert made._errands["policy"].next_at == 120.0
    made.failed("policy", 0.0, after_s=1e9)
    assert made._errands["policy"].next_at == 3600.0


def test_a_key_that_is_refused_is_a_state_of_its_own_until_it_is_taken() -> None:
    made = session()
    made.due(0.0)
    made.failed("policy", 0.0, refused=True)
    assert (made.state, made._errands["policy"].next_at) == ("degraded", PACES["policy"].cap_s)
    made.due(30.0)
    made.done("policy", 30.0)
    assert made.state == "healthy"


def test_an_answer_that_cannot_be_used_degrades() -> None:
    made = session()
    made.due(0.0)
    made.failed("policy", 0.0, faulty=True)
    assert made.state == "degraded"


def test_only_a_server_of_ours_is_asked_for_leases_and_for_a_socket() -> None:
    made = session()
    through(made, 0.0)
    made.met(ours=False, now=0.0)
    assert not {"leases", "push"} & set(made.due(1e6))
    made.met(ours=True, now=1.0)
    assert set(made.due(1.0)) >= {"leases", "push"}


def test_an_open_socket_takes_the_place_of_polling_and_is_caught_up_with() -> None:
    made = session()
    through(made, 0.0)
    made.met(ours=True, now=0.5)
    assert "push" in made.due(0.5)
    made.push_opened(1.0)
    assert made.is_pushed
    assert "policy" in made.due(1.0)
    made.done("policy", 1.0)
    assert made._errands["policy"].next_at == 301.0
    made.push_ended(100.0)
    assert not made.is_pushed
    assert made._errands["policy"].next_at <= 130.0
    assert 100.0 < made._errands["push"].next_at <= 100.5


def test_however_often_a_change_is_told_the_policy_is_fetched_five_times_a_second_at_most() -> None:
    made = session()
    through(made, 0.0)
    fetched = 0
    for tick in range(1000):
        now = tick / 1000
        made.wake("policy", now)
        fetched += "policy" in through(made, now)
    assert 1 <= fetched <= 5


def test_a_session_that_ended_may_begin_anew() -> None:
    made = session()
    through(made, 0.0)
    made.met(ours=True, now=0.0)
    made.due(0.0)
    made.end()
    assert (made.state, made.due(100.0)) == ("stopped", [])
    made.begin(100.0)
    assert set(made.due(100.0)) == {"policy", "events", "leases", "push"}
