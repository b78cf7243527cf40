"""`aden-transport doctor`: what is installed, what is seen of it, and what to type where something is not.

Exit code 1 where calls of something installed are not metered, or metering itself does not work here;
warnings leave it at 0.
"""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--log", metavar="DIR", help="also check that calls can be logged to DIR")
    parser.add_argument("--policy", metavar="FILE", help="also check a policy, and the ledger that it takes")
    parser.add_argument(
        "--ledger", metavar="ADDRESS", help="look at this ledger, as in MeterOptions(ledger=…)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Examine this Python; returns the exit code."""
    from .. import EXIT_FAILED
    from .examination import examine
    from .view import show_json, show_text

    findings = examine(arguments.log, policy=arguments.policy, ledger=arguments.ledger)
    (show_json if arguments.json else show_text)(findings)
    return EXIT_FAILED if any(finding.level == "fault" for finding in findings) else 0
