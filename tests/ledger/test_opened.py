"""Which ledger is taken, and why."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from aden_transport.errors import ConfigurationError
from aden_transport.ledger import run_files
from aden_transport.ledger.memory import MemoryLedger
from aden_transport.ledger.opened import choose, choose_for_run, open_ledger, opened
from aden_transport.ledger.owner import owner_of
from aden_transport.ledger.prefork import Family
from aden_transport.ledger.redis import RedisLedger
from aden_transport.ledger.run_files import left_behind, remove, run_path
from aden_transport.ledger.sqlite import SqliteLedger

ROOT = owner_of(os.getpid())


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    for name in ("home", "run", "tmp"):
        (tmp_path / name).mkdir()
    be(monkeypatch)
    return tmp_path


def be(monkeypatch: pytest.MonkeyPatch, *, worker: bool = False, parent: bool = False) -> None:
    kin = Family(ROOT, worker, parent)
    monkeypatch.setattr("aden_transport.ledger.opened.family", lambda: kin)


def test_what_is_to_last_is_in_the_users_folder_of_states(place: Path) -> None:
    choice = choose(None, lasting=True)
    path = place / "home/.local/state/aden-transport/budgets.sqlite3"
    assert choice.address == f"sqlite:///{path}"
    assert (choice.shared, choice.of_run, choice.warning) == (True, False, None)
    ledger = opened(choice)
    assert isinstance(ledger, SqliteLedger)
    assert ledger.path == path


def test_a_process_that_is_alone_keeps_its_run_in_memory() -> None:
    choice = choose(None, lasting=False)
    assert (choice.address, choice.shared, choice.of_run, choice.warning) == ("memory", False, True, None)
    assert isinstance(open_ledger(None, lasting=False), MemoryLedger)


@pytest.mark.parametrize("kin", ["worker", "parent"])
def test_workers_and_their_parent_share_a_file_of_their_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, kin: str
) -> None:
    be(monkeypatch, worker=kin == "worker", parent=kin == "parent")
    choice = choose(None, lasting=False)
    assert (choice.shared, choice.of_run, choice.warning) == (True, True, None)
    assert choice.address.startswith(f"sqlite:///{place}/run/aden-transport/run-{os.getpid()}_")
    assert f"process {os.getpid()}" in choice.reason
    assert choose(None, lasting=False) == choice == choose_for_run(has_workers=True)


def test_a_parent_that_makes_its_first_worker_is_told() -> None:
    assert choose_for_run(has_workers=True).shared


def test_where_nothing_can_be_written_memory_is_taken_and_it_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(name: str, folder: Path | None = None) -> Path:
        raise OSError("the disk is read-only")

    monkeypatch.setattr("aden_transport.ledger.opened.host_file", no_file)
    choice = choose(None, lasting=True)
    assert (choice.address, choice.of_run) == ("memory", True)
    assert choice.warning is not None
    assert "sums are lost at the end" in choice.warning
    be(monkeypatch, worker=True)
    assert choose(None, lasting=True).shared  # The run's own, at least.
    for name in ("run", "tmp"):
        shutil.rmtree(place / name)
    choice = choose(None, lasting=True)
    assert (choice.address, choice.shared) == ("memory", False)
    assert choice.warning is not None
    assert "each worker has the whole limit" in choice.warning


def test_memory_that_was_asked_for_is_taken_and_workers_are_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("memory", lasting=True).warning is None
    be(monkeypatch, worker=True)
    choice = choose("memory", lasting=True)
    assert (choice.address, choice.of_run) == ("memory", False)
    assert choice.warning is not None
    assert "each worker" in choice.warning


def test_what_is_named_is_taken(place: Path) -> None:
    for address, path in (("sqlite:////a/b", "/a/b"), (f"sqlite:///{place}/x", f"{place}/x")):
        assert choose(address, lasting=False).shared
        ledger = open_ledger(address, lasting=False, timeout_s=1.5)
        assert isinstance(ledger, SqliteLedger)
        assert (str(ledger.path), ledger.timeout_s) == (path, 1.5)
    relative = open_ledger("sqlite:///x/y", lasting=False)
    assert isinstance(relative, SqliteLedger)
    assert relative.path == Path.cwd() / "x/y"
    for address in ("redis://127.0.0.1:1/0", "valkey://127.0.0.1:1/0"):
        assert isinstance(open_ledger(address, lasting=False), RedisLedger)


@pytest.mark.parametrize("address", ["", "sqlite://x", "sqlite:///", "postgres://u:secret@h/d", "redis"])
def test_other_addresses_are_refused_without_their_password(address: str) -> None:
    with pytest.raises(ConfigurationError, match="none of") as caught:
        choose(address, lasting=False)
    assert "h/d" not in str(caught.value)


def test_uwsgi_without_threads_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uwsgi:
        opt: ClassVar[dict[str, object]] = {}

    be(monkeypatch, worker=True)
    monkeypatch.setitem(sys.modules, "uwsgi", Uwsgi)
    warning = choose(None, lasting=False).warning
    assert warning is not None
    assert "--enable-threads" in warning
    Uwsgi.opt = {"enable-threads": True}
    assert choose(None, lasting=False).warning is None


# -- files of runs ----------------------------------------------------------------------------------


def test_a_file_of_a_run_is_in_a_private_folder(place: Path) -> None:
    path = run_path(ROOT)
    assert path is not None
    assert path.parent == place / "run/aden-transport"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.name != "posix", reason="rights are like this on POSIX")
@pytest.mark.parametrize("kind", ["open to others", "a link", "a file", "nowhere"])
def test_a_folder_that_is_not_ours_alone_is_passed_over(place: Path, kind: str) -> None:
    folder = place / "run/aden-transport"
    match kind:
        case "open to others":
            folder.mkdir(mode=0o777)
            folder.chmod(0o777)
        case "a link":
            (place / "else").mkdir(mode=0o700)
            folder.symlink_to(place / "else")
        case "a file":
            folder.touch()
        case _:
            (place / "run").rmdir()
    path = run_path(ROOT)
    assert path is not None
    assert path.parent == place / f"tmp/aden-transport-{os.geteuid()}"


def test_files_of_runs_that_have_ended_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ROOT.replace(str(os.getpid()), "999999999", 1)
    mine, theirs = run_path(ROOT), run_path(gone)
    assert mine is not None
    assert theirs is not None
    for path in (mine, theirs, mine.with_name("run-x.sqlite3"), mine.with_name("run-a_b_c_d.sqlite3")):
        path.touch()
    assert list(left_behind()) == [theirs]
    assert run_files._read(mine.name) == ROOT
    monkeypatch.setattr(run_files, "_folders", lambda: [])
    assert list(left_behind()) == []


@pytest.mark.parametrize("boot", ["", "0b1d"])
def test_names_of_owners_are_read_back(boot: str) -> None:
    assert run_files._read(f"run-{run_files._written(f'1:2:{boot}:4')}.sqlite3") == f"1:2:{boot}:4"


def test_a_file_that_was_written_of_late_is_kept_where_others_may_use_it() -> None:
    path = run_path(ROOT)
    assert path is not None
    path.touch()
    wal = Path(f"{path}-wal")
    wal.touch()
    old = time.time() - run_files.UNTOUCHED_S - 60
    os.utime(path, (old, old))
    assert not remove(path, untouched=True)
    os.utime(wal, (old, old))
    assert remove(path, untouched=True)
    assert not path.exists()
    assert not wal.exists()
    assert remove(path)


def test_a_user_without_a_number_has_a_folder_of_their_own() -> None:
    assert len(run_files._user()) == 12
