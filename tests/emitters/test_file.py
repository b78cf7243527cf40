"""Files: their names, their modes, what is refused, and records that stay whole."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aden_transport import _guard
from aden_transport.emitters import create_file_emitter, create_jsonl_emitter
from aden_transport.emitters.file import FileEmitter
from aden_transport.errors import ConfigurationError
from aden_transport.events import MetricEvent

if TYPE_CHECKING:
    from .conftest import MakeEvent


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def records(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_file_per_utc_day_of_the_event(tmp_path: Path, make_event: MakeEvent) -> None:
    emit = create_file_emitter(tmp_path / "deep" / "logs")
    for second in ("2024-01-15T00:00:00+00:00", "2024-01-15T23:59:59+00:00", "2024-01-16T00:30:00+01:00"):
        emit(make_event(timestamp_s=datetime.fromisoformat(second).timestamp()))
    emit(make_event(timestamp_s=datetime.fromisoformat("2024-01-16T00:00:00+00:00").timestamp()))
    found = {path.name: len(records(path)) for path in (tmp_path / "deep" / "logs").iterdir()}
    assert found == {"metrics-2024-01-15.jsonl": 3, "metrics-2024-01-16.jsonl": 1}
    assert emit.dropped == 0


def test_a_line_is_the_event(tmp_path: Path, event: MetricEvent) -> None:
    create_jsonl_emitter(tmp_path / "e.jsonl")(event)
    [record] = records(tmp_path / "e.jsonl")
    assert record == event.to_dict()


def test_directory_and_file_are_private_whatever_the_umask(tmp_path: Path, event: MetricEvent) -> None:
    before = os.umask(0)
    try:
        create_file_emitter(str(tmp_path / "logs"))(event)
    finally:
        os.umask(before)
    assert mode(tmp_path / "logs") == 0o700
    assert mode(tmp_path / "logs" / "metrics-2024-01-15.jsonl") == 0o600


def test_strings_from_outside_stay_one_line_without_control_bytes(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    hostile = "a\nb\r\x1b[31m\x00\x7f\x9b\x85\u2028\u202e\u2066\u061c\ufeff\u200f\u200eé"
    create_jsonl_emitter(tmp_path / "e.jsonl")(make_event(error=hostile, metadata={hostile: [hostile]}))
    text = (tmp_path / "e.jsonl").read_text()
    assert text.endswith("\n")
    assert all(c.isprintable() for c in text[:-1])
    [record] = records(tmp_path / "e.jsonl")
    assert record["error"] == hostile
    assert record["metadata"] == {hostile: [hostile]}


def symlink(path: Path, aside: Path) -> None:
    path.symlink_to(aside)


def dangling_symlink(path: Path, aside: Path) -> None:
    aside.unlink()
    path.symlink_to(aside)


def hardlink(path: Path, aside: Path) -> None:
    path.hardlink_to(aside)


def fifo(path: Path, aside: Path) -> None:
    os.mkfifo(path)


def directory(path: Path, aside: Path) -> None:
    path.mkdir()


def writable_for_others(path: Path, aside: Path) -> None:
    path.touch()
    path.chmod(0o620)


def device(path: Path, aside: Path) -> None:
    path.symlink_to("/dev/null")


def world_writable_directory(path: Path, aside: Path) -> None:
    path.parent.chmod(0o777)


def file_for_directory(path: Path, aside: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


PREPARED = [
    symlink,
    dangling_symlink,
    hardlink,
    fifo,
    directory,
    writable_for_others,
    device,
    world_writable_directory,
    file_for_directory,
]


@pytest.mark.parametrize("prepare", PREPARED)
def test_prepared_paths_are_refused_and_told(tmp_path: Path, event: MetricEvent, prepare: Any) -> None:
    aside = tmp_path / "aside"
    aside.write_text("precious")
    target = tmp_path / "logs" / "metrics-2024-01-15.jsonl"
    target.parent.mkdir()
    emit = create_file_emitter(tmp_path / "logs")
    prepare(target, aside)
    told: list[BaseException] = []
    emit.report = lambda _, exc: told.append(exc)
    emit(event)
    assert emit.dropped == 1
    assert isinstance(told[0], OSError)
    assert not aside.exists() or aside.read_text() == "precious"


def test_a_fifo_with_a_reader_is_refused(tmp_path: Path, event: MetricEvent) -> None:
    path = tmp_path / "e.jsonl"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    emit = create_jsonl_emitter(path)
    emit(event)
    assert emit.dropped == 1
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_file_or_link_of_another_user_is_refused(
    tmp_path: Path, event: MetricEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "e.jsonl").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    through_link = create_jsonl_emitter(tmp_path / "link" / "e.jsonl")
    through_link(event)
    assert through_link.dropped == 0
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    told: list[BaseException] = []
    direct = create_jsonl_emitter(tmp_path / "real" / "e.jsonl")
    direct.report = lambda _, exc: told.append(exc)
    direct(event)
    assert "another user" in str(told[0])
    # Root may link wherever it likes; anybody else's link is somebody's trap.
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: os.stat_result((*lstat(path)[:4], 7, *lstat(path)[5:])))
    through_link.report = lambda _, exc: told.append(exc)
    through_link(event)
    assert "symbolic link" in str(told[1])


def test_a_sticky_directory_is_used(tmp_path: Path, event: MetricEvent) -> None:
    tmp_path.chmod(0o1777)
    emit = create_jsonl_emitter(tmp_path / "e.jsonl")
    emit(event)
    assert len(records(tmp_path / "e.jsonl")) == 1


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_an_unwritable_directory_is_told_once_and_retried(
    tmp_path: Path, event: MetricEvent, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    emit = create_file_emitter(tmp_path)
    with monkeypatch.context() as patched:

        def refuse(*args: Any, **kwargs: Any) -> int:
            raise error("read-only")

        patched.setattr(os, "open", refuse)
        emit(event)
        emit(event)
    emit(event)
    assert emit.dropped == 2
    assert _guard.fault_counts() == {f"emit:{error.__name__}": 2}
    assert len(records(tmp_path / "metrics-2024-01-15.jsonl")) == 1


def test_a_full_disk_tears_at_most_one_line_and_the_next_record_is_whole(
    tmp_path: Path, make_event: MakeEvent
) -> None:
    path = tmp_path / "e.jsonl"
    emit = create_jsonl_emitter(path)
    emit(make_event(event_id="first"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
    try:
        emit(make_event(event_id="torn"))
        emit(make_event(event_id="refused"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    emit(make_event(event_id="last"))
    lines = path.read_text().splitlines()
    assert [json.loads(lines[0])["event_id"], json.loads(lines[-1])["event_id"]] == ["first", "last"]
    assert len(lines) == 3
    assert emit.dropped == 2


def test_a_write_of_another_process_under_way_is_not_taken_for_a_torn_line(
    tmp_path: Path, event: MetricEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text('{"half":')
    path.chmod(0o600)
    fchmod = os.fchmod

    def other_process_ends_its_write(descriptor: int, mode: int) -> None:
        fchmod(descriptor, mode)
        with path.open("a") as file:
            file.write("1}\n")

    monkeypatch.setattr(os, "fchmod", other_process_ends_its_write)
    create_jsonl_emitter(path)(event)
    assert [record.get("half") for record in records(path)] == [1, None]


WRITER = """
import sys
from aden_transport.emitters import create_jsonl_emitter
from aden_transport.events import MetricEvent
emit = create_jsonl_emitter(sys.argv[1])
for n in range(50):
    emit(MetricEvent(event_id=f"{sys.argv[2]}-{n}", trace_id="t", span_id="s", provider="p", operation="o",
                     request_model="m", stream=False, timestamp_s=0.0, error=sys.argv[2] * 30_000))
