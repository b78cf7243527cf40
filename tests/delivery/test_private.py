"""Files of a host that are not what they seem are not used: events wait in memory, and it is said once."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from aden_transport import ConfigurationError, MeterOptions
from aden_transport import outgoing as module
from aden_transport.ledger.base import Line
from aden_transport.ledger.outbox_memory import MemoryOutbox
from aden_transport.ledger.private import host_file
from aden_transport.ledger.sqlite import SqliteLedger
from aden_transport.outgoing import Outgoing, open_outgoing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and links of POSIX")


@pytest.fixture(autouse=True)
def _said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_told", set())


def opened(folder: Path) -> Outgoing:
    return open_outgoing(None, "here", lambda: "i", folder=folder)


def link(path: Path) -> None:
    target = path.parent.parent / "target"
    target.write_text("precious")
    path.symlink_to(target)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent.parent / "nowhere")


def second_name(path: Path) -> None:
    target = path.parent.parent / "target"
    target.write_text("precious")
    os.link(target, path)


ATTACKS: dict[str, Callable[[Path], object]] = {
    "symlink": link,
    "dangling symlink": dangling,
    "hard link": second_name,
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_what_is_no_file_of_its_own_is_refused(
    tmp_path: Path, attack: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(0o700)
    attack(folder / "outbox.sqlite3")
    with caplog.at_level(logging.WARNING, "aden"):
        assert isinstance(opened(folder).outbox, MemoryOutbox)
        assert isinstance(opened(folder).outbox, MemoryOutbox)
    assert len(caplog.records) == 1
    assert "spool_dir" in caplog.text
    target = tmp_path / "target"
    assert not target.exists() or target.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=list(ATTACKS))
def test_a_ledger_refuses_them_as_well(tmp_path: Path, attack: Callable[[Path], object]) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(0o700)
    attack(folder / "ledger.sqlite3")
    with pytest.raises(Exception, match="cannot be used"):
        SqliteLedger(folder / "ledger.sqlite3").totals([Line("a", 1, 1)])


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_links_beside_a_file_are_not_followed(tmp_path: Path, end: str) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    folder = tmp_path / "spool"
    folder.mkdir(0o700)
    (folder / f"outbox.sqlite3{end}").symlink_to(target)
    opened(folder)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("mask", [0, 0o077])
def test_the_folder_and_its_files_are_the_users_alone(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        outgoing = opened(tmp_path / "a" / "spool")
    finally:
        os.umask(before)
    assert outgoing.outbox.lasts
    assert stat.S_IMODE((tmp_path / "a" / "spool").stat().st_mode) == 0o700
    for path in (tmp_path / "a" / "spool").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_in_a_folder_that_others_may_write_to_there_is_one_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    path = host_file("outbox", folder)
    assert path.parent.parent == folder
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path)
    with pytest.raises(OSError, match="alone"):
        host_file("outbox", folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError):
            host_file("outbox", tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_without_a_home_events_wait_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setattr(Path, "home", classmethod(lambda _: (_ for _ in ()).throw(RuntimeError("no home"))))
    outgoing = open_outgoing(None, "here", lambda: "i")
    assert isinstance(outgoing.outbox, MemoryOutbox)


def test_options_name_one_place(tmp_path: Path) -> None:
    assert MeterOptions(spool_dir=tmp_path).spool_dir == tmp_path
    assert MeterOptions(spool_dir="spool").spool_dir == Path("spool").absolute()
    with pytest.raises(ConfigurationError, match="two places"):
        MeterOptions(spool_dir=tmp_path, ledger="sqlite:///x")
    for value in ("", 3, "a\0b", b"x"):
        with pytest.raises(ConfigurationError, match="spool_dir"):
            MeterOptions(spool_dir=value)  # type: ignore[arg-type]
