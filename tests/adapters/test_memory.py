"""Large answers take no memory: each is streamed in a process of its own, with us and without us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aden_transport.testing import FakeProvider

from .kit import CHAT, LIBRARIES

SCRIPT = Path(__file__).parent / "scripts" / "measured.py"
MIB = 1024
"""In KiB, as the kernel counts."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")


def measured(provider: FakeProvider, library: str, way: str, kind: str) -> Any:
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), provider.url + CHAT, library, way, kind],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("kind", "allowed", "fault"),
    [
        ("stream", 1 * MIB, None),
        ("content", 1 * MIB, None),
        ("json", 4 * MIB, "body.large"),
        ("bomb", 16 * MIB, "encoding.bomb"),
    ],
    ids=["100 MB stream", "100 MB of content", "100 MB JSON", "300 MiB bomb"],
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_large_answers_take_no_memory(
    provider: FakeProvider, library: str, kind: str, allowed: int, fault: str | None
) -> None:
    bare = measured(provider, library, "bare", kind)
    metered = measured(provider, library, "metered", kind)
    print(f"{library} {kind}: {metered['grown']} KiB, bare {bare['grown']} KiB")
    assert abs(metered["size"] - bare["size"]) < 16  # ids differ in the number of the request
    assert metered["size"] > (100_000_000 if kind != "bomb" else 300_000)
    assert bare["events"] == []
    [[status, faults]] = metered["events"]
    assert status == 200
    assert (fault in faults) if fault else (faults == [])
    assert metered["grown"] - bare["grown"] <= allowed
