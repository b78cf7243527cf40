"""A folder of states for each test."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def state_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """So that nothing is kept from one test for the next."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("ADEN_API_KEY", "ADEN_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state"
