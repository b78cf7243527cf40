"""Two SDKs of older majors, each in an environment of its own; `scripts/sdk_matrix` runs all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "sdk_matrix"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["openai-1", "anthropic-0"])
def test_an_older_sdk_is_metered_in_every_way(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--folder", str(tmp_path), "--json", "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout)[name]["seen"]
    assert seen == dict.fromkeys(seen, "ok")
    assert len(seen) == 11
    assert done.returncode == 0
