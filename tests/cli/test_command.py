"""What all commands share: help, usage errors, exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from aden_transport import __version__
from aden_transport.cli import COMMANDS, main

from .support import command, environment, run, run_bare


def test_help_names_every_command() -> None:
    done = run("--help")
    assert (done.code, done.stderr) == (0, "")
    assert set(COMMANDS) <= set(done.stdout.split())


def test_help_imports_no_sdk_no_http_library_and_no_rich() -> None:
    before = (
        "import atexit\n"
        "bad = ('openai', 'anthropic', 'google.genai', 'httpx', 'httpx2', 'rich', 'asyncio')\n"
        "atexit.register(lambda: print('imported:', [m for m in bad if m in sys.modules]))"
    )
    done = run("--help", before=before)
    assert done.lines[-1] == "imported: []"


def test_version_is_the_packages() -> None:
    assert run("--version").stdout == f"aden-transport {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("nothing-like-it",), ("demo", "--sideways")], ids=str)
def test_wrong_usage_is_exit_code_2_and_says_so_on_stderr(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: aden-transport")


def test_each_command_has_help_of_its_own() -> None:
    for name in COMMANDS:
        done = run(name, "--help")
        assert (done.code, done.stderr) == (0, "")
        assert f"usage: aden-transport {name}" in done.stdout


def test_the_console_script_is_main() -> None:
    scripts = {entry.name: entry for entry in metadata.entry_points(group="console_scripts")}
    assert scripts["aden-transport"].load() is main


def test_a_setting_that_cannot_be_used_is_one_sentence_and_exit_code_2() -> None:
    done = run_bare("demo", ADEN_LOG_LEVEL="loud")
    assert done.code == 2
    assert done.stderr.splitlines() == [
        "aden-transport: ADEN_LOG_LEVEL='loud' is no log level: use debug, info, warning, error or critical"
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
def test_a_reader_that_leaves_ends_it_without_a_word() -> None:
    with subprocess.Popen(
        command(["demo"], hidden=["openai", "anthropic", "google.genai"]),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
