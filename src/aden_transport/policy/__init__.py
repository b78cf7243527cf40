"""Policies: documents in, values out. No clock, no ledger, no network.

`load(document)` → `Policy` → `Index(policy)`; per call `plan_call(index, call, bounds)` → `Plan`, whose
`lines()` a ledger judges, and `decide(plan, outcome)` → `Verdict`.
"""

from __future__ import annotations

from .document import load, on_unknown
from .explain import describe_policy, explain_call, explained
from .file import PolicyFile
from .floors import Floor, floors, raise_floors
from .index import Index, Match, match_of
from .plan import Bound, Bounds, Call, Candidate, Plan, Stop, older_keys, output_cap, plan_call
from .values import Budget, OnUnknown, Policy, Terms
from .verdict import Alert, Explanation, Verdict, crossed_alerts, decide

__all__ = [
    "Alert",
    "Bound",
    "Bounds",
    "Budget",
    "Call",
    "Candidate",
    "Explanation",
    "Floor",
    "Index",
    "Match",
    "OnUnknown",
    "Plan",
    "Policy",
    "PolicyFile",
    "Stop",
    "Terms",
    "Verdict",
    "crossed_alerts",
    "decide",
    "describe_policy",
    "explain_call",
    "explained",
    "floors",
    "load",
    "match_of",
    "older_keys",
    "on_unknown",
    "output_cap",
    "plan_call",
    "raise_floors",
]
