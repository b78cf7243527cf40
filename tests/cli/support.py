"""The command, run as its users run it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TIMEOUT_S = 100

# A process in which some modules are not installed, before anything else is imported.
PREPARED = """
import sys

hidden = {hidden!r}

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
{before}
from aden_transport.cli import main
sys.exit(main({arguments!r}))
"""

MODULES = {"openai": "openai", "anthropic": "anthropic", "gemini": "google.genai"}
"""By vendor, the module of its SDK."""

SECRETS = ("sk-proj-0123456789abcdefghij", "sk-ant-0123456789abcdefghij", "AIzaSy0123456789abcdefghij")
NOWHERE = "http://198.51.100.7:9"
"""TEST-NET-2 (RFC 5737): whoever takes a setting from the environment fails."""
HOSTILE: Mapping[str, str] = {
    "OPENAI_API_KEY": SECRETS[0],
    "OPENAI_BASE_URL": NOWHERE,
    "OPENAI_ORG_ID": "org-of-somebody",
    "OPENAI_LOG": "debug",
    "ANTHROPIC_API_KEY": SECRETS[1],
    "ANTHROPIC_AUTH_TOKEN": SECRETS[1],
    "ANTHROPIC_BASE_URL": NOWHERE,
    "ANTHROPIC_LOG": "debug",
    "GOOGLE_API_KEY": SECRETS[2],
    "GEMINI_API_KEY": SECRETS[2],
    "GOOGLE_GEMINI_BASE_URL": NOWHERE,
    "GOOGLE_GENAI_USE_VERTEXAI": "true",
    "HTTP_PROXY": NOWHERE,
    "http_proxy": NOWHERE,
    "HTTPS_PROXY": NOWHERE,
    "ALL_PROXY": NOWHERE,
    "SSL_CERT_FILE": "/nowhere/certificates.pem",
}


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    stdout: str
    stderr: str
    code: int

    @cached_property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @cached_property
    def words(self) -> str:
        """All of stdout on one line, however it was wrapped."""
        return " ".join(self.stdout.split())

    @cached_property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.documents[:-1]

    @property
    def summary(self) -> dict[str, Any]:
        return self.documents[-1]

    def of(self, scenario: str) -> list[dict[str, Any]]:
        """The events of one scenario."""
        return [event for event in self.events if event["scenario"] == scenario]


def environment(**more: str) -> dict[str, str]:
    """This process's, without what changes how a command looks, with `more`."""
    ignored = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "ADEN_", "PYTHONWARNINGS", "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ignored)}
    return {**kept, "TERM": "xterm", **more}


def command(arguments: Sequence[str], *, hidden: Sequence[str] = (), before: str = "") -> list[str]:
    """The command line: the module, or where something is `hidden` or done `before`, a program around it."""
    start = [sys.executable, "-W", "error"]
    if not hidden and not before:
        return [*start, "-m", "aden_transport", *arguments]
    program = PREPARED.format(hidden=tuple(hidden), before=before, arguments=list(arguments))
    return [*start, "-c", program]


def run(*arguments: str, hidden: Sequence[str] = (), before: str = "", **variables: str) -> Finished:
    """Run `aden-transport` to its end, its output into pipes."""
    done = subprocess.run(
        command(arguments, hidden=hidden, before=before),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Finished(done.stdout, done.stderr, done.returncode)


def run_bare(*arguments: str, before: str = "", **variables: str) -> Finished:
    """The same without any SDK, which takes a second."""
    return run(*arguments, hidden=tuple(MODULES.values()), before=before, **variables)
