"""`aden-transport run`: the program is itself, and its calls are seen, in whatever process they are made."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from aden_transport.cli.run.launch import blind_spot

from .programs import Place
from .support import environment

PYTHON = sys.executable
UNDER_RUN = "import os\nif 'ADEN_RUN' in os.environ:\n"
OWN = """
    from aden_transport import MeterOptions, create_memory_emitter, instrument
    own = create_memory_emitter()
"""


# -- the program is itself ------------------------------------------------------------------------


def test_arguments_input_output_and_exit_code_are_the_programs(place: Place) -> None:
    done = place.run(
        "--quiet", "--", PYTHON, "-c", "import sys; print(sys.argv[1:], input()); sys.exit(7)", "--log", "-m",
        stdin="typed\n",
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.code) == ("['--log', '-m'] typed\n", "", 7)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=lambda n: n.name)
def test_signals_reach_the_program_itself(place: Place, number: signal.Signals) -> None:
    waiting = place.write(
        "waiting.py",
        """
        import signal, sys
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda number, frame: sys.exit(number + 50))
        print("ready", flush=True)
        while True:
            signal.pause()
        """,
    )
    with place.start("--", PYTHON, str(waiting)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait() == number + 50


def test_a_program_that_a_signal_ends_is_seen_to_be(place: Place) -> None:
    done = place.run("--", PYTHON, "-c", "import os; os.kill(os.getpid(), 15)")
    assert done.code == -15


def test_signals_that_python_ignores_are_not_ignored_in_the_program(place: Place) -> None:
    done = place.run("--quiet", "--", "/bin/sh", "-c", "yes | head -n 1; echo ${PIPESTATUS:-}")
    assert done.lines[0] == "y"
    assert done.stderr == ""


def test_the_terminal_is_the_programs(place: Place) -> None:
    ours, theirs = pty.openpty()
    code = "import os, sys; sys.exit(0 if all(map(os.isatty, (0, 1, 2))) else 1)"
    try:
        done = subprocess.run(
            place.command("--quiet", "--", PYTHON, "-c", code),
            env=place.variables(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0


def test_what_is_not_there_is_127_and_what_cannot_run_126(place: Place) -> None:
    plain = place.write("plain.txt", "no program")
    assert place.run("--", "no-such-program").code == 127
    done = place.run("--", str(plain))
    assert (done.code, done.stderr) == (126, f"aden-transport: '{plain}' cannot be run: Permission denied\n")


def test_nothing_to_run_says_what_to_type(place: Place) -> None:
    for words in ((), ("--",), ("-m",), ("--log", "here")):
        done = place.run(*words)
        assert done.code == 2
        assert done.stderr == (
            "aden-transport: say what to run, as in: aden-transport run -- python app.py\n"
        )


def test_a_log_that_is_a_file_is_refused_before_anything_runs(place: Place) -> None:
    file = place.write("file", "")
    done = place.run("--log", str(file), "--", PYTHON, "-c", "print('ran')")
    assert (done.code, done.stdout) == (2, "")
    assert "is a file: give a directory" in done.stderr


# -- short forms ----------------------------------------------------------------------------------


def test_a_python_file_and_a_module_run_with_this_python(place: Place) -> None:
    place.write("shown.py", "import sys; print(sys.executable, sys.argv[1:])")
    for words in (
        ("shown.py", "-m", "--x"),
        ("-m", "shown", "-m", "--x"),
        ("--quiet", "-m", "shown", "-m", "--x"),
    ):
        done = place.run(*words)
        assert done.stdout == f"{PYTHON} ['-m', '--x']\n", done.stderr


def test_after_two_dashes_a_python_file_is_a_program_like_any(place: Place) -> None:
    script = place.write("script.py", '#!/bin/sh\necho a shell, "$@"\n')
    script.chmod(0o700)
    assert place.run("--", str(script), "--", "x").stdout == "a shell, -- x\n"


def test_a_console_script_runs_by_its_name(place: Place) -> None:
    script = place.write("bin/tool", f"#!{PYTHON}\nfrom calls import *\ncall()\n")
    script.chmod(0o700)
    path = os.pathsep.join([str(script.parent), os.environ["PATH"]])
    assert "1 call," in place.run("--", "tool", PATH=path).stderr


# -- what is seen ---------------------------------------------------------------------------------


def test_the_sums_come_at_the_end_on_stderr(place: Place) -> None:
    done = place.python("call(2); call(1, 'httpx'); print('done')")
    assert done.stdout == "done\n"
    assert done.stderr.splitlines() == [
        "aden-transport: 3 calls, $0.000036",
        "  by model                         calls    input   output   cached        cost",
        "  openai gpt-4o-mini-2024-07-18        3       24       54        0   $0.000036",
    ]


def test_aiohttp_is_seen(place: Place) -> None:
    pytest.importorskip("aiohttp")
    done = place.python(
        """
        import aiohttp, asyncio
        async def main():
            async with aiohttp.ClientSession(headers={"user-agent": "OpenAI/Python 3"}) as session:
                body = {"model": "gpt-4o-mini", "messages": []}
                async with session.post(os.environ["PROVIDER"] + "/v1/chat/completions", json=body) as answer:
                    await answer.read()
        asyncio.run(main())
        """
    )
    assert "aden-transport: 1 call," in done.stderr


def test_a_log_has_a_line_per_call_and_is_named_at_the_end(place: Place) -> None:
    done = place.python("call(3)", "--log", "log")
    assert [event["provider"] for event in place.events] == ["openai"] * 3
    assert done.stderr.endswith(f"  each call: {place.log}\n")


def test_a_log_that_cannot_be_written_is_said_and_breaks_no_call(place: Place) -> None:
    place.log.mkdir()
    place.log.chmod(0o777)  # where everybody may write nothing is written
    done = place.python("call(2)", "--log", "log")
    assert done.code == 0
    assert "2 calls," in done.stderr
    assert f"2 events could not be written: aden-transport doctor --log {place.log}" in done.stderr


def test_console_is_one_line_per_call_even_where_the_program_captures_stderr(place: Place) -> None:
    done = place.python(
        """
        import contextlib, io
        with contextlib.redirect_stderr(io.StringIO()) as captured:
            call(2)
        print(repr(captured.getvalue()))
        """,
        "--console",
        "--quiet",
    )
    assert done.stdout == "''\n"
    first, second = done.stderr.splitlines()
    assert first.startswith("+ [")
    assert second.endswith("tokens: 8 in / 18 out, $0.000012")


def test_pretty_is_several_lines_without_colour_in_a_pipe(place: Place) -> None:
    done = place.python("call()", "--pretty", "--quiet")
    assert "\x1b" not in done.stderr
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["+", "tokens:", "cost", "left:"]


def test_quiet_says_nothing(place: Place) -> None:
    done = place.python("call()", "--quiet", "--log", "log")
    assert (done.stderr, len(place.events)) == ("", 1)


def test_a_program_without_a_call_is_told_where_to_look(place: Place) -> None:
    done = place.python("print('nothing')")
    assert done.stderr == (
        "aden-transport: no LLM call was seen; `aden-transport doctor` says which would be\n"
    )


def test_a_failed_call_and_an_unknown_price_are_said(place: Place) -> None:
    done = place.python(
        """
        import httpx2
        agent = {"user-agent": "OpenAI/Python 3"}
        url = os.environ["PROVIDER"] + "/v1/chat/completions"
        httpx2.post(url, json={"model": "a-model-of-mine", "messages": []}, headers=agent, trust_env=False)
        httpx2.post(url, content=b"{", headers=agent, trust_env=False)
        """
    )
    assert "2 calls, cost unknown" in done.stderr
    assert "  1 attempt failed; 1 of unknown cost, which the sum leaves out\n" in done.stderr


# -- the program's own Python is as it was --------------------------------------------------------


def test_a_process_without_http_imports_nothing_of_ours(place: Place) -> None:
    code = "import sys; print([name for name in sys.modules if name.startswith(('aden_t', 'json', 'httpx'))])"
    assert place.run("--", PYTHON, "-c", code).stdout == "[]\n"


def test_the_path_is_what_it_would_be(place: Place) -> None:
    code = "import sys; print(sys.path)"
    bare = subprocess.run(
        [PYTHON, "-c", code], env=place.variables(), capture_output=True, text=True, check=True
    )
    assert place.run("--", PYTHON, "-c", code).stdout == bare.stdout


def test_a_hidden_sitecustomize_is_run_as_itself(place: Place) -> None:
    place.write("sitecustomize.py", f"{UNDER_RUN}    print('theirs', __name__, __file__)\n")
    done = place.run("--", PYTHON, "-c", "import sys; print(sys.modules['sitecustomize'].__file__)")
    theirs = place.directory / "sitecustomize.py"
    assert done.lines == [f"theirs sitecustomize {theirs}", str(theirs)]


@pytest.mark.parametrize("fault", ["raise RuntimeError('theirs')", "import no_such_module_of_theirs"])
def test_a_fault_of_a_hidden_sitecustomize_is_reported_as_without_us(place: Place, fault: str) -> None:
    place.write("sitecustomize.py", f"import os\nif {{'ADEN_RUN', 'BARE'}} & {{*os.environ}}: {fault}\n")
    command = [PYTHON, "-c", "print('runs')"]
    bare = subprocess.run(command, env=place.variables(BARE="1"), capture_output=True, text=True, check=True)
    done = place.run("--quiet", "--", *command)
    assert (done.stdout, done.stderr) == (bare.stdout, bare.stderr)


def test_run_within_run_adds_up_to_one(place: Place) -> None:
    place.write("program.py", "from calls import *\ncall()\n")
    done = place.run("--", *place.command("program.py"))
    assert done.stderr.count("aden-transport:") == 1
    assert "1 call," in done.stderr
    assert list(place.temporary.iterdir()) == []


# -- the program has options of its own -----------------------------------------------------------


@pytest.mark.parametrize("before", ["", "import httpx2"], ids=["before httpx2", "after httpx2"])
def test_options_of_the_program_win(place: Place, before: str) -> None:
    done = place.python(
        f"{before}\n{OWN.replace('    ', '')}\n"
        "import logging; logging.basicConfig()\n"
        "for _ in range(3): instrument(MeterOptions(emit_metric=own))\n"
        "call(2); print(len(own.events))",
        "--log",
        "log",
    )
    assert (done.stdout, place.events) == ("2\n", [])
    assert done.stderr.count("WARNING") == (1 if before else 0)
    assert done.stderr.endswith("the program calls instrument() itself, and its own options count\n")


def test_what_is_metered_by_hand_counts_once(place: Place) -> None:
    done = place.python(
        f"{OWN.replace('    ', '')}\n"
        "from aden_transport import instrument_openai\n"
        "instrument_openai(MeterOptions(emit_metric=own))\n"
        "call(2); print(len(own.events))",
        "--log",
        "log",
    )
    assert (done.stdout, place.events) == ("2\n", [])


# -- Pythons that cannot be metered ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["python", "app.py"], None),
        (["python", "-u", "-X", "dev", "-Wd", "-c", "pass", "-I"], None),
        (["python", "-m", "pkg", "-E"], None),
        (["python3.12", "-Is", "app.py"], "-I"),
        (["/usr/bin/python3", "-W", "error", "-E", "app.py"], "-E"),
        (["python", "-uS"], "-S"),
        (["python", "-WI"], None),
        (["python", "-WI", "-"], None),
        (["bash", "-S", "x"], None),
        (["grep", "python", "-E"], None),
    ],
)
def test_an_option_that_keeps_the_hook_out_is_found(command: list[str], option: str | None) -> None:
    why = blind_spot(command)
    assert why is None if option is None else why is not None and f"{command[0]} {option} " in why


def test_such_a_python_runs_unmetered_and_it_is_said(place: Place) -> None:
    done = place.run("--", PYTHON, "-I", "-c", "print('runs')")
    assert (done.stdout, done.code) == ("runs\n", 0)
    assert done.stderr == (
        f"aden-transport: not metered: {PYTHON} -I isolates it from PYTHONPATH; leave the option out\n"
    )


def test_a_script_whose_first_line_has_the_option_is_found(place: Place) -> None:
    script = place.write("tool", f"#!{PYTHON} -Es\nprint('runs')\n")
    script.chmod(0o700)
    done = place.run("--", str(script))
    assert done.stdout == "runs\n"
    assert "not metered" in done.stderr


def test_a_python_without_aden_transport_runs_and_says_so_once(place: Place, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    other = str(home / "bin" / "python")
    place.write("httpx.py", "post = print\n")
    program = "import subprocess, sys, httpx; httpx.post('runs'); sys.stdout.flush()"
    twice = f"{program}; subprocess.run([sys.executable, '-c', {program!r}])"
    done = place.run("--", other, "-c", twice)
    assert (done.stdout, done.code) == ("runs\nruns\n", 0)
    assert done.stderr == (
        f"aden-transport: not metered: {other} has no aden-transport with this command "
        "(No module named 'aden_transport'); "
        f"{other} -m pip install --upgrade aden-transport\n"
    )
    assert list(place.temporary.iterdir()) == []


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8", "3.9", "3.10"])
def test_an_old_python_runs_as_ever(place: Place, version: str) -> None:
    command = [f"python{version}", "-c", "import sys; print(sys.version_info[:2])"]
    try:
        bare = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"python{version} is not installed")
    done = place.run("--", *command)
    assert (done.stdout, done.stderr) == (bare.stdout, bare.stderr)


def test_a_setting_that_cannot_be_used_is_said_and_the_program_runs(place: Place) -> None:
    done = place.python("call(); print('runs')", ADEN_LOG_LEVEL="loud")
    assert (done.stdout, done.code) == ("runs\n", 0)
    assert "aden-transport: not metered: ADEN_LOG_LEVEL='loud' is no log level" in done.stderr


# -- families of processes ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_is_one_sum(place: Place, method: str) -> None:
    done = place.python(
        f"""
        import multiprocessing
        if __name__ == "__main__":
            call()
            multiprocessing.set_start_method({method!r})
            children = [multiprocessing.Process(target=call, args=(2,)) for _ in range(2)]
            for child in children: child.start()
            for child in children: child.join()
        """,
        "--log",
        "log",
    )
    assert "aden-transport: 5 calls in 3 processes, $0.000060" in done.stderr
    assert done.stderr.count("aden-transport:") == 1
    assert len(place.events) == 5
    assert list(place.temporary.iterdir()) == []


def test_a_worker_that_ends_at_once_loses_no_call(place: Place) -> None:
    done = place.python(
        """
        call()
        pid = os.fork()
        if pid == 0:
            call(3)
            os._exit(0)
        os.waitpid(pid, 0)
        """,
        "--log",
        "log",
    )
    assert "4 calls in 2 processes" in done.stderr
    assert len({event["trace_id"] for event in place.events}) == 4


def test_subprocesses_of_a_shell_each_speak_for_themselves(place: Place) -> None:
    place.write("program.py", "from calls import *\ncall(int(sys.argv[1]))\n")
    done = place.run("--", "/bin/sh", "-c", f"{PYTHON} program.py 1; {PYTHON} program.py 2; {PYTHON} -c pass")
    heads = [line for line in done.stderr.splitlines() if line.startswith("aden-transport")]
    assert heads == ["aden-transport: 1 call, $0.000012", "aden-transport: 2 calls, $0.000024"]


def test_a_child_that_outlives_the_root_speaks_for_itself(place: Place) -> None:
    done = place.python(
        """
        import subprocess
        going = "from calls import *; call(1); print('made', flush=True); sys.stdin.read(); call(2)"
        child = subprocess.Popen(
            [sys.executable, "-c", going], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        child.stdout.readline()
        call(4)
        """
    )
    heads = [line for line in done.stderr.splitlines() if line.startswith("aden-transport")]
    assert heads == [
        "aden-transport: 5 calls in 2 processes, $0.000060",
        "aden-transport: 3 calls, $0.000036",
    ]


def test_what_the_root_executes_in_its_place_goes_on_with_its_sums(place: Place) -> None:
    place.write("second.py", "from calls import *\ncall(2)\n")
    done = place.python("call(); os.execv(sys.executable, [sys.executable, 'second.py'])")
    assert "aden-transport: 3 calls in 2 processes" in done.stderr
    assert list(place.temporary.iterdir()) == []


def test_threads_that_import_at_once_are_all_seen(place: Place) -> None:
    done = place.python(
        """
        import threading
        gate = threading.Barrier(4)
        def work(library):
            gate.wait()
            call(5, library)
        workers = [threading.Thread(target=work, args=(name,)) for name in ("httpx", "httpx2") * 2]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        """
    )
    assert "aden-transport: 20 calls," in done.stderr
