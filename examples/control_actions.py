"""A budget of five cents climbs its ladder: allow, alert at 50 %, degrade at 80 %, delay at 95 %, block.

Run: python examples/control_actions.py   (needs: pip install 'aden-transport[openai]')
"""

from __future__ import annotations

from openai import OpenAI

from aden_transport import (
    BudgetExceededError,
    MeterOptions,
    MetricEvent,
    context,
    get_budget_status,
    instrument,
    uninstrument,
)
from aden_transport.testing import FakeProvider, Reply

POLICY = {
    "budgets": [
        {
            "type": "customer",
            "name": "*",
            "limit": 0.05,
            "thresholds": [
                {"percent": 50, "action": "alert"},
                {"percent": 80, "action": "degrade", "degradeTo": "gpt-4o-mini"},
                {"percent": 95, "action": "throttle", "delayMs": 100},
            ],
            "limitAction": "block",
        }
    ]
}


def show(event: MetricEvent) -> None:
    """Each call whose treatment differs from the one before."""
    treatment = (event.decision.action, event.request_model, event.throttle_ms > 0)
    if treatment != show.last:  # type: ignore[attr-defined]
        delay = f", delayed by {event.throttle_ms:.0f} ms" if event.throttle_ms else ""
        cost = f"${event.cost_usd:.6f}" if event.cost_usd is not None else "nothing"
        print(f"{event.decision.action}: {event.request_model}{delay}, cost {cost}")
    show.last = treatment  # type: ignore[attr-defined]


show.last = None  # type: ignore[attr-defined]


def main() -> None:
    instrument(
        MeterOptions(
            emit_metric=show,
            on_alert=lambda alert: print(f"alert [{alert.level}]: {alert.message}"),
            async_emit=False,
            policy=POLICY,
            ledger="memory",
        )
    )
    with FakeProvider(reply=Reply(output_tokens=400)) as provider, context(customer="acme"):
        client = OpenAI(base_url=provider.openai_base_url, api_key="any")
        try:
            while True:
                client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "Go on."}], max_tokens=500
                )
        except BudgetExceededError as refused:
            print(f"caught: {refused}")
        (status,) = get_budget_status()
        print(f"{status.budget_id}: ${status.spent_usd:.4f} of ${status.limit_usd:.2f} spent")
    uninstrument()


if __name__ == "__main__":
    main()
