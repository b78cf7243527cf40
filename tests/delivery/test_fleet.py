"""Programs, a server and the line between them are killed at any moment: nothing is lost or counts twice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from . import short_lived
from .fleet import Line, Server, caller, eventually, figures

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
BUDGET = {"id": "b1", "name": "All", "type": "global", "limit": 1000.0, "limitAction": "kill"}


def test_programs_and_server_are_killed_at_any_moment(tmp_path: Path) -> None:
    draw = random.Random(5)
    with Server(tmp_path) as server:
        server.put(budgets=[BUDGET])
        for number in range(4):
            with caller(tmp_path, server.url, server.key, 10_000, "wait") as program:
                acks = tmp_path / "acks"
                before = len(acks.read_text().split()) if acks.exists() else 0
                eventually(lambda: acks.exists() and len(acks.read_text().split()) > before)  # noqa: B023
                time.sleep(draw.random() * 0.5)
                if number == 1:
                    server.kill()
                    server.start()
                program.send_signal(signal.SIGKILL)
        with caller(tmp_path, server.url, server.key, 1) as program:
            assert program.communicate(timeout=100)[0].split() == ["called", "True"]
        found = figures(server, tmp_path / "acks")
        assert found.acknowledged >= 5
        assert (found.lost, found.double) == (0, 0)
        assert server.spent() == found.charged_nano
        for path in (tmp_path / "state").rglob("*"):
            kept = path.read_bytes() if path.is_file() else b""
            assert b"CANARY" not in kept, path
            assert server.key.encode() not in kept, path


def test_events_of_an_outage_come_over_a_line_that_breaks(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.put(budgets=[BUDGET])
        line = Line(server.port, seed=3, after=(300, 30_000))
        url = f"http://127.0.0.1:{line.port}"
        with caller(tmp_path, url, server.key, 1) as program:
            program.communicate(timeout=100)
        server.kill()
        with caller(tmp_path, url, server.key, 2000, "wait") as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "called\n"
            server.start()
            program.communicate(timeout=100)
        line.is_whole = True
        with caller(tmp_path, url, server.key, 1) as program:
            assert program.communicate(timeout=100)[0].split() == ["called", "True"]
        found = figures(server, tmp_path / "acks")
        assert found.acknowledged == 2002
        assert (found.lost, found.double, found.stored) == (0, 0, 2002)
        assert server.spent() == found.charged_nano
        assert line.broken > 0
        line.close()


def test_forked_children_that_leave_at_once_lose_nothing(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.put(budgets=[BUDGET])
        with caller(tmp_path, server.url, server.key, 50, "fork") as program:
            assert program.communicate(timeout=100)[0].split() == ["called", "True"]
        with caller(tmp_path, server.url, server.key, 1) as program:
            assert program.communicate(timeout=100)[0].split() == ["called", "True"]
        found = figures(server, tmp_path / "acks")
        assert found.acknowledged == 51
        assert (found.lost, found.double, found.stored) == (0, 0, 51)
        assert server.spent() == found.charged_nano


def test_programs_that_live_for_a_short_time_strand_next_to_nothing(tmp_path: Path) -> None:
    found = short_lived.run(tmp_path, agents=2, restarts=2, lease_s=1.0, at_once=2)
    assert found.lives == 4
    assert found.calls > 4
    assert (found.overspent, found.lost, found.false_blocks) == (0, 0, 0), found
    assert found.stranded <= 0.005 * found.limit, found
