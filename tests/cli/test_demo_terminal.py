"""The demo on a terminal, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from .support import MODULES, command, environment, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")

# Runners may start us with Ctrl-C ignored, which programs rightly keep.
LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(*hidden: str, **variables: str) -> str:
    """What the demo, without SDKs and `hidden`, shows on a terminal."""
    ours, its = os.openpty()
    arguments = command(["demo"], hidden=(*MODULES.values(), *hidden))
    with subprocess.Popen(
        arguments, env=environment(COLUMNS="80", **variables), stdin=its, stdout=its, stderr=subprocess.PIPE
    ) as process:
        os.close(its)
        shown = bytearray()
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # Linux tells a terminal's end so.
        os.close(ours)
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colour_and_the_same_text() -> None:
    shown = on_a_terminal()
    assert "\x1b[32m+ [" in shown
    assert "\x1b[31m! [" in shown
    plain = ESCAPE.sub("", shown)
    assert "  tokens: 21 in / 18 out  $0.000233  left: 499 requests, 59961 tokens\n" in plain
    assert all(line.isprintable() and len(line) <= 80 for line in plain.splitlines())


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_no_color_is_honoured(variable: dict[str, str]) -> None:
    assert "\x1b" not in on_a_terminal(**variable)


def test_without_rich_a_terminal_gets_plain_text() -> None:
    shown = on_a_terminal("rich", "rich.console")
    assert "\x1b" not in shown
    assert "22 of 22 scenarios went as promised" in shown


@pytest.mark.parametrize("mode", [[], ["--json"]], ids=["text", "json"])
def test_ctrl_c_ends_it_in_order(mode: list[str]) -> None:
    with subprocess.Popen(
        command(["demo", *mode], before=LISTENING),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith(("+ [", "{")):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.stderr.read() == ""
        assert process.wait() == 130
    assert "summary" not in rest.lower()
    assert rest.endswith("Stopped.\n") is (mode == [])


def test_an_interrupt_in_the_middle_of_a_call_is_exit_code_130() -> None:
    # The second Ctrl-C does not wait for the scenario at hand.
    before = (
        f"{LISTENING}\n"
        "from aden_transport.cli.demo import stage\n"
        "def interrupted(*_): raise KeyboardInterrupt\n"
        "stage.Stage.perform = interrupted"
    )
    done = run("demo", hidden=tuple(MODULES.values()), before=before)
    assert (done.code, done.stderr) == (130, "")
    assert done.stdout.endswith("Stopped.\n")
