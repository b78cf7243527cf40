"""The command line: `aden-transport COMMAND`, `python -m aden_transport COMMAND`.

Each command is a module or package beside this file, named like the command, with two functions:
`add_arguments(parser)` and `run(arguments) -> int`. Its row in `COMMANDS` makes it known.

Exit codes: 0 done; 1 something did not go as promised; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from .. import __version__
from ..errors import AdenError, ConfigurationError

__all__ = ["COMMANDS", "EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_USAGE", "main"]

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

COMMANDS: Mapping[str, str] = {
    "demo": "watch calls being metered: real SDKs against a fake provider on this machine",
    "run": "run a program as it is, with every LLM call of its processes metered",
    "doctor": "find out what is installed, what is seen of it, and what to do where it is not",
    "prices": "explain what a model costs: which entry, from where, by which tiers",
    "policy": "read a policy, and see what it would do about a call",
    "serve": "run the control server: policies, budgets and events of a fleet",
    "budget": "list, set, correct, reset and freeze the budgets of a control server",
    "agents": "list the programs that report to a control server",
    "events": "watch events arrive at a control server",
    "reconcile": "compare the sums of a control server's ledger with the events of its calls",
    "report": "add up logged events: calls, cost, and what policies did or would have done",
}
"""What each command is for, in the order of `--help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command with the arguments after the program's name; returns the exit code.

    Raises: SystemExit for `--help`, `--version` and wrong usage, as argparse does.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    _prepare_output()
    try:
        parser = _parser(words)
        arguments = parser.parse_args(words)
        if arguments.command is None:
            parser.print_help(sys.stderr)
            return EXIT_USAGE
        code: int = import_module(f".{arguments.command}", __name__).run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return EXIT_FAILED
    except OSError as exc:
        print(f"aden-transport: {exc}", file=sys.stderr)
        _give_up_output()
        return EXIT_FAILED
    except AdenError as exc:
        print(f"aden-transport: {exc}", file=sys.stderr)
        return EXIT_USAGE if isinstance(exc, ConfigurationError) else EXIT_FAILED
    return code


def _prepare_output() -> None:
    """Have a standard output that takes every character: what its encoding lacks is escaped."""
    if sys.stdout is None:
        # For as long as the process, so that nobody has to close it.
        sys.stdout = open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """Who read our output has left, or its disk is full: the interpreter must not flush into it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the commands named in `words` are imported, so that `--help` is instant."""
    parser = argparse.ArgumentParser(
        prog="aden-transport", description="LLM observability and cost control at the HTTP transport."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name in words:
            import_module(f".{name}", __name__).add_arguments(command)
    return parser
