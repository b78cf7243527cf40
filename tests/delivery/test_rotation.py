"""A key is changed for a new one of the same team: what waited under the old one arrives, once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .fleet import Server, caller, eventually, figures

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
BUDGET = {"id": "b1", "name": "All", "type": "global", "limit": 1000.0, "limitAction": "kill"}


def run(folder: Path, server: Server, key: str, count: int, mode: str = "flush") -> list[str]:
    """A program, to its end; what it has printed."""
    with caller(folder, server.url, key, count, mode) as program:
        return program.communicate(timeout=100)[0].split()


def test_what_a_revoked_key_has_left_is_brought_by_a_new_one_of_its_team(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.put(budgets=[BUDGET])
        (old, old_key), (_, new_key) = server.make_key(), server.make_key()
        assert run(tmp_path, server, old_key, 1) == ["called", "True"]
        server.kill()
        # Offline: events that nobody brings, and a hold that nobody ends.
        with caller(tmp_path, server.url, old_key, 100, "hang") as program:
            assert program.stdout is not None
            assert [program.stdout.readline() for _ in range(2)] == ["called\n", "hangs\n"]
            program.send_signal(signal.SIGKILL)
        server.start()
        server.revoke(old)
        # It is not another team's.
        assert run(tmp_path, server, server.make_team(), 1) == ["called", "True"]
        assert len(server.metrics()) == 2
        with caller(tmp_path, server.url, new_key, 0, "wait") as program:
            eventually(lambda: len(server.metrics()) == 103)
            program.communicate(timeout=100)
        found = figures(server, tmp_path / "acks")
        assert (found.acknowledged, found.stored, found.lost, found.double) == (103, 103, 0, 0)
        assert server.spent() == found.charged_nano
        for path in (tmp_path / "state").rglob("*"):
            kept = path.read_bytes() if path.is_file() else b""
            assert old_key.encode() not in kept, path
            assert new_key.encode() not in kept, path
