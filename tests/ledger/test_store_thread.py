"""The thread that tells a store: in order, again while it is away, bounded, and never in a call's way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.errors import LedgerUnavailable
from aden_transport.ledger import store_thread as module
from aden_transport.ledger.store_thread import Question, StoreThread

LONG_S = 60.0


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreThread]:
    monkeypatch.setattr(module, "PAUSES_S", (0.001,))
    reset_faults()
    yield StoreThread()
    reset_faults()


def test_ends_are_told_in_their_order(thread: StoreThread) -> None:
    done: list[int] = []
    assert not thread.is_used
    for number in range(100):
        thread.put(lambda number=number: done.append(number))  # type: ignore[misc]
    assert thread.flush(LONG_S)
    assert done == list(range(100))
    assert thread.is_used


def test_an_end_is_tried_until_the_store_is_back(thread: StoreThread) -> None:
    away, done = [True] * 3, list[str]()

    def end() -> None:
        if away:
            away.pop()
            raise LedgerUnavailable("away")
        done.append("first")

    thread.put(end)
    thread.put(lambda: done.append("second"))
    assert thread.flush(LONG_S)
    assert done == ["first", "second"]
    assert thread.given_up == 0
    assert fault_counts() == {"ledger:LedgerUnavailable": 3}


def test_what_waits_is_bounded_and_what_is_given_up_counted(
    thread: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 5)
    back = threading.Event()
    done: list[int] = []

    def end() -> None:
        if not back.is_set():
            raise LedgerUnavailable("away")

    thread.put(end)
    for number in range(50):
        thread.put(lambda number=number: done.append(number))  # type: ignore[misc]
    assert len(done) == 0
    back.set()
    assert thread.flush(LONG_S)
    assert done == list(range(len(done)))
    assert thread.given_up == 50 - len(done) >= 45
    assert fault_counts()["settlement:GivenUp"] == thread.given_up


def test_an_end_is_given_up_when_its_hold_has_expired(
    thread: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIED_S", 0.0)

    def end() -> None:
        raise LedgerUnavailable("away")

    thread.put(end)
    assert thread.flush(LONG_S)
    assert thread.given_up == 1


def test_an_end_that_cannot_be_told_is_not_tried_again(thread: StoreThread) -> None:
    tried: list[int] = []

    def end() -> None:
        tried.append(1)
        raise SystemExit

    thread.put(end)
    assert thread.flush(LONG_S)
    assert (len(tried), thread.given_up) == (1, 1)


def test_a_flush_waits_no_longer_than_it_is_told(thread: StoreThread) -> None:
    go = threading.Event()
    thread.put(go.wait)
    assert not thread.flush(0.01)
    go.set()
    assert thread.flush(LONG_S)


def test_a_flush_on_the_thread_itself_waits_for_nothing(thread: StoreThread) -> None:
    said: list[bool] = []
    thread.put(lambda: said.append(thread.flush(LONG_S)))
    assert thread.flush(LONG_S)
    assert said == [False]


def test_where_no_thread_can_be_had_a_flush_does_the_work(
    thread: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the interpreter's end, from Python 3.12 on."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[int] = []
    thread.put(lambda: done.append(1))
    assert thread.flush(1.0)
    assert done == [1]


def test_what_is_for_idle_times_is_done_once_in_each(thread: StoreThread) -> None:
    idle = threading.Event()
    times: list[int] = []

    def when_idle() -> None:
        times.append(1)
        idle.set()

    thread.when_idle = when_idle
    for number in (1, 2):
        thread.put(lambda: None)
        assert idle.wait(LONG_S)
        idle.clear()
        assert not idle.wait(3 * module.IDLE_S)
        assert len(times) == number


# -- questions --------------------------------------------------------------------------------------

name: ContextVar[str] = ContextVar("name")


def ask(thread: StoreThread, run: Any, late: Any = None) -> tuple[Question, threading.Event]:
    question, there = Question(run, late or (lambda _: None)), threading.Event()
    thread.ask(question, there.set)
    return question, there


def test_a_question_is_asked_in_its_callers_context(thread: StoreThread) -> None:
    name.set("here")
    question, there = ask(thread, name.get)
    assert there.wait(LONG_S)
    assert question.result() == "here"
    assert not question.give_up()


def test_what_asking_raises_is_the_callers(thread: StoreThread) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    question, there = ask(thread, fail)
    assert there.wait(LONG_S)
    with pytest.raises(ZeroDivisionError):
        question.result()


def test_an_answer_that_comes_too_late_is_told(thread: StoreThread) -> None:
    go, begun, late = threading.Event(), threading.Event(), list[str]()

    def run() -> str:
        begun.set()
        go.wait(LONG_S)
        return "answer"

    question, there = ask(thread, run, late.append)
    assert begun.wait(LONG_S)
    assert question.give_up()
    go.set()
    assert thread.flush(LONG_S)
    assert late == ["answer"]
    assert not there.is_set()


def test_what_was_given_up_in_time_is_not_asked(thread: StoreThread) -> None:
    go, asked = threading.Event(), list[int]()
    thread.put(go.wait)
    question, _ = ask(thread, lambda: asked.append(1))
    assert question.give_up()
    go.set()
    assert thread.flush(LONG_S)
    assert asked == []


def test_an_answer_to_a_loop_that_was_closed_is_late(thread: StoreThread) -> None:
    late: list[str] = []

    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    thread.ask(Question(lambda: "answer", late.append), closed)
    assert thread.flush(LONG_S)
    assert late == ["answer"]


def test_questions_do_not_wait_for_ends_that_are_tried_again(
    thread: StoreThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (LONG_S,))
    failed = threading.Event()

    def end() -> None:
        failed.set()
        raise LedgerUnavailable("away")

    thread.put(end)
    assert failed.wait(LONG_S)
    question, there = ask(thread, lambda: "answer")
    assert there.wait(LONG_S)
    assert question.result() == "answer"


def test_a_thread_is_lively_that_answers_others(thread: StoreThread) -> None:
    before = thread.answered
    for _ in range(module.LIVELY):
        assert not thread.is_lively(before)
        _, there = ask(thread, lambda: None)
        assert there.wait(LONG_S)
        thread.flush(LONG_S)
    assert thread.is_lively(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_begins_with_nothing(thread: StoreThread) -> None:
    go = threading.Event()
    thread.put(go.wait)
    child = os.fork()
    if child == 0:
        done: list[int] = []
        thread.put(lambda: done.append(1))
        os._exit(0 if thread.flush(LONG_S) and done == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    go.set()
    deadline = time.monotonic() + LONG_S
    assert thread.flush(deadline - time.monotonic())
