"""The benchmarks run, and meter what they measure. Their figures are nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_overhead_measures_the_cases_asked_for() -> None:
    rows = json.loads(
        run("overhead.py", "--quick", "--json", "--only", "json", "--only", "stream", "--only", "memory")
    )
    names = [row["name"] for row in rows]
    assert names[:3] == ["json", "stream", "stream, once"]
    assert set(names[3:]) == {"memory"}
    assert all(row["bare"] >= 0 for row in rows if row["name"] == "json")


def test_overhead_names_the_cases_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "overhead.py"), "--only", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "choose from" in done.stderr


@pytest.mark.parametrize("how", [["--calls", "3"], ["--bytecodes"]])
def test_profile_call_finds_the_steps(how: list[str]) -> None:
    assert "conclude" in run("profile_call.py", "json", *how)
