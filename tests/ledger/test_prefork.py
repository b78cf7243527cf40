"""Which processes share a limit: real processes of every kind, and made-up tables of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aden_transport.ledger import owner, prefork
from aden_transport.ledger.prefork import Family, family

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
TELL = """
import json, multiprocessing, os, subprocess, sys

def tell(name):
    from aden_transport.ledger.prefork import family
    kin = family()
    with open("told", "a") as file:
        file.write(json.dumps([name, os.getpid(), int(kin.root.split(":")[0]), kin.is_worker]) + "\\n")

def forked(work, *arguments):
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


def told(folder: Path, program: str) -> tuple[int, dict[str, tuple[int, int, bool]]]:
    """The program's process id, and what its processes say: own id, root's id, whether they are workers."""
    (folder / "tell.py").write_text(TELL)
    script = folder / "program.py"
    script.write_text("from tell import *\n" + textwrap.dedent(program))
    with subprocess.Popen(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])},
    ) as process:
        assert process.wait(100) == 0
    lines: list[Any] = [json.loads(each) for each in (folder / "told").read_text().splitlines()]
    return process.pid, {name: (pid, root, worker) for name, pid, root, worker in lines}


@needs_proc
def test_a_script_is_its_own_root_and_so_is_what_it_starts(tmp_path: Path) -> None:
    pid, said = told(
        tmp_path,
        """
        tell("script")
        subprocess.run([sys.executable, "-c", "from tell import *; tell('other')"], check=True)
        subprocess.run(["/bin/sh", "-c", f"{sys.executable} -c 'from tell import *; tell(\\"shell\\")'"])
        """,
    )
    assert said["script"] == (pid, pid, False)
    for name in ("other", "shell"):
        own, root, is_worker = said[name]
        assert (root, is_worker) == (own, False)


@needs_proc
def test_forks_of_forks_have_one_root_whoever_asks_first(tmp_path: Path) -> None:
    pid, said = told(
        tmp_path,
        """
        def nested():
            forked(tell, "grandchild")
            tell("child")

        forked(nested)
        tell("parent")
        forked(tell, "later")
        """,
    )
    assert {name: root for name, (_, root, _) in said.items()} == dict.fromkeys(said, pid)
    assert [name for name, (_, _, worker) in said.items() if not worker] == ["parent"]
    assert len(said) == 4


@needs_proc
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_processes_of_multiprocessing_have_one_root(tmp_path: Path, method: str) -> None:
    """Also those made by them, and while the main module is imported for them."""
    pid, said = told(
        tmp_path,
        f"""
        tell(f"module of {{__name__}}" if __name__ == "__main__" else f"module {{os.getpid()}}")

        def inner():
            tell("inner")

        def outer():
            tell("outer")
            process = multiprocessing.get_context("spawn").Process(target=inner)
            process.start()
            process.join()

        if __name__ == "__main__":
            process = multiprocessing.get_context({method!r}).Process(target=outer)
            process.start()
            process.join()
        """,
    )
    assert {root for _, root, _ in said.values()} == {pid}
    assert said["outer"][2]
    assert said["inner"][2]
    assert not said["module of __main__"][2]


@needs_proc
def test_who_has_lost_its_parent_is_nobodys_worker(tmp_path: Path) -> None:
    """A daemon: forked twice, its parents gone."""
    _, said = told(
        tmp_path,
        """
        import time

        def daemon():
            parent = os.getpid()
            if os.fork() == 0:
                while os.getppid() == parent:
                    time.sleep(0.01)
                tell("daemon")
                os._exit(0)
            os._exit(0)

        forked(daemon)
        while not os.path.exists("told"):
            time.sleep(0.01)
        """,
    )
    own, root, _ = said["daemon"]
    assert root in (own, 1)  # 1: of a container, where that is a Python, too


