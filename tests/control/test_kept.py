"""What a program begins with before its server answers."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from aden_transport.control.agent.kept import Kept, name_of

KEY = "aden_CANARY_0123456789"


def test_what_was_kept_is_read_again_and_is_its_owners_alone(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept.json")
    assert kept.read() == {}
    assert kept.write({"a": 1})
    assert kept.write({"a": 2})
    assert kept.read() == {"a": 2}
    assert stat.S_IMODE((tmp_path / "kept.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_the_names_of_files_tell_servers_and_keys_apart_and_show_neither() -> None:
    names = {name_of(url, key) for url in ("https://a", "https://b") for key in (KEY, KEY + "x")}
    assert len(names) == 4
    assert not any("CANARY" in name or "://" in name for name in names)
    assert name_of("https://a", KEY) == name_of("https://a", KEY)


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"7", b'{"a": 1', b"\xff\xfe"])
def test_what_cannot_be_read_is_as_if_it_was_not_there(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "kept.json").write_bytes(text)
    assert Kept(tmp_path / "kept.json").read() == {}


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    assert not Kept(None).write({"a": 1})
    assert Kept(None).read() == {}
    assert not Kept(tmp_path / "missing" / "kept.json").write({"a": 1})


def test_what_others_may_write_or_have_put_there_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text('{"a": 1}')
    path.chmod(0o666)
    assert Kept(path).read() == {}
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "elsewhere.json").write_text('{"a": 1}')
    assert Kept(path).read() == {}
    path.unlink()
    os.mkfifo(path)
    assert Kept(path).read() == {}


def test_a_link_in_the_way_is_replaced_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "kept.json", tmp_path / "victim"
    victim.write_text("mine")
    path.symlink_to(victim)
    (tmp_path / f"kept.json.{os.getpid()}.tmp").symlink_to(victim)
    assert Kept(path).write({"a": 1})
    assert victim.read_text() == "mine"
    assert Kept(path).read() == {"a": 1}
