"""`aden-transport policy check FILE` and `policy explain FILE`: what a policy says, and what it would do.

Exit code 2 where the document cannot be used, with the path of each fault; `explain` exits 1 where the call
would be blocked.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..policy import Bound

__all__ = ["add_arguments", "run"]

BLOCKED = 1
ATTRIBUTES = ("agent", "tenant", "customer", "feature")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("check", "explain"), help="read the document, or try a call on it")
    parser.add_argument("file", metavar="FILE", help="a policy in JSON or TOML")
    call = parser.add_argument_group("the call that `explain` tries")
    call.add_argument("--model", default="gpt-4o", help="default: gpt-4o")
    call.add_argument("--provider", default="openai", help="default: openai")
    call.add_argument("--input", type=int, default=1000, metavar="N", help="most input tokens (1000)")
    call.add_argument("--output", type=int, default=1000, metavar="N", help="most output tokens (1000)")
    call.add_argument("--spent", type=float, default=0.0, metavar="USD", help="spent on each budget so far")
    for name in ATTRIBUTES:
        call.add_argument(f"--{name}", metavar="NAME")
    call.add_argument("--tag", action="append", metavar="NAME", help="may be repeated")


def run(arguments: argparse.Namespace) -> int:
    """Read the policy, and for `explain` judge one call by it; returns the exit code."""
    from ..policy import describe_policy, load

    policy = load(arguments.file)
    if arguments.what == "check":
        print(describe_policy(policy))
        return 0
    return _explain(policy, arguments)


def _explain(policy: Any, arguments: argparse.Namespace) -> int:
    from ..ledger.base import Totals
    from ..ledger.rule import judge
    from ..policy import Call, Index, decide, explain_call, plan_call

    at = time.time()
    given = {name: value for name in ATTRIBUTES if (value := getattr(arguments, name)) is not None}
    if arguments.tag:
        given["tags"] = tuple(arguments.tag)
    call = Call(given, arguments.provider, arguments.model, at)
    plan = plan_call(Index(policy), call, partial(_bounds, arguments, at))
    totals = Totals(round(arguments.spent * 1e9), 0, 0)
    outcome = None if plan.stop is not None or plan.is_free else judge(plan.lines(), lambda _line: totals)
    verdict = decide(plan, outcome)
    print(explain_call(plan, verdict, () if outcome is None else outcome.totals))
    return BLOCKED if verdict.kind == "refuse" else 0


def _bounds(arguments: argparse.Namespace, at: float, model: str | None) -> Bound:
    from ..events import NormalizedUsage
    from ..pricing import PriceBook

    unit = PriceBook().find(arguments.provider, model or "", at=at)
    if unit is None:
        return "price"
    hold = unit.cost(NormalizedUsage(arguments.input, arguments.output))
    return hold, hold
