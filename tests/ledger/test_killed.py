"""A server that is killed amid reserves and settlements loses nothing that it has acknowledged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..server.conftest import prepared_file
from .killed import run

__all__ = ["prepared_file"]


@pytest.mark.timeout(300)
def test_nothing_acknowledged_is_lost_and_nothing_is_counted_twice(
    tmp_path: Path, prepared_file: Path
) -> None:
    shutil.copy(prepared_file, tmp_path / "server.sqlite3")
    found = run(f"sqlite:///{tmp_path}/server.sqlite3", kills=2)
    assert found.calls > 0
    assert found._replace(calls=0, unanswered=0) == (0, 0, 0, 0, 0, 0)
