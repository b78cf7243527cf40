"""`aden-transport budget …`: the budgets of a control server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .arguments import dollars
from .screen import Column, Screen, table
from .server import Server, add_server_arguments, printable

__all__ = ["COLUMNS", "add_arguments", "row", "run"]

COLUMNS = (
    Column("budget", 40),
    Column("spent", 12),
    Column("held", 12),
    Column("limit", 12),
    Column("used", 6),
    Column("resets", 11),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    wants = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    listing = wants.add_parser("list", help="how all budgets stand")
    listing.add_argument("--made", type=int, default=20, metavar="N", help="of each template's budgets (20)")
    for what, purpose in (
        ("show", "why one stands as it does: who holds what of it"),
        ("set", "change its limit; what is spent stays"),
        ("adjust", "correct what is spent, with a reason"),
        ("reset", "begin its window anew, with nothing spent"),
        ("freeze", "let nothing more through"),
        ("unfreeze", "let calls through again, within the limit"),
    ):
        one = wants.add_parser(what, help=purpose)
        one.add_argument("budget", metavar="ID", help="as `budget list` names it: global, customer:acme, …")
        if what in ("set", "adjust"):
            one.add_argument("usd", type=dollars, metavar="USD")
        if what != "show":
            one.add_argument("--reason", required=what == "adjust", help="for the audit")
    for one in wants.choices.values():
        one.add_argument("--policy", metavar="ID", help="of this policy (default)")
        one.add_argument("--json", action="store_true", help="print one JSON document")
        add_server_arguments(one)


def run(arguments: argparse.Namespace) -> int:
    """Ask the server; returns the exit code."""
    with Server(arguments) as server:
        told = _ask(server, arguments)
    if arguments.json:
        print(json.dumps(told))
    elif arguments.what == "list":
        screen = Screen()
        screen.show(*table(COLUMNS, [row(one) for one in told["budgets"]], screen.width))
    else:
        _show(told)
    return 0


def _ask(server: Server, arguments: argparse.Namespace) -> Any:
    policy = {"policy_id": arguments.policy}
    if arguments.what == "list":
        return server.get("/v1/control/budgets", made=arguments.made, **policy)
    address = f"/v1/control/budget/{quote(arguments.budget, safe='')}"
    match arguments.what:
        case "show":
            return server.get(f"{address}/explain", **policy)
        case "set":
            body = {"limit_usd": arguments.usd, "reason": arguments.reason}
            return server.ask("PUT", address, body, params=policy)
        case "adjust":
            body = {"amount_usd": arguments.usd, "reason": arguments.reason}
            return server.ask("POST", f"{address}/adjust", body, params=policy)
        case what:
            params = {**policy, "reason": arguments.reason}
            return server.ask("POST", f"{address}/{what}", params=params)


def row(one: Mapping[str, Any]) -> list[str]:
    """Of a table with `COLUMNS`: how a budget stands."""
    frozen = " (frozen)" if one["frozen"] else ""
    each = " each" if one["template"] else ""
    return [
        printable(f"{one['id']}{frozen}"),
        "" if each else _usd(one["spent"]),
        "" if each else _usd(one["held"]),
        f"{_usd(one['limit'])}{each}",
        "" if each else f"{one['usage_percent']:.0f} %",
        (one["resets_at"] or "never")[:10],
    ]


def _usd(value: float) -> str:
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.6f}".rstrip("0")


def _show(one: Mapping[str, Any]) -> None:
    screen = Screen()
    state = "frozen, lets nothing through" if one["frozen"] else f"{_usd(one['left'])} left"
    screen.show(
        printable(f"{one['id']}: {state}"),
        f"  spent {_usd(one['spent'])}, held {_usd(one['held'])}, of {_usd(one['limit'])}",
        f"  {one['period']}, {one['mode']}, at the limit: {one['limitAction']}",
    )
    if one["resets_at"]:
        screen.show(f"  resets at {one['resets_at']}")
    for step in one.get("steps", ()):
        to = f" to {step['to']}" if step["to"] else ""
        screen.show(f"  {step['percent']:g} %: {step['action']}{to}")
    for lease in one.get("leases", ()):
        granted, used = _usd(lease["granted_usd"]), _usd(lease["used_usd"])
        owner = printable(lease["owner"])
        screen.show(f"  lease of {owner}: {granted} granted, {used} used, {lease['state']}")
    if one.get("open_holds"):
        screen.show(f"  {one['open_holds']} calls under way")
    if one.get("disputed_usd"):
        screen.show(f"  {_usd(one['disputed_usd'])} disputed: nobody said what was spent")
