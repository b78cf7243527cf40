"""`aden-transport agents`: the programs that report to a control server."""

from __future__ import annotations

import argparse
import json

from .screen import Column, Screen, table
from .server import Server, add_server_arguments, printable

__all__ = ["add_arguments", "run"]

COLUMNS = (
    Column("agent", 40),
    Column("status", 12),
    Column("requests", 10),
    Column("errors", 8),
    Column("push", 5),
    Column("last seen", 20),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (100)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """List them, the latest heard of first; returns the exit code."""
    with Server(arguments) as server:
        found = server.get("/v1/control/agents", limit=arguments.limit)
    if arguments.json:
        print(json.dumps(found))
        return 0
    rows = [
        [
            printable(one["agent_name"] or one["instance_id"]),
            one["status"] or "",
            str(one["requests"]),
            str(one["errors"]),
            "yes" if one["websocket_connected"] else "no",
            f"{one['last_seen_at'][:19]}Z",
        ]
        for one in found["agents"]
    ]
    screen = Screen()
    screen.show(*table(COLUMNS, rows, screen.width))
    return 0
