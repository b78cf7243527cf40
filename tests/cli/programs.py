"""Programs run by `aden-transport run`, and what came of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .support import Finished, environment

TIMEOUT_S = 100

CALLS = """
    import os, sys

    def call(number=1, library="httpx2"):
        http = __import__(library)
        for _ in range(number):
            http.post(
                os.environ["PROVIDER"] + "/v1/chat/completions",
                json={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]},
                headers={"user-agent": "OpenAI/Python 3.54.0"},
                trust_env=False,
            ).raise_for_status()
"""
"""A module that makes calls as an SDK does; importing it imports no HTTP library."""


class Place:
    """A directory for programs, and the command that runs them there."""

    def __init__(self, directory: Path, provider: str) -> None:
        self.directory = directory
        self.log = directory / "log"
        # Short: multiprocessing keeps sockets there, whose names may have 107 characters.
        self.temporary = Path(tempfile.mkdtemp(prefix="aden-"))
        self._provider = provider
        self.write("calls.py", CALLS)

    def write(self, name: str, text: str) -> Path:
        """A file with `text`, which may be indented."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def variables(self, **more: str) -> dict[str, str]:
        return environment(
            PROVIDER=self._provider,
            PYTHONPATH=os.pathsep.join([str(self.directory), *_source()]),
            TMPDIR=str(self.temporary),
            **more,
        )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "aden_transport", "run", *words]

    def run(self, *words: str, stdin: str = "", **more: str) -> Finished:
        """Run the command to its end."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env=self.variables(**more),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Finished(done.stdout, done.stderr, done.returncode)

    def python(self, text: str, *options: str, **more: str) -> Finished:
        """Run a program of these lines, which finds `call`, `os` and `sys`."""
        path = self.write("program.py", f"from calls import *\n{textwrap.dedent(text)}")
        return self.run(*options, "--", sys.executable, str(path), **more)

    @contextmanager
    def start(self, *words: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        """A program that goes on; ended after the block where it has not ended."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.directory,
            env=self.variables(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def close(self) -> None:
        shutil.rmtree(self.temporary)

    @property
    def events(self) -> list[Mapping[str, Any]]:
        """What stands in the log."""
        files: Sequence[Path] = sorted(self.log.glob("metrics-*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _source() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
