"""The file that processes share: who waits, who is killed, what is broken, and who may read it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aden_transport.errors import LedgerUnavailable
from aden_transport.ledger import sqlite as module
from aden_transport.ledger.sqlite import SqliteLedger, default_path

from .kit import LATER, NOON, PATIENT, hard, line, sums


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    each = SqliteLedger(path, timeout_s=PATIENT)
    yield each
    each.close()


def hold(ledger: SqliteLedger, op_id: str = "1", amount: int = 10, limit: int = 1000) -> bool:
    asked = [[hard("a", amount, limit)]]
    return ledger.reserve(op_id, asked, now=NOON, expires_at=LATER).kind == "held"


def spend(ledger: SqliteLedger, amount: int = 10) -> None:
    assert hold(ledger, "spend", amount)
    assert ledger.settle("spend", {})


# -- several processes ------------------------------------------------------------------------------

BEGIN = f"""
import os, random, sys, time
from aden_transport.ledger.base import Line
from aden_transport.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(sys.argv[1], timeout_s={PATIENT})
"""


def start(path: Path, program: str) -> subprocess.Popen[str]:
    code = BEGIN + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> str:
    """What it prints, once it has ended well."""
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    return output


def test_four_processes_never_exceed_a_limit(path: Path, ledger: SqliteLedger) -> None:
    """And all four begin the file at the same time."""
    program = """
    spent = 0
    for number in range(500):
        op_id = f"{os.getpid()} {number}"
        line = Line("a", 35, 20, limit_held=20_000)
        if ledger.reserve(op_id, [[line]], now=0.0, expires_at=1e12).kind == "held":
            if number % 10 == 9:
                assert ledger.release(op_id)
                continue
            amount = random.randrange(36)
            assert ledger.settle(op_id, {"usd": amount})
            spent += amount
        (totals,) = ledger.totals([line])
        assert totals.spent + totals.held <= 20_000
    print(spent)
    """
    spent = sum(int(told(process)) for process in [start(path, program) for _ in range(4)])
    assert sums(ledger, "a") == [(spent, 0, 0)]
    assert 20_000 - 4 * 35 < spent <= 20_000  # The last ones may have been held, and then cost less.
    assert ledger.open_holds() == 0


HOLDER = """
for op_id, deferred in ("1", False), ("2", False), ("3", True):
    ledger.reserve(op_id, [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
    if deferred:
        ledger.defer(op_id, "ref", expires_at=1e12)
print("held", flush=True)
sys.stdin.readline()
"""


def test_the_holds_of_a_killed_process_are_settled_disputed(path: Path, ledger: SqliteLedger) -> None:
    process = start(path, HOLDER)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    hold(ledger, "mine")
    assert list(ledger.sweep(NOON)) == []
    process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    swept: list[str] = []
    while not swept and time.monotonic() < deadline:  # It may be a zombie already, or not be dead yet.
        swept = sorted(ledger.sweep(NOON))
    process.communicate()
    assert swept == ["1", "2"]
    assert ledger.disputed() == {"a": 20}
    assert sums(ledger, "a") == [(20, 20, 10)]
    assert ledger.settle_deferred("ref", {"usd": 1})
    assert ledger.settle("mine", {"usd": 1})
    assert sums(ledger, "a") == [(22, 0, 0)]


def test_a_process_that_is_killed_within_a_transaction_leaves_nothing_of_it(
    path: Path, ledger: SqliteLedger
) -> None:
    hold(ledger)
    program = """
    with ledger._transaction() as db:
        db.execute("UPDATE sums SET spent = 777")
        os.kill(os.getpid(), 9)
    """
    process = start(path, program)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert sums(ledger, "a") == [(0, 10, 5)]
    assert ledger.settle("1", {"usd": 3})


# -- forks ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_opens_the_file_anew(ledger: SqliteLedger) -> None:
    hold(ledger, "parent's")
    child = os.fork()
    if child == 0:
        good = hold(ledger, "child's") and ledger.settle("child's", {"usd": 1})
        os._exit(0 if good and ledger.open_holds() == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert sums(ledger, "a") == [(1, 10, 5)]
    assert ledger.settle("parent's", {"usd": 2})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_while_a_thread_writes_hang_no_one_and_lose_nothing(ledger: SqliteLedger) -> None:
    stop = threading.Event()
    count = 0

    def write() -> None:
        nonlocal count
        while not stop.is_set():
            spend(ledger, 1 if count < 500 else 0)
            count += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if hold(ledger, f"{number}", 1) and ledger.release(f"{number}") else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
    assert sums(ledger, "a") == [(min(count, 500), 0, 0)]


def test_a_fork_that_python_did_not_see_uses_no_connection_of_the_parent(
    path: Path, ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uWSGI forks in C."""
    hold(ledger)
    before = ledger._opened
    assert before is not None
    before.pid -= 1
    assert ledger.settle("1", {"usd": 3})
    assert ledger._opened is not before
    with pytest.raises(sqlite3.ProgrammingError):
        before.db.execute("SELECT 1")


def test_a_parents_transaction_is_left_alone(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[sqlite3.Connection] = []
    monkeypatch.setattr(module, "_abandoned", kept)
    spend(ledger)
    before = ledger._opened
    assert before is not None
    before.db.execute("BEGIN IMMEDIATE")
    before.pid -= 1
    ledger.timeout_s = 0.05
    with pytest.raises(LedgerUnavailable):
        hold(ledger)
    assert kept == [before.db]
    before.db.execute("ROLLBACK")
    assert hold(ledger)
    before.db.close()


def test_in_a_child_no_lock_of_the_parent_is_left(ledger: SqliteLedger) -> None:
    hold(ledger)
    with ledger._lock:
        module._after_fork_in_child()
        assert ledger.settle("1", {"usd": 1})


# -- beginning the file -----------------------------------------------------------------------------


def test_who_comes_second_finds_the_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SqliteLedger(path, timeout_s=PATIENT)
    spend(first)
    versions = [0]
    real = module._version
    monkeypatch.setattr(module, "_version", lambda db: versions.pop() if versions else real(db))
    second = SqliteLedger(path, timeout_s=PATIENT)
    assert sums(second, "a") == [(10, 0, 0)]
    first.close()
    second.close()


# -- slow -------------------------------------------------------------------------------------------


def test_who_waits_too_long_for_another_process_is_told(path: Path, ledger: SqliteLedger) -> None:
    spend(ledger)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger.timeout_s = 0.05
    with pytest.raises(LedgerUnavailable, match=r"busy: no answer in 0\.05 s"):
        hold(ledger)
    assert sums(ledger, "a") == [(10, 0, 0)]  # Readers do not wait.
    other.execute("ROLLBACK")
    other.close()
    assert hold(ledger)


def test_who_waits_too_long_for_another_thread_is_told(ledger: SqliteLedger) -> None:
    ledger.timeout_s = 0.05
    with ledger._lock:
        with pytest.raises(LedgerUnavailable, match="busy"):
            hold(ledger)
        ledger.close()
    assert hold(ledger)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_does_not_wait_for_a_thread_that_keeps_the_ledger(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORK_WAIT_S", 0.01)
    with ledger._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if hold(ledger) else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_many_threads_share_one_connection(ledger: SqliteLedger) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda n: hold(ledger, str(n), 1), range(200)))
    assert ledger.open_holds() == 200


# -- broken -----------------------------------------------------------------------------------------


def test_a_file_that_is_deleted_while_open_is_begun_anew(path: Path, ledger: SqliteLedger) -> None:
    spend(ledger)
    hold(ledger)
    shutil.rmtree(path.parent)
    assert not ledger.settle("1", {"usd": 1})
    spend(ledger, 3)
    assert path.exists()
    other = SqliteLedger(path, timeout_s=PATIENT)
    assert sums(other, "a") == sums(ledger, "a") == [(3, 0, 0)]
    other.close()


@pytest.mark.parametrize("content", [b"this is no database " * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_named_with_what_to_do(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    ledger = SqliteLedger(path)
    for _ in range(2):
        with pytest.raises(LedgerUnavailable, match=r"ledger\.sqlite3 is damaged or no ledger .*move it"):
            hold(ledger)
    path.unlink()
    assert hold(ledger)
    ledger.close()


def test_a_file_that_is_damaged_while_open_breaks_nothing_else(path: Path, ledger: SqliteLedger) -> None:
    spend(ledger)
    ledger.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xaa" * 40000)
    with pytest.raises(LedgerUnavailable, match="move it"):
        hold(ledger)


def test_the_file_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE sums (theirs)")
    other.close()
    with pytest.raises(LedgerUnavailable, match="cannot be used"):
        hold(SqliteLedger(path))


def test_the_file_of_a_newer_release_is_left_alone(path: Path, ledger: SqliteLedger) -> None:
    spend(ledger)
    ledger.close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(LedgerUnavailable, match="newer release of aden-transport wrote it, schema 99"):
        hold(ledger)


def test_a_full_disk_is_told_and_survived(path: Path) -> None:
    program = """
    import resource
    from aden_transport.errors import LedgerUnavailable
    ledger.reserve("1", [[Line("a", 10, 5)]], now=0.0, expires_at=1e12)
    size = os.path.getsize(sys.argv[1] + "-wal")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    failed = 0
    for number in range(200):
        try:
            ledger.reserve(f"full {number}", [[Line("b" * 5000, 1, 1)]], now=0.0, expires_at=1e12)
        except LedgerUnavailable as exc:
            failed += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    held = ledger.open_holds()
    assert failed and held == 201 - failed, (failed, held)
    assert ledger.settle("1", {"usd": 7})
    print(ledger.totals([Line("a", 0, 0)])[0].spent)
    """
    assert told(start(path, program)) == "7\n"


@pytest.mark.parametrize("folder", ["a file", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").touch()
    ledger = SqliteLedger(tmp_path / folder / "ledger.sqlite3")
    with pytest.raises(LedgerUnavailable, match="check its folder, its rights and the disk"):
        hold(ledger)
    ledger.close()


def test_a_fault_of_the_caller_leaves_no_transaction_open(ledger: SqliteLedger) -> None:
    with pytest.raises(ValueError):
        ledger.reserve("1", [], now=NOON, expires_at=LATER)
    assert hold(ledger)


def test_a_connection_that_fails_is_opened_anew(ledger: SqliteLedger) -> None:
    spend(ledger)
    assert ledger._opened is not None
    ledger._opened.db.close()
    with pytest.raises(LedgerUnavailable):
        hold(ledger)
    assert hold(ledger)


def test_a_transaction_that_cannot_be_undone_gives_the_connection_up(ledger: SqliteLedger) -> None:
    with pytest.raises(ZeroDivisionError), ledger._transaction() as db:
        db.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
        raise ZeroDivisionError
    assert ledger._opened is None
    assert hold(ledger)


def test_amounts_beyond_what_is_counted_count_as_the_most(ledger: SqliteLedger) -> None:
    assert ledger.reserve("1", [[line("a", 10**30)]], now=NOON, expires_at=LATER).kind == "held"
    assert ledger.settle("1", {"usd": 10**30})
    ledger.raise_to("b", 10**30, mark="v1")
    assert sums(ledger, "a", "b") == [(2**53 - 1, 0, 0), (2**53 - 1, 0, 0)]


# -- bounds -----------------------------------------------------------------------------------------


def test_expired_keys_and_marks_are_forgotten_in_small_steps(ledger: SqliteLedger) -> None:
    for number in range(300):
        key = f"customer {number}"
        ledger.raise_to(key, 1, mark="v1", expires_at=NOON)
    ledger.raise_to("kept", 1, mark="v1", expires_at=LATER)
    ledger.raise_to("for ever", 1, mark="v1")
    left = [count(ledger, "sums"), count(ledger, "marks")]
    assert left == [302, 302]
    for expected in (102, 2, 2):
        ledger.sweep(NOON)
        assert [count(ledger, "sums"), count(ledger, "marks")] == [expected, expected]


def count(ledger: SqliteLedger, table: str) -> int:
    with ledger._transaction("BEGIN") as db:
        found: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return found


# -- who may read it --------------------------------------------------------------------------------


def test_nobody_else_may_read_it_whatever_the_mask(path: Path, ledger: SqliteLedger) -> None:
    before = os.umask(0)
    try:
        spend(ledger)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == [f"ledger.sqlite3{end}" for end in ("", "-shm", "-wal")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_rights_that_were_wider_are_taken_away(path: Path, ledger: SqliteLedger) -> None:
    path.parent.mkdir()
    path.touch(0o666)
    spend(ledger)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_regular_file_is_refused(path: Path, tmp_path: Path, kind: str) -> None:
    path.parent.mkdir()
    match kind:
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "fifo":
            os.mkfifo(path)
        case _:
            path.mkdir()
    with pytest.raises(LedgerUnavailable, match="no regular file"):
        hold(SqliteLedger(path))
    assert not (tmp_path / "elsewhere").exists()


def test_the_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(LedgerUnavailable, match="belongs to another user"):
        hold(SqliteLedger(path))


# -- where it lies ----------------------------------------------------------------------------------


def test_the_default_is_the_users_folder_of_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    found = default_path("ledger")
    assert found is not None
    assert found == tmp_path / ".local/state/aden-transport/ledger.sqlite3"
    assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert default_path("ledger") == found
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert default_path("x") == tmp_path / "xdg/aden-transport/x.sqlite3"


def test_each_system_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_path("x") == tmp_path / "Library/Application Support/aden-transport/x.sqlite3"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_path("x") == tmp_path / "local/aden-transport/x.sqlite3"


def test_where_no_home_can_be_written_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert default_path("ledger") is None
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert default_path("ledger") is None