# -- tables of processes ----------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands for /proc."""
    monkeypatch.setattr(owner, "PROC", tmp_path)
    forget(monkeypatch)
    yield tmp_path
    monkeypatch.undo()
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    owner.boot_id.cache_clear()
    owner._namespace.cache_clear()
    monkeypatch.setattr(prefork, "_root", None)
    monkeypatch.setattr(prefork, "_has_workers", False)


def put(table: Path, pid: int, parent: int, *, flags: int = 0, exe: str = "py") -> None:
    folder = table / str(pid)
    folder.mkdir()
    fields = ["S", str(parent), "0", "0", "0", "0", str(flags), *["0"] * 12, "77"]
    (folder / "stat").write_text(f"{pid} (a) name) {' '.join(fields)}")
    (folder / "cmdline").write_bytes(b"python\0program.py")
    (folder / "exe").symlink_to(exe)


def test_the_walk_ends_at_another_program(table: Path) -> None:
    put(table, 10, 1, exe="systemd")
    put(table, 20, 10, flags=0x40)
    put(table, 30, 20, flags=0x400040)
    assert prefork._find_root(30).startswith("20:")


def test_a_server_that_is_the_first_process_of_a_container_is_a_root(table: Path) -> None:
    put(table, 1, 0)
    put(table, 7, 1, flags=0x40)
    assert prefork._find_root(7).startswith("1:")


def test_a_parent_that_may_not_be_looked_at_is_one(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's, whose workers gave up its rights; not a daemon's."""
    put(table, 20, 1)
    put(table, 30, 20, flags=0x40)
    put(table, 1, 0)
    put(table, 40, 1, flags=0x40)
    real = os.readlink

    def refuse(path: Any) -> str:
        if Path(path).parent.name in ("1", "20"):
            raise PermissionError
        return str(real(path))

    monkeypatch.setattr(os, "readlink", refuse)
    assert prefork._find_root(30).startswith("20:")
    assert prefork._find_root(40).startswith("40:")


def test_a_parent_that_has_gone_meanwhile_is_none(table: Path) -> None:
    put(table, 30, 20, flags=0x40)
    assert prefork._find_root(30).startswith("30:")
    put(table, 50, 40, flags=0x40)
    put(table, 40, 30, flags=0x40)
    (table / "40" / "cmdline").unlink()
    assert prefork._find_root(50).startswith("40:")


def test_a_line_without_end_is_given_up(table: Path) -> None:
    for pid in range(1, 60):
        put(table, pid, pid + 1, flags=0x40)
    assert prefork._find_root(1).startswith(f"{1 + prefork.MOST_DEEP}:")


@pytest.mark.usefixtures("table")
def test_without_a_table_multiprocessing_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing.process as process

    class Parent:
        pid = 4321

    assert prefork._find_root(99).startswith("99:")
    monkeypatch.setattr(process, "parent_process", Parent)
    assert prefork._find_root(99).startswith("4321:")
    monkeypatch.setattr(process, "parent_process", lambda: None)
    monkeypatch.setattr(process.current_process(), "_inheriting", True, raising=False)
    assert prefork._find_root(99).startswith(f"{os.getppid()}:")


@pytest.mark.usefixtures("table")
@pytest.mark.skipif(not hasattr(os, "getpgrp"), reason="this system has no process groups")
def test_without_a_table_a_server_and_its_workers_are_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "multiprocessing.process", raising=False)
    assert prefork._find_root(99).startswith("99:")
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", os)
    assert prefork._find_root(99).startswith(f"{os.getpgrp()}:")


def test_who_has_spawned_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.rpartition(".")[2] in prefork.SPAWNERS]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(prefork, "_has_workers", False)
    assert not family().has_workers
    monkeypatch.setitem(sys.modules, "uwsgi", os)
    assert family().has_workers
    monkeypatch.delitem(sys.modules, "uwsgi")
    monkeypatch.setitem(sys.modules, "multiprocessing.popen_spawn_posix", os)
    assert isinstance(family(), Family)
    assert family().has_workers
