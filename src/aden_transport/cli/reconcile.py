"""`aden-transport reconcile`: the sums of a control server's ledger against the events of its calls."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from typing import Any

from ..policy.money import amount
from .arguments import seconds
from .screen import Column, Screen, table
from .server import Server, add_server_arguments, printable

__all__ = ["add_arguments", "run"]

LOOK_S = 0.5
BUDGETS = (
    Column("budget", 40),
    Column("ledger", 12),
    Column("disputed", 12),
    Column("events", 12),
    Column("unconfirmed", 12),
    Column("difference", 12),
)
MODELS = (
    Column("day, model", 44),
    Column("calls", 9),
    Column("charged", 14),
    Column("cost", 14),
    Column("unconfirmed", 14),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--at", metavar="TIME", help="in the windows of then, ISO 8601 (now)")
    parser.add_argument("--since", metavar="TIME", help="show the calls from then on, by day and model")
    parser.add_argument("--wait", type=seconds, default=0.0, metavar="SECONDS", help="for events to come (0)")
    parser.add_argument("--policy", metavar="ID", help="of this policy (default)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare; returns the exit code: 1 where they differ by more than nobody has said yet."""
    deadline = time.monotonic() + arguments.wait
    with Server(arguments) as server:
        asked = {"policy_id": arguments.policy, "at": arguments.at, "since": arguments.since}
        told = server.get("/v1/ledger/reconcile", **asked)
        while not told["exact"] and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            told = server.get("/v1/ledger/reconcile", **asked)
    if arguments.json:
        print(json.dumps(told))
    else:
        _show(told, by_model=arguments.since is not None)
    return 0 if told["exact"] else 1


def _show(told: Mapping[str, Any], *, by_model: bool) -> None:
    screen = Screen()
    if by_model:
        screen.show(*table(MODELS, [_model(one) for one in told["models"]], screen.width), "")
    budgets = told["budgets"]
    if budgets:
        screen.show(*table(BUDGETS, [_budget(one) for one in budgets], screen.width), "")
    off = sum(one["difference"] != 0 for one in budgets)
    under_way = sum(one["held"] != 0 for one in budgets)
    if not off:
        screen.paragraph("The ledger and the events agree, but for what nobody has said yet.")
    else:
        screen.paragraph(f"{off} of {len(budgets)} budgets differ.")
    if under_way:
        screen.paragraph(f"On {under_way} money is held, by calls that are under way or by leases.")


def _budget(one: Mapping[str, Any]) -> list[str]:
    amounts = [one[name] for name in ("spent", "disputed", "events", "unconfirmed", "difference")]
    return [printable(one["key"]), *map(amount, amounts)]


def _model(one: Mapping[str, Any]) -> list[str]:
    name = "/".join(filter(None, (one["provider"], one["model"]))) or "unknown"
    amounts = [one[name] for name in ("charged", "cost", "unconfirmed")]
    return [printable(f"{one['day']} {name}"), f"{one['calls']:,}", *map(amount, amounts)]
