"""Alerts that wait for the server's word, as values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aden_transport._guard import fault_counts, reset_faults
from aden_transport.control.agent import marks as module
from aden_transport.control.agent.marks import Marks

NEVER_S = 3600.0


@pytest.fixture
def told() -> list[str]:
    return []


def telling(told: list[str], name: str) -> Callable[[], None]:
    return lambda: told.append(name)


def ask(marks: Marks, told: list[str], *names: str) -> None:
    for name in names:
        marks.ask("-|b1", name, expires_at=0.0, tell=telling(told, name))


def test_told_of_is_what_the_server_says_is_first(told: list[str]) -> None:
    woken: list[int] = []
    marks = Marks(lambda: woken.append(1), bound_s=NEVER_S)
    ask(marks, told, "a", "b")
    assert (len(woken), told, marks.waits) == (2, [], True)
    first, second = marks.take()
    assert (first.key, first.mark, first.expires_at) == ("-|b1", "a", 0.0)
    assert (marks.take(), marks.waits) == ([], False)
    marks.end(first, is_first=True)
    marks.end(second, is_first=False)
    assert told == ["a"]


def test_the_first_word_counts(told: list[str]) -> None:
    marks = Marks(lambda: None, bound_s=NEVER_S)
    ask(marks, told, "a", "b")
    marks.give_up()
    for each in marks.take():
        marks.end(each, is_first=True)
    assert told == ["a", "b"]


def test_what_is_overdue_is_told_of_by_whoever_comes_next(told: list[str]) -> None:
    marks = Marks(lambda: None, bound_s=0.0)
    ask(marks, told, "a")
    assert told == []
    ask(marks, told, "b")
    assert told == ["a"]


def test_what_is_too_much_is_told_of_at_once(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    marks = Marks(lambda: None, bound_s=NEVER_S)
    ask(marks, told, "a", "b", "c")
    assert told == ["c"]


def test_some_are_asked_about_at_once(told: list[str]) -> None:
    marks = Marks(lambda: None, bound_s=NEVER_S)
    ask(marks, told, *(str(number) for number in range(module.AT_ONCE + 1)))
    assert (len(marks.take()), marks.waits) == (module.AT_ONCE, True)
    assert (len(marks.take()), marks.waits) == (1, False)


def test_waiting_ends_with_all_told_of(told: list[str]) -> None:
    marks = Marks(lambda: None, bound_s=NEVER_S)
    ask(marks, told, "a")
    marks.wait(0.01)
    assert told == ["a"]
    marks.wait(NEVER_S)


def test_a_child_leaves_the_parents_to_it(told: list[str]) -> None:
    marks = Marks(lambda: None, bound_s=NEVER_S)
    ask(marks, told, "a")
    marks.after_fork_in_child()
    marks.give_up()
    assert told == []


def test_a_fault_in_telling_keeps_no_other_back(told: list[str]) -> None:
    reset_faults()
    marks = Marks(lambda: None, bound_s=NEVER_S)

    def fails() -> None:
        raise ValueError("no")

    marks.ask("-|b1", "x", expires_at=0.0, tell=fails)
    ask(marks, told, "a")
    marks.give_up()
    assert told == ["a"]
    assert fault_counts()
    reset_faults()
