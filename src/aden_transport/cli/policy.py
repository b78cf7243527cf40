"""`aden-transport policy check|explain FILE`: what a policy says, and what it would do.

`aden-transport policy push|pull|diff FILE`: the policy of a control server.

Exit code 2 where the document cannot be used, with the path of each fault; `explain` exits 1 where the call
would be blocked, `diff` where the two are not the same.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from ..errors import ConfigurationError
from .arguments import spent, tokens
from .hypothetical import ATTRIBUTES, MODEL, hypothetical, sums_of
from .server import add_server_arguments

__all__ = ["add_arguments", "run"]

BLOCKED = 1
HERE, THERE = ("check", "explain"), ("push", "pull", "diff")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=(*HERE, *THERE),
        help="read the document, try a call on it, or send it to a server, get it from there, compare both",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="a policy in JSON or TOML")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--policy", default="default", metavar="ID", help="which of the server's (default)")
    add_server_arguments(parser)
    call = parser.add_argument_group("the call that `explain` tries")
    call.add_argument("--model", help=f"default: that of the request, or {MODEL}")
    call.add_argument("--provider", default="openai", help="default: openai")
    call.add_argument("--input", type=tokens, default=1000, metavar="N", help="most input tokens (1000)")
    call.add_argument("--output", type=tokens, default=1000, metavar="N", help="most output tokens (1000)")
    call.add_argument(
        "--request", metavar="FILE", help="the body of a request, instead of its size in tokens"
    )
    for name in ATTRIBUTES:
        call.add_argument(f"--{name}", metavar="NAME")
    call.add_argument("--tag", action="append", metavar="NAME", help="may be repeated")
    sums = parser.add_mutually_exclusive_group()
    sums.add_argument("--spent", type=spent, default=0.0, metavar="USD", help="spent on each budget so far")
    sums.add_argument(
        "--ledger",
        metavar="ADDRESS",
        help='take what is spent and reserved from there: "default", sqlite:///PATH or redis://HOST',
    )


def run(arguments: argparse.Namespace) -> int:
    """Read the policy, and for `explain` judge one call by it; returns the exit code."""
    from ..policy import describe_policy, load

    if arguments.what in THERE:
        from .policy_remote import run as run_there

        return run_there(arguments)
    if not arguments.file:
        raise ConfigurationError(f"`policy {arguments.what}` needs a FILE")
    policy = load(arguments.file)
    if arguments.what == "check":
        print(_as_json(arguments.file) if arguments.json else describe_policy(policy))
        return 0
    return _explain(policy, arguments)


def _as_json(file: str) -> str:
    from .policy_remote import as_read

    return json.dumps({"ok": True, "policy": as_read(file)})


def _explain(policy: Any, arguments: argparse.Namespace) -> int:
    from ..ledger.base import Line
    from ..ledger.rule import judge
    from ..policy import Call, Index, decide, explain_call, explained, older_keys, plan_call

    at = time.time()
    asked = hypothetical(arguments, at)
    call = Call(asked.attributes, asked.provider, asked.model, at)
    plan = plan_call(Index(policy), call, asked.bounds)
    sums = sums_of(arguments, lasting=policy.lasts)
    matched = [
        Line(match.ledger_key, 0, 0, unit=match.terms.unit, also=older_keys(match)) for match in plan.matches
    ]
    totals = sums(matched)
    outcome = None
    if plan.stop is None and not plan.is_free:
        outcome = judge(plan.lines(), lambda line: sums([line])[0])
    verdict = decide(plan, outcome)
    if arguments.json:
        print(json.dumps({"size": asked.basis, **explained(plan, verdict, totals)}))
    else:
        print(explain_call(plan, verdict, totals))
        print(f"  size: {asked.basis}")
    return BLOCKED if verdict.kind == "refuse" else 0
