"""The exceptions, and finding ours under others."""

from __future__ import annotations

import copy
import pickle

import pytest

from aden_transport import (
    AdenError,
    BudgetExceededError,
    ConfigurationError,
    Decision,
    RequestCancelledError,
    find_cancelled,
)
from aden_transport.events import BeforeRequestContext

CONTEXT = BeforeRequestContext("gpt-4o", "openai", "chat", False, "t", "s", "2026-09-21T14:13:20+00:00", {})


def test_the_tree_is_the_one_in_the_docstring() -> None:
    assert issubclass(BudgetExceededError, RequestCancelledError)
    assert issubclass(RequestCancelledError, AdenError)
    assert issubclass(ConfigurationError, AdenError)
    assert not issubclass(RequestCancelledError, OSError)


@pytest.mark.parametrize("kind", [RequestCancelledError, BudgetExceededError])
def test_a_refusal_carries_its_data_and_survives_copies(kind: type[RequestCancelledError]) -> None:
    error = kind(
        "over budget",
        CONTEXT,
        decision=Decision("block", "over budget", "hook"),
        budget_id="b",
        spent_usd=1.5,
    )
    for other in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert (str(other), other.reason, other.message) == ("over budget",) * 3
        assert (other.context, other.decision) == (CONTEXT, error.decision)
        assert (other.budget_id, other.budget_name, other.spent_usd, other.limit_usd) == (
            "b",
            None,
            1.5,
            None,
        )
        assert (other.resets_at, other.status_code) == (None, 403)


def wrapped(by: str) -> BaseException:
    ours = RequestCancelledError("no")
    if by == "cause":
        outer = RuntimeError("outer")
        outer.__cause__ = ValueError("middle")
        outer.__cause__.__cause__ = ours
        return outer
    if by == "context":
        outer = RuntimeError("outer")
        outer.__context__ = ours
        return outer
    if by == "group":
        return ExceptionGroup("many", [ValueError(), ExceptionGroup("more", [ours])])
    if by == "circle":
        outer = RuntimeError("outer")
        inner = ValueError("inner")
        outer.__cause__, inner.__context__ = inner, outer
        inner.__cause__ = ours
        return outer
    return ours


@pytest.mark.parametrize("by", ["itself", "cause", "context", "group", "circle"])
def test_a_refusal_is_found_under_what_wraps_it(by: str) -> None:
    found = find_cancelled(wrapped(by))
    assert found is not None
    assert found.reason == "no"


def test_where_there_is_none_none_is_found() -> None:
    circle = RuntimeError()
    circle.__context__ = ValueError()
    circle.__context__.__context__ = circle
    assert find_cancelled(None) is None
    assert find_cancelled(circle) is None
    assert find_cancelled(ExceptionGroup("many", [ValueError()])) is None


def test_what_goes_wrong_where_a_refusal_ends_is_nobodys_concern() -> None:
    class Watcher:
        def let_go(self, traceback: object) -> None:
            raise ZeroDivisionError

    error = RequestCancelledError("no")
    error._watcher = Watcher()
    del error  # an exception in a finaliser would be a warning, which fails this test
