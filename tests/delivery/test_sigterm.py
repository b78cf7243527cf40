"""A program that is told to end says its last words, and ends as it would have; its handlers are its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ..interop.original_server import KEY, OriginalServer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
BEGIN = """
import os, signal, sys, time
import httpx2
from aden_transport import ControlOptions, MeterOptions, instrument, uninstrument
usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
answer = {"model": "gpt-4o", "choices": [], "usage": usage}
def begin():
    instrument(MeterOptions(api_key=sys.argv[1], server_url=sys.argv[2], control=ControlOptions()))
def call():
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))) as client:
        client.post("https://api.openai.com/v1/chat/completions", json={"model": "gpt-4o", "messages": []})
def end():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
"""


def run(tmp_path: Path, program: str) -> tuple[int, list[str], int]:
    """How it ended, what it printed, and how many events the server has."""
    with OriginalServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", BEGIN + textwrap.dedent(program), KEY, server.url],
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.split(), len(server.of_type("metric"))


def test_last_words_are_said_and_the_signal_ends_it(tmp_path: Path) -> None:
    assert run(tmp_path, "begin(); call(); end()") == (-signal.SIGTERM, [], 1)


def test_a_handler_from_before_is_the_only_one(tmp_path: Path) -> None:
    program = """
    def own(*_):
        print("own")
        sys.exit(3)
    signal.signal(signal.SIGTERM, own)
    begin(); call()
    assert signal.getsignal(signal.SIGTERM) is own
    end()
    """
    assert run(tmp_path, program) == (3, ["own"], 1)


def test_a_handler_from_after_is_the_only_one(tmp_path: Path) -> None:
    program = """
    begin(); call()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
    end()
    """
    assert run(tmp_path, program) == (4, [], 1)


def test_what_is_ignored_stays_ignored_and_nothing_is_left_behind(tmp_path: Path) -> None:
    program = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    begin()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    uninstrument()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    begin()
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    uninstrument()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    print("done")
    """
    assert run(tmp_path, program) == (0, ["done"], 0)


def test_a_program_that_just_ends_says_them_too(tmp_path: Path) -> None:
    assert run(tmp_path, "begin(); call()") == (0, [], 1)
