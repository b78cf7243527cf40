"""What is peculiar to the ledger in Redis; what all ledgers do is in `test_contract.py`."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aden_transport.errors import ConfigurationError, LedgerUnavailable
from aden_transport.ledger.base import NEVER, Line, Outcome, Totals
from aden_transport.ledger.redis import MOST, SWEPT_AT_ONCE, RedisLedger
from aden_transport.ledger.rule import judge

from .redis_server import RedisServer, redis_ledger, shared_server

NOW = 1_790_000_000.0
SOON = NOW + 60
PATIENT = 30.0
"""`timeout_s` where the test is not about it."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[RedisLedger]:
    with redis_ledger(tmp_path) as fresh:
        yield fresh


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as own:
        yield own


def hard(hold: int, limit: int, key: str = "a", **more: Any) -> Line:
    return Line(key, hold, hold // 2, limit_held=limit, **more)


def hold(ledger: RedisLedger, op_id: str, *lines: Line, expires_at: float = SOON) -> Outcome:
    return ledger.reserve(op_id, [lines], now=NOW, expires_at=expires_at)


def sums(ledger: RedisLedger, key: str = "a") -> tuple[int, int, int]:
    (found,) = ledger.totals([Line(key, 0, 0)])
    return found.spent, found.held, found.expected


def keys(ledger: RedisLedger) -> set[str]:
    """All keys of the ledger."""
    found: list[bytes] = raw(ledger).keys(f"{ledger._tag}*")
    return {key.decode().removeprefix(ledger._tag + ":") for key in found}


def raw(ledger: RedisLedger) -> Any:
    """The client, for what only tests do."""
    return ledger._client


# -- the rule, in two languages ---------------------------------------------------------------------

SMALL = st.integers(0, 30)
HUGE = st.integers(MOST - 30, MOST)
AMOUNTS = SMALL | HUGE
BOUNDS = st.just(NEVER) | SMALL | st.integers(30, 90) | HUGE
NAMES = st.sampled_from(["a", "b", "c", "d"])
LINES = st.builds(
    Line,
    key=NAMES,
    hold=AMOUNTS,
    expected=AMOUNTS,
    limit_held=BOUNDS,
    limit_expected=BOUNDS,
    degrade_at=BOUNDS,
    throttle_at=BOUNDS,
    unit=st.sampled_from(["usd", "tokens", "calls"]),
    also=st.lists(NAMES, max_size=2).map(tuple),
)
CANDIDATES = st.lists(st.lists(LINES, max_size=4), min_size=1, max_size=4)
SUMS = st.dictionaries(NAMES, st.tuples(AMOUNTS, SMALL, SMALL))


def countable(outcome: Outcome) -> tuple[Any, ...]:
    """An outcome with its sums as doubles have them: exact as far as there are limits."""
    sums = [(t.spent, t.held, t.expected) for t in outcome.totals]
    known = [tuple(min(number, 2**53) for number in row) for row in sums]
    return outcome.kind, outcome.candidate, outcome.line, outcome.fits_expected, known


@settings(max_examples=300, deadline=None)
@given(SUMS, CANDIDATES)
def test_the_script_judges_as_the_rule_does(
    before: dict[str, tuple[int, int, int]], candidates: list[list[Line]]
) -> None:
    def totals_of(line: Line) -> Totals:
        found = [before.get(key, (0, 0, 0)) for key in (line.key, *line.also)]
        return Totals(*(sum(column) for column in zip(*found, strict=True)))

    with redis_ledger(Path()) as ledger:
        for key, (spent, held, expected) in before.items():
            ledger.raise_to(key, spent, mark="start")
            hold(ledger, f"of {key}", Line(key, held, expected))
        outcome = ledger.reserve("call", candidates, now=NOW, expires_at=SOON)

        assert countable(outcome) == countable(judge(candidates, totals_of))
        assert ledger.open_holds() == len(before) + (outcome.kind == "held")


# -- numbers, names, keys ---------------------------------------------------------------------------


def test_the_largest_amount_is_counted_exactly(ledger: RedisLedger) -> None:
    assert hold(ledger, "1", hard(MOST, MOST)).kind == "held"
    assert hold(ledger, "2", hard(1, MOST)).kind == "refused"
    assert sums(ledger) == (0, MOST, MOST // 2)
    ledger.settle("1", {"usd": MOST - 1})
    assert hold(ledger, "3", hard(1, MOST)).kind == "held"
    assert sums(ledger) == (MOST - 1, 1, 0)


@pytest.mark.parametrize(
    "line",
    [
        Line("a", MOST + 1, 0),
        Line("a", -1, 0),
        Line("a", 1, MOST + 1),
        Line("a", 1, 1, limit_held=MOST + 1),
        Line("a", 1, 1, limit_expected=-2),
        Line("a", 1, 1, throttle_at=MOST + 1),
        Line("a", 1, 1, degrade_at=MOST + 1),
    ],
)
def test_what_a_double_cannot_count_is_refused_before_it_is_sent(line: Line, ledger: RedisLedger) -> None:
    with pytest.raises(ValueError, match="9,000,000"):
        hold(ledger, "1", line)
    assert keys(ledger) == set()


def test_amounts_that_a_double_cannot_count_leave_the_hold(ledger: RedisLedger) -> None:
    hold(ledger, "1", hard(10, 10))
    with pytest.raises(ValueError, match="9,000,000"):
        ledger.settle("1", {"usd": MOST + 1})
    with pytest.raises(ValueError, match="9,000,000"):
        ledger.raise_to("a", MOST + 1, mark="m")
    assert sums(ledger) == (0, 10, 5)


@pytest.mark.parametrize("name", ["ключ", "a\0b", "a b\r\n", "lone \ud800", '"}{', "x" * 10_000])
def test_names_may_be_any_text(name: str, ledger: RedisLedger) -> None:
    hold(ledger, name, hard(10, 10, key=name))
    assert ledger.defer(name, name, expires_at=SOON)
    assert ledger.settle_deferred(name, {"usd": 7})
    assert sums(ledger, name) == (7, 0, 0)
    assert [ledger.mark_once(name, name), ledger.mark_once(name, name)] == [True, False]


def test_a_call_leaves_one_key_per_window(ledger: RedisLedger) -> None:
    hold(ledger, "1", hard(10, 10), hard(10, 10, key="b"))
    assert keys(ledger) > {"sums:a", "sums:b", "holds", "due"}
    ledger.settle("1", {})
    assert keys(ledger) == {"sums:a", "sums:b"}


def test_windows_expire_when_they_and_their_holds_have_and_an_hour_later(ledger: RedisLedger) -> None:
    hold(ledger, "1", hard(1, 10, expires_at=NOW + 30), hard(1, 10, key="never"))
    hold(ledger, "2", hard(1, 10, key="b", expires_at=NOW + 7200), expires_at=NOW + 10)
    hold(ledger, "3", hard(1, 10, key="b", expires_at=NOW + 30), expires_at=NOW + 10)
    left = {key: raw(ledger).pttl(f"{ledger._tag}:sums:{key}") / 1000 for key in ("a", "never", "b")}
    assert 3600 < left["a"] <= 3660
    assert 3600 + 7100 < left["b"] <= 3600 + 7200
    assert left["never"] < 0


def test_a_window_that_is_once_kept_for_ever_stays_so(ledger: RedisLedger) -> None:
    for expires_at in (NOW + 60, 0.0, NOW + 120):
        hold(ledger, str(expires_at), hard(1, 10, expires_at=expires_at))
    assert raw(ledger).pttl(f"{ledger._tag}:sums:a") == -1


def test_deferred_work_keeps_its_window(ledger: RedisLedger) -> None:
    hold(ledger, "1", hard(1, 10, expires_at=NOW + 60))
    ledger.defer("1", "batch", expires_at=time.time() + 90_000)
    assert raw(ledger).pttl(f"{ledger._tag}:sums:a") / 1000 > 90_000


def test_sums_that_the_server_evicted_do_not_fall_below_nothing(ledger: RedisLedger) -> None:
    hold(ledger, "1", hard(10, 10))
    raw(ledger).delete(f"{ledger._tag}:sums:a")
    assert ledger.settle("1", {"usd": 4})
    assert sums(ledger) == (4, 0, 0)


def test_holds_that_the_server_evicted_do_not_stop_the_sweep(ledger: RedisLedger) -> None:
    for number in range(SWEPT_AT_ONCE):
        hold(ledger, f"gone {number}", Line("a", 1, 1), expires_at=NOW)
    raw(ledger).delete(f"{ledger._tag}:holds")
    hold(ledger, "1", Line("b", 1, 1), expires_at=NOW + 1)
    assert ledger.sweep(NOW + 1) == ["1"]


def test_disputes_are_forgotten_with_their_window(ledger: RedisLedger) -> None:
    hold(ledger, "1", Line("a", 3, 1), Line("b", 4, 1), Line("t", 5, 1, unit="tokens"))
    ledger.sweep(SOON)
    assert ledger.disputed() == {"a": 3, "b": 4}
    raw(ledger).delete(f"{ledger._tag}:sums:a")
    assert ledger.disputed() == {"b": 4}
    assert "disputed" in keys(ledger)


def test_more_holds_than_are_swept_at_once_are_swept(ledger: RedisLedger) -> None:
    names = {str(number) for number in range(2 * SWEPT_AT_ONCE + 1)}
    for name in names:
        hold(ledger, name, Line("a", 1, 1))
    assert set(ledger.sweep(SOON)) == names
    assert sums(ledger) == (len(names), 0, 0)


def test_a_repeat_after_a_lost_answer_is_told_what_the_first_was(ledger: RedisLedger) -> None:
    ask = {"key": "a", "mark": "80", "token": "mine", "now": 0, "kept": 0}
    assert [ledger._run("mark_once", **ask) for _ in range(2)] == [1, 1]
    assert ledger._run("mark_once", **{**ask, "token": "another"}) == 0


# -- many at once -----------------------------------------------------------------------------------

CALLER = """
import sys, time
from aden_transport.ledger.base import Line
from aden_transport.ledger.redis import RedisLedger

url, prefix, name = sys.argv[1:]
ledger = RedisLedger(url, prefix=prefix, timeout_s=30.0)
held = 0
for number in range(500):
    op_id = f"{name}-{number}"
    lines = [Line("a", 7, 3, limit_held=5_000), Line(name, 7, 3, limit_held=3_500)]
    if ledger.reserve(op_id, [lines], now=time.time(), expires_at=time.time() + 60).kind == "held":
        held += 1
        if number % 3 == 0:
            ledger.release(op_id)
            held -= 1
        else:
            ledger.settle(op_id, {"usd": 7})
print(held)
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)


def test_four_processes_never_exceed_a_limit(ledger: RedisLedger) -> None:
    prefix = ledger._tag[1:-1]
    callers = [python(CALLER, shared_server().url, prefix, f"p{n}") for n in range(4)]
    held = sum(int(caller.communicate()[0]) for caller in callers)

    assert held == 5_000 // 7
    assert sums(ledger) == (held * 7, 0, 0)
    assert ledger.open_holds() == 0


def test_threads_share_a_ledger(ledger: RedisLedger) -> None:
    kinds: list[str] = []

    def call(name: str) -> None:
        for number in range(50):
            kinds.append(hold(ledger, f"{name}-{number}", hard(1, 123)).kind)

    threads = [threading.Thread(target=call, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds.count("held") == 123
    assert sums(ledger) == (0, 123, 0)


FORKED = """
import os, sys, time
from aden_transport.ledger.base import Line
from aden_transport.ledger.redis import RedisLedger

def call(name):
    for number in range(100):
        ledger.reserve(f"{name}-{number}", [[Line("a", 2, 1)]], now=time.time(), expires_at=time.time() + 60)
        assert ledger.settle(f"{name}-{number}", {"usd": 1})

ledger = RedisLedger(sys.argv[1], prefix=sys.argv[2], timeout_s=30.0)
call("before")
children = []
for child in range(2):
    pid = os.fork()
    if pid == 0:
        call(child)
        ledger.reserve(f"of {child}", [[Line("b", 5, 5)]], now=time.time(), expires_at=time.time() + 60)
        os._exit(0)
    children.append(pid)
call("parent")
ledger.reserve("of the parent", [[Line("b", 5, 5)]], now=time.time(), expires_at=time.time() + 60)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
print(sorted(ledger.sweep(time.time())))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_forked_children_have_connections_and_holds_of_their_own(ledger: RedisLedger) -> None:
    out, _ = python(FORKED, shared_server().url, ledger._tag[1:-1]).communicate()
    assert out == "['of 0', 'of 1']\n"
    assert sums(ledger) == (400, 0, 0)
    assert sums(ledger, "b") == (10, 5, 5)


HOLDER = """
import sys, time
from aden_transport.ledger.base import Line
from aden_transport.ledger.redis import RedisLedger

ledger = RedisLedger(sys.argv[1], prefix=sys.argv[2], timeout_s=30.0)
for name in ("1", "2", "deferred"):
    ledger.reserve(name, [[Line("a", 10, 5)]], now=time.time(), expires_at=time.time() + 3600)
ledger.defer("deferred", "batch", expires_at=time.time() + 3600)
print("held", flush=True)
time.sleep(3600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="whether a process is gone is read in /proc")
def test_the_holds_of_a_killed_process_are_settled_and_disputed(ledger: RedisLedger) -> None:
    holder = python(HOLDER, shared_server().url, ledger._tag[1:-1])
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert ledger.sweep(time.time()) == []

    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert sorted(ledger.sweep(time.time())) == ["1", "2"]
    assert sums(ledger) == (20, 10, 5)
    assert ledger.disputed() == {"a": 20}
    assert ledger.settle_deferred("batch", {"usd": 3})
    assert sums(ledger) == (23, 0, 0)


# -- a server in trouble ----------------------------------------------------------------------------


def test_holds_outlive_a_killed_server_and_the_ledger_comes_back_by_itself(server: RedisServer) -> None:
    ledger = RedisLedger(server.url, timeout_s=PATIENT)
    hold(ledger, "1", hard(10, 30))
    hold(ledger, "2", hard(10, 30))
    ledger.settle("1", {"usd": 4})
    server.kill()
    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        hold(ledger, "3", hard(10, 30))
    server.start()
    assert sums(ledger) == (4, 10, 5)
    assert hold(ledger, "2", hard(10, 30)) == Outcome("held", 0, (Totals(0, 10, 5),))
    assert hold(ledger, "3", hard(17, 30)).kind == "refused"
    assert ledger.settle("2", {})
    assert sums(ledger) == (14, 0, 0)


def test_callers_notice_a_restart_only_by_errors_in_between(server: RedisServer) -> None:
    """Four threads call on while the server is killed and started; what they were told they hold is held."""
    ledger = RedisLedger(server.url, timeout_s=PATIENT)
    told: list[str] = []
    failed = threading.Event()
    done = threading.Event()

    def call(name: int) -> None:
        for number in itertools.count():
            if done.is_set():
                return
            try:
                if hold(ledger, f"{name}-{number}", hard(1, 10**6)).kind == "held":
                    told.append(f"{name}-{number}")
            except LedgerUnavailable:
                failed.set()

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    server.kill()
    assert failed.wait(60)
    server.start()
    before = len(told)
    while len(told) < before + 100:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert all(ledger.release(op_id) for op_id in told)


def test_a_server_that_is_gone_is_said_to_be(server: RedisServer) -> None:
    ledger = RedisLedger(server.url)
    server.kill()
    for operation in (
        lambda: hold(ledger, "1", hard(1, 1)),
        lambda: ledger.settle("1", {}),
        lambda: ledger.release("1"),
        lambda: ledger.mark_once("a", "m"),
        lambda: ledger.sweep(NOW),
        ledger.disputed,
        ledger.open_holds,
    ):
        with pytest.raises(LedgerUnavailable, match=rf"^redis://127.0.0.1:{server.port}/0: .*reached"):
            operation()


def test_a_server_that_hangs_is_given_up_and_its_late_answer_is_nobodys(server: RedisServer) -> None:
    ledger = RedisLedger(server.url, timeout_s=0.1)
    hold(ledger, "1", hard(10, 10))
    server.freeze()
    for _ in range(3):
        with pytest.raises(LedgerUnavailable, match="no answer in time"):
            ledger.totals([Line("a", 0, 0)])
    server.thaw()
    patient = RedisLedger(server.url, timeout_s=PATIENT)
    assert patient.open_holds() == 1
    for _ in range(100):
        with contextlib.suppress(LedgerUnavailable):
            assert ledger.open_holds() == 1
            break
    else:
        raise AssertionError("it never came back")


def test_a_forgotten_script_is_sent_again(server: RedisServer) -> None:
    ledger = RedisLedger(server.url, timeout_s=PATIENT)
    hold(ledger, "1", hard(10, 10))
    raw(ledger).script_flush()
    assert ledger.settle("1", {})


def test_a_full_server_holds_nothing_more_and_settles_what_is_held(server: RedisServer) -> None:
    ledger = RedisLedger(server.url, timeout_s=PATIENT)
    for op_id in ("1", "2", "3"):
        hold(ledger, op_id, hard(10, 100))
    raw(ledger).config_set("maxmemory", "1")
    with pytest.raises(LedgerUnavailable, match="out of memory"):
        hold(ledger, "4", hard(10, 100))
    assert sums(ledger) == (0, 30, 15)
    assert ledger.defer("3", "batch", expires_at=SOON)
    assert ledger.settle("1", {"usd": 4})
    assert ledger.release("2")
    assert ledger.settle_deferred("batch", {"usd": 5})
    assert sums(ledger) == (9, 0, 0)


def test_a_replica_is_said_to_be_one(server: RedisServer) -> None:
    ledger = RedisLedger(server.url, timeout_s=PATIENT)
    hold(ledger, "1", hard(10, 100))
    raw(ledger).replicaof("127.0.0.1", "1")
    with pytest.raises(LedgerUnavailable, match="read-only replica"):
        hold(ledger, "2", hard(10, 100))
    raw(ledger).replicaof("NO", "ONE")
    assert hold(ledger, "2", hard(10, 100)).kind == "held"


def test_all_keys_of_a_ledger_lie_in_one_slot_of_a_cluster(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", "--cluster-enabled", "yes") as server:
        ledger = RedisLedger(server.url, timeout_s=PATIENT)
        raw(ledger).execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        while "cluster_state:ok" not in str(raw(ledger).execute_command("CLUSTER", "INFO")):
            time.sleep(0.02)
        assert hold(ledger, "1", hard(10, 100), hard(10, 100, key="{b}", also=("c",))).kind == "held"
        assert ledger.defer("1", "batch", expires_at=SOON)
        assert ledger.mark_once("a", "80")
        ledger.raise_to("b", 3, mark="m")
        assert ledger.sweep(SOON) == ["1"]
        assert ledger.disputed() == {"a": 10, "{b}": 10}
        slots = {raw(ledger).execute_command("CLUSTER", "KEYSLOT", key) for key in raw(ledger).keys("*")}
        assert len(slots) == 1


class Answers(socketserver.ThreadingTCPServer):
    """A server that answers every command with the same line."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, line: str) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.line = line.encode() + b"\r\n"


class Answering(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Answers)
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                commands = len(re.findall(rb"(?:^|\r\n)\*\d+\r\n", data))
                self.request.sendall(self.server.line * commands)


@contextlib.contextmanager
def answering(line: str) -> Iterator[RedisLedger]:
    with Answers(line) as peer:
        thread = threading.Thread(target=peer.serve_forever, args=(0.01,))
        thread.start()
        try:
            with contextlib.closing(
                RedisLedger(f"redis://127.0.0.1:{peer.server_address[1]}", timeout_s=PATIENT)
            ) as ledger:
                yield ledger
        finally:
            peer.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("-LOADING Redis is loading the dataset in memory", "still loading"),
        ("-NOAUTH Authentication required.", "user or password"),
        ("-NOPERM this user has no permissions to run the 'evalsha' command", "user or password"),
        ("-READONLY You can't write against a read only replica.", "read-only replica"),
        ("-OOM command not allowed when used memory > 'maxmemory'.", "out of memory"),
        ("-MOVED 1 10.0.0.1:6379", "address of that one"),
        ("-CLUSTERDOWN The cluster is down", "answers"),
        ("-MISCONF Redis is configured to save RDB snapshots", "MISCONF"),
        ("-NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
        ("-BUSY Redis is busy running a script.", "BUSY"),
        ("no such protocol", "reached|answers"),
    ],
)
def test_what_a_server_answers_is_put_in_words(answer: str, reason: str) -> None:
    with answering(answer) as ledger, pytest.raises(LedgerUnavailable, match=reason):
        hold(ledger, "1", hard(1, 1))


# -- addresses and secrets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "redis://host:6379/0"),
        ("redis://me:s3cret@host:1234/5", "redis://host:1234/5"),
        ("rediss://:s3cret@host/1?ssl_cert_reqs=none", "rediss://host:6379/1"),
        ("valkey://:s3cret@host", "redis://host:6379/0"),
        ("valkeys://:s3cret@host", "rediss://host:6379/0"),
        ("redis://host?password=s3cret", "redis://host:6379/0"),
        ("unix:///run/redis.sock?password=s3cret", "unix:///run/redis.sock"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert repr(RedisLedger(url, prefix="p")) == f"RedisLedger({shown!r}, prefix='p')"


@pytest.mark.parametrize("url", ["http://s3cret@host", "redis://:s3cret/x@host", "redis://host:s3cret"])
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        RedisLedger(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("prefix", ["", "{a}", "a}"])
def test_a_prefix_that_would_break_the_hash_tag_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="without braces"):
        RedisLedger("redis://host", prefix=prefix)


def test_a_password_is_used_and_never_told(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", "--requirepass", "s3cret") as server:
        place = f"127.0.0.1:{server.port}"
        assert RedisLedger(f"redis://:s3cret@{place}", timeout_s=PATIENT).open_holds() == 0
        for url in (f"redis://:s3cret-not@{place}", f"redis://{place}"):
            with pytest.raises(LedgerUnavailable, match="user or password") as caught:
                RedisLedger(url, timeout_s=PATIENT).open_holds()
            assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_without_redis_py_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'aden-transport\[redis\]'"):
        RedisLedger("redis://host")


def test_a_closed_ledger_connects_again(ledger: RedisLedger) -> None:
    hold(ledger, "1", hard(1, 1))
    ledger.close()
    assert ledger.open_holds() == 1
