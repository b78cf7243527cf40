"""The sums of a run: what is counted, that they stay small, and what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from aden_transport import Decision, MetricEvent, NormalizedUsage
from aden_transport.cli.run.launch import clear_leftovers, environment
from aden_transport.cli.run.report import summary_lines
from aden_transport.cli.run.settings import HOOK, OPTIONS, TOTALS, Settings, read_settings
from aden_transport.cli.run.totals import MODELS, OTHERS, Sums, Tally, read_directory, remove_directory


def event(**fields: Any) -> MetricEvent:
    given: dict[str, Any] = {
        "event_id": "e",
        "trace_id": "t",
        "span_id": "s",
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o",
        "stream": False,
        "timestamp_s": 0.0,
        "usage": NormalizedUsage(input_tokens=10, output_tokens=5, cached_tokens=2),
        "cost_nano_usd": 1000,
        **fields,
    }
    return MetricEvent(**given)


def sums_of(*events: MetricEvent) -> Sums:
    tally = Tally(None)
    for each in events:
        tally(each)
    return tally.totals.total


def test_attempts_and_polls_of_one_call_count_once() -> None:
    retried = sums_of(event(attempt=0, status_code=500, usage=None, cost_nano_usd=None), event(attempt=1))
    assert (retried.calls, retried.failed, retried.input_tokens) == (1, 1, 10)
    polled = sums_of(*(event(response_id="r") for _ in range(3)), event(response_id="other"))
    assert polled.calls == 2


def test_what_is_unknown_is_counted_not_summed() -> None:
    sums = sums_of(event(), event(cost_nano_usd=None), event(usage=None, cost_nano_usd=None))
    assert (sums.cost_nano_usd, sums.unpriced) == (1000, 2)
    failed = sums_of(event(usage=None, cost_nano_usd=None, error_type="timeout_error"))
    assert (failed.unpriced, failed.failed) == (0, 1)


def test_what_is_blocked_is_counted_and_neither_failed_nor_of_unknown_cost() -> None:
    blocked = event(decision=Decision("block"), usage=None, cost_nano_usd=None, error_type="blocked")
    sums = sums_of(event(), blocked)
    assert (sums.calls, sums.blocked, sums.failed, sums.unpriced) == (2, 1, 0, 0)


def test_a_sum_with_unknown_parts_says_at_least() -> None:
    tally = Tally(None)
    tally(event())
    tally(event(cost_nano_usd=None, usage_source="estimated"))
    lines = list(summary_lines(tally.totals, Settings()))
    assert lines[0] == "aden-transport: 2 calls, at least $0.000001"
    assert lines[-1] == "  1 estimated; 1 of unknown cost, which the sum leaves out"


def test_any_number_of_models_stays_small(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    for number in range(MODELS + 50):
        tally(event(request_model=f"model-{number}"))
    assert len(tally.totals.models) == MODELS + 1
    assert tally.totals.models[OTHERS].calls == 50
    assert read_directory(str(tmp_path)).total.calls == MODELS + 50


def test_the_sums_of_processes_add_up_whatever_lies_beside_them(tmp_path: Path) -> None:
    for _ in range(3):
        Tally(str(tmp_path))(event())
    (tmp_path / "1-torn").write_bytes(b'{"models": [["openai"')
    (tmp_path / "2-half.new").write_bytes(b"")
    (tmp_path / "3-other").write_bytes(b'{"models": [["a", "b", {"unknown": 1}]], "unwritten": 0}')
    totals = read_directory(str(tmp_path))
    assert (totals.processes, totals.total.calls, totals.total.cost_nano_usd) == (3, 3, 3000)
    remove_directory(str(tmp_path))
    assert not tmp_path.exists()


def test_without_its_directory_a_process_keeps_its_own_sums(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path / "gone"))
    tally(event())
    tally(event())
    assert (tally.directory, tally.totals.total.calls) == (None, 2)


def test_names_from_outside_cannot_write_to_the_terminal() -> None:
    tally = Tally(None)
    tally(event(request_model="a\x1b[31m\nb"))
    assert all(line.isprintable() for line in summary_lines(tally.totals, Settings()))


# -- the environment ------------------------------------------------------------------------------


def test_the_hook_stands_first_once_and_the_path_is_kept() -> None:
    first = environment(Settings(), {"PYTHONPATH": os.pathsep.join(["/a", "/b"])})
    again = environment(Settings(), first)
    assert again["PYTHONPATH"].split(os.pathsep) == [str(HOOK), "/a", "/b"]
    assert environment(Settings(), {})["PYTHONPATH"] == str(HOOK)


BOUNDED = Settings(policy="/policy.toml", budgets=(("run:1", 5.0), ("run:2", 0.1)), ledger="sqlite:////x")


@pytest.mark.parametrize("settings", [Settings(), Settings("/log", True, True, True, 7), BOUNDED])
def test_settings_are_handed_down(settings: Settings) -> None:
    assert read_settings(environment(settings, {})) == settings


@pytest.mark.parametrize("text", ["", "{", "[]", '{"later": 1}', '{"quiet": true}'])
def test_settings_of_another_version_are_read_as_far_as_known(text: str) -> None:
    read = read_settings({OPTIONS: text})
    assert read == (None if not text else Settings(quiet="quiet" in text))


def test_only_the_sums_of_runs_that_are_over_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    names = {
        "old": f"aden-run-a-{done.pid}",
        "new": f"aden-run-b-{done.pid}",
        "alive": f"aden-run-c-{os.getpid()}",
    }
    for name, directory in names.items():
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "sums").write_text("{}")
        if name != "new":
            os.utime(tmp_path / directory, (0, 0))
    (tmp_path / "aden-run-d-file").write_text("")
    clear_leftovers()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([names["new"], names["alive"], "aden-run-d-file"])


def test_run_within_a_run_keeps_the_directory_of_the_process_that_it_becomes() -> None:
    outer = environment(Settings(program=7), {})
    assert environment(Settings(program=7), outer)[TOTALS] == outer[TOTALS]
    assert environment(Settings(program=8), outer)[TOTALS] != outer[TOTALS]
