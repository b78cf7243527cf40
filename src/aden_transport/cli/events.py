"""`aden-transport events tail`: events of a control server, as they come."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from .screen import Line, Screen
from .server import Server, add_server_arguments, printable

__all__ = ["add_arguments", "run"]

WAIT_S = 20
TAIL = "/v1/control/events/tail"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("tail",), help="print events until interrupted")
    parser.add_argument("--all", action="store_true", help="from the first one on, not from now")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many")
    parser.add_argument("--json", action="store_true", help="print each as it was sent, a line of JSON")
    add_server_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print events until interrupted, or `--count` are printed; returns the exit code."""
    screen = Screen()
    left = arguments.count
    with Server(arguments) as server:
        cursor = 0 if arguments.all else server.get(TAIL)["cursor"]
        while left is None or left > 0:
            told = server.get(TAIL, cursor=cursor, wait=WAIT_S, limit=100 if left is None else min(left, 100))
            cursor = told["cursor"]
            for event in told["events"]:
                if arguments.json:
                    print(json.dumps(event), flush=True)
                else:
                    screen.show(_line(event))
            if left is not None:
                left -= len(told["events"])
    return 0


def _line(event: Mapping[str, Any]) -> Line:
    data = event.get("data") if isinstance(event.get("data"), Mapping) else event
    assert isinstance(data, Mapping)
    at = str(event.get("timestamp") or event["received_at"])[11:19]
    kind = str(event.get("event_type") or "metric")
    who = event.get("agent_name") or data.get("agent_name") or ""
    words = [at, f"{kind:9}", str(who)]
    for name in ("provider", "model", "action", "reason", "status", "message"):
        value = data.get(name)
        if isinstance(value, str) and value:
            words.append(value[:80])
    cost = event.get("cost_nano_usd")
    if isinstance(cost, int):
        words.append(f"${cost / 1e9:.6f}")
    return Line(printable(" ".join(word for word in words if word)))
