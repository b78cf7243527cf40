"""`aden-transport demo`: real SDKs against fake providers on this machine, every call metered.

No key, no network. Exit code 1 where a scenario did not go as the table in `scenarios.py` says.
"""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document per event and a summary, nothing else"
    )


def run(arguments: argparse.Namespace) -> int:
    """Play all scenarios; returns the exit code."""
    from .play import play
    from .view import JsonView, TextView

    return play(JsonView() if arguments.json else TextView())
