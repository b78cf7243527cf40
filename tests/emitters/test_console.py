"""The lines on the console."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aden_transport.emitters import create_console_emitter
from aden_transport.emitters._text import LIMIT, clean
from aden_transport.emitters.console import console_lines
from aden_transport.errors import ConfigurationError
from aden_transport.events import Decision, MetricEvent, NormalizedUsage, RateLimit

if TYPE_CHECKING:
    from .conftest import MakeEvent

EXACT = "+ [a1b2c3d4] openai gpt-4o 1234ms\n  tokens: 12 in / 247 out\n"


def test_the_lines_of_the_specification(event: MetricEvent, capsys: pytest.CaptureFixture[str]) -> None:
    create_console_emitter()(event)
    assert capsys.readouterr().out == EXACT


def test_pretty_keeps_them_and_adds_below(event: MetricEvent, capsys: pytest.CaptureFixture[str]) -> None:
    create_console_emitter(pretty=True)(event)
    assert capsys.readouterr().out == EXACT + "  cost unknown\n"


USAGE = NormalizedUsage(
    input_tokens=12, output_tokens=247, cached_tokens=8, cache_write_tokens=2, reasoning_tokens=128
)


@pytest.mark.parametrize(
    ("changes", "plain", "pretty"),
    [
        ({"usage": None}, ["  tokens: unknown"], []),
        (
            {"usage": USAGE, "usage_source": "estimated", "cost_nano_usd": 2_500_000},
            ["  tokens: 12 in / 247 out"],
            ["  cost $0.0025, 8 cached, 2 written to cache, 128 reasoning, estimated"],
        ),
        (
            {"usage": NormalizedUsage(images=2, characters=30), "cost_nano_usd": 40_000_000},
            ["  tokens: 0 in / 0 out"],
            ["  cost $0.0400, 2 images, 30 characters"],
        ),
        (
            {
                "degraded_from": "gpt-4.5",
                "decision": Decision("degrade", "team at 82 %", "policy", "gpt-4o"),
                "throttle_ms": 500.0,
            },
            ["  tokens: 12 in / 247 out"],
            [
                "  cost unknown",
                "  degraded: gpt-4.5 -> gpt-4o (team at 82 %)",
                "  throttled: 500ms (team at 82 %)",
            ],
        ),
        (
            {"decision": Decision("alert", "team at 51 %", "policy", hindered="signed")},
            ["  tokens: 12 in / 247 out"],
            ["  cost unknown", "  alert: team at 51 %", "  not degraded: signed"],
        ),
        (
            {"decision": Decision("alert"), "usage": None, "cost_nano_usd": 0},
            ["  tokens: unknown"],
            ["  cost $0.0000", "  alert: no reason given"],
        ),
        (
            {"rate_limit": RateLimit(5000, 4999, remaining_tokens=29500), "cost_nano_usd": 1},
            ["  tokens: 12 in / 247 out"],
            ["  cost $0.000000001", "  left: 4999/5000 requests, 29500 tokens"],
        ),
        ({"rate_limit": RateLimit()}, ["  tokens: 12 in / 247 out"], ["  cost unknown"]),
    ],
)
def test_what_is_known_is_shown(
    make_event: MakeEvent, changes: dict[str, Any], plain: list[str], pretty: list[str]
) -> None:
    event = make_event(**changes)
    head = "+ [a1b2c3d4] openai gpt-4o 1234ms"
    assert console_lines(event) == [head, *plain]
    assert console_lines(event, pretty=True) == [head, *plain, *pretty]


def test_an_error_says_how_it_failed(make_event: MakeEvent) -> None:
    failed = {"usage": None, "latency_ms": 87}
    event = make_event(
        **failed, status_code=429, error_type="rate_limit_error", error="Rate limit reached\nfor requests"
    )
    assert console_lines(event, pretty=True) == [
        "! [a1b2c3d4] openai gpt-4o 87ms",
        "  error: 429 rate_limit_error: Rate limit reached for requests",
    ]
    assert console_lines(make_event(**failed, status_code=500))[1:] == ["  error: 500"]
    assert console_lines(make_event(**failed, status_code=None, error="no route"))[1:] == [
        "  error: no route"
    ]


def test_a_stream_that_broke_off_shows_both(make_event: MakeEvent) -> None:
    event = make_event(error="ReadError", error_type="timeout_error", request_model=None)
    assert console_lines(event) == [
        "! [a1b2c3d4] openai - 1234ms",
        "  tokens: 12 in / 247 out",
        "  error: timeout_error: ReadError",
    ]


def test_a_blocked_call_says_why(make_event: MakeEvent) -> None:
    block = Decision("block", 'budget "team" is spent', "policy")
    event = make_event(usage=None, decision=block, status_code=None, error="cancelled")
    assert console_lines(event, pretty=True) == [
        "x [a1b2c3d4] openai gpt-4o blocked",
        '  reason: budget "team" is spent',
    ]
    assert console_lines(make_event(usage=None, decision=Decision("block")))[1] == "  reason: not given"


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (12_345_678_900, "$12.3457"),
        (10_000_000, "$0.0100"),
        (150_000, "$0.00015"),
        (-2_500_000, "-$0.0025"),
    ],
)
def test_small_sums_keep_two_digits(make_event: MakeEvent, nano: int, text: str) -> None:
    assert console_lines(make_event(cost_nano_usd=nano), pretty=True)[-1] == f"  cost {text}"


HOSTILE = "a\x1b[31mb\x1b]0;title\x07c\nd\x00e\u202ef\u2066g\x9b1mh\x1bMi\x7f\ud800j\x1b]8;;x"


def test_hostile_strings_are_harmless(make_event: MakeEvent) -> None:
    event = make_event(
        trace_id=HOSTILE[:4] + "zzzz",
        provider=HOSTILE,
        request_model=HOSTILE,
        error=HOSTILE,
        degraded_from=HOSTILE,
        decision=Decision("alert", HOSTILE, hindered=HOSTILE),
    )
    lines = console_lines(event, pretty=True)
    assert all(line.isprintable() for line in lines)
    assert clean(HOSTILE) == "abc defghij"
    assert lines[0].endswith("abc defghij abc defghij 1234ms")


def test_long_strings_are_cut() -> None:
    assert clean("x" * LIMIT) == "x" * LIMIT
    assert clean("x" * (LIMIT + 1)) == "x" * (LIMIT - 1) + "…"
    assert len(clean("é" * 1_000_000)) == LIMIT
    assert clean(12) == "12"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_without_no_color(
    event: MetricEvent, make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def printed(shown: MetricEvent, *, pretty: bool = True) -> str:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        create_console_emitter(pretty=pretty)(shown)
        return terminal.getvalue()

    assert printed(event).startswith("\x1b[32m+ [a1b2c3d4] openai gpt-4o 1234ms\x1b[0m\n\x1b[2m  tokens")
    assert printed(make_event(error="x")).startswith("\x1b[31m!")
    assert printed(event, pretty=False) == EXACT
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in printed(event)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(event)
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b" in printed(event)


def test_an_encoding_that_cannot_say_it(make_event: MakeEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    create_console_emitter()(make_event(request_model="modèle"))
    assert b"openai mod\\xe8le 1234ms" in raw.getvalue()


def test_no_stdout_is_no_fault(event: MetricEvent, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Gone()):
        monkeypatch.setattr(sys, "stdout", stream)
        create_console_emitter(pretty=True)(event)


def test_logging_at_debug(event: MetricEvent, caplog: pytest.LogCaptureFixture) -> None:
    emit = create_console_emitter(use_logging=True)
    caplog.set_level(logging.INFO, "aden.metrics")
    emit(event)
    assert not caplog.records
    caplog.set_level(logging.DEBUG, "aden.metrics")
    emit(event)
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == [
        ("aden.metrics", "DEBUG", EXACT.rstrip("\n"))
    ]


@pytest.mark.parametrize("kwargs", [{"pretty": "yes"}, {"use_logging": 1}])
def test_wrong_arguments(kwargs: Any) -> None:
    with pytest.raises(ConfigurationError, match="True or False"):
        create_console_emitter(**kwargs)
