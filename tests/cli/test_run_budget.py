"""`aden-transport run --budget` and `--policy`: one limit over all processes of a program."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from aden_transport.cli.run.launch import LEFTOVER_S, clear_leftovers

from .programs import TIMEOUT_S, Place
from .test_run_servers import get

PYTHON = sys.executable
COST = 0.000012
"""Of a call of `calls.call`: 8 tokens in and 18 out of gpt-4o-mini."""
SPEND = """
    from calls import *
    from aden_transport import BudgetExceededError

    def spend(number=1):
        "How many of so many calls were sent."
        sent = 0
        for _ in range(number):
            try:
                ask()
                sent += 1
            except BudgetExceededError:
                pass
        return sent

    clients = {}

    def ask():
        import httpx2
        if os.getpid() not in clients:
            clients[os.getpid()] = httpx2.Client(verify=False, trust_env=False)
        clients[os.getpid()].post(
            os.environ["PROVIDER"] + "/v1/chat/completions",
            json={"model": "gpt-4o-mini", "max_tokens": 18, "messages": HELLO},
            headers={"user-agent": "OpenAI/Python 3.54.0"},
        ).raise_for_status()

    HELLO = [{"role": "user", "content": "Hello!"}]
"""


@pytest.fixture
def place(place: Place) -> Place:
    place.write("spending.py", SPEND)
    return place


def policy(place: Place, *budgets: dict[str, object]) -> str:
    return str(place.write("policy.json", json.dumps({"budgets": budgets})))


def spent(errors: str) -> tuple[float, float]:
    """Spent and limit, as the summary says."""
    found = re.search(r"  budget: \$([0-9.]+) of \$([0-9.]+) spent\n", errors)
    assert found is not None, errors
    return float(found[1]), float(found[2])


def test_a_program_that_catches_nothing_ends_with_the_exception_and_its_own_exit_code(place: Place) -> None:
    program = place.write("program.py", "from spending import *\nwhile True: ask()\n")
    done = place.run("--budget", "0.0002", "--", PYTHON, str(program))
    assert done.code == 1
    assert "BudgetExceededError: blocked by budget run:" in done.stderr
    assert "  1 call blocked before anything was sent\n" in done.stderr
    cost, limit = spent(done.stderr)
    assert limit == 0.0002
    assert 0.0001 < cost <= 0.0002
    assert list(place.temporary.iterdir()) == []


def test_exit_code_and_output_are_the_programs_where_it_catches_the_block(place: Place) -> None:
    program = place.write("program.py", "from spending import *\nprint(spend(3)); sys.exit(7)\n")
    done = place.run("--budget", "0", "--", PYTHON, str(program))
    assert (done.code, done.stdout) == (7, "0\n")
    assert done.stderr.splitlines()[0] == "aden-transport: 3 calls, $0.000000"
    assert "  3 calls blocked before anything was sent" in done.stderr
    assert spent(done.stderr) == (0.0, 0.0)


def test_one_limit_over_all_processes(place: Place) -> None:
    program = place.write(
        "program.py",
        """
        from spending import *
        import multiprocessing
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(3) as pool:
                print(sum(pool.map(spend, [20] * 3, chunksize=1)))
        """,
    )
    done = place.run("--budget", "0.0005", "--", PYTHON, str(program))
    cost, _ = spent(done.stderr)
    assert done.code == 0
    assert 0.0004 < cost <= 0.0005
    assert round(cost / COST) == int(done.stdout)
    assert list(place.temporary.iterdir()) == []


def test_one_limit_where_the_program_is_a_shell(place: Place) -> None:
    place.write("program.py", "from spending import *\nprint(spend(30))\n")
    done = place.run(
        "--budget", "0.0005", "--", "/bin/sh", "-c", f"{PYTHON} program.py; {PYTHON} program.py; true"
    )
    sent = [int(line) for line in done.lines]
    assert sent[0] == 30
    assert 0.0004 < sum(sent) * COST <= 0.0005


def test_forked_workers_of_gunicorn_share_the_limit(place: Place) -> None:
    pytest.importorskip("gunicorn")
    place.write(
        "app.py",
        """
        from spending import *
        import pathlib

        def app(environ, start_response):
            pathlib.Path(f"sent-{os.getpid()}-{os.urandom(4).hex()}").write_text(str(spend(10)))
            start_response("200 OK", [("content-length", "0")])
            return []
        """,
    )
    address = place.temporary / "socket"
    words = ("gunicorn", "app:app", "-w", "2", "-b", f"unix:{address}", "--preload")
    with place.start("--budget", "0.0005", "-m", *words) as process:
        asking = [threading.Thread(target=get, args=(address, process)) for _ in range(8)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    sent = sum(int(path.read_text()) for path in place.directory.glob("sent-*"))
    cost, limit = spent(errors)
    assert process.returncode == 0
    assert 0.0004 < cost <= limit
    assert round(cost / COST) == sent


def test_a_program_with_options_of_its_own_is_held_too(place: Place) -> None:
    program = place.write(
        "program.py",
        """
        from aden_transport import MeterOptions, create_memory_emitter, instrument
        own = create_memory_emitter()
        instrument(MeterOptions(emit_metric=own))
        from spending import *
        print(spend(2), [event.decision.action for event in own.events])
        instrument(MeterOptions(emit_metric=own, agent_name="after httpx2"))
        print(spend(2), len(own.events))
        """,
    )
    done = place.run("--budget", "0", "--", PYTHON, "-W", "ignore", str(program))
    assert done.stdout == "0 ['block', 'block']\n0 4\n", done.stderr


def test_a_run_within_a_run_is_held_to_both(place: Place) -> None:
    program = place.write("program.py", "from spending import *\nprint(spend(30))\n")
    inner = place.command("--budget", "0.1", "--", PYTHON, str(program))
    done = place.run("--budget", "0.0002", "--", *inner)
    assert 0 < int(done.stdout) * COST <= 0.0002
    assert [float(limit) for limit in re.findall(r"of \$([0-9.]+) spent", done.stderr)] == [0.0002, 0.1]


def test_a_policy_file_is_in_force_and_read_again_when_it_changes(place: Place) -> None:
    path = policy(place, {"type": "global", "limit": 0, "limitAction": "block"})
    program = place.write(
        "program.py",
        f"""
        from spending import *
        import time
        print(spend(1))
        with open({path!r} + ".new", "w") as file:
            file.write('{{"limit": 5}}')
        os.replace({path!r} + ".new", {path!r})
        deadline = time.monotonic() + 30
        while not spend(1):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        print("sent")
        """,
    )
    done = place.run("--policy", path, "--budget", "1", "--", PYTHON, str(program))
    assert (done.stdout, done.code) == ("0\nsent\n", 0), done.stderr
    assert spent(done.stderr)[0] == pytest.approx(COST, abs=1e-6)


def test_a_policy_without_a_period_is_one_limit_over_all_processes(place: Place) -> None:
    path = policy(place, {"type": "global", "limit": 0.0005, "limitAction": "block"})
    program = place.write(
        "program.py",
        """
        from spending import *
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(sum(pool.map(spend, [30] * 2, chunksize=1)))
        """,
    )
    done = place.run("--policy", path, "--", PYTHON, str(program))
    assert 0.0004 < int(done.stdout) * COST <= 0.0005
    assert "blocked before anything was sent" in done.stderr
    assert list(place.temporary.iterdir()) == []


def test_a_policy_with_a_period_counts_on_over_runs(place: Place, tmp_path: Path) -> None:
    path = policy(place, {"type": "global", "limit": 0.0005, "period": "monthly", "limitAction": "block"})
    program = place.write("program.py", "from spending import *\nprint(spend(30))\n")
    state = str(tmp_path / "state")
    sent = [
        int(
            place.run(
                "--policy", path, "--budget", "1", "--", PYTHON, str(program), XDG_STATE_HOME=state
            ).stdout
        )
        for _ in range(2)
    ]
    assert sent[0] == 30
    assert 0.0004 < sum(sent) * COST <= 0.0005


def test_a_policy_that_breaks_before_a_worker_starts_leaves_the_budget_in_force(place: Place) -> None:
    path = policy(place, {"type": "global", "limit": 5})
    place.write("child.py", "from spending import *\nprint(spend(3))\n")
    program = place.write(
        "program.py",
        f"""
        import subprocess, sys
        open({path!r}, "w").write("{{")
        subprocess.run([sys.executable, "child.py"], check=True)
        """,
    )
    done = place.run("--policy", path, "--budget", "0", "--", PYTHON, str(program))
    assert (done.stdout, done.code) == ("0\n", 0)
    assert "is not JSON" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "-1"), "budgets[0].limit: give dollars from 0 to 9000000, not -1"),
        (("--budget", "nan"), "budgets[0].limit: give dollars from 0 to 9000000, not nan"),
        (("--budget", "much"), "argument --budget: invalid float value: 'much'"),
        (("--policy", "none.toml"), "none.toml' cannot be read: No such file"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(
    place: Place, words: tuple[str, ...], said: str
) -> None:
    done = place.run(*words, "--", PYTHON, "-c", "print('ran')")
    assert (done.code, done.stdout) == (2, "")
    assert said in done.stderr


def test_the_sums_stay_where_a_child_outlives_the_program(place: Place) -> None:
    place.write(
        "child.py",
        """
        from spending import *
        import time
        spend(1)
        print("spent", flush=True)
        sys.stdin.readline()
        while os.getppid() == int(sys.argv[1]):
            time.sleep(0.01)
        with open("sent", "w") as file:
            file.write(str(spend(100)))
        os.rename("sent", "done")
        """,
    )
    program = place.write(
        "program.py",
        """
        from spending import *
        import subprocess
        child = subprocess.Popen(
            [sys.executable, "child.py", str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        child.stdout.readline()
        spend(20)
        child.stdin.close()
        os.environ["SPENT"] = "1"
        """,
    )
    done = place.run("--budget", "0.0005", "--", PYTHON, "-W", "ignore", str(program))
    assert done.code == 0, done.stderr
    deadline = time.monotonic() + TIMEOUT_S
    while not (place.directory / "done").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert 0.0004 < (21 + int((place.directory / "done").read_text())) * COST <= 0.0005


def test_a_ledger_that_was_left_is_cleared_a_day_after_its_last_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    gone, used = tmp_path / "aden-run-a.ledger-999999999", tmp_path / "aden-run-b.ledger-999999999"
    long_ago = time.time() - LEFTOVER_S - 60
    for directory in (gone, used):
        directory.mkdir()
        (directory / "budgets.sqlite3").write_text("")
        os.utime(directory / "budgets.sqlite3", (long_ago, long_ago))
    (used / "budgets.sqlite3-wal").write_text("")
    for directory in (gone, used):
        os.utime(directory, (long_ago, long_ago))
    clear_leftovers()
    assert list(tmp_path.iterdir()) == [used]
