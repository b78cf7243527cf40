"""Files that were kept under other keys of the same team, as values on a disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aden_transport.control.agent.former import Former, former_keys, team_name
from aden_transport.control.agent.in_force import InForce
from aden_transport.control.agent.kept import Kept, name_of

URL = "https://control.example.com"
TEAM = team_name(URL, "team_a")


def keep(folder: Path, key: str, team: str | None) -> str:
    """What a program leaves that has run with `key`; its name."""
    name = name_of(URL, key)
    kept = InForce(Kept(folder / f"{name}.json"))
    assert kept.take({"budgets": []}, etag=None, ours=True)
    if team is not None:
        kept.note_team(team)
    return name


def test_teams_have_names_that_tell_neither_team_nor_server() -> None:
    assert TEAM != team_name(URL, "team_b") != team_name("https://other.example.com", "team_b")
    assert "team" not in TEAM


def test_found_are_those_of_the_team(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    old, own = keep(tmp_path, "old", TEAM), keep(tmp_path, "new", TEAM)
    keep(tmp_path, "foreign", team_name(URL, "team_b"))
    keep(tmp_path, "unknown", None)
    (tmp_path / "server-broken.json").write_text("{")
    assert former_keys(own, TEAM, tmp_path) == [Former(old, tmp_path / f"{old}.sqlite3")]
    assert InForce(Kept(tmp_path / f"{own}.json")).team is None
    restored = InForce(Kept(tmp_path / f"{own}.json"))
    restored.restore()
    assert restored.team == TEAM


def test_what_is_not_ours_to_use_is_left(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    old, own = keep(tmp_path, "old", TEAM), keep(tmp_path, "new", TEAM)
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / f"{old}.sqlite3").symlink_to(tmp_path / "elsewhere")
    assert former_keys(own, TEAM, tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert former_keys("server-x", TEAM, tmp_path / "file") == []
