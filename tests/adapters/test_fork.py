"""Processes that fork with calls under way: each call is one event, of the process that made it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aden_transport.testing import FakeProvider, Reply

from .kit import CHAT

SCRIPT = Path(__file__).parent / "scripts" / "forked.py"
FORKS = 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fifty_forks_with_ten_open_streams(provider: FakeProvider) -> None:
    provider.script(Reply(events=3))
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), provider.url + CHAT, str(FORKS)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    counted: Any = json.loads(ran.stdout)
    children = counted["children"]
    assert len(children) == FORKS
    assert None not in children, f"{children.count(None)} children hung or died: {ran.stderr}"
    assert [len(made) for made in children] == [1] * FORKS
    assert counted["before"] == 0
    assert len(counted["parent"]) == 10
    assert sum(faults == [] for _, faults in counted["parent"]) == 5
    ids = [event_id for event_id, _ in counted["parent"]] + [made[0] for made in children]
    assert len(set(ids)) == 10 + FORKS
    # Not only the time in it differs: the random part does too.
    assert len({event_id[12:] for event_id in ids}) == 10 + FORKS
    assert ran.stderr == ""
