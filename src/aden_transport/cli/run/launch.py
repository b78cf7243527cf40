"""The program that `run` becomes: its command line, its environment, and the way into it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .settings import HOOK, OPTIONS, TOTALS, Settings
from .totals import remove_directory

__all__ = ["EXIT_NOT_FOUND", "EXIT_NOT_RUN", "become", "blind_spot", "clear_leftovers", "environment"]

EXIT_NOT_RUN, EXIT_NOT_FOUND = 126, 127
"""As shells, `env` and `timeout` have them."""

LEFTOVER_S = 86_400.0

UNSEEING = {
    "I": "isolates it from PYTHONPATH",
    "E": "has it ignore PYTHONPATH",
    "S": "has it start without `site`",
}
"""Options of Python under which no start-up hook runs."""
WITH_VALUE = "WXQ"
LAST = "cm"
"""Options of Python after which the arguments are the program's."""


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what the start-up hook needs."""
    path = [str(HOOK), *(part for part in base.get("PYTHONPATH", "").split(os.pathsep) if part)]
    inherited = base.get(TOTALS, "")
    # Run within a run, in the place of its root: the sums go on.
    carried = inherited if inherited.rpartition("-")[2] == str(settings.program) else ""
    own = f"aden-run-{os.urandom(8).hex()}-{settings.program or 0}"
    return {
        **base,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        OPTIONS: settings.to_environment(),
        TOTALS: carried or os.path.join(tempfile.gettempdir(), own),
    }


def clear_leftovers() -> None:
    """Remove the sums of runs that a signal ended: a day old, and their root gone."""
    for path in Path(tempfile.gettempdir()).glob("aden-run-*-*"):
        with suppress(OSError, ValueError):
            status = path.lstat()
            mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
            if mine and time.time() - _touched(path) > LEFTOVER_S and not _is_alive(path.name):
                remove_directory(str(path))


def _touched(path: Path) -> float:
    """When it was used last: what the root started may go on writing to a run's ledger."""
    return max(each.lstat().st_mtime for each in (path, *path.glob("*.sqlite3*")))


def _is_alive(name: str) -> bool:
    try:
        os.kill(int(name.rpartition("-")[2]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def blind_spot(command: Sequence[str]) -> str | None:
    """Why the hook will not run in this program, as far as its command line shows; None where it will."""
    found = shutil.which(command[0])
    first_line = _shebang(found) if found else []
    words = [*first_line, *command]
    # Further words are arguments, of whatever program: `grep python -E`.
    for place, word in enumerate(words[: len(first_line) + 1]):
        if Path(word).name.startswith(("python", "pypy")):
            option = _unseeing_option(words[place + 1 :])
            return None if option is None else f"{word} -{option} {UNSEEING[option]}"
    return None


def _shebang(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            line = file.readline(512)
    except OSError:
        return []
    return line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []


def _unseeing_option(arguments: Sequence[str]) -> str | None:
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif not argument.startswith("-") or argument.startswith("--") or argument == "-":
            return None
        else:
            for place, letter in enumerate(argument[1:], start=1):
                if letter in UNSEEING:
                    return letter
                if letter in LAST:
                    return None
                if letter in WITH_VALUE:
                    skip = place == len(argument) - 1
                    break
    return None


def become(command: Sequence[str], variables: Mapping[str, str]) -> int:
    """Execute `command` in the place of this process; returns an exit code where that cannot be.

    On Windows, which has no such thing, the command is a child, and its exit code is returned.
    """
    try:
        if os.name == "nt":  # pragma: no cover - not run on Windows
            return _wait_for(command, variables)
        _restore_signals()
        os.execvpe(command[0], list(command), dict(variables))  # noqa: S606 - what the user typed
    except FileNotFoundError:
        print(f"aden-transport: there is no program {command[0]!r}", file=sys.stderr)
        return EXIT_NOT_FOUND
    except OSError as exc:
        print(f"aden-transport: {command[0]!r} cannot be run: {exc.strerror}", file=sys.stderr)
        return EXIT_NOT_RUN


def _restore_signals() -> None:
    # Python ignores these, and what is ignored stays so across exec: `run -- sh -c 'yes | head -1'` would
    # not end.
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _wait_for(command: Sequence[str], variables: Mapping[str, str]) -> int:  # pragma: no cover - Windows
    import subprocess

    # Ctrl-C reaches the child as well, which decides; we only wait.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = shutil.which(command[0], path=variables.get("PATH")) or command[0]
    done = subprocess.run([program, *command[1:]], env=dict(variables), check=False)  # noqa: S603 - as above
    return done.returncode
