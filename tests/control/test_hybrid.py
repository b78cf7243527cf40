"""Which calls a server is asked about, by its eight options, as values."""

from __future__ import annotations

from typing import Any

import pytest

from aden_transport.control.agent.hybrid import (
    Standing,
    Validation,
    draw_of,
    is_asked_about,
    may_be_overruled,
    read_validation,
    share_of,
)
from aden_transport.control.agent.questions import Questions
from aden_transport.control.options import ControlOptions
from aden_transport.policy.ladder import Target

NANO = 1_000_000_000
DEFAULTS = ControlOptions()


def at(percent: float, limit: float = 1000.0) -> Standing:
    return Standing(round(limit * percent / 100 * NANO), round(limit * NANO))


@pytest.mark.parametrize(
    ("percent", "options", "share"),
    [
        (0.0, {}, 0.0),
        (4.99, {}, 0.0),
        (5.0, {}, 0.1),
        (50.0, {}, 0.55),
        (95.0, {}, 1.0),
        (200.0, {}, 1.0),
        (50.0, {"enable_hybrid_enforcement": False}, 0.0),
        (200.0, {"enable_hybrid_enforcement": False}, 0.0),
        (50.0, {"server_validation_threshold": 80.0}, 0.0),
        (80.0, {"server_validation_threshold": 80.0}, 0.1),
        (50.0, {"sampling_enabled": False}, 1.0),
        (5.0, {"sampling_base_rate": 0.0}, 0.0),
        (5.0, {"sampling_base_rate": 1.0}, 1.0),
        (50.0, {"sampling_full_validation_percent": 50.0}, 1.0),
        (50.0, {"sampling_full_validation_percent": 5.0}, 1.0),
        (50.0, {"server_validation_threshold": 100.0}, 0.0),
        (100.0, {"server_validation_threshold": 100.0}, 1.0),
    ],
)
def test_the_share_that_is_asked_about(percent: float, options: dict[str, Any], share: float) -> None:
    assert share_of(at(percent), ControlOptions(**options)) == pytest.approx(share)


@pytest.mark.parametrize(
    ("limit", "percent", "options", "share"),
    [
        (100.0, 94.0, {}, pytest.approx(0.99)),
        (100.0, 95.0, {}, 1.0),
        (10.0, 50.0, {}, 1.0),
        (10.0, 4.0, {}, 0.0),
        (10.0, 49.0, {}, pytest.approx(0.54)),
        (10.0, 50.0, {"adaptive_threshold_enabled": False}, pytest.approx(0.55)),
        (10.0, 50.0, {"adaptive_min_remaining_usd": 4.99}, pytest.approx(0.55)),
    ],
)
def test_where_little_is_left_every_call_is_asked_about(
    limit: float, percent: float, options: dict[str, Any], share: Any
) -> None:
    assert share_of(at(percent, limit), ControlOptions(**options)) == share


def test_the_draw_stays_with_a_call_and_is_even() -> None:
    draws = [draw_of(f"{number:032x}") for number in range(10_000)]
    assert draws == [draw_of(f"{number:032x}") for number in range(10_000)]
    assert all(0.0 <= draw < 1.0 for draw in draws)
    asked = sum(is_asked_about(at(50.0), DEFAULTS, draw=draw) for draw in draws)
    assert asked / 10_000 == pytest.approx(0.55, abs=0.02)


def test_a_server_is_believed_up_to_the_expected_overspend() -> None:
    assert may_be_overruled(at(100.1), DEFAULTS)
    assert may_be_overruled(at(105.0), DEFAULTS)
    assert not may_be_overruled(at(105.1), DEFAULTS)
    assert not may_be_overruled(at(100.1), ControlOptions(max_expected_overspend_percent=0))
    assert not may_be_overruled(at(100.1), ControlOptions(enable_hybrid_enforcement=False))
    assert not may_be_overruled(Standing(0, 0), DEFAULTS)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        (
            {"allowed": True, "action": "allow", "authoritative_spend": 1.5},
            Validation("allow", None, 1_500_000_000),
        ),
        ({"allowed": False, "action": "block", "reason": "spent"}, Validation("block", "spent")),
        ({"allowed": True, "action": "kill"}, Validation("allow")),
        ({"allowed": True, "authoritative_spend": -1}, Validation("allow")),
        ({"allowed": True, "authoritative_spend": float("nan")}, Validation("allow")),
        ({"allowed": True, "authoritative_spend": 1e300}, Validation("allow")),
        ({"allowed": True, "authoritative_spend": True, "reason": 7}, Validation("allow")),
        ({"allowed": False, "reason": "x" * 1000}, Validation("block", "x" * 200)),
        (
            {"allowed": False, "action": "degrade", "degrade_to_model": "x", "degrade_to_provider": "p"},
            Validation("degrade", target=Target("x", "p")),
        ),
        (
            {"allowed": True, "action": "degrade", "degrade_to_model": "x", "degrade_to_provider": ""},
            Validation("degrade", target=Target("x")),
        ),
        ({"allowed": True, "action": "degrade", "degrade_to_model": None}, Validation("degrade")),
        ({"allowed": True, "action": "degrade", "degrade_to_model": "x" * 300}, Validation("degrade")),
        ({"allowed": True, "action": "throttle"}, Validation("throttle")),
        ({"allowed": True, "action": "throttle", "delay_ms": 1500}, Validation("throttle", delay_s=1.5)),
        (
            {"allowed": True, "action": "throttle", "throttle_delay_ms": 9e9},
            Validation("throttle", delay_s=30),
        ),
        ({"allowed": True, "action": "throttle", "delay_ms": float("nan")}, Validation("throttle")),
        ({"allowed": True, "action": "throttle", "delay_ms": -5}, Validation("throttle")),
        ({"allowed": True, "action": "throttle", "delay_ms": True}, Validation("throttle")),
        ({"allowed": True, "action": "alert", "reason": "look"}, Validation("alert", "look")),
        ({"allowed": True, "action": ["degrade"]}, Validation("allow")),
        ({"allowed": "yes"}, None),
        ({}, None),
    ],
)
def test_an_answer_is_read_as_far_as_it_can_be_used(told: dict[str, Any], found: Validation | None) -> None:
    assert read_validation(told) == found


def test_calls_that_wait_for_the_same_are_asked_about_once() -> None:
    woken: list[int] = []
    questions = Questions(lambda: woken.append(1))
    first = questions.ask("b1", "-|b1", estimate=5, spent=7)
    assert questions.ask("b1", "-|b1", estimate=9, spent=6) is first
    other = questions.ask("b2", "-|b2", estimate=1, spent=1)
    assert (first.estimate, first.spent) == (9, 7)
    assert questions.take() == [first, other]
    assert questions.take() == []
    # Whoever comes while it is under way is not answered by it.
    assert questions.ask("b1", "-|b1", estimate=5, spent=7) is not first
    assert len(woken) == 4
    questions.after_fork_in_child()
    assert questions.take() == []
