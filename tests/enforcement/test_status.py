"""How much is left, without making a call."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from aden_transport import context, get_budget_status

from .kit import HELLO, enforced

POLICY: dict[str, Any] = {
    "budgets": [
        {"type": "global", "limit": 10, "period": "monthly", "limitAction": "block"},
        {"type": "customer", "name": "*", "limit": 1, "period": {"rolling": "24h"}, "limitAction": "block"},
    ]
}


def test_without_a_policy_there_is_none() -> None:
    assert get_budget_status(customer="acme") == []


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_what_is_left_of_each_budget_that_a_call_would_meet(store: str, tmp_path: Any) -> None:
    ledger = "memory" if store == "memory" else f"sqlite:///{tmp_path}/budgets.sqlite3"
    with enforced(POLICY, ledger=ledger) as run:
        with context(customer="acme"):
            run.client().chat.completions.create(model="gpt-4o", messages=HELLO)
            run.ledger.open_holds()
            total, own = get_budget_status()
        (event,) = run.events
        assert (total.budget_id, own.budget_id) == ("global", "customer:acme")
        assert total.spent_usd == own.spent_usd == event.cost_usd
        assert own.left_usd == Decimal(1) - (event.cost_usd or 0)
        assert (own.limit_usd, own.held, own.name, own.type) == (Decimal(1), 0, "acme", "customer")
        assert total.resets_at is not None
        other = get_budget_status(customer="other")[1]
        assert (other.budget_id, other.spent) == ("customer:other", 0)