assert emit.dropped == 0
"""


def test_four_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter]) for letter in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    found = records(path)
    assert {record["event_id"] for record in found} == {f"{c}-{n}" for c in "abcd" for n in range(50)}
    assert len(found) == 200
    assert all(record["error"] == record["event_id"][0] * 30_000 for record in found)


def test_an_event_that_cannot_be_written_down_is_dropped(tmp_path: Path, make_event: MakeEvent) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    emit = create_file_emitter(tmp_path)
    emit(make_event(timestamp_s=1e30))
    emit(make_event(metadata={"x": Unspeakable()}))
    emit(make_event())
    assert emit.dropped == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_relative_path_stays_where_it_was_made(
    tmp_path: Path, event: MetricEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    emit = create_file_emitter("logs")
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    emit(event)
    assert (tmp_path / "logs" / "metrics-2024-01-15.jsonl").exists()


@pytest.mark.parametrize("path", ["", None, 3, b"bytes", "a\0b", ["x"]])
def test_wrong_paths(path: Any) -> None:
    for create in (create_file_emitter, create_jsonl_emitter):
        with pytest.raises(ConfigurationError, match="give a path"):
            create(path)


def test_file_and_directory_taken_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="give a directory"):
        create_file_emitter(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="give a file"):
        create_jsonl_emitter(tmp_path)


def test_the_named_file_is_told(tmp_path: Path, event: MetricEvent) -> None:
    emit = create_jsonl_emitter(tmp_path / "e.jsonl")
    assert isinstance(emit, FileEmitter)
    assert emit.path_for(event) == tmp_path / "e.jsonl"
