"""`aden-transport run`: an unmodified program, with every LLM call of its processes metered.

The program takes this process's place, so its signals, exit code, terminal and input are its own. Exit codes
of ours: 2 wrong usage; 126 the program cannot be run; 127 there is no such program.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ...errors import ConfigurationError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "aden-transport run [options] [--] PROGRAM ARGS… | FILE.py ARGS… | -m MODULE ARGS…"
    parser.epilog = "Example: aden-transport run --log logs -- gunicorn app:app -w 4"
    parser.add_argument("--log", metavar="DIR", help="append each call to DIR/metrics-YYYY-MM-DD.jsonl")
    parser.add_argument("--console", action="store_true", help="a line per call on stderr, as it ends")
    parser.add_argument("--pretty", action="store_true", help="several lines per call, with colour")
    parser.add_argument("--quiet", action="store_true", help="no sums on stderr at the end")
    parser.add_argument(
        "--budget",
        metavar="USD",
        type=float,
        help="block what would pass so many dollars, all processes together",
    )
    parser.add_argument("--policy", metavar="FILE", help="hold every call to the budgets and rules of a file")
    parser.add_argument(
        "-m", dest="module", metavar="MODULE", nargs=argparse.REMAINDER, help="run a module with this Python"
    )
    parser.add_argument(
        "program", metavar="PROGRAM", nargs=argparse.REMAINDER, help="what to run, and its arguments"
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the program; returns only where that cannot be.

    Raises: ConfigurationError for options that cannot be used.
    """
    from ...emitters import create_file_emitter
    from .launch import become, blind_spot, clear_leftovers, environment
    from .settings import Settings, read_settings

    command = _command(arguments.module, arguments.program)
    if arguments.log is not None:
        create_file_emitter(arguments.log)
    settings = Settings(
        log=None if arguments.log is None else os.path.abspath(os.path.expanduser(arguments.log)),
        console=arguments.console,
        pretty=arguments.pretty,
        quiet=arguments.quiet,
        policy=None if arguments.policy is None else os.path.abspath(os.path.expanduser(arguments.policy)),
        program=None if os.name == "nt" else os.getpid(),
    )
    around = read_settings()
    if arguments.budget is not None or settings.policy is not None or (around and around.is_bounded):
        from .bounds import bounded

        settings = bounded(settings, around, usd=arguments.budget)
    why = blind_spot(command)
    if why is not None:
        print(f"aden-transport: not metered: {why}; leave the option out", file=sys.stderr)
    if os.name != "nt":
        clear_leftovers()
    sys.stdout.flush()
    sys.stderr.flush()
    return become(command, environment(settings, os.environ))


def _command(module: Sequence[str] | None, program: Sequence[str]) -> list[str]:
    """The command line. Without `--` before it, a Python file or `-m` is run with this Python."""
    if module is not None:
        words = ["-m", *module, *program]
        program = [sys.executable, *words] if len(words) > 1 else []
    elif program[:1] == ["--"]:
        program = program[1:]
    elif program and program[0].endswith(".py"):
        program = [sys.executable, *program]
    if not program:
        raise ConfigurationError("say what to run, as in: aden-transport run -- python app.py")
    return list(program)
