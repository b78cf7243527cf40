"""What a hook is told: the same, whenever it looks and whatever has become of the call."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, replace

import pytest

from aden_transport import BeforeRequestContext
from aden_transport._guard import fault_counts, reset_faults
from aden_transport.core.hook_context import context_of, unread_context_of
from aden_transport.events import CONTEXT_FIELDS

from .kit import Bench, wire

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 10}


def test_fields_that_are_read_late_are_those_that_are_read_at_once() -> None:
    exchange = Bench(metadata={"tenant": "acme"}).open(wire(HELLO))
    whole = context_of(exchange)
    assert whole.estimated_cost_usd is not None
    assert whole.metadata["tenant"] == "acme"
    for name in CONTEXT_FIELDS:
        assert getattr(unread_context_of(exchange), name) == getattr(whole, name)
    assert unread_context_of(exchange) == whole
    assert repr(unread_context_of(exchange)) == repr(whole)


def test_an_unread_context_outlives_its_call() -> None:
    exchange = Bench().open(wire(HELLO))
    whole, unread = context_of(exchange), unread_context_of(exchange)
    exchange.forget()
    assert unread == whole


def test_an_unread_context_is_copied_as_any_other() -> None:
    exchange = Bench().open(wire(HELLO))
    whole = context_of(exchange)
    assert pickle.loads(pickle.dumps(unread_context_of(exchange))) == whole
    assert copy.copy(unread_context_of(exchange)) == whole
    assert replace(unread_context_of(exchange), model="other") == replace(whole, model="other")
    assert asdict(unread_context_of(exchange)) == asdict(whole)


def test_a_fault_of_ours_in_the_estimate_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    reset_faults()
    exchange = Bench().open(wire(HELLO))
    monkeypatch.setattr(exchange.settings, "prices", None)
    assert context_of(exchange).estimated_cost_usd is None
    assert fault_counts() == {"estimate:AttributeError": 1}
    reset_faults()


def test_what_a_context_does_not_have_is_said() -> None:
    for context in (
        unread_context_of(Bench().open(wire(HELLO))),
        BeforeRequestContext.__new__(BeforeRequestContext),
    ):
        with pytest.raises(AttributeError, match="nothing"):
            context.nothing  # noqa: B018
