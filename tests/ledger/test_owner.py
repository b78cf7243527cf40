"""Telling whether the process that made a hold has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aden_transport.ledger import owner as module
from aden_transport.ledger.owner import host_name, is_gone, owner_of

HAS_PROC = Path("/proc/self/stat").exists()
needs_proc = pytest.mark.skipif(not HAS_PROC, reason="this system has no /proc")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without /proc."""
    monkeypatch.setattr(module, "PROC", tmp_path)
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget() -> None:
    module.boot_id.cache_clear()
    module._namespace.cache_clear()


def test_a_process_is_there_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    mine, other = owner_of(os.getpid()), owner_of(sleeper.pid)
    assert mine != other
    assert not is_gone(mine)
    assert not is_gone(other)
    sleeper.kill()
    sleeper.wait()
    assert is_gone(other)


@needs_proc
def test_a_zombie_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    owner = owner_of(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(owner)


@needs_proc
def test_another_process_with_the_same_id_is_another_owner() -> None:
    pid, start, boot, namespace = owner_of(os.getpid()).split(":")
    assert start
    assert is_gone(f"{pid}:{int(start) - 1}:{boot}:{namespace}")
    assert is_gone(f"{pid}:{start}:another boot:{namespace}")


@needs_proc
def test_what_another_container_holds_cannot_be_told() -> None:
    _, start, boot, _ = owner_of(os.getpid()).split(":")
    assert not is_gone(f"999999999:{start}:{boot}:4026530000")


@pytest.mark.usefixtures("elsewhere")
def test_without_proc_the_id_alone_counts(sleeper: subprocess.Popen[bytes]) -> None:
    owner = owner_of(sleeper.pid)
    assert owner == f"{sleeper.pid}:::"
    assert not is_gone(owner)
    sleeper.kill()
    sleeper.wait()
    assert is_gone(owner)
    assert host_name()


@pytest.mark.usefixtures("elsewhere")
def test_a_process_that_may_not_be_asked_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_gone("1:::")


@pytest.mark.usefixtures("elsewhere")
def test_on_windows_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    gone = is_gone("999999999:::")
    monkeypatch.undo()
    assert not gone


@needs_proc
def test_processes_of_one_host_and_container_have_its_name() -> None:
    assert host_name() == host_name()
    assert owner_of(os.getpid()).endswith(host_name())
