"""A policy's file: read again when it has changed and lies still, refused whole where it cannot be used."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from aden_transport.errors import ConfigurationError
from aden_transport.policy import Policy, PolicyFile

from .kit import NANO

LATER = 60.0
"""Seconds after which no file is young."""


def document(limit: float) -> str:
    return json.dumps({"limit": limit})


def limit_of(policy: Policy | None) -> float | None:
    return None if policy is None else policy.budgets[0].terms.limit / NANO


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.json"
    path.write_text(document(1))
    return path


@pytest.fixture
def file(path: Path) -> PolicyFile:
    file = PolicyFile.of(str(path))
    assert file is not None
    assert limit_of(file.load(later())) == 1
    return file


def later(seconds: float = LATER) -> float:
    return time.time() + seconds


def replace(path: Path, text: str) -> None:
    """As editors do it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_only_paths_of_regular_files_are_looked_at(tmp_path: Path) -> None:
    assert PolicyFile.of({"limit": 1}) is None
    assert PolicyFile.of('{"limit": 1}') is None
    assert PolicyFile.of(b"{}") is None
    assert PolicyFile.of(os.devnull) is None
    absent = PolicyFile.of(tmp_path / "none.json")
    assert absent is not None
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        absent.load(later())


def test_what_has_not_changed_costs_a_stat(file: PolicyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyFile, "_bytes", None)
    assert [file.look(later()) for _ in range(3)] == [None] * 3


def test_a_file_that_is_replaced_is_read_again(file: PolicyFile, path: Path) -> None:
    replace(path, document(2))
    assert limit_of(file.look(later())) == 2
    assert file.look(later()) is None


def test_a_change_of_the_same_size_within_a_tick_of_the_clock_is_seen(path: Path) -> None:
    now = path.stat().st_mtime + 0.3
    file = PolicyFile(path)
    file.load(now)
    before = path.stat()
    path.write_text(document(3))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert limit_of(file.look(later())) == 3


def test_a_young_file_is_read_once_more_and_nothing_is_told_twice(path: Path) -> None:
    file = PolicyFile(path)
    now = path.stat().st_mtime + 0.3
    file.load(now)
    assert file.look(now + 1) is None
    assert file.look(now + 2) is None
    path.write_text("{")
    young = path.stat().st_mtime + 0.3
    with pytest.raises(ConfigurationError):
        file.look(young)
    assert file.look(young + 1) is None


def test_kubernetes_swaps_a_link_to_a_folder(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "policy.json").write_text(document(number))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "policy.json").symlink_to("..data/policy.json")
    file = PolicyFile(tmp_path / "policy.json")
    assert limit_of(file.load(later())) == 1
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert limit_of(file.look(later())) == 2


def test_what_is_being_written_is_left_until_it_lies_still(file: PolicyFile, path: Path) -> None:
    path.write_text('{"limit"')
    now = path.stat().st_mtime
    assert file.look(now) is None
    path.write_text(document(25))
    assert file.look(path.stat().st_mtime + 0.1) is None
    assert limit_of(file.look(path.stat().st_mtime + 0.15)) == 25  # the same at two looks
    assert file.look(later()) is None


@pytest.mark.parametrize("text", ["", "  \n", '{"limit": 1', "[[", '{"limit": -1}', "\x00"])
def test_what_cannot_be_used_is_told_once_for_each_change(file: PolicyFile, path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"policy"):
        file.look(later())
    assert file.look(later()) is None
    replace(path, document(1))
    assert limit_of(file.look(later())) == 1


@pytest.mark.parametrize("text", ["", "# nothing yet\n[[budg", "\n"])
def test_an_empty_toml_file_is_no_policy_without_limits(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("limit = 1\n")
    file = PolicyFile(path)
    file.load(later())
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        file.look(later())


def test_a_file_that_vanishes_is_told_once_and_one_that_comes_back_is_read(
    file: PolicyFile, path: Path
) -> None:
    path.unlink()
    assert file.look(later()) is None  # an editor may be about to put it back
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        file.look(later())
    assert file.look(later()) is None
    path.write_text(document(1))
    assert file.look(later()) is None  # as it was
    path.unlink()
    assert file.look(later()) is None
    with pytest.raises(ConfigurationError):
        file.look(later())
    path.write_text(document(2))
    assert limit_of(file.look(later())) == 2


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_any_more_keeps_nobody_waiting(file: PolicyFile, path: Path, make: Any) -> None:
    path.unlink()
    make(path)
    assert file.look(later()) is None
    with pytest.raises(ConfigurationError, match="cannot be read"):
        file.look(later())
        file.look(later())


def test_the_place_is_fixed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = PolicyFile(Path("policy.json"))
    monkeypatch.chdir("/")
    assert limit_of(file.load(later())) == 1


def test_a_large_file_is_left_to_a_look_that_may_take_its_time(file: PolicyFile, path: Path) -> None:
    replace(path, document(2))
    assert file.look(later(), most=5) is None
    assert limit_of(file.look(later())) == 2


def test_a_forked_child_reads_anew(file: PolicyFile) -> None:
    file.forget()
    assert limit_of(file.look(later())) == 1
