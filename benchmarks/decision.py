"""What a policy costs a call: microseconds for any number of budgets, beside a linear scan.

python benchmarks/decision.py                 1 to 1,000,000 budgets; half a minute, 600 MB
python benchmarks/decision.py --most 10000    fewer budgets
python benchmarks/decision.py --gate          exit 1 where finding the budgets takes more than 4 µs
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aden_transport.ledger.base import Line, Totals
from aden_transport.ledger.rule import judge
from aden_transport.policy import Budget, Call, Index, Plan, Policy, Verdict, decide, load, plan_call
from aden_transport.policy.values import BudgetType

BAR_US = 4.0
AT = 1_763_800_000.0
KINDS: tuple[BudgetType, ...] = ("agent", "tenant", "customer", "feature")
LADDER: Mapping[str, Any] = {
    "limit": 100.0,
    "period": "monthly",
    "thresholds": [
        {"percent": 50, "action": "alert"},
        {"percent": 80, "action": "degrade", "degradeTo": "gpt-4o-mini"},
        {"percent": 95, "action": "throttle", "delayMs": 2000},
    ],
    "limitAction": "block",
}


def policy_of(size: int) -> Policy:
    """One global budget, the others spread over four types."""
    first = load(LADDER).budgets[0]
    budgets = [first]
    for n in range(size - 1):
        kind, name = KINDS[n % 4], f"name-{n // 4}"
        budgets.append(Budget(f"{kind}:{name}", kind, name, first.terms))
    return Policy(tuple(budgets))


def microseconds(function: Callable[[], object], seconds: float = 0.3) -> float:
    """The least of several runs."""
    best, end = float("inf"), time.perf_counter() + seconds
    rounds = 1
    while True:
        start = time.perf_counter()
        for _ in range(rounds):
            function()
        took = time.perf_counter() - start
        if took < 0.002:
            rounds *= 4
            continue
        best = min(best, took / rounds)
        if time.perf_counter() > end:
            return best * 1e6


def scan(budgets: tuple[Budget, ...], attributes: Mapping[str, Any]) -> list[Budget]:
    """What the index is compared with."""
    return [
        budget for budget in budgets if budget.type == "global" or attributes.get(budget.type) == budget.name
    ]


def row(size: int) -> dict[str, float]:
    policy = policy_of(size)
    index = Index(policy)
    gc.collect()
    gc.freeze()
    attributes = dict.fromkeys([str(kind) for kind in KINDS], f"name-{max(size // 8, 1) - 1}")
    call = Call(attributes, "openai", "gpt-4o", AT)
    changed = Budget("customer:other", "customer", "other", policy.budgets[0].terms)

    def whole() -> Verdict:
        plan: Plan = plan_call(index, call, lambda model: (1_000_000, 400_000))
        return decide(plan, judge(plan.lines(), nothing))

    return {
        "budgets": size,
        "found": len(index.match(attributes, AT)),
        "match_us": microseconds(lambda: index.match(attributes, AT)),
        "decision_us": microseconds(whole),
        "put_us": microseconds(lambda: index.put(changed)),
        "scan_us": microseconds(lambda: scan(policy.budgets, attributes)),
    }


def nothing(line: Line) -> Totals:
    return Totals(0, 0, 0)


def names_mb(names: int) -> float:
    """Megabytes that a template keeps after calls of so many customers."""
    index = Index(load({**LADDER, "type": "customer", "name": "*"}))
    before = resident_mb()
    for number in range(names):
        index.match({"customer": f"customer-{number}"}, AT)
    return resident_mb() - before


def resident_mb() -> float:
    """Of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--gate", action="store_true")
    asked = parser.parse_args()
    sizes = [size for size in (1, 100, 10_000, 1_000_000) if size <= asked.most]
    kept = names_mb(asked.most)
    rows = [row(size) for size in sizes]
    if asked.json:
        print(json.dumps({"rows": rows, "names": asked.most, "names_mb": kept}))
    else:
        print(f"{'budgets':>9} {'met':>4} {'find µs':>9} {'whole µs':>9} {'change µs':>10} {'scan µs':>12}")
        for r in rows:
            print(
                f"{r['budgets']:>9,.0f} {r['found']:>4.0f} {r['match_us']:>9.2f} {r['decision_us']:>9.2f} "
                f"{r['put_us']:>10.2f} {r['scan_us']:>12.2f}"
            )
        print(f"a template after {asked.most:,} customers keeps {kept:.1f} MB")
    return int(asked.gate and any(r["match_us"] > BAR_US for r in rows))


if __name__ == "__main__":
    sys.exit(main())
